mod limits;

use serde_json::{Value, json};

use super::*;
use crate::testing::{address, address6, dual_pod, labels, pod, reaches, set_policy};

/// Pods 1 and 2 of namespace x, 3 and 4 of y: `app=web` the odd ones, `app=db` the even ones.
fn cluster() -> Planner {
    let mut planner = Planner::default();
    fill(&mut planner, pod);
    planner
}

/// Makes a pod of a namespace, a number and labels.
type Maker = fn(&str, u8, &str) -> (Uid, PodFacts);

/// The same with an address of IPv6 alone.
fn pod6(namespace: &str, last: u8, text: &str) -> (Uid, PodFacts) {
    let (uid, mut facts) = pod(namespace, last, text);
    facts.addresses = vec![address6(last)];
    (uid, facts)
}

fn fill(planner: &mut Planner, pod: Maker) {
    for namespace in ["x", "y"] {
        planner.set_namespace(namespace, Some(labels(&format!("team={namespace}"))));
    }
    for (namespace, last, app) in [
        ("x", 1, "web"),
        ("x", 2, "db"),
        ("y", 3, "web"),
        ("y", 4, "db"),
    ] {
        let (uid, facts) = pod(namespace, last, &format!("app={app}"));
        planner.set_pod(&uid, Some(facts));
    }
}

/// Who reaches whom, of those that are not allowed everything: a line a caller, its own port 80 and 81 for each pod.
fn table(planner: &Planner) -> String {
    table_of(planner, address)
}

fn table_of(planner: &Planner, at: fn(u8) -> IpAddr) -> String {
    let cell = |from, to| {
        let port = |port| reaches(planner, at(from), at(to), port);
        match (port(80), port(81)) {
            (true, true) => 'X',
            (true, false) => '0',
            (false, true) => '1',
            (false, false) => '.',
        }
    };
    let row = |from| (1..=4).map(|to| cell(from, to)).collect::<String>();
    (1..=4).map(row).collect::<Vec<_>>().join(" ")
}

const ALL: &str = "XXXX XXXX XXXX XXXX";

#[test]
fn verdicts_of_a_policy_in_namespace_x() {
    let web = json!({"matchLabels": {"app": "web"}});
    let team_y = json!({"matchLabels": {"team": "y"}});
    for (spec, wanted) in [
        (json!({"podSelector": {}}), "X.XX .XXX ..XX ..XX"),
        (json!({"podSelector": {}, "ingress": [{}]}), ALL),
        (json!({"podSelector": web}), "XXXX .XXX .XXX .XXX"),
        (
            json!({"podSelector": {}, "policyTypes": ["Egress"]}),
            "X... .X.. XXXX XXXX",
        ),
        (
            json!({"podSelector": {}, "policyTypes": ["Egress", "Ingress"]}),
            "X... .X.. ..XX ..XX",
        ),
        (
            json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}),
            ALL,
        ),
        (
            json!({"podSelector": web, "ingress": [{"from": [{"podSelector": {}}]}]}),
            "XXXX XXXX .XXX .XXX",
        ),
        (
            json!({"podSelector": web, "ingress": [{"from": [{"namespaceSelector": {}}]}]}),
            ALL,
        ),
        (
            json!({"podSelector": web, "ingress": [{"from": [{"namespaceSelector": team_y}]}]}),
            "XXXX .XXX XXXX XXXX",
        ),
        (
            json!({"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": team_y, "podSelector": web}]}]}),
            "X.XX .XXX XXXX ..XX",
        ),
        (
            json!({"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": team_y}, {"podSelector": web}]}]}),
            "XXXX .XXX XXXX XXXX",
        ),
        (
            json!({"podSelector": {}, "ingress": [{"ports": [{"port": 81, "endPort": 90}]}]}),
            "X1XX 1XXX 11XX 11XX",
        ),
        (
            json!({"podSelector": {}, "ingress": [{"ports": [{"port": "web"}]}]}),
            "X0XX 0XXX 00XX 00XX",
        ),
        (
            json!({
                "podSelector": {}, "policyTypes": ["Egress"],
                "egress": [{"ports": [{"port": "web"}], "to": [{"namespaceSelector": team_y}]}],
            }),
            "X.00 .X00 XXXX XXXX",
        ),
        (
            json!({"podSelector": {}, "ingress": [{"ports": [{"protocol": "UDP"}]}]}),
            "X.XX .XXX ..XX ..XX",
        ),
        (
            json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.42.0.0/29", "except": ["10.42.0.3/32"]}}]}]}),
            "XXXX XXXX ..XX XXXX",
        ),
        (
            json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "rubbish"}}]}]}),
            "X.XX .XXX ..XX ..XX",
        ),
    ] {
        let mut planner = cluster();
        set_policy(&mut planner, "x", "p", spec.clone());
        assert_eq!(table(&planner), wanted, "{spec}");
        let mut planner = Planner::default();
        fill(&mut planner, pod6);
        let text = spec.to_string().replace("10.42.0.0/29", "fd00:42::/125");
        let text = text.replace("10.42.0.3/32", "fd00:42::3/128");
        set_policy(&mut planner, "x", "p", serde_json::from_str(&text).unwrap());
        assert_eq!(table_of(&planner, address6), wanted, "{text}");
        // It is the same whatever came first.
        let mut later = Planner::default();
        set_policy(&mut later, "x", "p", spec.clone());
        fill(&mut later, pod);
        assert_eq!(table(&later), wanted, "{spec}, policy first");
        later.set_policy("x", "p", None);
        assert_eq!(table(&later), ALL, "{spec}, removed");
        assert!(later.isolated().is_empty() && later.chains().next().is_none());
        assert!(later.sets.iter().next().is_none(), "{spec}: sets are left");
    }
}

#[test]
fn both_families_of_a_pod_are_isolated_alike() {
    let cluster = || {
        let mut planner = Planner::default();
        fill(&mut planner, dual_pod);
        planner
    };
    let (deny, open) = ("X.XX .XXX ..XX ..XX", "XXXX XXXX .XXX .XXX");
    for (spec, wanted, wanted6) in [
        (json!({"podSelector": {}}), deny, deny),
        (
            json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": [{"podSelector": {}}]}]}),
            open,
            open,
        ),
        // A block is of one family; the other is not allowed by it.
        (
            json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.42.0.0/29"}}]}]}),
            ALL,
            deny,
        ),
        (
            json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "::/0"}}]}]}),
            deny,
            ALL,
        ),
    ] {
        let mut planner = cluster();
        set_policy(&mut planner, "x", "p", spec.clone());
        assert_eq!(table(&planner), wanted, "{spec}");
        assert_eq!(table_of(&planner, address6), wanted6, "{spec}");
    }
    // Both of a claim's addresses are held until both are released.
    let mut planner = cluster();
    set_policy(&mut planner, "x", "deny", json!({"podSelector": {}}));
    let uid: Uid = "2".into();
    planner.claim(address(2), &uid);
    planner.claim(address6(2), &uid);
    planner.set_pod(&uid, None);
    planner.release(address(2), &uid);
    assert_eq!(table(&planner), "XXXX .XXX .XXX .XXX");
    assert_eq!(table_of(&planner, address6), deny);
    planner.release(address6(2), &uid);
    assert_eq!(table_of(&planner, address6), "XXXX .XXX .XXX .XXX");
}

#[test]
fn policies_add_up() {
    let mut planner = cluster();
    set_policy(&mut planner, "x", "deny", json!({"podSelector": {}}));
    set_policy(
        &mut planner,
        "x",
        "web",
        json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"ports": [{"port": 80}]}]}),
    );
    assert_eq!(table(&planner), "X.XX 0XXX 0.XX 0.XX");
    set_policy(
        &mut planner,
        "x",
        "other",
        json!({"podSelector": {}, "ingress": [{"ports": [{"port": 81}]}]}),
    );
    assert_eq!(table(&planner), "X1XX XXXX X1XX X1XX");
    planner.set_policy("x", "web", None);
    assert_eq!(table(&planner), "X1XX 1XXX 11XX 11XX");
}

#[test]
fn labels_and_namespaces_count_as_they_are() {
    let mut planner = cluster();
    let peers = json!([{"namespaceSelector": {"matchLabels": {"trusted": "yes"}}, "podSelector": {"matchLabels": {"app": "web"}}}]);
    set_policy(
        &mut planner,
        "x",
        "p",
        json!({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"from": peers}]}),
    );
    assert_eq!(table(&planner), "X.XX XXXX X.XX X.XX");
    planner.set_namespace("y", Some(labels("trusted=yes")));
    assert_eq!(table(&planner), "X.XX XXXX XXXX X.XX");
    let (uid, facts) = pod("y", 4, "app=web");
    planner.set_pod(&uid, Some(facts));
    assert_eq!(table(&planner), "X.XX XXXX XXXX XXXX");
    planner.set_namespace("y", None);
    assert_eq!(table(&planner), "X.XX XXXX X.XX X.XX");
    let (uid, facts) = pod("x", 2, "app=web");
    planner.set_pod(&uid, Some(facts));
    assert_eq!(table(&planner), ALL);
}

#[test]
fn pods_of_other_nodes_and_of_the_nodes_network_are_not_isolated() {
    let mut planner = cluster();
    let (uid, mut facts) = pod("x", 1, "app=web");
    facts.here = false;
    planner.set_pod(&uid, Some(facts));
    let (uid, mut facts) = pod("x", 2, "app=db");
    facts.host_network = true;
    planner.set_pod(&uid, Some(facts));
    set_policy(
        &mut planner,
        "x",
        "deny",
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
    );
    assert_eq!(table(&planner), ALL);
    // A pod of another node is a peer; one of a node's network is not.
    let peers = json!([{"namespaceSelector": {"matchLabels": {"team": "x"}}}]);
    set_policy(
        &mut planner,
        "y",
        "p",
        json!({"podSelector": {}, "ingress": [{"from": peers}]}),
    );
    assert_eq!(table(&planner), "XXXX XX.. XXX. XX.X");
}

#[test]
fn a_claim_counts_for_more_than_the_api() {
    let mut planner = cluster();
    set_policy(&mut planner, "x", "deny", json!({"podSelector": {}}));
    assert_eq!(table(&planner), "X.XX .XXX ..XX ..XX");
    // Nobody knows whose it is: it reaches nobody, and nobody reaches it.
    let new: Uid = "new".into();
    planner.claim(address(4), &new);
    assert!(!planner.knows(&new));
    assert_eq!(table(&planner), "X.X. .XX. ..X. ...X");
    // It has the address that another pod had.
    let (_, mut facts) = pod("x", 4, "app=web");
    facts.addresses.clear();
    planner.set_pod(&new, Some(facts));
    assert!(planner.knows(&new));
    assert_eq!(table(&planner), "X.X. .XX. ..X. ..XX");
    // It is gone from the API, but not from the node.
    planner.set_pod(&new, None);
    assert_eq!(table(&planner), "X.X. .XX. ..X. ..XX");
    planner.set_policy("x", "deny", None);
    assert_eq!(table(&planner), ALL);
    set_policy(&mut planner, "x", "deny", json!({"podSelector": {}}));
    planner.release(address(4), &new);
    assert_eq!(table(&planner), "X.XX .XXX ..XX ..XX");
    assert!(!planner.knows(&new));
}

#[test]
fn an_address_has_one_owner_by_claim() {
    let mut planner = cluster();
    set_policy(&mut planner, "x", "deny", json!({"podSelector": {}}));
    let (first, second): (Uid, Uid) = ("first".into(), "second".into());
    planner.claim(address(9), &first);
    planner.claim(address(9), &second);
    // Late news of the first one.
    planner.release(address(9), &first);
    let (_, facts) = pod("x", 9, "app=web");
    planner.set_pod(&second, Some(facts));
    assert!(!reaches(&planner, address(3), address(9), 80));
    planner.release(address(9), &second);
    assert!(
        !reaches(&planner, address(3), address(9), 80),
        "the API still says so"
    );
    planner.set_pod(&second, None);
    assert!(reaches(&planner, address(3), address(9), 80));
}

#[test]
fn a_change_touches_what_differs_alone() {
    let mut planner = cluster();
    set_policy(
        &mut planner,
        "x",
        "p",
        json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}),
    );
    planner.changes = Changes::default();
    let (uid, facts) = pod("x", 5, "app=new");
    planner.set_pod(&uid, Some(facts));
    let changes = &planner.changes;
    assert_eq!(
        (changes.sets.len(), changes.chains.len()),
        (0, 0),
        "no rules, no sets"
    );
    assert_eq!((changes.members.len(), changes.isolated.len()), (1, 1));
    planner.changes = Changes::default();
    let (uid, facts) = pod("y", 6, "app=new");
    planner.set_pod(&uid, Some(facts));
    assert!(planner.changes.members.is_empty() && planner.changes.isolated.is_empty());
}

/// A minute of a person's patience, not of a planner's: without indexes this takes hours.
#[test]
fn ten_thousand_peers_and_pods() {
    let mut planner = cluster();
    let peers: Vec<Value> = (0..10_000)
        .map(|n| {
            let pods = json!({"matchLabels": {"app": format!("a{n}")}});
            json!({"namespaceSelector": {"matchLabels": {"team": "y"}}, "podSelector": pods})
        })
        .collect();
    set_policy(
        &mut planner,
        "x",
        "p",
        json!({"podSelector": {}, "ingress": [{"from": peers}]}),
    );
    for number in 0..10_000u32 {
        let (_, mut facts) = pod("y", 0, &format!("app=a{number}"));
        facts.here = false;
        facts.addresses = vec![Ipv4Addr::from_bits(0x0a2a_0100 + number).into()];
        planner.set_pod(&format!("far-{number}").into(), Some(facts));
    }
    let (_, set) = planner.sets.iter().next().unwrap();
    assert_eq!(set.members().count(), 10_000);
    assert_eq!(table(&planner), "X.XX .XXX ..XX ..XX");
}
