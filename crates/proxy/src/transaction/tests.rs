use std::collections::BTreeSet;

use expect_test::expect;
use knarr_nft::{Connection, Family, Protocol};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

use super::*;
use crate::{
    model::ServicePort,
    rules,
    testing::{cluster_ip, in_namespace, network, nft, pod, ruleset},
};

fn table() -> Table {
    network(Family::Ip).table
}

fn key(name: &str) -> ServiceKey {
    ServiceKey {
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

/// What a service is like whose addresses and node port follow from a number.
#[derive(Clone, Debug, Default)]
struct Kind {
    endpoints: Vec<u8>,
    /// Those of this node.
    local: Vec<u8>,
    affinity: Option<i32>,
    internal_local: bool,
    external_local: bool,
    external: bool,
    guarded: bool,
}

fn port(family: Family, number: u8, kind: &Kind) -> ServicePort {
    let endpoints = |last: &[u8]| -> Vec<Endpoint> {
        let endpoint = |last: &u8| Endpoint {
            address: pod(family, *last),
            port: 8080,
        };
        let sorted: BTreeSet<_> = last.iter().collect();
        sorted.into_iter().map(endpoint).collect()
    };
    let address = |third: u8| match family {
        Family::Ip => IpAddr::from([198, 51, third, number]),
        Family::Ip6 => IpAddr::from([0x2001, 0xdb8, third.into(), 0, 0, 0, 0, number.into()]),
    };
    let ranges = match family {
        Family::Ip => ["198.51.100.0/24", "10.0.0.0/8"],
        Family::Ip6 => ["2001:db8:64::/48", "fd00::/8"],
    };
    let all = endpoints(&kind.endpoints);
    ServicePort {
        name: "http".to_owned(),
        protocol: Protocol::Tcp,
        port: 80,
        cluster_ips: vec![cluster_ip(family, number)],
        external_ips: Vec::from_iter(kind.external.then(|| address(100))),
        guarded_ips: Vec::from_iter(kind.guarded.then(|| address(101))),
        source_ranges: ranges.map(|range| range.parse().unwrap()).to_vec(),
        node_port: Some(30000 + u16::from(number)),
        affinity_seconds: kind.affinity,
        internal_local: kind.internal_local,
        external_local: kind.external_local,
        local: endpoints(&kind.local),
        serving: all.iter().copied().collect(),
        all,
    }
}

fn wanted(name: &str, number: u8, endpoints: &[u8]) -> ServiceRules {
    let kind = Kind {
        endpoints: endpoints.to_vec(),
        ..Kind::default()
    };
    rules::build(&key(name), &[port(Family::Ip, number, &kind)], Family::Ip)
}

fn overlay(changes: Vec<(&str, Option<ServiceRules>)>) -> Applied {
    let mut next = Applied::overlay(changes.len());
    for (name, rules) in changes {
        next.set(key(name), rules);
    }
    next
}

#[test]
fn a_changed_endpoint_is_the_elements_that_differ() {
    let mut applied = Applied::default();
    applied.merge(overlay(vec![
        ("a", Some(wanted("a", 1, &[2, 3]))),
        ("b", Some(wanted("b", 2, &[3]))),
    ]));
    let next = overlay(vec![("a", Some(wanted("a", 1, &[2, 4])))]);
    // 10.42.0.3 still serves b: its hairpin element stays.
    expect![[r#"
        delete element ip knarr-proxy endpoints-2 { 10.43.0.1 . tcp . 80 . 0x1 : 10.42.0.3 . 8080 }
        delete element ip knarr-proxy nodeport-endpoints-2 { tcp . 30001 . 0x1 : 10.42.0.3 . 8080 }
        add element ip knarr-proxy endpoints-2 { 10.43.0.1 . tcp . 80 . 0x1 : 10.42.0.4 . 8080 }
        add element ip knarr-proxy hairpin { 10.42.0.4 . 10.42.0.4 }
        add element ip knarr-proxy nodeport-endpoints-2 { tcp . 30001 . 0x1 : 10.42.0.4 . 8080 }
    "#]]
    .assert_eq(&difference(&table(), &applied, &next).to_string());
    applied.merge(next);
    let again = overlay(vec![("a", Some(wanted("a", 1, &[2, 4])))]);
    assert!(difference(&table(), &applied, &again).is_empty());
    // From one number of endpoints that somebody has to another one: no chain is touched.
    let next = overlay(vec![("a", Some(wanted("a", 1, &[2])))]);
    let mut applied_both = applied;
    applied_both.merge(overlay(vec![("c", Some(wanted("c", 3, &[5, 6])))]));
    expect![[r#"
        delete element ip knarr-proxy endpoints-2 { 10.43.0.1 . tcp . 80 . 0x0 : 10.42.0.2 . 8080, 10.43.0.1 . tcp . 80 . 0x1 : 10.42.0.4 . 8080 }
        delete element ip knarr-proxy hairpin { 10.42.0.4 . 10.42.0.4 }
        delete element ip knarr-proxy nodeport-endpoints-2 { tcp . 30001 . 0x0 : 10.42.0.2 . 8080, tcp . 30001 . 0x1 : 10.42.0.4 . 8080 }
        add element ip knarr-proxy endpoints-1 { 10.43.0.1 . tcp . 80 . 0x0 : 10.42.0.2 . 8080 }
        add element ip knarr-proxy nodeport-endpoints-1 { tcp . 30001 . 0x0 : 10.42.0.2 . 8080 }
    "#]]
    .assert_eq(&difference(&table(), &applied_both, &next).to_string());
}

#[test]
fn a_removed_service_leaves_nothing() {
    let mut applied = Applied::default();
    applied.merge(overlay(vec![("a", Some(wanted("a", 1, &[2])))]));
    let next = overlay(vec![("a", None)]);
    expect![[r#"
        delete element ip knarr-proxy endpoints-1 { 10.43.0.1 . tcp . 80 . 0x0 : 10.42.0.2 . 8080 }
        delete element ip knarr-proxy external-nodeports { tcp . 30001 }
        delete element ip knarr-proxy hairpin { 10.42.0.2 . 10.42.0.2 }
        delete element ip knarr-proxy nodeport-endpoints-1 { tcp . 30001 . 0x0 : 10.42.0.2 . 8080 }
        flush chain ip knarr-proxy services-anywhere
        flush chain ip knarr-proxy nodeports-anywhere
        delete set ip knarr-proxy endpoints-1
        delete set ip knarr-proxy nodeport-endpoints-1
    "#]]
    .assert_eq(&difference(&table(), &applied, &next).to_string());
    applied.merge(next);
    assert_eq!(applied.len(), 0);
    assert!(applied.hairpins.is_empty() && applied.slots.is_empty());
}

#[test]
fn many_endpoints_have_slots_of_a_power_of_two() {
    let many: Vec<u8> = (1..=20).collect();
    let next = overlay(vec![("a", Some(wanted("a", 1, &many)))]);
    let made = difference(&table(), &Applied::default(), &next).to_string();
    let picks: Vec<_> = made
        .lines()
        .filter(|line| line.contains("rule ip knarr-proxy services-anywhere"))
        .map(|line| line.split(" numgen ").nth(1).unwrap())
        .collect();
    let mut wanted = vec!["random mod 32 map @endpoints-32"; 8];
    wanted.push("random mod 16 map @endpoints-32");
    assert_eq!(picks, wanted);
    assert!(
        made.contains("10.43.0.1 . tcp . 80 . 0x13 : 10.42.0.20 . 8080"),
        "{made}"
    );
}

#[test]
fn only_flows_of_changed_services_are_looked_at() {
    let flows = |last: &[u8]| {
        let frontend = Frontend {
            address: None,
            protocol: Protocol::Udp,
            port: 30053,
        };
        let serving = last.iter().map(|last| Endpoint {
            address: pod(Family::Ip, *last),
            port: 5353,
        });
        let flows = Flows::from([(frontend, serving.collect())]);
        Some(ServiceRules {
            flows,
            ..ServiceRules::default()
        })
    };
    let mut applied = Applied::default();
    let first = overlay(vec![("a", flows(&[2, 3])), ("b", None)]);
    assert_eq!(
        changed_flows(&applied, &first, |_| false),
        flows(&[2, 3]).unwrap().flows
    );
    applied.merge(first);
    for (next, wanted) in [
        (flows(&[2, 3]), Flows::new()),
        (flows(&[2]), flows(&[2]).unwrap().flows),
        // A client that expects no answer would send to a pod for ever that has the address of another service's by then.
        (None, flows(&[]).unwrap().flows),
        (Some(ServiceRules::default()), flows(&[]).unwrap().flows),
    ] {
        let next = overlay(vec![("a", next)]);
        assert_eq!(changed_flows(&applied, &next, |_| false), wanted);
    }
    let gone = overlay(vec![("a", None)]);
    let of_others = changed_flows(&applied, &gone, |_| true);
    assert_eq!(of_others, Flows::new(), "another has what this one had");
    // Whoever of two serves, in whichever order they are looked at.
    let next = overlay(vec![
        ("a", flows(&[])),
        ("b", flows(&[3])),
        ("c", flows(&[])),
    ]);
    assert_eq!(
        changed_flows(&applied, &next, |_| false),
        flows(&[3]).unwrap().flows
    );
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn kinds() -> impl Strategy<Value = Kind> {
    let endpoints = prop_oneof![vec(1..9u8, 0..5), vec(1..60u8, 12..40)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let affinity = prop_oneof![3 => Just(None), 1 => Just(Some(30)), 1 => Just(Some(90))];
    (endpoints, any::<u8>(), affinity, flags).prop_map(|(endpoints, local, affinity, flags)| Kind {
        // Any of them may be on this node, also none.
        local: endpoints
            .iter()
            .copied()
            .filter(|e| e % 4 < local % 5)
            .collect(),
        endpoints,
        affinity,
        internal_local: flags.0,
        external_local: flags.1,
        external: flags.2,
        guarded: flags.3,
    })
}

/// A transaction is which services change, and what they are like then.
fn changes() -> impl Strategy<Value = Vec<Vec<(usize, Option<Kind>)>>> {
    let kind = prop_oneof![1 => Just(None), 4 => kinds().prop_map(Some)];
    vec(vec((0..NAMES.len(), kind), 1..4), 1..8)
}

fn rules_of(family: Family, number: usize, kind: &Kind) -> Option<ServiceRules> {
    let port = port(family, u8::try_from(number).unwrap(), kind);
    let rules = rules::build(&key(NAMES[number]), &[port], family);
    Some(rules).filter(|rules| !rules.is_empty())
}

/// However a state is come to, the kernel has what a fresh start would give it.
#[test]
fn any_sequence_of_changes_ends_in_the_same_ruleset() {
    any_sequence(Family::Ip);
}

#[test]
fn any_sequence_of_changes_ends_in_the_same_ruleset_of_ipv6() {
    any_sequence(Family::Ip6);
}

fn any_sequence(family: Family) {
    let network = &network(family);
    in_namespace(|| {
        let commit = |transaction: &Transaction| {
            let made = Connection::open().and_then(|mut c| c.commit(transaction, None));
            made.unwrap_or_else(|error| panic!("{error}\n{transaction}"));
        };
        commit(&replace(network, &Applied::default()));
        let empty = ruleset();
        let config_of_cases = ProptestConfig {
            cases: 30,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let done = TestRunner::new(config_of_cases).run(&changes(), |transactions| {
            let (mut applied, mut last) = (Applied::default(), HashMap::new());
            commit(&replace(network, &applied));
            for transaction in transactions {
                let mut next = Applied::overlay(transaction.len());
                for (number, kind) in transaction {
                    let rules = kind.and_then(|kind| rules_of(family, number, &kind));
                    last.insert(number, rules.clone());
                    next.set(key(NAMES[number]), rules);
                }
                let change = difference(&network.table, &applied, &next);
                if !change.is_empty() {
                    commit(&change);
                }
                applied.merge(next);
            }
            let stepwise = ruleset();
            let mut all = Applied::overlay(last.len());
            for (number, rules) in &last {
                all.set(key(NAMES[*number]), rules.clone());
            }
            commit(&replace(network, &all));
            prop_assert_eq!(stepwise, ruleset());
            let mut none = Applied::overlay(last.len());
            last.keys()
                .for_each(|number| none.set(key(NAMES[*number]), None));
            let change = difference(&network.table, &applied, &none);
            if !change.is_empty() {
                commit(&change);
            }
            prop_assert_eq!(&empty, &ruleset());
            Ok(())
        });
        done.unwrap();
        nft("flush ruleset");
    });
}
