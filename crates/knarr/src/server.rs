//! `knarr server`: a control plane without a node. It needs no privileges; nodes join it with `knarr agent`.

use std::{net::IpAddr, path::PathBuf};

use anyhow::{Context, Result, bail};
use tracing::info;

use crate::{
    cli::Server,
    cluster,
    control_plane::{ControlPlane, Settings},
    instance::{Instance, Record},
    network, node,
    parts::Failure,
    preflight,
    process::{Asked, Daemon, End, Output},
    progress::{Progress, seconds},
    up,
};

pub fn run(flags: Box<Server>) -> Result<()> {
    let mut flags = *flags;
    flags.server.make_paths_absolute()?;
    preflight::check_server(&flags)?;
    let daemon = Daemon {
        data_dir: &flags.data_dir,
        log: &flags.log,
        detach: flags.detach,
    };
    daemon.run(async |instance, output| serve(&flags, instance, output).await)
}

async fn serve(flags: &Server, instance: &mut Instance, output: &Output) -> Result<End> {
    let mut asked = Asked::listen()?;
    let progress = &output.progress;
    let settings = settings(flags, instance).await?;
    let kubeconfig = flags.server.kubeconfig.clone();
    let kubeconfig = kubeconfig.unwrap_or_else(|| flags.data_dir.join("admin.kubeconfig"));
    let mut record = Record {
        ready: false,
        pid: std::process::id().cast_signed(),
        api: network::api_url(flags.server.listen()),
        kubeconfig: Some(kubeconfig.clone()),
        // It makes none; this one is nobody's.
        cgroup_root: PathBuf::from("/knarr").join(&settings.identity),
        network: None,
        root_dir: None,
        foreign_runtime: None,
    };
    instance.publish(&record)?;
    let failure = Failure::new();
    let starting = ControlPlane::start(&flags.server, &settings, &failure, progress);
    let control_plane = tokio::select! {
        control_plane = starting => control_plane?,
        signal = asked.wait() => {
            info!(signal, "stopped while starting");
            return Ok(End::Asked);
        }
    };
    record.api = network::api_url(control_plane.address());
    control_plane.write_kubeconfig(&record.api, &kubeconfig)?;
    up::give_to_owner_of_directory(&kubeconfig)?;
    record.ready = true;
    instance.publish(&record)?;
    greet(progress, &record.api, &kubeconfig.display().to_string());
    output.ready()?;
    let reason = tokio::select! {
        signal = asked.wait() => {
            info!(signal, "stopping");
            Ok(End::Asked)
        }
        error = failure.happened() => Err(error),
    };
    output.stopping("stopping; nodes and their containers go on running");
    control_plane.stop_clients().await;
    control_plane.stop_server().await;
    info!("stopped");
    reason
}

async fn settings(flags: &Server, instance: &Instance) -> Result<Settings> {
    Ok(Settings {
        identity: instance.identity(&flags.data_dir)?.to_string(),
        data_dir: flags.data_dir.clone(),
        name: match &flags.name {
            Some(name) => name.clone(),
            None => host_name()?,
        },
        addresses: addresses(flags).await?,
        cluster: cluster::cluster_settings(&flags.server, &flags.without),
        without: flags.without.clone(),
        extra_sans: flags.server.tls_san.clone(),
        // Both are for who has a node: it is reached at its address, and pods are reached from it.
        service_lb: None,
        ingress: None,
    })
}

fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().context("cannot read the host name")?;
    let name = name.to_string_lossy().to_lowercase();
    if name.is_empty() {
        bail!("this machine has no host name; give one with --name");
    }
    Ok(name)
}

/// Where nodes and pods reach the server: at the address that was given, and at those of the machine of the cluster's other families.
async fn addresses(flags: &Server) -> Result<Vec<IpAddr>> {
    let given: Vec<IpAddr> = flags.advertise_address.into_iter().collect();
    let mut known = node::known_ips(&given).await?;
    known.retain(|known| flags.server.cluster_cidr.has_family_of(*known));
    // The endpoint of the Service kubernetes, whose family is the primary one.
    let primary = flags.server.cluster_cidr.families().next();
    known.sort_by_key(|known| Some(known.is_ipv6()) != primary);
    match known.first() {
        Some(first) if !first.is_loopback() && Some(first.is_ipv6()) == primary => Ok(known),
        _ => bail!(
            "this machine has no address of the cluster's primary family beside loopback ones; give it one, or name one with \
             --advertise-address"
        ),
    }
}

fn greet(progress: &Progress, api: &str, kubeconfig: &str) {
    let time = seconds(progress.elapsed());
    progress.line("");
    progress.line(&progress.bold(&format!(
        "knarr server is ready in {time}  (API {api}, kubeconfig {kubeconfig})"
    )));
    progress.line("");
    progress.line(&format!("  export KUBECONFIG={kubeconfig}"));
    progress.line(
        "  knarr token create   # what lets a machine join: knarr agent --server URL --token TOKEN",
    );
    progress.line("");
}
