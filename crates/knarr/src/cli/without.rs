//! Parts of a cluster that are left out, so that others take their place.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

/// A part that can be left out. Each goes by upstream's name, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    #[value(alias = "kube-scheduler")]
    Scheduler,
    #[value(alias = "kube-controller-manager")]
    ControllerManager,
    Kubelet,
    #[value(alias = "kube-proxy")]
    Proxy,
    #[value(alias = "coredns")]
    Dns,
    NetworkPolicy,
    LocalPathProvisioner,
}

impl Part {
    /// Those of a control plane; all others are a node's.
    const OF_SERVERS: [Part; 2] = [Part::Scheduler, Part::ControllerManager];

    /// As it is written on a command line.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }
}

#[derive(Args, Clone, Debug, Default)]
pub struct WithoutFlags {
    /// Leave parts out, so that upstream's or somebody else's take their place; of a node without its kubelet the container runtime
    /// stays
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS")]
    pub without: Vec<Part>,
}

impl WithoutFlags {
    /// Whether a part is ours.
    pub fn has(&self, part: Part) -> bool {
        !self.without.contains(&part)
    }

    /// Those of nodes, as they are written on a command line.
    pub fn of_node(&self) -> Option<String> {
        let parts = self.without.iter();
        let names: Vec<String> = parts
            .filter(|part| !Part::OF_SERVERS.contains(part))
            .map(|part| part.name())
            .collect();
        (!names.is_empty()).then(|| names.join(","))
    }

    /// What a control plane without a node has not.
    ///
    /// # Errors
    /// Names a part of nodes.
    pub fn check_server(&self) -> Result<()> {
        match self
            .without
            .iter()
            .find(|part| !Part::OF_SERVERS.contains(part))
        {
            Some(part) => bail!(
                "--without {}: knarr server has none; leave it out of knarr agent",
                part.name()
            ),
            None => Ok(()),
        }
    }

    /// What a node without a control plane has not.
    ///
    /// # Errors
    /// Names a part of control planes.
    pub fn check_node(&self) -> Result<()> {
        match self
            .without
            .iter()
            .find(|part| Part::OF_SERVERS.contains(part))
        {
            Some(part) => bail!(
                "--without {}: knarr agent has none; leave it out of knarr server",
                part.name()
            ),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: WithoutFlags,
    }

    fn flags(text: &str) -> Option<WithoutFlags> {
        let line = Line::try_parse_from(["knarr", "--without", text]).ok()?;
        Some(line.flags)
    }

    #[test]
    fn parts_go_by_upstreams_names() {
        for (text, expected) in [
            ("scheduler,proxy", Some(vec![Part::Scheduler, Part::Proxy])),
            (
                "kube-scheduler,kube-controller-manager,kube-proxy,coredns",
                Some(vec![
                    Part::Scheduler,
                    Part::ControllerManager,
                    Part::Proxy,
                    Part::Dns,
                ]),
            ),
            (
                "network-policy,kubelet",
                Some(vec![Part::NetworkPolicy, Part::Kubelet]),
            ),
            ("etcd", None),
        ] {
            assert_eq!(flags(text).map(|flags| flags.without), expected, "{text}");
        }
    }

    #[test]
    fn servers_and_nodes_have_parts_of_their_own() {
        for (text, server, node, others) in [
            ("scheduler", true, false, None),
            ("proxy,dns", false, true, Some("proxy,dns")),
            ("controller-manager,kubelet", false, false, Some("kubelet")),
        ] {
            let flags = flags(text).expect(text);
            assert_eq!(flags.check_server().is_ok(), server, "{text}");
            assert_eq!(flags.check_node().is_ok(), node, "{text}");
            assert_eq!(flags.of_node().as_deref(), others, "{text}");
        }
    }
}
