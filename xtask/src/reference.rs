//! Upstream's own cluster, to compare knarr with: `cargo xtask-cluster upstream up`.
//!
//! Upstream's control plane, kubelet, containerd and DNS run on this machine as one node that kubeadm might have set up, with
//! the conformance suite's images. As knarr's test clusters it is in a network namespace without a way out. Two more
//! namespaces make it easy to be rid of: processes end with their init, which is this program again, and mounts with the
//! processes. Init ends when its standard input does, so that nothing survives its owner, however that one ends.
//!
//! Rejected: kubeadm, which wants systemd and a machine of its own.

pub mod component;
pub mod components;
mod containerd;
pub mod exchange;
pub mod host;
mod init;
pub mod pki;
mod runtime;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use knarr_testkit::{
    Network, eventually,
    image::{self, target_dir},
    run,
};
use nix::{
    sys::signal::{SigSet, Signal, kill},
    unistd::{Pid, geteuid},
};

#[cfg(feature = "validation")]
pub use self::{
    component::API_SERVER,
    components::api_server_arguments,
    pki::{ADMIN, make as make_pki},
};
pub use self::{exchange::Part, runtime::Runtime};

use crate::{
    go,
    image::{conformance, registry::Registry},
    progress::step,
};

/// How long init may take to end when it is told to.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// How long `down` waits for `up`.
const DOWN_DEADLINE: Duration = Duration::from_secs(60);
const COMMAND_DEADLINE: Duration = Duration::from_secs(10);
const PID_FILE: &str = "pid";
/// The machine beside the node, which forwards nothing.
const GATEWAY: &str = "192.0.2.2";

#[derive(Parser)]
pub struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start it and stay until SIGTERM or Ctrl-C; then everything of it is removed but its logs
    Up(Place),
    /// Stop it, and remove what is left of one that was killed, its directory too
    Down(Place),
    /// The part of `up` that is the first process in the cluster's namespaces
    #[command(hide = true)]
    Init(Place),
    /// The first process in the namespaces of a containerd without a cluster
    #[command(hide = true)]
    Runtime(Place),
}

#[derive(Parser, Clone)]
pub struct Place {
    /// Where everything of it is kept
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Name of its network namespace and its control groups
    #[arg(long, default_value = "knarr-upstream")]
    name: String,
    /// Parts of it that are knarr's
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS")]
    ours: Vec<Part>,
}

pub fn run_task(args: Args) -> Result<()> {
    ensure!(geteuid().is_root(), "starting a cluster needs root");
    match args.task {
        Task::Up(place) => up(&place),
        Task::Down(place) => down(&place),
        Task::Init(place) => init::run(&place.dir, &place.name, &place.ours),
        Task::Runtime(place) => runtime::run(&place.dir, &place.name),
    }
}

fn up(place: &Place) -> Result<()> {
    // Before any thread is started, which would take them otherwise.
    let signals = blocked_signals()?;
    if let Some(pid) = running(place) {
        bail!("it runs already, as process {pid}");
    }
    let images = target_dir().join("images/conformance");
    let archive = conformance::build(&images)?;
    step("building upstream's programs", || {
        go::build(&components::programs())
    })?;
    fs::create_dir_all(&place.dir)?;
    let place = Place {
        dir: fs::canonicalize(&place.dir)?,
        name: place.name.clone(),
        ours: place.ours.clone(),
    };
    fs::write(place.dir.join(PID_FILE), std::process::id().to_string())?;
    let leftovers = Leftovers(&place);
    leftovers.remove()?;
    let outcome = serve(&place, &archive, signals);
    leftovers.remove()?;
    outcome
}

/// Starts the cluster and waits until it is told to stop, or has ended.
fn serve(place: &Place, archive: &Path, signals: SigSet) -> Result<()> {
    host::make(&place.dir, &place.name)?;
    pki::make(&place.dir)?;
    components::configure(&place.dir, &place.name, &conformance::names()?)?;
    let network = Network::new(&place.name)?;
    let mut route = network.command("ip");
    // The kernel wants a route before it looks at rules for Services.
    route.args(["route", "add", "default", "via", GATEWAY]);
    run(route, COMMAND_DEADLINE)?.success()?;
    // Some pods want their image pulled, though it is here.
    Registry::open(archive)?.serve(network.listen(containerd::REGISTRY)?);
    let archives = [archive.to_owned()]
        .into_iter()
        .chain(image::build(&target_dir().join("images"))?);
    fs::write(place.dir.join(init::ARCHIVES), lines(archives))?;

    let mut init = spawn_init(place, &network)?;
    let (sender, events) = mpsc::channel();
    let told = sender.clone();
    thread::spawn(move || {
        if signals.wait().is_ok() {
            let _ = told.send(None);
        }
    });
    // Its end is an event; to stop it, it needs no handle.
    let stdin = init.stdin.take();
    let pid = Pid::from_raw(init.id().cast_signed());
    thread::spawn(move || drop(sender.send(Some(init.wait()))));
    match events.recv()? {
        Some(status) => Err(ended(place, status?)),
        None => {
            drop(stdin);
            if events.recv_timeout(STOP_DEADLINE).is_err() {
                kill(pid, Signal::SIGKILL)?;
            }
            Ok(())
        }
    }
}

fn ended(place: &Place, status: ExitStatus) -> anyhow::Error {
    anyhow::anyhow!(
        "the cluster ended with {status}; its logs are in {}",
        place.dir.join(component::LOGS).display()
    )
}

/// The cluster's first process.
fn spawn_init(place: &Place, network: &Network) -> Result<Child> {
    let mut command = namespaces(network)?;
    command
        .args(["upstream", "init", "--name", &place.name, "--dir"])
        .arg(&place.dir);
    for part in &place.ours {
        command.args(["--ours", part.name()]);
    }
    command.spawn().context("cannot run unshare (util-linux)")
}

/// This program as the first process of new namespaces for processes and mounts, in a network. It is still to be told what to do.
fn namespaces(network: &Network) -> Result<Command> {
    let own = std::env::current_exe().context("this program has no path")?;
    let mut command = network.command("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--mount-proc"])
        .arg("--kill-child=SIGKILL")
        .arg(own)
        .stdin(Stdio::piped());
    // Ctrl-C is for this process only.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command)
}

fn down(place: &Place) -> Result<()> {
    if let Some(pid) = running(place) {
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        eventually(DOWN_DEADLINE, "the cluster ends", || {
            ensure!(running(place).is_none(), "process {pid} runs");
            Ok(())
        })?;
    }
    Leftovers(place).remove()?;
    match fs::remove_dir_all(&place.dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The process that serves this directory, if it does.
fn running(place: &Place) -> Option<i32> {
    let text = fs::read_to_string(place.dir.join(PID_FILE)).ok()?;
    let pid: i32 = text.trim().parse().ok()?;
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    let is_it = line.contains("upstream\0up\0") && pid.cast_unsigned() != std::process::id();
    is_it.then_some(pid)
}

/// What `up` makes and does not leave.
struct Leftovers<'a>(&'a Place);

impl Leftovers<'_> {
    fn remove(&self) -> Result<()> {
        let Place { dir, name, .. } = self.0;
        host::remove(dir, name)?;
        for folder in components::FOLDERS {
            match fs::remove_dir_all(dir.join(folder)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {folder}"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn lines(paths: impl Iterator<Item = PathBuf>) -> String {
    paths.map(|path| format!("{}\n", path.display())).collect()
}

/// SIGTERM and SIGINT, kept for a thread that waits for them.
fn blocked_signals() -> Result<SigSet> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    Ok(signals)
}
