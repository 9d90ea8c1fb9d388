//! What the DNS servers of a node go by: what is built in, or what a configuration of CoreDNS says.
//!
//! ```text
//! question -> the block of the longest zone that has its name -> rewrite -> hosts -> kubernetes -> cache -> forward
//! ```
//!
//! That is CoreDNS' order of plugins, but for `cache`: what the cluster or a table of hosts knows is answered from there, and only what
//! others answer is kept. A plugin that has no meaning here because knarr has it anyway is taken without a word (`errors`, `health`,
//! `ready`, `reload`, ...); any other refuses the whole configuration, which leaves that of before in force.

mod plugins;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use hickory_proto::rr::{Name, RecordType};

use crate::{
    cache::{Cache, Rules},
    corefile::{self, Block, Error, Line},
    forward::{Forwarder, Policy},
    hosts::{Hosts, Listed, is_below},
    outside::{Outside, Route},
    rewrite::Rewrite,
    zone::{Answer, Zone, domain},
};

/// Keys of `coredns-custom` with whole blocks, and with plugins for the block of the root, as k3s and AKS have them.
const SERVER_SUFFIX: &str = ".server";
const OVERRIDE_SUFFIX: &str = ".override";

/// What a configuration is for.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub cluster_domain: Name,
    /// The node's resolvers; this server is none of them.
    pub resolvers: Vec<SocketAddr>,
    /// Where this server is asked: it does not ask itself.
    pub own: Vec<IpAddr>,
}

/// The server blocks.
pub struct Settings {
    /// The longest zones first.
    sites: Vec<(Name, Arc<Site>)>,
}

/// What is answered below the zones of a block.
pub struct Site {
    cluster: Option<Cluster>,
    hosts: Option<Hosts>,
    pub rewrites: Vec<Rewrite>,
    pub outside: Arc<Outside>,
    /// Plugins without a meaning here.
    idle: Vec<String>,
}

/// How the cluster's names are told.
#[derive(Debug)]
struct Cluster {
    /// The domain, and reverse zones.
    zones: Vec<Name>,
    /// Below which names others are asked for what the cluster lacks.
    fallthrough: Vec<Name>,
    /// Seconds.
    ttl: u32,
    /// Whether addresses have names below `pod`.
    pods: bool,
}

impl Settings {
    /// What kubeadm's configuration of CoreDNS says, with old answers while resolvers are away.
    pub fn built_in(around: &Surroundings) -> Self {
        let reverse = [domain("in-addr.arpa"), domain("ip6.arpa")];
        let reverse: Vec<Name> = reverse.into_iter().flatten().collect();
        let domain = around.cluster_domain.clone();
        let route = Route {
            from: Name::root(),
            except: Vec::new(),
            // In the order of resolv.conf, as the C library asks them.
            forwarder: Forwarder::new(around.resolvers.clone(), Policy::default()),
        };
        let cache = Cache::new(Rules::default());
        let site = Site {
            cluster: Some(Cluster {
                zones: [vec![domain], reverse.clone()].concat(),
                fallthrough: reverse,
                ttl: crate::zone::TTL_SECONDS,
                pods: true,
            }),
            hosts: None,
            rewrites: Vec::new(),
            outside: Outside::new(Some(cache), vec![route]),
            idle: Vec::new(),
        };
        Self {
            sites: vec![(Name::root(), Arc::new(site))],
        }
    }

    /// From the data of the ConfigMaps `coredns` and `coredns-custom`, either of which may be missing.
    ///
    /// # Errors
    /// Names the file and line of what is not understood.
    pub fn read(
        around: &Surroundings,
        main: Option<&BTreeMap<String, String>>,
        custom: &BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        const FILE: &str = "Corefile";
        let empty = BTreeMap::new();
        let files: BTreeMap<String, String> = main
            .unwrap_or(&empty)
            .iter()
            .chain(custom)
            .filter(|(name, _)| *name != FILE)
            .map(|(name, text)| (name.clone(), text.clone()))
            .collect();
        let text = match main.and_then(|main| main.get(FILE)) {
            Some(text) => text.clone(),
            None => default_text(around, custom),
        };
        let blocks = corefile::parse(FILE, &text, &files)?;
        let mut sites: Vec<(Name, Arc<Site>)> = Vec::new();
        for block in &blocks {
            let zones = zones_of(block)?;
            let site = Arc::new(plugins::site(around, block, &zones, &files)?);
            for zone in zones {
                if sites.iter().any(|(other, _)| *other == zone) {
                    return Err(block.line.error(format!("{zone} has a block already")));
                }
                sites.push((zone, site.clone()));
            }
        }
        if sites.is_empty() {
            let line = Line {
                file: FILE.to_owned(),
                number: 1,
                words: Vec::new(),
            };
            return Err(line.error("there is no server block"));
        }
        sites.sort_by_key(|(zone, _)| std::cmp::Reverse(zone.num_labels()));
        Ok(Self { sites })
    }

    /// Whose question it is; `None` where nobody is told to answer.
    pub fn site(&self, name: &Name) -> Option<&Arc<Site>> {
        let found = self.sites.iter().find(|(zone, _)| zone.zone_of(name));
        found.map(|(_, site)| site)
    }

    /// The one block, where it is for all names.
    pub fn only(&self) -> Option<&Arc<Site>> {
        match self.sites.as_slice() {
            [(zone, site)] if zone.is_root() => Some(site),
            _ => None,
        }
    }

    /// The plugins that are named and have no meaning here.
    pub fn idle(&self) -> BTreeSet<&str> {
        let sites = self.sites.iter();
        sites
            .flat_map(|(_, site)| site.idle.iter().map(String::as_str))
            .collect()
    }
}

/// What is built in, as text, for others to be added to: `coredns` is not there, or has no Corefile.
fn default_text(around: &Surroundings, custom: &BTreeMap<String, String>) -> String {
    let has = |suffix: &str| custom.keys().any(|name| name.ends_with(suffix));
    let mut text = format!(
        ".:53 {{\n kubernetes {} in-addr.arpa ip6.arpa {{\n pods insecure\n fallthrough in-addr.arpa ip6.arpa\n }}\n \
         forward . /etc/resolv.conf {{\n policy sequential\n }}\n cache 30 {{\n serve_stale 1h verify 1800ms\n prefetch 5\n }}\n",
        around.cluster_domain,
    );
    if has(OVERRIDE_SUFFIX) {
        text.push_str(" import *.override\n");
    }
    text.push_str("}\n");
    if has(SERVER_SUFFIX) {
        text.push_str("import *.server\n");
    }
    text
}

impl Site {
    /// What the table and the cluster know of a name.
    pub fn lookup(&self, zone: &Zone, name: &Name, kind: RecordType) -> Answer {
        if let Some(hosts) = &self.hosts {
            match hosts.lookup(&name.to_lowercase(), kind) {
                Listed::Records(records) => return Answer::Records(records),
                Listed::Missing => return Answer::Failure,
                Listed::Nothing => {}
            }
        }
        let Some(cluster) = &self.cluster else {
            return Answer::Foreign;
        };
        match zone.lookup(name, kind) {
            Answer::Foreign
                if is_below(name, &cluster.zones) && !is_below(name, &cluster.fallthrough) =>
            {
                Answer::NoName
            }
            Answer::NoName if zone.is_synced() && is_below(name, &cluster.fallthrough) => {
                Answer::Foreign
            }
            Answer::Records(_) if !cluster.pods && zone.is_pods(name) => Answer::NoName,
            Answer::Records(mut records) => {
                for record in &mut records {
                    record.ttl = cluster.ttl;
                }
                Answer::Records(records)
            }
            other => other,
        }
    }
}

/// One of a block's zones, by what stands before the brace: `example.com:53`, `dns://.`.
fn zone_of(line: &Line, key: &str) -> Result<Option<Name>, Error> {
    let key = key.trim_end_matches(',');
    if key.is_empty() {
        return Ok(None);
    }
    let rest = match key.split_once("://") {
        Some(("dns", rest)) => rest,
        Some((scheme, _)) => {
            return Err(line.error(format!("{scheme} is not served, only plain DNS")));
        }
        None => key,
    };
    let host = match rest.rsplit_once(':') {
        Some((host, "53")) => host,
        Some((_, port)) => {
            return Err(line.error(format!("port {port:?} is not served, only 53")));
        }
        None => rest,
    };
    plugins::zone(line, host).map(Some)
}

fn zones_of(block: &Block) -> Result<Vec<Name>, Error> {
    let line = &block.line;
    let mut zones = Vec::new();
    for key in &line.words {
        if key.starts_with('(') {
            return Err(line.error(format!("the snippet {key} is not understood")));
        }
        zones.extend(zone_of(line, key)?);
    }
    // A block without zones is for all names.
    if zones.is_empty() {
        zones.push(Name::root());
    }
    Ok(zones)
}

#[cfg(test)]
mod tests;
