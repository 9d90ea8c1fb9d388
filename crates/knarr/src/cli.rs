//! The command line.

mod agent;
mod alone;
mod audit;
mod authorization;
mod cert;
mod data_dir;
mod encryption;
mod given;
mod identity;
mod image;
mod install;
mod kubeconfig;
mod local;
mod logs;
mod marks;
mod node;
mod secrets;
mod server;
mod sim;
mod snapshot;
mod token;
mod traffic;
mod without;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::{
    agent::Agent,
    alone::{
        ApiFlags, ControllerManagerAlone, ElectionFlags, KubeletAlone, ProxyAlone, SchedulerAlone,
        ServingFlags,
    },
    audit::AuditFlags,
    authorization::AuthorizationFlags,
    cert::{CertAction, CertCommand, CertRotate},
    encryption::EncryptionFlags,
    given::flags as given_flags,
    identity::IdentityFlags,
    image::{ImageAction, ImageCommand, ImageOutput},
    install::{Install, Uninstall},
    kubeconfig::KubeconfigCommand,
    local::{DrainNode, NodeAction, NodeCommand, RemoveNode},
    logs::{LogOutput, Logs},
    marks::taint_text,
    node::{NodeFlags, Reach},
    secrets::{SecretsAction, SecretsCommand},
    server::{DatastoreFlags, Server, ServerFlags},
    sim::{SimAction, SimCommand, SimNodes, SimReport},
    snapshot::{SnapshotAction, SnapshotCommand},
    token::{AdminAccess, CreateToken, DeleteTokens, TokenAction, TokenCommand},
    traffic::TrafficFlags,
    without::{Part, WithoutFlags},
};

/// Nodes on one machine; more would be a test of the machine.
const MAX_NODES: i64 = 32;
pub const DEFAULT_DATA_DIR: &str = "/var/lib/knarr";

/// Kubernetes in one binary
#[derive(Parser)]
#[command(name = "knarr", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Start a cluster here; stopping it leaves its containers running
    Up(Box<Up>),
    /// Start a control plane without a node here; several of them may share a datastore
    Server(Box<Server>),
    /// Make this machine a node of a cluster that runs elsewhere
    Agent(Box<Agent>),
    /// Run the scheduler alone, beside any API server
    Scheduler(Box<SchedulerAlone>),
    /// Run the controllers alone, beside any API server
    ControllerManager(Box<ControllerManagerAlone>),
    /// Run the service proxy of a node alone, beside any API server
    Proxy(Box<ProxyAlone>),
    /// Run a kubelet alone, with its container runtime, beside any API server
    Kubelet(Box<KubeletAlone>),
    /// Drain and remove nodes; list, stop, start, cut off or heal the further nodes of knarr up --nodes
    Node(NodeCommand),
    /// Stop the cluster and remove its containers, networks and rules; what is stored stays
    Down(Down),
    /// Show whether the cluster runs, and what is on it
    Status(Status),
    /// Find lines in the logs of all nodes, of pods that are gone too, and follow them
    Logs(Box<Logs>),
    /// Make, list and delete the tokens by which machines join
    Token(TokenCommand),
    /// Make knarr a service of this machine, by systemd
    Install(Install),
    /// Take that service away; all data stays
    Uninstall(Uninstall),
    /// Copy the embedded store, put a copy in its place, list copies
    Snapshot(SnapshotCommand),
    /// Tell how long certificates are good for, make new ones, replace the authority
    Cert(CertCommand),
    /// Give what is encrypted in the store a new key, while the cluster runs
    Secrets(SecretsCommand),
    /// Write a kubeconfig for a user and groups, with a certificate of the cluster's authority
    Kubeconfig(KubeconfigCommand),
    /// See and change the container images that are on a node, while its knarr runs
    Image(ImageCommand),
    /// Tell where the scheduler would put a pod, and why not elsewhere; nothing is changed
    Schedule(Schedule),
    /// Simulate many nodes with their pods, and measure the API server beside them
    Sim(SimCommand),
}

#[derive(Args, Clone, Debug)]
pub struct Up {
    /// Where everything is kept: keys, store, images, containers, logs
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, value_parser = data_dir::parser())]
    pub data_dir: PathBuf,

    /// How many nodes the cluster has on this machine: the first in this process, each other with a process, a network namespace and
    /// a directory of its own
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=MAX_NODES)
    )]
    pub nodes: u8,

    #[command(flatten)]
    pub server: ServerFlags,

    #[command(flatten)]
    pub without: WithoutFlags,

    #[command(flatten)]
    pub traffic: TrafficFlags,

    /// Return when the cluster is ready and leave it running in the background
    #[arg(long)]
    pub detach: bool,

    #[command(flatten)]
    pub node: NodeFlags,

    #[command(flatten)]
    pub log: Log,
}

/// `1h`, `90m`, `1h30m0s`; more than nothing.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|e: jiff::Error| e.to_string())?;
    match Duration::try_from(parsed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be longer than nothing".to_owned()),
    }
}

#[derive(Args, Clone, Debug)]
pub struct Log {
    /// What to log: error, warn, info, debug, trace, or a filter such as info,knarr_kubelet=debug
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "KNARR_LOG")]
    pub log_level: String,

    /// How to log
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Where to log [default: knarr.log in the data directory when stderr is a terminal or --detach is given, else stderr]
    #[arg(long, value_name = "PATH")]
    pub log_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl LogFormat {
    /// As it is written on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

#[derive(Args)]
pub struct Down {
    /// The cluster's data directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, value_parser = data_dir::parser())]
    pub data_dir: PathBuf,

    /// Also delete the data directory: keys, stored objects, images, logs, volumes of claims
    #[arg(long)]
    pub purge: bool,
}

#[derive(Args)]
pub struct Schedule {
    /// Name of a pod, or a file with the manifest of one
    #[arg(value_name = "POD|FILE")]
    pub pod: String,

    /// The pod's namespace
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    pub namespace: String,

    /// Tell of every node what ruled it out, or what each plugin gave it
    #[arg(long)]
    pub explain: bool,

    /// Ask about a cluster that was saved, instead of the one that runs here: by `kubectl get nodes,pods,namespaces -A -o json`, with
    /// `pv,pvc,sc,pdb,svc,rs` where pods have to do with them; several times for several files, in JSON or YAML
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    pub cluster: Vec<PathBuf>,

    /// The KubeSchedulerConfiguration that the cluster's scheduler was given; extenders are not asked
    #[arg(long, value_name = "FILE")]
    pub scheduler_config: Option<PathBuf>,

    /// The cluster's data directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, value_parser = data_dir::parser())]
    pub data_dir: PathBuf,
}

#[derive(Args)]
pub struct Status {
    /// The cluster's data directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, value_parser = data_dir::parser())]
    pub data_dir: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
