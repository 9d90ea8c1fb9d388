//! Names from a table, as CoreDNS' plugin `hosts` has them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hickory_proto::rr::{
    Name, RData, Record, RecordType,
    rdata::{A, AAAA, PTR},
};

/// What the table says of a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Listed {
    /// It is there; perhaps with nothing of the type that was asked for.
    Records(Vec<Record>),
    /// It should be there, and nobody else is asked.
    Missing,
    /// Others know.
    Nothing,
}

/// A table of names.
#[derive(Debug)]
pub struct Hosts {
    /// Below which names it is looked at.
    pub zones: Vec<Name>,
    /// Below which names others are asked for what it lacks.
    pub fallthrough: Vec<Name>,
    /// Seconds.
    pub ttl: u32,
    /// Whether addresses are told the names.
    pub reverse: bool,
    by_name: BTreeMap<Name, BTreeSet<IpAddr>>,
    by_address: BTreeMap<IpAddr, Vec<Name>>,
}

impl Hosts {
    pub fn new(zones: Vec<Name>) -> Self {
        Self {
            zones,
            fallthrough: Vec::new(),
            ttl: 3600,
            reverse: true,
            by_name: BTreeMap::new(),
            by_address: BTreeMap::new(),
        }
    }

    /// Takes the words of a line of `/etc/hosts`. What is no address or no name is left out, as by CoreDNS.
    pub fn add(&mut self, words: &[String]) {
        let Some((address, names)) = words.split_first() else {
            return;
        };
        // An address may name its link.
        let address = address.split('%').next().unwrap_or(address);
        let Ok(address) = address.parse::<IpAddr>() else {
            return;
        };
        for name in names.iter().take_while(|name| !name.starts_with('#')) {
            let Ok(mut name) = Name::from_ascii(name) else {
                continue;
            };
            name.set_fqdn(true);
            let name = name.to_lowercase();
            if !is_below(&name, &self.zones) {
                continue;
            }
            self.by_address
                .entry(address)
                .or_default()
                .push(name.clone());
            self.by_name.entry(name).or_default().insert(address);
        }
    }

    /// What is known of a name in lower case.
    pub fn lookup(&self, name: &Name, kind: RecordType) -> Listed {
        let record = |data| Record::from_rdata(name.clone(), self.ttl, data);
        if kind == RecordType::PTR {
            let network = name.parse_arpa_name().ok();
            let whole = network.filter(|network| network.prefix_len() == network.max_prefix_len());
            let names = whole.and_then(|network| self.by_address.get(&network.addr()));
            return match names {
                Some(names) if self.reverse => Listed::Records(
                    names
                        .iter()
                        .map(|name| record(RData::PTR(PTR(name.clone()))))
                        .collect(),
                ),
                _ => Listed::Nothing,
            };
        }
        if !is_below(name, &self.zones) {
            return Listed::Nothing;
        }
        let Some(addresses) = self.by_name.get(name) else {
            return match is_below(name, &self.fallthrough) {
                true => Listed::Nothing,
                false => Listed::Missing,
            };
        };
        let data = addresses.iter().filter_map(|address| match address {
            IpAddr::V4(address) => (kind == RecordType::A).then_some(RData::A(A(*address))),
            IpAddr::V6(address) => {
                (kind == RecordType::AAAA).then_some(RData::AAAA(AAAA(*address)))
            }
        });
        Listed::Records(data.map(record).collect())
    }
}

/// Whether a name is one of these or below.
pub fn is_below(name: &Name, zones: &[Name]) -> bool {
    zones.iter().any(|zone| zone.zone_of(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn hosts() -> Hosts {
        let mut hosts = Hosts::new(vec![Name::root()]);
        for line in [
            "10.0.0.1 Db.example.com db",
            "fd00::1 db.example.com",
            "nonsense db.example.com",
            "10.0.0.2 other # comment",
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            hosts.add(&words);
        }
        hosts
    }

    fn texts(listed: Listed) -> Vec<String> {
        match listed {
            Listed::Records(records) => records.iter().map(|r| r.data.to_string()).collect(),
            other => vec![format!("{other:?}")],
        }
    }

    #[test]
    fn names_have_the_addresses_of_all_their_lines() {
        let hosts = hosts();
        let ask = |text: &str, kind| texts(hosts.lookup(&name(text), kind));
        assert_eq!(ask("db.example.com.", RecordType::A), ["10.0.0.1"]);
        assert_eq!(ask("db.example.com.", RecordType::AAAA), ["fd00::1"]);
        assert!(ask("db.", RecordType::AAAA).is_empty());
        assert!(ask("db.example.com.", RecordType::MX).is_empty());
        assert_eq!(
            ask("1.0.0.10.in-addr.arpa.", RecordType::PTR),
            ["db.example.com.", "db."]
        );
        assert_eq!(ask("9.0.0.10.in-addr.arpa.", RecordType::PTR), ["Nothing"]);
    }

    #[test]
    fn who_else_is_asked_is_said() {
        let mut hosts = hosts();
        let ask = |hosts: &Hosts, text: &str| texts(hosts.lookup(&name(text), RecordType::A));
        assert_eq!(ask(&hosts, "none.example.com."), ["Missing"]);
        hosts.fallthrough = vec![name("example.com.")];
        assert_eq!(ask(&hosts, "none.example.com."), ["Nothing"]);
        assert_eq!(ask(&hosts, "none.example.org."), ["Missing"]);
        let mut narrow = Hosts::new(vec![name("example.com.")]);
        narrow.add(&["10.0.0.1".to_owned(), "a.example.org".to_owned()]);
        assert_eq!(ask(&narrow, "a.example.org."), ["Nothing"]);
    }
}
