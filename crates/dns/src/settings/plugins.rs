//! What each plugin's words mean.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_proto::rr::Name;

use super::{Cluster, Site, Surroundings};
use crate::{
    cache::{Cache, Range, Rules},
    corefile::{Block, Directive, Error, Line},
    forward::{Forwarder, Order, Policy},
    hosts::Hosts,
    outside::{Outside, Route},
    rewrite::Rewrite,
    zone::domain,
};

/// Of whom knarr does what they say, or which say how CoreDNS itself is watched.
const WITHOUT_MEANING: [&str; 12] = [
    "cancel",
    "debug",
    "errors",
    "health",
    "loadbalance",
    "log",
    "loop",
    "minimal",
    "pprof",
    "prometheus",
    "ready",
    "reload",
];
const RESOLV_CONF: &str = "resolv.conf";
/// What CoreDNS waits for a resolver with an old answer in hand where it is told to, without being told for how long.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(5);

type Files = BTreeMap<String, String>;

/// What a block says of its zones.
pub fn site(
    around: &Surroundings,
    block: &Block,
    zones: &[Name],
    files: &Files,
) -> Result<Site, Error> {
    let mut plugins = Plugins::default();
    for directive in &block.directives {
        plugins.take(around, directive, zones, files)?;
    }
    Ok(Site {
        cluster: plugins.cluster,
        hosts: plugins.hosts,
        rewrites: plugins.rewrites,
        outside: Outside::new(plugins.cache.map(Cache::new), plugins.routes),
        idle: plugins.idle,
    })
}

#[derive(Default)]
struct Plugins {
    cluster: Option<Cluster>,
    hosts: Option<Hosts>,
    rewrites: Vec<Rewrite>,
    cache: Option<Rules>,
    routes: Vec<Route>,
    idle: Vec<String>,
}

impl Plugins {
    fn take(
        &mut self,
        around: &Surroundings,
        directive: &Directive,
        zones: &[Name],
        files: &Files,
    ) -> Result<(), Error> {
        let line = &directive.line;
        match line.name() {
            "kubernetes" => once(line, &mut self.cluster, cluster(around, directive, zones)?),
            "hosts" => once(line, &mut self.hosts, hosts(directive, zones, files)?),
            "cache" => once(line, &mut self.cache, cache(directive, zones)?),
            "forward" => {
                self.routes.push(forward(around, directive)?);
                Ok(())
            }
            "rewrite" => {
                let block = directive.block.iter().flat_map(|line| &line.words);
                let words: Vec<String> = line.arguments().iter().chain(block).cloned().collect();
                let rule = Rewrite::parse(&words).map_err(|what| line.error(what))?;
                self.rewrites.push(rule);
                Ok(())
            }
            name if WITHOUT_MEANING.contains(&name) => {
                self.idle.push(name.to_owned());
                Ok(())
            }
            name => Err(line.error(format!("the plugin {name:?} is not supported"))),
        }
    }
}

fn once<T>(line: &Line, place: &mut Option<T>, value: T) -> Result<(), Error> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(line.error("this plugin can only be used once per server block")),
    }
}

/// `kubernetes [ZONES] { pods | fallthrough | ttl }`.
fn cluster(around: &Surroundings, directive: &Directive, zones: &[Name]) -> Result<Cluster, Error> {
    let line = &directive.line;
    let mut cluster = Cluster {
        zones: zones_or(line, line.arguments(), zones)?,
        fallthrough: Vec::new(),
        ttl: crate::zone::TTL_SECONDS,
        pods: false,
    };
    for zone in &cluster.zones {
        let is_reverse = is_reverse(zone);
        if !is_reverse && *zone != around.cluster_domain {
            return Err(line.error(format!(
                "the cluster's domain is {} and not {zone}: `--cluster-domain` says it",
                around.cluster_domain
            )));
        }
    }
    if !cluster.zones.contains(&around.cluster_domain) {
        return Err(line.error("non-reverse zone name must be used"));
    }
    for property in &directive.block {
        match (property.name(), property.arguments()) {
            ("pods", [mode]) => {
                cluster.pods = match mode.as_str() {
                    "insecure" => true,
                    "disabled" => false,
                    "verified" => {
                        return Err(property
                            .error("pods are not verified here: say `pods insecure` or disabled"));
                    }
                    _ => return Err(property.error(format!("wrong value for pods: {mode}"))),
                };
            }
            ("fallthrough", names) => {
                cluster.fallthrough = fallthrough(property, names)?;
            }
            ("ttl", [ttl]) => {
                cluster.ttl = number(property, ttl, 0..=3600)?;
            }
            // How CoreDNS reaches the API, and how long it waits for it.
            ("endpoint_pod_names" | "endpoint" | "tls" | "kubeconfig" | "namespaces", _)
            | ("labels" | "namespace_labels" | "noendpoints" | "ignore" | "multicluster", _) => {
                return Err(unsupported(property));
            }
            ("startup_timeout" | "apiserver_qps" | "apiserver_burst", [_])
            | ("apiserver_max_inflight", [_]) => {}
            _ => return Err(unknown(property)),
        }
    }
    Ok(cluster)
}

/// `hosts [FILE [ZONES]] { inline | fallthrough | ttl | no_reverse | reload }`.
fn hosts(directive: &Directive, zones: &[Name], files: &Files) -> Result<Hosts, Error> {
    let line = &directive.line;
    let (file, rest) = match line.arguments() {
        [] => (None, &[][..]),
        [file, rest @ ..] => (Some(file), rest),
    };
    let mut hosts = Hosts::new(zones_or(line, rest, zones)?);
    if let Some(file) = file {
        let name = file.rsplit('/').next().unwrap_or(file);
        match files.get(name) {
            Some(text) => {
                for line in text.lines() {
                    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
                    if !line.trim_start().starts_with('#') {
                        hosts.add(&words);
                    }
                }
            }
            // CoreDNS' own, in its container.
            None if file == "/etc/hosts" => {}
            None => return Err(line.error(format!("the ConfigMap has no {name:?}"))),
        }
    }
    for property in &directive.block {
        match (property.name(), property.arguments()) {
            ("fallthrough", names) => hosts.fallthrough = fallthrough(property, names)?,
            ("no_reverse", []) => hosts.reverse = false,
            ("ttl", [ttl]) => hosts.ttl = number(property, ttl, 1..=65_535)?,
            // A change is seen as it comes.
            ("reload", [time]) => drop(duration(property, time)?),
            _ if property.name().parse::<IpAddr>().is_ok() => hosts.add(&property.words),
            _ => return Err(unknown(property)),
        }
    }
    Ok(hosts)
}

/// `cache [TTL] [ZONES] { success | denial | prefetch | serve_stale | servfail | disable }`.
fn cache(directive: &Directive, zones: &[Name]) -> Result<Rules, Error> {
    let line = &directive.line;
    let mut rules = Rules {
        success: Range {
            least: 5,
            most: 3600,
        },
        denial: Range {
            least: 5,
            most: 1800,
        },
        stale: Duration::ZERO,
        stale_wait: Duration::ZERO,
        popular: 0,
        ..Rules::default()
    };
    let mut rest = line.arguments();
    if let [first, others @ ..] = rest
        && first.bytes().all(|byte| byte.is_ascii_digit())
    {
        let ttl = number(line, first, 1..=u32::MAX)?;
        (rules.success.most, rules.denial.most) = (ttl, ttl);
        rest = others;
    }
    rules.zones = zones_or(line, rest, zones)?;
    for property in &directive.block {
        let words = property.arguments();
        match (property.name(), words) {
            ("success", [_, ..]) => rules.successes = shelf(property, words, &mut rules.success)?,
            ("denial", [_, ..]) => rules.denials = shelf(property, words, &mut rules.denial)?,
            ("prefetch", [amount, rest @ ..]) if rest.len() < 3 => {
                rules.popular = number(property, amount, 0..=u32::MAX)?;
                if let Some(gap) = rest.first() {
                    // An entry's own life is what counts here.
                    duration(property, gap)?;
                }
                if let Some(percent) = rest.get(1) {
                    let digits = percent.strip_suffix('%').unwrap_or_default();
                    rules.prefetch_percent = number(property, digits, 10..=90)?;
                }
            }
            ("serve_stale", words) if words.len() < 4 => stale(property, words, &mut rules)?,
            ("servfail", [time]) => {
                let time = duration(property, time)?;
                if time > Duration::from_secs(300) {
                    return Err(property
                        .error("caching SERVFAIL responses over 5 minutes is not permitted"));
                }
                rules.failure = u32::try_from(time.as_secs()).unwrap_or_default();
            }
            ("disable", [sort, names @ ..]) => {
                let names = match names {
                    [] => vec![Name::root()],
                    names => zones_or(property, names, &[])?,
                };
                match sort.as_str() {
                    "success" => rules.except_successes = names,
                    "denial" => rules.except_denials = names,
                    _ => return Err(unknown(property)),
                }
            }
            ("keepttl", _) => return Err(unsupported(property)),
            _ => return Err(unknown(property)),
        }
    }
    Ok(rules)
}

/// `CAPACITY [TTL [MINTTL]]`.
fn shelf(line: &Line, words: &[String], range: &mut Range) -> Result<usize, Error> {
    if let Some(most) = words.get(1) {
        range.most = number(line, most, 1..=u32::MAX)?;
    }
    if let Some(least) = words.get(2) {
        range.least = number(line, least, 0..=u32::MAX)?;
    }
    // What there is room for is bounded in bytes, too.
    let entries = number(line, &words[0], 0..=u32::MAX)?;
    Ok(usize::try_from(entries).unwrap_or(usize::MAX))
}

/// `serve_stale [TIME [immediate|verify [TIMEOUT]]]`.
fn stale(line: &Line, words: &[String], rules: &mut Rules) -> Result<(), Error> {
    rules.stale = match words.first() {
        Some(time) => duration(line, time)?,
        None => Duration::from_secs(3600),
    };
    rules.stale_wait = match words.get(1).map(|word| word.to_lowercase()).as_deref() {
        None | Some("immediate") => Duration::ZERO,
        Some("verify") => match words.get(2) {
            Some(time) => duration(line, time)?,
            None => VERIFY_TIMEOUT,
        },
        Some(other) => {
            let what = format!("invalid value for serve_stale refresh mode: {other}");
            return Err(line.error(what));
        }
    };
    Ok(())
}

/// `forward FROM TO... { except | policy | max_fails | force_tcp | ... }`.
fn forward(around: &Surroundings, directive: &Directive) -> Result<Route, Error> {
    let line = &directive.line;
    let [from, targets @ ..] = line.arguments() else {
        return Err(line.error("forward takes a zone and whom to ask"));
    };
    let mut resolvers = Vec::new();
    for target in targets {
        for resolver in resolvers_of(around, line, target)? {
            if !around.own.contains(&resolver.ip()) && !resolvers.contains(&resolver) {
                resolvers.push(resolver);
            }
        }
    }
    if targets.is_empty() {
        return Err(line.error("forward names nobody to ask"));
    }
    let mut policy = Policy {
        order: Order::Random,
        ..Policy::default()
    };
    let mut except = Vec::new();
    for property in &directive.block {
        match (property.name(), property.arguments()) {
            ("except", names @ [_, ..]) => except.extend(zones_or(property, names, &[])?),
            ("policy", [order]) => {
                policy.order = match order.as_str() {
                    "random" => Order::Random,
                    "round_robin" => Order::RoundRobin,
                    "sequential" => Order::Sequential,
                    _ => return Err(property.error(format!("unknown policy {order:?}"))),
                };
            }
            ("max_fails", [fails]) => policy.max_fails = number(property, fails, 0..=u32::MAX)?,
            ("max_concurrent", [most]) => {
                policy.max_concurrent = match number(property, most, 0..=u32::MAX)? {
                    0 => None,
                    most => Some(usize::try_from(most).unwrap_or(usize::MAX)),
                };
            }
            ("force_tcp", []) => policy.force_tcp = true,
            ("prefer_udp", []) => policy.prefer_udp = true,
            ("health_check", [interval]) => {
                let interval = duration(property, interval)?;
                policy.probe_interval = interval.max(Policy::default().probe_interval);
            }
            // Connections are not kept.
            ("expire" | "max_age", [time]) => drop(duration(property, time)?),
            ("max_idle_conns", [most]) => drop(number(property, most, 0..=u32::MAX)?),
            _ => return Err(unsupported(property)),
        }
    }
    Ok(Route {
        from: zone(line, from)?,
        except,
        forwarder: Forwarder::new(resolvers, policy),
    })
}

/// An address with or without a port, or the node's resolvers.
fn resolvers_of(
    around: &Surroundings,
    line: &Line,
    target: &str,
) -> Result<Vec<SocketAddr>, Error> {
    const PORT: u16 = 53;
    if target.starts_with('/') && target.ends_with(RESOLV_CONF) {
        return Ok(around.resolvers.clone());
    }
    let address = match target.split_once("://") {
        Some(("dns", rest)) => rest,
        Some((scheme, _)) => {
            return Err(line.error(format!("resolvers are asked by plain DNS, not by {scheme}")));
        }
        None => target,
    };
    let plain = address.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = plain.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, PORT)]);
    }
    match address.parse() {
        Ok(address) => Ok(vec![address]),
        Err(_) => Err(line.error(format!(
            "{target:?} is neither an address nor /etc/resolv.conf"
        ))),
    }
}

fn fallthrough(line: &Line, names: &[String]) -> Result<Vec<Name>, Error> {
    zones_or(line, names, &[Name::root()])
}

fn zones_or(line: &Line, words: &[String], default: &[Name]) -> Result<Vec<Name>, Error> {
    match words {
        [] => Ok(default.to_vec()),
        words => words.iter().map(|word| zone(line, word)).collect(),
    }
}

/// A zone by its name, or a reverse one by a range of addresses whose length is whole labels.
pub fn zone(line: &Line, text: &str) -> Result<Name, Error> {
    if let Some((address, length)) = text.split_once('/') {
        let zone = reverse_zone(address, length);
        return zone.ok_or_else(|| line.error(format!("{text:?} is no zone of its own")));
    }
    domain(text).map_err(|_| line.error(format!("{text:?} is no name")))
}

fn reverse_zone(address: &str, length: &str) -> Option<Name> {
    let address: IpAddr = address.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    let whole = Name::from(address);
    let (total, step) = match address {
        IpAddr::V4(_) => (32, 8),
        IpAddr::V6(_) => (128, 4),
    };
    if length > total || !length.is_multiple_of(step) {
        return None;
    }
    let labels = length.checked_div(step)?;
    Some(whole.trim_to(usize::from(labels).saturating_add(2)))
}

fn is_reverse(zone: &Name) -> bool {
    let arpa = domain("arpa");
    arpa.is_ok_and(|arpa| arpa.zone_of(zone))
}

fn number(line: &Line, text: &str, range: std::ops::RangeInclusive<u32>) -> Result<u32, Error> {
    let found = text.parse().ok().filter(|number| range.contains(number));
    found.ok_or_else(|| {
        line.error(format!(
            "{text:?} is no number from {} to {}",
            range.start(),
            range.end()
        ))
    })
}

/// As Go writes them: `300ms`, `5s`, `1h30m`.
fn duration(line: &Line, text: &str) -> Result<Duration, Error> {
    let wrong = || line.error(format!("invalid duration {text:?}"));
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let number: u32 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |at| digits.saturating_add(at));
        let step = match &rest[digits..unit] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "" if text == "0" => Duration::ZERO,
            _ => return Err(wrong()),
        };
        let part = step.checked_mul(number).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = &rest[unit..];
    }
    match text.is_empty() {
        true => Err(wrong()),
        false => Ok(total),
    }
}

fn unknown(line: &Line) -> Error {
    line.error(format!("unknown property '{}'", line.words.join(" ")))
}

fn unsupported(line: &Line) -> Error {
    line.error(format!("{:?} is not supported", line.name()))
}
