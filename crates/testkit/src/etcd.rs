//! etcd clusters of processes on this machine, for tests of what is stored there.

use std::{
    fs::{self, File},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{image, wait::eventually};

/// How long a member may take until it listens.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// A build of etcd.
#[derive(Clone, Debug)]
pub struct EtcdProgram {
    pub name: &'static str,
    pub path: PathBuf,
}

/// Those that are there: Debian's, which `./x test` unpacks, and the one that upstream's cluster is made with.
pub fn etcds() -> Vec<EtcdProgram> {
    let target = image::target_dir();
    let all = [
        ("3.4", target.join("etcd/debian/usr/bin/etcd")),
        ("3.7", target.join("upstream/go/etcd/server")),
    ];
    let there = |(name, path): (&'static str, PathBuf)| {
        if path.is_file() {
            return Some(EtcdProgram { name, path });
        }
        eprintln!("left out: etcd {name} is not in {}", path.display());
        None
    };
    all.into_iter().filter_map(there).collect()
}

/// How a cluster is run.
#[derive(Debug)]
pub struct EtcdOptions {
    pub program: EtcdProgram,
    /// Ports for clients and for peers, of each member.
    pub ports: Vec<(u16, u16)>,
    /// More flags of each member.
    pub flags: Vec<String>,
    /// Whether clients speak TLS, as the flags say then.
    pub https: bool,
}

impl EtcdOptions {
    /// So many members on ports that nobody has.
    ///
    /// # Errors
    /// Where the system has no ports to give.
    pub fn free(program: EtcdProgram, members: usize) -> Result<EtcdOptions> {
        let all = (0..2 * members).map(|_| TcpListener::bind("127.0.0.1:0"));
        let all = all.collect::<std::io::Result<Vec<_>>>()?;
        let port = |at: usize| -> Result<u16> { Ok(all[at].local_addr()?.port()) };
        let ports = (0..members).map(|n| Ok((port(2 * n)?, port(2 * n + 1)?)));
        Ok(EtcdOptions {
            program,
            ports: ports.collect::<Result<_>>()?,
            flags: Vec::new(),
            https: false,
        })
    }
}

/// Where a member's program is run; nothing but the program is given.
type Launch<'a> = Box<dyn Fn(&Path) -> Command + 'a>;

/// An etcd cluster. Its processes end when it is dropped, or with the thread that started them.
pub struct Etcd<'a> {
    options: EtcdOptions,
    dir: PathBuf,
    launch: Launch<'a>,
    members: Vec<Option<Child>>,
}

impl<'a> Etcd<'a> {
    /// Starts all members; they listen when this returns, and may still choose their leader. What they keep is in `dir`.
    ///
    /// # Errors
    /// Where one does not start.
    pub fn start(options: EtcdOptions, dir: &Path) -> Result<Self> {
        Self::start_in(options, dir, Box::new(|program| Command::new(program)))
    }

    /// As [`Etcd::start`], in a place of the caller's: `launch` makes the command that runs a program there.
    ///
    /// # Errors
    /// Where one does not start.
    pub fn start_in(options: EtcdOptions, dir: &Path, launch: Launch<'a>) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let mut etcd = Etcd {
            members: options.ports.iter().map(|_| None).collect(),
            options,
            dir: dir.to_owned(),
            launch,
        };
        for n in 0..etcd.members.len() {
            etcd.start_member(n)?;
        }
        Ok(etcd)
    }

    /// The address in the form of knarr's flag.
    pub fn address(&self) -> String {
        let hosts = self.options.ports.iter();
        let hosts: Vec<String> = hosts.map(|(port, _)| format!("127.0.0.1:{port}")).collect();
        format!("etcd://{}", hosts.join(","))
    }

    /// Starts a member with what it has stored.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start_member(&mut self, n: usize) -> Result<()> {
        let (port, peer) = self.options.ports[n];
        let scheme = if self.options.https { "https" } else { "http" };
        let client = format!("{scheme}://127.0.0.1:{port}");
        let peers = self.options.ports.iter().enumerate();
        let peers: Vec<String> = peers
            .map(|(n, (_, peer))| format!("m{n}=http://127.0.0.1:{peer}"))
            .collect();
        let mut command = (self.launch)(Path::new("setpriv"));
        // A test that is killed leaves nothing behind.
        command.args(["--pdeathsig", "KILL"]);
        command.arg(&self.options.program.path).args([
            format!("--name=m{n}"),
            format!("--data-dir={}", self.dir.join(format!("m{n}")).display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster={}", peers.join(",")),
        ]);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join(format!("m{n}.log")))?;
        let child = command
            .args(&self.options.flags)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start etcd")?;
        self.members[n] = Some(child);
        Ok(())
    }

    /// Waits until every member listens; for those on this network.
    ///
    /// # Errors
    /// After a deadline.
    pub fn wait_listening(&self) -> Result<()> {
        eventually(START_DEADLINE, "etcd listens", || {
            for (port, _) in &self.options.ports {
                TcpStream::connect(("127.0.0.1", *port))?;
            }
            Ok(())
        })
    }

    /// Ends a member at once, as a crash would.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn kill_member(&mut self, n: usize) -> Result<()> {
        let mut member = self.members[n].take().context("the member does not run")?;
        member.kill()?;
        member.wait()?;
        Ok(())
    }
}

impl Drop for Etcd<'_> {
    fn drop(&mut self) {
        for n in 0..self.members.len() {
            let _ = self.kill_member(n);
        }
    }
}
