//! Listeners that cannot be served beside others: of one Gateway, of several that share addresses, and of Ingresses.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use super::{Listening, ServedGateway};
use crate::{
    gateway::{
        addresses::Given,
        said::Why,
        world::{Owners, Places},
    },
    hosts,
};

/// Ports of all Gateways together.
const MAX_PORTS: usize = 256;

/// A port of an address that is a Gateway's own, or of those that are shared.
type Port = (Option<IpAddr>, u16);

/// Says of each listener whether it can be served. The older Gateway's goes first.
pub fn settle(served_gateways: &mut [ServedGateway], places: &Places, owners: &Owners) {
    let mut ports = BTreeSet::new();
    let mut protocols: HashMap<Port, bool> = HashMap::new();
    let mut hosts: HashMap<(Port, String), String> = HashMap::new();
    for served_gateway in served_gateways {
        among_themselves(&mut served_gateway.listeners);
        for listener in &mut served_gateway.listeners {
            if !listener.is_usable() {
                continue;
            }
            if let Err(why) = count(listener, &mut ports) {
                listener.accepted = Err(why);
                continue;
            }
            let namespace = &served_gateway.key.namespace;
            let number = listener.port;
            for port in addresses(&served_gateway.given).map(|address| (address, number)) {
                if let Err(why) = with_ingresses(listener, port, namespace, places, owners) {
                    refuse(listener, why);
                    continue;
                }
                let tls = *protocols.entry(port).or_insert(listener.tls);
                if tls != listener.tls {
                    let message = "an older Gateway speaks another protocol on this port";
                    refuse(listener, Why::new("ProtocolConflict", message));
                    continue;
                }
                let owner = hosts.entry((port, listener.pattern.clone()));
                let owner = owner.or_insert_with(|| namespace.clone());
                if owner != namespace && !listener.pattern.is_empty() {
                    let message = "an older Gateway of another namespace has this host";
                    refuse(listener, Why::new("HostnameConflict", message));
                }
            }
        }
    }
}

/// Where a Gateway's listeners are.
pub fn addresses(given: &Given) -> impl Iterator<Item = Option<IpAddr>> {
    let own = given.own.iter().copied().map(Some);
    let shares = given.own.len() < given.shown.len();
    own.chain(shares.then_some(None))
}

fn refuse(listener: &mut Listening, why: Why) {
    match why.reason {
        "PortUnavailable" => listener.accepted = Err(why),
        _ => listener.conflict = Some(why),
    }
}

/// Of one Gateway neither of two is the right one.
fn among_themselves(listeners: &mut [Listening]) {
    let facts: Vec<(u16, bool, String)> = (listeners.iter())
        .map(|one| match one.accepted {
            Ok(()) => (one.port, one.tls, one.pattern.clone()),
            // Nothing is like it.
            Err(_) => (0, false, String::new()),
        })
        .collect();
    for (at, listener) in listeners.iter_mut().enumerate() {
        for (other, (port, tls, pattern)) in facts.iter().enumerate() {
            if at == other || listener.accepted.is_err() || *port != listener.port {
                continue;
            }
            if *tls != listener.tls {
                let message = "another listener speaks another protocol on this port";
                listener.conflict = Some(Why::new("ProtocolConflict", message));
            } else if *pattern == listener.pattern {
                let message = "another listener has this host and port";
                listener.conflict = Some(Why::new("HostnameConflict", message));
            } else if listener.tls && hosts::intersection(pattern, &listener.pattern).is_some() {
                listener.overlapping = true;
            }
        }
    }
}

fn count(listener: &Listening, ports: &mut BTreeSet<u16>) -> Result<(), Why> {
    let unavailable = |message: String| Err(Why::new("PortUnavailable", message));
    if listener.port == 0 {
        return unavailable("0 is no port".to_owned());
    }
    if !ports.contains(&listener.port) && ports.len() >= MAX_PORTS {
        return unavailable(format!("Gateways have {MAX_PORTS} ports already"));
    }
    ports.insert(listener.port);
    Ok(())
}

/// Ingresses have their ports on the addresses that are shared.
fn with_ingresses(
    listener: &Listening,
    (address, port): Port,
    namespace: &str,
    places: &Places,
    owners: &Owners,
) -> Result<(), Why> {
    let Some((http, https)) = places.ingresses.filter(|_| address.is_none()) else {
        return Ok(());
    };
    let other = if listener.tls { http } else { https };
    if port == other {
        let spoken = if listener.tls { "HTTP" } else { "HTTPS" };
        let message = format!("port {port} is that of Ingresses over {spoken}");
        return Err(Why::new("PortUnavailable", message));
    }
    let owner = owners.get(&listener.pattern);
    let is_theirs = [http, https].contains(&port) && owner.is_some_and(|owner| owner != namespace);
    match is_theirs {
        true => {
            let message = "an older Ingress of another namespace has this host";
            Err(Why::new("HostnameConflict", message))
        }
        false => Ok(()),
    }
}
