//! `knarr up`: checks, starts, says so, waits for a signal, stops.

use std::{
    fs,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result};

use crate::{
    cli::Up,
    cluster::Cluster,
    instance::{Instance, NetworkNamespace, Record},
    network,
    node::Host,
    preflight,
    process::{Asked, Daemon, End, Output},
    progress::{Progress, seconds},
    traffic,
};

pub fn run(flags: Box<Up>) -> Result<()> {
    let mut flags = *flags;
    flags.node.make_paths_absolute()?;
    flags.node.heed_kubelet_configuration()?;
    flags.server.make_paths_absolute()?;
    preflight::check(&flags)?;
    let daemon = Daemon {
        data_dir: &flags.data_dir,
        log: &flags.log,
        detach: flags.detach,
    };
    daemon.run(async |instance, output| serve(&flags, instance, output).await)
}

async fn serve(flags: &Up, instance: &mut Instance, output: &Output) -> Result<End> {
    let mut asked = Asked::listen()?;
    let progress = &output.progress;
    let host = Host::of(&flags.data_dir, &flags.node, instance)?;
    let kubeconfig = flags
        .server
        .kubeconfig
        .clone()
        .unwrap_or_else(|| flags.data_dir.join("admin.kubeconfig"));
    let mut record = Record {
        ready: false,
        pid: std::process::id().cast_signed(),
        api: network::api_url(flags.server.listen()),
        kubeconfig: Some(kubeconfig.clone()),
        cgroup_root: host.cgroup.clone(),
        network: Some(NetworkNamespace::current()?),
        root_dir: flags.node.root_dir.clone(),
        foreign_runtime: host.foreign_runtime(&flags.node),
    };
    instance.publish(&record)?;
    // Before the cluster itself has them.
    let taken = traffic::taken_ports(flags);
    let cluster = tokio::select! {
        cluster = Cluster::start(flags, host, progress) => cluster?,
        signal = asked.wait() => {
            tracing::info!(signal, "stopped while starting");
            return Ok(End::Asked);
        }
    };
    record.api = network::api_url(cluster.address());
    cluster.write_kubeconfig(&record.api, &kubeconfig)?;
    give_to_owner_of_directory(&kubeconfig)?;
    record.ready = true;
    instance.publish(&record)?;
    greet(progress, &record.api, &kubeconfig, flags.detach);
    for problem in taken {
        progress.line("");
        progress.line(&problem);
    }
    output.ready()?;
    let cluster = Arc::new(cluster);
    let reason = tokio::select! {
        signal = asked.wait() => {
            tracing::info!(signal, "stopping");
            output.stopping("stopping; containers go on running (knarr down removes them)");
            Ok(End::Asked)
        }
        address = cluster.moved() => {
            output.moved(address);
            Ok(End::Again)
        }
        error = cluster.failed() => {
            output.stopping("stopping; containers go on running (knarr down removes them)");
            Err(error)
        }
    };
    cluster.stop().await;
    reason
}

/// What is in somebody's directory is for them: of a user who runs this with sudo. They may have put something else there
/// meanwhile, which stays whose it is.
pub fn give_to_owner_of_directory(kubeconfig: &Path) -> Result<()> {
    let give = || -> std::io::Result<()> {
        let directory = fs::metadata(directory_of(kubeconfig))?;
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

/// A name alone is of the directory that this runs in.
fn directory_of(file: &Path) -> &Path {
    let named = file.parent().filter(|path| !path.as_os_str().is_empty());
    named.unwrap_or(Path::new("."))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_a_directory_however_they_are_named() {
        let of = |file: &'static str| directory_of(Path::new(file)).display().to_string();
        assert_eq!([of("kc"), of("a/kc"), of("/kc")], [".", "a", "/"]);
    }
}
