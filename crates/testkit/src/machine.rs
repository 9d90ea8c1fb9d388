//! Machines as network namespaces of a test's own, with links between them and addresses of both families.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::{geteuid, gettid},
};

/// How long a call may take that is answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call is waited for that nobody is to answer.
const PATIENCE: Duration = Duration::from_millis(400);
/// The longest line that servers answer with.
const LINE_BYTES: usize = 128;

/// A network namespace for as long as this is: a thread holds it.
pub struct Machine {
    namespace: File,
    /// The thread that holds it.
    thread: i32,
    end: Option<mpsc::Sender<()>>,
    holder: Option<JoinHandle<()>>,
}

impl Machine {
    /// Whether there can be any; says why not.
    pub fn allowed() -> bool {
        if !geteuid().is_root() {
            eprintln!("skipped: needs root to make network namespaces");
        }
        geteuid().is_root()
    }

    /// One whose loopback device is up.
    ///
    /// # Panics
    /// When the system refuses; so do all that follow.
    pub fn new() -> Self {
        let (end, ended) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let holder = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            tell.send(gettid().as_raw()).expect("who made it");
            // Ends with an error, when the other half is dropped.
            let _ = ended.recv();
        });
        let thread = told.recv().expect("a network namespace");
        let path = format!("/proc/{}/task/{thread}/ns/net", std::process::id());
        let machine = Self {
            namespace: File::open(path).expect("its namespace"),
            thread,
            end: Some(end),
            holder: Some(holder),
        };
        machine.ip("link set lo up");
        machine
    }

    /// Runs work in it, on a thread of its own; threads that it starts are there, too.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let there = || {
            setns(&self.namespace, CloneFlags::CLONE_NEWNET).expect("its namespace");
            work()
        };
        thread::scope(|scope| match scope.spawn(there).join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Runs `ip` with these arguments.
    pub fn ip(&self, arguments: &str) {
        self.program(&format!("ip {arguments}"));
    }

    /// What a program prints that is to succeed.
    pub fn program(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let output = self.run(|| {
            let mut command = Command::new(words.next().unwrap_or_default());
            command.args(words).output()
        });
        let output = output.expect(line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Lets packets of both families through.
    pub fn forward(&self) {
        self.run(|| {
            for name in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                fs::write(format!("/proc/sys/net/{name}"), "1").expect(name);
            }
        });
    }

    /// A link of this name to another machine, on both sides up and without addresses.
    pub fn connect(&self, name: &str, other: &Self) {
        let thread = other.thread;
        self.ip(&format!(
            "link add {name} type veth peer name {name} netns {thread}"
        ));
        for machine in [self, other] {
            machine.ip(&format!("link set {name} addrgenmode none"));
            machine.ip(&format!("link set {name} up"));
        }
    }

    /// A link of this name to a pod with these addresses, routed as the pod network does it: by addresses of the link alone.
    pub fn connect_pod(&self, name: &str, pod: &Self, addresses: &[IpAddr]) {
        self.connect(name, pod);
        self.ip(&format!("address add 169.254.1.1/32 dev {name} scope link"));
        self.ip(&format!("address add fe80::1/64 dev {name} nodad"));
        pod.ip(&format!("address add fe80::2/64 dev {name} nodad"));
        pod.ip(&format!("route add 169.254.1.1 dev {name}"));
        for address in addresses {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let at_once = if address.is_ipv4() { "" } else { " nodad" };
            pod.ip(&format!("address add {address}/{bits} dev {name}{at_once}"));
            self.ip(&format!("route add {address}/{bits} dev {name}"));
        }
        pod.ip("route add default via 169.254.1.1");
        pod.ip(&format!("-6 route add default via fe80::1 dev {name}"));
    }

    /// Serves TCP and UDP on a port of all of its addresses, until the test ends: each caller is told the server's name and whom it
    /// is called by, and TCP clients get back what they send from then on.
    pub fn serve(&self, name: &'static str, port: u16) {
        let address = SocketAddr::from(([0_u16; 8], port));
        let (tcp, udp) = self.run(|| (TcpListener::bind(address), UdpSocket::bind(address)));
        let (tcp, udp) = (tcp.expect("a listener"), udp.expect("a socket"));
        let greeting = move |peer: SocketAddr| format!("{name} {}\n", peer.ip().to_canonical());
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                thread::spawn(move || {
                    let (Ok(peer), Ok(mut back)) = (stream.peer_addr(), stream.try_clone()) else {
                        return;
                    };
                    // A client that goes away needs nothing more.
                    let _ = back.write_all(greeting(peer).as_bytes());
                    let _ = std::io::copy(&mut &stream, &mut back);
                });
            }
        });
        thread::spawn(move || {
            let mut buffer = [0; LINE_BYTES];
            while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
                let _ = udp.send_to(greeting(peer).as_bytes(), peer);
            }
        });
    }

    /// What a server says who is called from here: its name and the caller's address; or why nobody answers.
    pub fn call(&self, to: impl Into<SocketAddr>) -> String {
        match self.connection(to.into(), PATIENCE) {
            Ok(connection) => connection.greeting,
            Err(error) => match error.kind() {
                std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => {
                    "nothing".to_owned()
                }
                std::io::ErrorKind::ConnectionRefused => "refused".to_owned(),
                other => other.to_string(),
            },
        }
    }

    /// A connection that stays.
    ///
    /// # Errors
    /// When nobody answers in time.
    pub fn connection(&self, to: SocketAddr, patience: Duration) -> std::io::Result<Connection> {
        let stream = self.run(|| TcpStream::connect_timeout(&to, patience))?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let mut reader = BufReader::new(stream);
        let mut greeting = String::new();
        reader.read_line(&mut greeting)?;
        Ok(Connection {
            greeting: greeting.trim().to_owned(),
            reader,
        })
    }

    /// A client of UDP.
    pub fn datagrams(&self, to: impl Into<SocketAddr>) -> Datagrams {
        let to = to.into();
        let any: IpAddr = match to {
            SocketAddr::V4(_) => [0; 4].into(),
            SocketAddr::V6(_) => [0_u16; 8].into(),
        };
        let socket = self.run(|| UdpSocket::bind((any, 0)));
        let socket = socket.expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Datagrams { socket, to }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end.take();
        if let Some(holder) = self.holder.take() {
            holder.join().ok();
        }
    }
}

/// A connection to a server of a machine.
pub struct Connection {
    /// Who answered, and whom it has seen.
    pub greeting: String,
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// Whether what is said comes back.
    pub fn lives(&mut self) -> bool {
        let mut line = String::new();
        self.reader.get_mut().write_all(b"again\n").is_ok()
            && self.reader.read_line(&mut line).is_ok()
            && line == "again\n"
    }
}

/// A client of UDP, who keeps its port.
pub struct Datagrams {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Datagrams {
    /// Who answers now.
    pub fn ask(&self) -> String {
        let mut buffer = [0; LINE_BYTES];
        let asked = self.socket.send_to(b"who", self.to);
        let answered = asked.and_then(|_| self.socket.recv_from(&mut buffer));
        match answered {
            Ok((length, _)) => String::from_utf8_lossy(&buffer[..length]).trim().to_owned(),
            Err(_) => "nothing".to_owned(),
        }
    }
}
