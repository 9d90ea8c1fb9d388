//! `knarr up`: checks, starts, says so, waits for a signal, stops.

use std::{
    fs,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::Up,
    cluster::{Cluster, Host},
    detach, failure,
    instance::{self, ForeignRuntime, Instance, NetworkNamespace, Note},
    logging, network, preflight,
    progress::{Progress, seconds},
};

/// Files and connections one process may have open; watchers and containers' streams need many.
const OPEN_FILES_WANTED: u64 = 1 << 20;

pub fn run(flags: Box<Up>) -> Result<()> {
    let mut flags = *flags;
    flags.data_dir = std::path::absolute(&flags.data_dir).context("--data-dir is not a path")?;
    preflight::check(&flags)?;
    instance::make_data_dir(&flags.data_dir)?;
    let background = detach::is_background();
    if flags.detach && !background {
        // Asked here too, so that the answer does not have to come through the log.
        drop(Instance::acquire(&flags.data_dir)?);
        return detach::spawn(&flags);
    }
    if background {
        nix::unistd::setsid().context("cannot leave the terminal")?;
    }
    let mut instance = Instance::acquire(&flags.data_dir)?;
    logging::start(&flags.log, &flags.data_dir)?;
    knarr_tasks::on_failure(failure::end);
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let result = runtime.block_on(serve(&flags, &mut instance, background));
    // Blocking tasks that hang must not keep the process: their deadlines have passed.
    runtime.shutdown_background();
    result
}

async fn serve(flags: &Up, instance: &mut Instance, background: bool) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let progress = Progress::new();
    let asked = async {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    };
    tokio::pin!(asked);
    let host = Host::of(flags, instance)?;
    let kubeconfig = flags
        .kubeconfig
        .clone()
        .unwrap_or_else(|| flags.data_dir.join("admin.kubeconfig"));
    let mut note = Note {
        ready: false,
        pid: std::process::id().cast_signed(),
        api: network::api_url(flags.listen),
        kubeconfig: kubeconfig.clone(),
        cgroup_root: host.cgroup.clone(),
        network: Some(NetworkNamespace::current()?),
        foreign_runtime: flags
            .container_runtime_endpoint
            .clone()
            .map(|endpoint| ForeignRuntime {
                endpoint,
                owner: host.instance.to_string(),
            }),
    };
    instance.publish(&note)?;
    let cluster = tokio::select! {
        cluster = Cluster::start(flags, host, &progress) => cluster?,
        signal = &mut asked => {
            tracing::info!(signal, "stopped while starting");
            return Ok(());
        }
    };
    note.api = network::api_url(cluster.address());
    cluster.write_kubeconfig(&note.api, &kubeconfig)?;
    give_to_owner_of_directory(&kubeconfig)?;
    note.ready = true;
    instance.publish(&note)?;
    greet(&progress, &note.api, &kubeconfig, flags.detach);
    if background {
        progress.line(detach::READY);
        leave_terminal()?;
    }
    let cluster = Arc::new(cluster);
    let reason = tokio::select! {
        signal = &mut asked => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        error = cluster.failed() => Err(error),
    };
    if !background {
        progress.line("stopping; containers go on running (knarr down removes them)");
    }
    cluster.stop().await;
    reason
}

/// What is in somebody's directory is for them: of a user who runs this with sudo. They may have put something else there
/// meanwhile, which stays whose it is.
fn give_to_owner_of_directory(kubeconfig: &Path) -> Result<()> {
    let give = || -> std::io::Result<()> {
        let directory = fs::metadata(kubeconfig.parent().unwrap_or(Path::new("/")))?;
        let file = fs::File::options()
            .read(true)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
            .open(kubeconfig)?;
        let written = file.metadata()?;
        if written.is_file() && written.nlink() == 1 {
            std::os::unix::fs::fchown(&file, Some(directory.uid()), Some(directory.gid()))?;
        }
        Ok(())
    };
    give().with_context(|| format!("cannot give {} to its user", kubeconfig.display()))
}

fn greet(progress: &Progress, api: &str, kubeconfig: &Path, detached: bool) {
    let time = seconds(progress.elapsed());
    progress.line("");
    progress.line(&progress.bold(&format!(
        "knarr is ready in {time}  (API {api}, kubeconfig {})",
        kubeconfig.display()
    )));
    progress.line("");
    // Where kubectl looks by itself.
    if !kubeconfig.ends_with(".kube/config") {
        progress.line(&format!("  export KUBECONFIG={}", kubeconfig.display()));
    }
    progress.line("  kubectl get nodes");
    progress.line("  kubectl apply -f examples/hello.yaml");
    progress.line("");
    progress.line(if detached {
        "It runs in the background: knarr status shows it, knarr down removes it."
    } else {
        "Ctrl-C stops it; its containers go on running, and knarr up finds them again."
    });
}

/// Whoever started us has heard enough: what is printed from now on goes nowhere.
fn leave_terminal() -> Result<()> {
    let null = fs::File::options()
        .write(true)
        .open("/dev/null")
        .context("cannot open /dev/null")?;
    nix::unistd::dup2(null.as_raw_fd(), std::io::stdout().as_raw_fd())
        .context("cannot close standard output")?;
    Ok(())
}

/// As many as the hard limit allows. Failing is no reason not to start.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = hard.min(OPEN_FILES_WANTED);
        if soft < wanted
            && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
        {
            tracing::warn!(%error, soft, wanted, "cannot raise the limit of open files");
        }
    }
}
