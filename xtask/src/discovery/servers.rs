//! The two API servers, each alone, with their defaults, on a network without a way out.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use knarr_testkit::{Etcd, EtcdOptions, Ground, NODE_IP, etcds, eventually, knarr_binary};

use super::{client::Client, documents::Documents};
use crate::{
    go,
    progress::step,
    reference::{
        component::API_SERVER,
        components::{self, ETCD_PORTS},
        pki,
    },
};

/// Until a server has put together what it serves.
const READY_DEADLINE: Duration = Duration::from_secs(120);
/// Lines of a log that are shown when its server has ended.
const LOG_LINES: usize = 20;

/// What knarr's says.
pub fn of_knarr(ground: &Ground) -> Result<Documents> {
    let dir = ground.directory().join("knarr");
    fs::create_dir_all(&dir)?;
    let mut command = ground.network().command(knarr_binary()?);
    // metrics.k8s.io is metrics-server's in a cluster of upstream's.
    command.args(["server", "--metrics-api=false"]);
    command.arg(format!("--advertise-address={NODE_IP}"));
    command.arg(format!("--data-dir={}", dir.display()));
    read("knarr", command, &dir, ground)
}

/// What upstream's says, with `program` or one that is built.
pub fn of_upstream(ground: &Ground, program: Option<&Path>) -> Result<Documents> {
    let program = match program {
        Some(path) => path.to_owned(),
        None => {
            step("building upstream's API server", || {
                go::build(&[API_SERVER])
            })?;
            API_SERVER.path()
        }
    };
    let dir = ground.directory().join("upstream");
    pki::make(&dir)?;
    let etcd = etcds()
        .pop()
        .context("there is no etcd: ./x discovery unpacks Debian's")?;
    let options = EtcdOptions {
        program: etcd,
        ports: vec![ETCD_PORTS],
        flags: Vec::new(),
        https: false,
    };
    let launch = Box::new(|program: &Path| ground.network().command(program));
    let _etcd = Etcd::start_in(options, &dir.join("etcd"), launch)?;
    let mut command = ground.network().command(program);
    command.args(components::api_server(&dir).arguments);
    read("upstream's", command, &dir, ground)
}

fn read(name: &str, command: Command, dir: &Path, ground: &Ground) -> Result<Documents> {
    let mut server = Server::start(command, dir)?;
    let client = Client { ground, dir };
    step(&format!("asking {name} API server"), || {
        let mut ended = None;
        let read = eventually(READY_DEADLINE, "it says what it serves", || {
            ended = server.ended()?;
            match &ended {
                Some(_) => Ok(None),
                None => Documents::read(&client).map(Some),
            }
        });
        match ended {
            Some(how) => bail!(how),
            None => read?.context("it has ended"),
        }
    })
}

/// A server's process; ended when dropped.
struct Server {
    process: Child,
    log: PathBuf,
}

impl Server {
    fn start(mut command: Command, dir: &Path) -> Result<Self> {
        let log = dir.join("log");
        let file = File::create(&log)?;
        let process = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot start the server")?;
        Ok(Self { process, log })
    }

    /// How it has ended, if it has.
    fn ended(&mut self) -> Result<Option<String>> {
        let Some(status) = self.process.try_wait()? else {
            return Ok(None);
        };
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
        Ok(Some(format!("it ended with {status}\n{}", tail.join("\n"))))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
