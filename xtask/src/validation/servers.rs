//! Upstream's API server on etcd, and knarr's control plane: each in a network of its own, without controllers and schedulers.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{
    Cluster, Etcd, EtcdOptions, EtcdProgram, Ground, NODE_IP, Options, eventually, run,
};

use super::client::Server;
use crate::{
    go,
    progress::step,
    reference::{ADMIN, API_SERVER, api_server_arguments, make_pki},
};

/// How long a server may take until it serves, on a busy machine.
const READY_DEADLINE: Duration = Duration::from_secs(180);
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);
/// Where upstream's API server looks for etcd, and etcd's members for each other.
const ETCD_PORTS: (u16, u16) = (2379, 2380);
/// As knarr has it by default: an address that an object asks for is in both.
const SERVICE_CIDR: &str = "10.43.0.0/16";
/// Requests without credentials go on as nobody's, as upstream's server has it without flags.
const AUTHENTICATION: &str = "\
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous: {enabled: true}
";
const READY: &str = "knarr server is ready in ";
/// The machine beside the server, which forwards nothing.
const GATEWAY: &str = "192.0.2.2";

/// Both servers; they end, and what they kept goes, when this is dropped.
pub struct Servers {
    // In the order in which they are to end.
    _api_server: Process,
    _etcd: Etcd<'static>,
    ground: Ground,
    _knarr: Process,
    cluster: Cluster,
}

impl Servers {
    /// Starts both. `api_server` and `etcd` are programs, where they are not to be built and found.
    pub fn start(api_server: Option<&Path>, etcd: Option<&Path>) -> Result<Self> {
        let api_server = match api_server {
            Some(path) => fs::canonicalize(path).with_context(|| path.display().to_string())?,
            None => {
                step("building upstream's API server", || {
                    go::build(&[API_SERVER])
                })?;
                API_SERVER.path()
            }
        };
        let etcd = match etcd {
            Some(path) => path.to_owned(),
            None => in_path("etcd").context("no etcd in PATH (Debian's etcd-server)")?,
        };
        let cluster = Cluster::prepare(Options::default())?;
        let knarr = start_knarr(&cluster)?;
        let ground = Ground::new()?;
        let etcd = start_etcd(&ground, etcd)?;
        let api_server = start_api_server(&ground, &api_server)?;
        Ok(Self {
            _api_server: api_server,
            _etcd: etcd,
            ground,
            _knarr: knarr,
            cluster,
        })
    }

    /// The administrator of upstream's, and that of ours, once they serve.
    pub async fn clients(&self) -> Result<(Server, Server)> {
        let kubeconfig = self.ground.directory().join(ADMIN);
        let theirs = Server::new(&self.ground.network().path(), &kubeconfig).await?;
        let ours = Server::new(&self.cluster.network().path(), &self.cluster.kubeconfig()).await?;
        for server in [&theirs, &ours] {
            server.wait_for("/readyz", READY_DEADLINE).await?;
        }
        Ok((theirs, ours))
    }
}

/// A program that ends with this value.
struct Process(Child);

impl Process {
    fn start(mut command: Command, output: &Path, log: &Path) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(output)?)
            .stderr(File::create(log)?)
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        Ok(Self(child))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn start_knarr(cluster: &Cluster) -> Result<Process> {
    let authentication = cluster.directory().join("authentication.yaml");
    fs::write(&authentication, AUTHENTICATION)?;
    let mut command = cluster.knarr(&["server"])?;
    command.args([
        format!("--data-dir={}", cluster.data_dir().display()),
        format!("--listen={NODE_IP}:6443"),
        format!("--advertise-address={NODE_IP}"),
        "--name=server".to_owned(),
        format!("--authentication-config={}", authentication.display()),
        "--without=scheduler,controller-manager".to_owned(),
    ]);
    let output = cluster.directory().join("server.out");
    let log = cluster.directory().join("server.log");
    let mut process = Process::start(command, &output, &log)?;
    let said = || fs::read_to_string(&log).unwrap_or_default();
    eventually(READY_DEADLINE, "knarr's server is ready", || {
        let text = fs::read_to_string(&output)?;
        let ended = process.0.try_wait()?;
        ensure!(ended.is_some() || text.contains(READY), "it said {text:?}");
        Ok(())
    })
    .with_context(said)?;
    let ended = process.0.try_wait()?;
    ensure!(ended.is_none(), "knarr ended: {ended:?}\n{}", said());
    Ok(process)
}

fn start_etcd(ground: &Ground, path: PathBuf) -> Result<Etcd<'static>> {
    let mut route = ground.network().command("ip");
    route.args(["route", "add", "default", "via", GATEWAY]);
    run(route, COMMAND_DEADLINE)?.success()?;
    let options = EtcdOptions {
        program: EtcdProgram { name: "etcd", path },
        ports: vec![ETCD_PORTS],
        // Nothing of it is to outlive the run.
        flags: vec!["--unsafe-no-fsync".to_owned()],
        https: false,
    };
    let namespace = ground.network().path();
    let launch = move |program: &Path| {
        let mut command = Command::new("/usr/bin/nsenter");
        command
            .arg(format!("--net={}", namespace.display()))
            .arg("--")
            .arg(program);
        command
    };
    Etcd::start_in(options, &ground.directory().join("etcd"), Box::new(launch))
}

fn start_api_server(ground: &Ground, program: &Path) -> Result<Process> {
    let directory = ground.directory();
    make_pki(&directory)?;
    let mut command = ground.network().command("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command.args(api_server_arguments(&directory, SERVICE_CIDR));
    let output = directory.join("api-server.out");
    Process::start(command, &output, &directory.join("api-server.log"))
}
