//! Which addresses Gateways have: one of their own, as long as there are any, or those of the node.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use super::{
    said::Why,
    types::{Address, Gateway},
    world::Places,
};
use crate::build::Key;

const IP_ADDRESS: &str = "IPAddress";

/// Where a Gateway is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Addresses that are its own. None of a Gateway that shares the node's.
    pub own: Vec<IpAddr>,
    /// As its status names them.
    pub shown: Vec<IpAddr>,
    /// It asks for a type of address that there is not.
    pub unsupported: Option<Why>,
    /// It asks for an address that is not to be had.
    pub unusable: Option<Why>,
}

/// Gives addresses, to the oldest Gateway first; what one has already it keeps.
pub fn give(gateways: &[Arc<Gateway>], places: &Places) -> BTreeMap<Key, Given> {
    let mut free: BTreeSet<IpAddr> = places.own.iter().copied().collect();
    let mut given = BTreeMap::new();
    for gateway in gateways {
        let asked = asked(&gateway.spec.addresses);
        if asked.is_empty() {
            continue;
        }
        given.insert(Key::of(&**gateway), answer(asked, places, &mut free));
    }
    let mut waiting = Vec::new();
    for gateway in gateways {
        let key = Key::of(&**gateway);
        if given.contains_key(&key) {
            continue;
        }
        let had = gateway.status.addresses.iter();
        let mut had = had.filter_map(|address| address.value.parse().ok());
        match had.find(|address| free.remove(address)) {
            Some(address) => {
                given.insert(key, alone(address));
            }
            None => waiting.push(key),
        }
    }
    for key in waiting {
        let one = match free.pop_first() {
            Some(address) => alone(address),
            None => Given {
                shown: places.shared.clone(),
                ..Given::default()
            },
        };
        given.insert(key, one);
    }
    given
}

fn alone(address: IpAddr) -> Given {
    Given {
        own: vec![address],
        shown: vec![address],
        ..Given::default()
    }
}

/// Those that name something.
fn asked(addresses: &[Address]) -> Vec<&Address> {
    let is_ip = |address: &Address| address.type_.as_deref().is_none_or(|t| t == IP_ADDRESS);
    let named = addresses.iter();
    named
        .filter(|address| !(address.value.is_empty() && is_ip(address)))
        .collect()
}

fn answer(asked: Vec<&Address>, places: &Places, free: &mut BTreeSet<IpAddr>) -> Given {
    let mut given = Given::default();
    for address in asked {
        let type_ = address.type_.as_deref().unwrap_or(IP_ADDRESS);
        if type_ != IP_ADDRESS {
            let message = format!("addresses of type {type_} are not supported, only {IP_ADDRESS}");
            given.unsupported = Some(Why::new("UnsupportedAddress", message));
            continue;
        }
        let value = &address.value;
        let parsed = value.parse::<IpAddr>().ok();
        match parsed {
            Some(ip) if places.shared.contains(&ip) => given.shown.push(ip),
            Some(ip) if free.remove(&ip) => {
                given.own.push(ip);
                given.shown.push(ip);
            }
            _ => {
                let why = match parsed.is_some_and(|ip| places.own.contains(&ip)) {
                    true => "is another Gateway's",
                    false => "is none of the node, and none that is kept for Gateways",
                };
                given.unusable = Some(Why::new("AddressNotUsable", format!("{value} {why}")));
            }
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn gateway(name: &str, asked: Value, had: Value) -> Arc<Gateway> {
        let gateway = json!({
            "metadata": {"namespace": "x", "name": name},
            "spec": {"addresses": asked}, "status": {"addresses": had},
        });
        Arc::new(serde_json::from_value(gateway).expect("a Gateway"))
    }

    fn shown(gateways: &[Arc<Gateway>], own: &[&str]) -> Vec<String> {
        let ip = |text: &&str| text.parse().expect("an address");
        let places = Places {
            shared: vec![ip(&"192.0.2.1")],
            own: own.iter().map(ip).collect(),
            ingresses: None,
        };
        let given = give(gateways, &places);
        let line = |gateway: &Arc<Gateway>| {
            let given = &given[&Key::of(&**gateway)];
            let shown: Vec<String> = given.shown.iter().map(ToString::to_string).collect();
            let why = given.unsupported.as_ref().or(given.unusable.as_ref());
            let why = why.map(|why| format!(" {}", why.reason));
            format!("{}{}", shown.join(","), why.unwrap_or_default())
        };
        gateways.iter().map(line).collect()
    }

    #[test]
    fn one_each_and_kept() {
        let none = || json!([]);
        let value = |value: &str| json!([{"type": "IPAddress", "value": value}]);
        let gateways = [
            gateway("a", none(), none()),
            gateway("b", none(), value("198.51.100.1")),
            gateway("c", value("198.51.100.2"), none()),
            gateway("d", json!([{"type": "IPAddress"}]), none()),
        ];
        let own = ["198.51.100.1", "198.51.100.2", "198.51.100.3"];
        let expected = ["198.51.100.3", own[0], own[1], "192.0.2.1"];
        assert_eq!(shown(&gateways, &own), expected);
        assert_eq!(
            shown(&gateways, &[]),
            ["192.0.2.1", "192.0.2.1", " AddressNotUsable", "192.0.2.1"]
        );
    }

    #[test]
    fn what_is_asked_for() {
        let value = |value: &str| json!([{"value": value}]);
        let name = json!([{"type": "Hostname", "value": "a"}]);
        let gateways = [
            gateway("a", value("192.0.2.1"), json!([])),
            gateway("b", value("198.51.100.1"), json!([])),
            gateway("c", value("198.51.100.1"), json!([])),
            gateway("d", value("203.0.113.1"), json!([])),
            gateway("e", name, json!([])),
        ];
        let expected = [
            "192.0.2.1",
            "198.51.100.1",
            " AddressNotUsable",
            " AddressNotUsable",
            " UnsupportedAddress",
        ];
        assert_eq!(shown(&gateways, &["198.51.100.1"]), expected);
    }
}
