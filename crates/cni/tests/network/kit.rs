//! Machines as network namespaces, and datagrams between them.

use std::{
    fs::File,
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::{geteuid, gettid},
};

/// Longest wait for what must happen.
const SOON: Duration = Duration::from_secs(20);
/// How long a datagram is waited for before it is sent again.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often what must not arrive is sent.
const TRIES: usize = 2;

/// Whether namespaces can be made; says why not.
pub fn allowed() -> bool {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root to make network namespaces");
    }
    geteuid().is_root()
}

/// A network namespace for as long as this is: a thread holds it.
pub struct Machine {
    pub path: PathBuf,
    end: Option<mpsc::Sender<()>>,
    holder: Option<JoinHandle<()>>,
}

impl Machine {
    pub fn new() -> Self {
        let (end, ended) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let holder = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell.send(gettid()).unwrap();
            // Ends with an error, when the other half is dropped.
            let _ = ended.recv();
        });
        let thread = told.recv().unwrap();
        let machine = Self {
            path: PathBuf::from(format!("/proc/{}/task/{thread}/ns/net", std::process::id())),
            end: Some(end),
            holder: Some(holder),
        };
        machine.ip("link set lo up");
        machine
    }

    /// Runs asynchronous work in it.
    pub fn block_on<T: Send, F: Future<Output = T>>(&self, work: impl FnOnce() -> F + Send) -> T {
        within(&self.path, || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(work())
        })
    }

    pub fn ip(&self, arguments: &str) -> String {
        run(&self.path, &format!("ip {arguments}"))
    }

    /// The thread that holds it, as `ip link … netns` takes it.
    pub fn thread(&self) -> String {
        let thread = self.path.components().nth(4).unwrap();
        thread.as_os_str().to_str().unwrap().to_owned()
    }

    /// A link to another machine, with an address on both sides, such as `192.0.2.1/24`, or `0.0.0.0/0` for none.
    pub fn connect(&self, name: &str, own: &str, other: &Self, others: &str) {
        let thread = other.thread();
        self.ip(&format!(
            "link add {name} type veth peer name {name} netns {thread}"
        ));
        for (machine, address) in [(self, own), (other, others)] {
            if !address.starts_with("0.") {
                let at_once = if address.contains(':') { " nodad" } else { "" };
                machine.ip(&format!("address add {address} dev {name}{at_once}"));
            }
            machine.ip(&format!("link set {name} up"));
        }
    }

    pub fn state(&self) -> String {
        state(&self.path)
    }
}

/// Links, addresses, routes, rules, and whether links take packets of 127.0.0.1, of a namespace.
pub fn state(namespace: &Path) -> String {
    let all = [
        "ip -oneline -brief link",
        "ip -4 -oneline address",
        "ip -6 -oneline address show scope global",
        "ip -4 route show table main",
        "ip -6 route show table main",
        "nft list ruleset",
        "grep -r . /proc/sys/net/ipv4/conf --include=route_localnet",
    ]
    .map(|line| run(namespace, line))
    .join("");
    // The kernel's own, which are there when it has found that nobody else has them.
    let kept = all.lines().filter(|line| !line.starts_with("fe80::"));
    kept.collect::<Vec<_>>().join("\n")
}

/// Waits.
///
/// # Panics
/// When it does not come to be.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < SOON, "not yet: {what}");
        thread::sleep(PATIENCE / 10);
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

/// Runs work in a namespace.
pub fn within<T: Send>(namespace: &Path, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(namespace).unwrap();
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        there.join().unwrap()
    })
}

/// A program's output, in a namespace.
pub fn run(namespace: &Path, line: &str) -> String {
    let output = Command::new("nsenter")
        .arg(format!("--net={}", namespace.display()))
        .args(line.split(' '))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Where something is: a namespace, and an address that it has.
pub type Place<'a> = (&'a Path, IpAddr);

/// Whom a datagram of so many bytes comes from, as its receiver sees it. It is sent until it arrives.
///
/// # Panics
/// When it does not.
pub fn deliver(from: Place<'_>, to: Place<'_>, bytes: usize) -> IpAddr {
    deliver_by(from, to.1, to, bytes)
}

/// As [`deliver`], addressed to another address that leads there.
pub fn deliver_by(from: Place<'_>, address: IpAddr, to: Place<'_>, bytes: usize) -> IpAddr {
    let start = Instant::now();
    loop {
        if let Some(source) = send(from, address, to, bytes) {
            return source;
        }
        assert!(
            start.elapsed() < SOON,
            "nothing comes from {} to {}: {}",
            from.1,
            to.1,
            run(from.0, "ip route")
        );
    }
}

/// Whether nothing arrives.
pub fn is_lost(from: Place<'_>, to: Place<'_>) -> bool {
    (0..TRIES).all(|_| send(from, to.1, to, 8).is_none())
}

fn send(from: Place<'_>, address: IpAddr, to: Place<'_>, bytes: usize) -> Option<IpAddr> {
    // Of any port: a program that another test starts has our sockets for a moment.
    let receiver = within(to.0, || UdpSocket::bind((to.1, 0)).unwrap());
    let port = receiver.local_addr().unwrap().port();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let sender = within(from.0, || UdpSocket::bind((from.1, 0)).unwrap());
    let target = SocketAddr::from((address, port));
    // Whole: what is too long for the way is to be told, not cut.
    let sent = sender.send_to(&vec![7; bytes], target);
    if sent.is_err() {
        thread::sleep(PATIENCE);
        return None;
    }
    let mut buffer = vec![0; bytes + 1];
    match receiver.recv_from(&mut buffer) {
        Ok((length, source)) => {
            assert_eq!(length, bytes);
            Some(source.ip())
        }
        Err(error) => {
            assert!(matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut
            ));
            None
        }
    }
}
