//! The flags of `knarr sim`.

use std::time::Duration;

use clap::{Args, Subcommand};
use k8s_openapi::{api::core::v1::Taint, apimachinery::pkg::api::resource::Quantity};
use knarr_sim::{Latency, Range, Share};

use super::{
    AdminAccess, Log, duration,
    marks::{label, taint},
};

/// More would be more than upstream is built for, several times over.
const MAX_NODES: i64 = 50_000;
const MAX_ZONES: i64 = 1_000;
/// Below the length of names, with the number of a node behind it.
const MAX_NAME_BYTES: usize = 40;

#[derive(Args)]
pub struct SimCommand {
    #[command(subcommand)]
    pub action: SimAction,
}

#[derive(Subcommand)]
pub enum SimAction {
    /// Be many nodes at once: to the cluster they are real, and their pods run nowhere.
    ///
    /// Each registers itself, renews its lease every 10 seconds and tells its status every 5 minutes; pods that are scheduled on it start,
    /// run, end and leave. Ctrl-C ends it: the nodes stay, and are lost to the cluster soon; with --purge they are deleted.
    ///
    /// LATENCY is 1s (always), 500ms..2s (evenly between them) or 1s/5s (half take less than the first, one in a hundred longer than the
    /// second). SHARE is 5% or 0.05.
    ///
    /// While it runs:
    ///   kubectl annotate node sim-3 sim.knarr.dev/stopped=true      its machine is off (sim.knarr.dev/stopped- : on again)
    ///   kubectl annotate node sim-3 sim.knarr.dev/not-ready=true    its container runtime does not work
    /// and of pods:
    ///   sim.knarr.dev/run-for: 30s        its containers end by themselves after that
    ///   sim.knarr.dev/outcome: Failed     they fail (Succeeded: they do not, whatever --failing-pods says)
    #[command(verbatim_doc_comment)]
    Nodes(Box<SimNodes>),
    /// Measure how fast the API server answers, single objects and lists, while whatever is there goes on
    Report(Box<SimReport>),
}

/// The nodes, their pods, and what goes wrong with them.
#[derive(Args)]
pub struct SimNodes {
    /// How many
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_NODES))]
    pub count: u32,

    /// What their names begin with; nodes of one name are a set, by the label knarr.dev/simulated
    #[arg(long, value_name = "NAME", default_value = "sim", value_parser = name)]
    pub name: String,

    /// Delete them at the end, those of earlier runs under this name, too
    #[arg(long)]
    pub purge: bool,

    /// Spread them over so many zones; 0: no zones
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=MAX_ZONES), help_heading = "Nodes")]
    pub zones: u32,

    /// What each has of a resource: cpu, memory, pods, ephemeral-storage or any other, such as nvidia.com/gpu=8; repeatable [default:
    /// cpu=32, memory=256Gi, pods=110, ephemeral-storage=1Ti]
    #[arg(long, value_name = "RESOURCE=AMOUNT", value_parser = capacity, help_heading = "Nodes")]
    pub capacity: Vec<(String, Quantity)>,

    /// A label of each; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = label, help_heading = "Nodes")]
    pub label: Vec<(String, String)>,

    /// A taint of each, such as simulated=true:NoSchedule; repeatable
    #[arg(long, value_name = "KEY[=VALUE]:EFFECT", value_parser = taint, help_heading = "Nodes")]
    pub taint: Vec<Taint>,

    /// Where their addresses are from; nothing is ever sent there by them
    #[arg(
        long,
        value_name = "CIDR",
        default_value = "198.18.0.0/16",
        help_heading = "Nodes"
    )]
    pub node_cidr: Range,

    /// From being bound to being ready
    #[arg(
        long,
        value_name = "LATENCY",
        default_value = "1s/3s",
        help_heading = "Pods"
    )]
    pub start_latency: Latency,

    /// From deletion to the end, the grace period at most
    #[arg(
        long,
        value_name = "LATENCY",
        default_value = "500ms",
        help_heading = "Pods"
    )]
    pub stop_latency: Latency,

    /// How long pods of Jobs run
    #[arg(
        long,
        value_name = "LATENCY",
        default_value = "5s..15s",
        help_heading = "Pods"
    )]
    pub job_time: Latency,

    /// Where pods' addresses are from on nodes without a podCIDR, as knarr leaves simulated ones
    #[arg(
        long,
        value_name = "CIDR",
        default_value = "198.19.0.0/16",
        help_heading = "Pods"
    )]
    pub pod_cidr: Range,

    /// Nodes whose container runtime never works
    #[arg(
        long,
        value_name = "SHARE",
        default_value = "0%",
        help_heading = "What goes wrong"
    )]
    pub not_ready: Share,

    /// Nodes that are off at any time, another one now and then
    #[arg(
        long,
        value_name = "SHARE",
        default_value = "0%",
        help_heading = "What goes wrong"
    )]
    pub outages: Share,

    /// For how long each is off
    #[arg(
        long,
        value_name = "LATENCY",
        default_value = "2m",
        help_heading = "What goes wrong"
    )]
    pub outage_time: Latency,

    /// Pods whose containers fail: those that are never restarted fail, others are restarted for ever
    #[arg(
        long,
        value_name = "SHARE",
        default_value = "0%",
        help_heading = "What goes wrong"
    )]
    pub failing_pods: Share,

    /// Which nodes and pods chance hits; the same again with the same number [default: another one each time]
    #[arg(long, value_name = "NUMBER", help_heading = "What goes wrong")]
    pub seed: Option<u64>,

    #[command(flatten)]
    pub access: AdminAccess,

    #[command(flatten)]
    pub log: Log,
}

#[derive(Args)]
pub struct SimReport {
    /// For how long to ask
    #[arg(long = "for", value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub time: Duration,

    /// Requests for single objects a second: pods and nodes are read, ConfigMaps made, changed and deleted
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,

    /// Between lists, of which every fifth is of all pods
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub list_interval: Duration,

    /// Namespace of the ConfigMaps
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    pub namespace: String,

    #[command(flatten)]
    pub access: AdminAccess,

    #[command(flatten)]
    pub log: Log,
}

/// Part of a node's name, and a label's value.
fn name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    match starts
        && !text.ends_with('-')
        && text.len() <= MAX_NAME_BYTES
        && text.chars().all(allowed)
    {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "lower-case letters, digits and hyphens between them, {MAX_NAME_BYTES} at most"
        )),
    }
}

fn capacity(text: &str) -> Result<(String, Quantity), String> {
    let (name, amount) = label(text)?;
    let parsed: Result<knarr_meta::Quantity, _> = amount.parse();
    match parsed {
        Ok(_) => Ok((name, Quantity(amount))),
        Err(_) => Err(format!("{amount:?} is no amount such as 8, 500m or 64Gi")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_described_as_kubectl_does_it() {
        for text in ["sim", "a-1", "7"] {
            assert!(name(text).is_ok(), "{text}");
        }
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for text in ["", "-a", "a-", "A", "a.b", long.as_str()] {
            assert!(name(text).is_err(), "{text}");
        }
        for text in ["cpu=8", "memory=64Gi", "nvidia.com/gpu=8"] {
            assert!(capacity(text).is_ok(), "{text}");
        }
        for text in ["cpu", "cpu=many", "=8"] {
            assert!(capacity(text).is_err(), "{text}");
        }
    }
}
