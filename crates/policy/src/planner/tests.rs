use serde_json::{Value, json};

use super::*;
use crate::testing::{address, labels, pod, reaches, set_policy};

/// Pods 1 and 2 of namespace x, 3 and 4 of y: `app=web` the odd ones, `app=db` the even ones.
fn cluster() -> Planner {
    let mut planner = Planner::default();
    fill(&mut planner);
    planner
}

fn fill(planner: &mut Planner) {
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
    let cell = |from, to| {
        let port = |port| reaches(planner, address(from), address(to), port);
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
        // It is the same whatever came first.
        let mut later = Planner::default();
        set_policy(&mut later, "x", "p", spec.clone());
        fill(&mut later);
        assert_eq!(table(&later), wanted, "{spec}, policy first");
        later.set_policy("x", "p", None);
        assert_eq!(table(&later), ALL, "{spec}, removed");
        assert!(later.isolated().is_empty() && later.chains().next().is_none());
        assert!(later.sets.iter().next().is_none(), "{spec}: sets are left");
    }
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

/// Of which there may be `namespace` a namespace, and `node` of all.
fn limits(namespace: usize, node: usize) -> Limits {
    Limits {
        name: "things",
        namespace,
        node,
        assured: 0,
    }
}

fn with_elements(namespace: usize, node: usize) -> Planner {
    let many = limits(1000, 1000);
    Planner::with_limits(many, limits(namespace, node), many)
}

/// Which policies are said to be cut, as `namespace/name`.
fn complaints(planner: &mut Planner) -> Vec<String> {
    let name = |policy: &Policy| format!("{}/{}", policy.namespace, policy.name);
    let all = planner.take_complaints();
    all.iter().map(|(policy, _)| name(policy)).collect()
}

const NONE: [&str; 0] = [];

/// A policy for pods of an app, from blocks of one address each.
fn from_blocks(app: &str, blocks: std::ops::Range<u8>) -> Value {
    let blocks: Vec<Value> = blocks
        .map(|n| json!({"ipBlock": {"cidr": format!("192.168.{n}.1/32")}}))
        .collect();
    json!({"podSelector": {"matchLabels": {"app": app}}, "ingress": [{"from": blocks}]})
}

fn more_pods(planner: &mut Planner, pods: std::ops::Range<u8>) {
    for last in pods {
        let (uid, facts) = pod("y", last, "app=more");
        planner.set_pod(&uid, Some(facts));
    }
}

#[test]
fn what_has_no_room_is_denied_until_there_is_some() {
    let mut planner = with_elements(10, 10);
    fill(&mut planner);
    let everybody = json!([{"namespaceSelector": {}}]);
    let from = |app: &str| json!({"podSelector": {"matchLabels": {"app": app}}, "ingress": [{"from": everybody}]});
    set_policy(&mut planner, "x", "p", from("web"));
    assert_eq!(table(&planner), ALL);
    assert_eq!(complaints(&mut planner), NONE);
    more_pods(&mut planner, 10..30);
    // Once, not a pod.
    assert_eq!(complaints(&mut planner), ["x/p"]);
    more_pods(&mut planner, 30..31);
    planner.fill_up();
    assert_eq!(complaints(&mut planner), NONE);
    let reached = |planner: &Planner| {
        (10..30)
            .filter(|last| reaches(planner, address(*last), address(1), 80))
            .count()
    };
    assert_eq!(reached(&planner), 6);
    for last in (10..25).chain(30..31) {
        planner.set_pod(&last.to_string().into(), None);
        planner.fill_up();
    }
    assert_eq!(reached(&planner), 5);
    assert_eq!(complaints(&mut planner), NONE);
    more_pods(&mut planner, 10..30);
    assert_eq!(complaints(&mut planner), ["x/p"]);
}

#[test]
fn a_namespace_that_wants_more_than_its_share_is_cut_alone() {
    let mut planner = with_elements(10, 100);
    fill(&mut planner);
    // It may be as it likes, however it comes there: by ranges, and by pods.
    set_policy(&mut planner, "x", "blocks", from_blocks("web", 0..8));
    set_policy(&mut planner, "x", "more", from_blocks("web", 8..16));
    let everybody = json!({"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {}}]}]});
    set_policy(&mut planner, "x", "pods", everybody.clone());
    planner.fill_up();
    assert_eq!(complaints(&mut planner), ["x/more", "x/pods"]);
    assert_ne!(table(&planner), ALL);
    set_policy(&mut planner, "y", "pods", everybody);
    set_policy(&mut planner, "y", "blocks", from_blocks("web", 8..14));
    planner.fill_up();
    assert_eq!(complaints(&mut planner), NONE);
    for from in 1..=4 {
        for to in 3..=4 {
            assert!(
                reaches(&planner, address(from), address(to), 80),
                "{from} {to}"
            );
        }
    }
    let far = Ipv4Addr::new(192, 168, 9, 1);
    assert!(reaches(&planner, far, address(3), 80));
    assert!(!reaches(&planner, far, address(1), 80));
    // Room that comes back is used.
    planner.set_policy("x", "blocks", None);
    planner.set_policy("x", "pods", None);
    planner.fill_up();
    assert!(reaches(&planner, far, address(1), 80));
    assert_eq!(complaints(&mut planner), NONE);
    // So is that of a version before.
    set_policy(&mut planner, "x", "more", from_blocks("web", 4..13));
    planner.fill_up();
    assert!(reaches(&planner, far, address(1), 80));
    assert_eq!(complaints(&mut planner), NONE);
    planner.set_policy("x", "more", None);
    planner.set_policy("y", "pods", None);
    planner.set_policy("y", "blocks", None);
    assert!(planner.sets.iter().next().is_none());
}

#[test]
fn the_nodes_limit_is_told_to_whom_it_cuts() {
    let mut planner = with_elements(10, 15);
    fill(&mut planner);
    set_policy(&mut planner, "x", "p", from_blocks("web", 0..10));
    set_policy(&mut planner, "y", "p", from_blocks("web", 0..6));
    let told = planner.take_complaints();
    assert_eq!(told.len(), 1);
    let (policy, text) = &told[0];
    assert!(
        policy.namespace == "y" && text.contains("all namespaces"),
        "{text}"
    );
    planner.set_policy("x", "p", None);
    planner.fill_up();
    assert!(reaches(
        &planner,
        Ipv4Addr::new(192, 168, 5, 1),
        address(3),
        80
    ));
}

#[test]
fn a_namespace_has_a_share_of_sets() {
    let many = limits(1000, 1000);
    let mut planner = Planner::with_limits(limits(2, 100), many, many);
    fill(&mut planner);
    let ports = |ports: &[u16]| {
        let rules: Vec<Value> = ports
            .iter()
            .map(|p| json!({"ports": [{"port": p}]}))
            .collect();
        json!({"podSelector": {}, "ingress": rules})
    };
    set_policy(&mut planner, "x", "p", ports(&[80, 82, 81]));
    assert_eq!(table(&planner), "X0XX 0XXX 00XX 00XX");
    assert_eq!(complaints(&mut planner), ["x/p"]);
    // Of a clause with two, the first is not left behind.
    let both = json!([{"from": [{"podSelector": {}}], "ports": [{"port": 81}]}]);
    set_policy(&mut planner, "y", "one", ports(&[80]));
    set_policy(
        &mut planner,
        "y",
        "two",
        json!({"podSelector": {}, "ingress": both}),
    );
    assert_eq!(complaints(&mut planner), ["y/two"]);
    assert_eq!(planner.sets.iter().count(), 3);
    assert_eq!(table(&planner), "X000 0X00 00X0 000X");
    planner.set_policy("y", "one", None);
    planner.fill_up();
    assert_eq!(table(&planner), "X0.. 0X.. 00X1 001X");
}

#[test]
fn a_namespace_has_a_share_of_rules() {
    let many = limits(1000, 1000);
    let mut planner = Planner::with_limits(many, many, limits(3, 100));
    fill(&mut planner);
    let udp = |app: &str, count: usize| {
        let rules: Vec<Value> = (0..count)
            .map(|p| json!({"ports": [{"protocol": "UDP", "port": p + 1}]}))
            .collect();
        json!({"podSelector": {"matchLabels": {"app": app}}, "ingress": rules})
    };
    let any = json!({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"ports": [{"port": 80}, {"port": "other"}]}]});
    set_policy(&mut planner, "x", "web", udp("web", 2));
    set_policy(&mut planner, "x", "db", any.clone());
    assert_eq!(complaints(&mut planner), ["x/db"]);
    assert_eq!(table(&planner), "X.XX .XXX ..XX ..XX");
    // Others have theirs.
    set_policy(&mut planner, "y", "db", any);
    assert_eq!(complaints(&mut planner), NONE);
    assert_eq!(table(&planner), "X.X0 .XX0 ..X0 ..XX");
    // A pod with the same policies costs nothing; one that is cut is told of anew where it has others.
    let (uid, facts) = pod("x", 5, "app=web");
    planner.set_pod(&uid, Some(facts));
    set_policy(&mut planner, "x", "deny", json!({"podSelector": {}}));
    planner.fill_up();
    assert_eq!(complaints(&mut planner), ["x/db"]);
    planner.set_policy("x", "web", None);
    planner.fill_up();
    assert_eq!(complaints(&mut planner), NONE);
    assert_eq!(table(&planner), "X0X0 .XX0 .0X0 .0XX");
    // One rule more, while the chains of before are still there.
    set_policy(&mut planner, "x", "db", udp("db", 3));
    planner.fill_up();
    assert_eq!(complaints(&mut planner), NONE);
}

#[test]
fn a_pod_that_comes_later_has_no_rules_and_its_policies_are_told() {
    let many = limits(1000, 1000);
    let mut planner = Planner::with_limits(many, many, limits(2, 100));
    fill(&mut planner);
    let from = |label: &str, peers: Value| json!({"podSelector": {"matchLabels": {label: "web"}}, "ingress": [{"from": peers}]});
    let team_y = json!([{"namespaceSelector": {"matchLabels": {"team": "y"}}}]);
    set_policy(&mut planner, "x", "app", from("app", team_y));
    set_policy(
        &mut planner,
        "x",
        "tier",
        from("tier", json!([{"podSelector": {}}])),
    );
    set_policy(&mut planner, "x", "none", json!({"podSelector": {}}));
    assert_eq!(complaints(&mut planner), NONE);
    // Its chain has the two rules of both policies, beside the one that is there.
    let (uid, facts) = pod("x", 5, "app=web,tier=web");
    planner.set_pod(&uid, Some(facts.clone()));
    planner.fill_up();
    assert_eq!(complaints(&mut planner), ["x/app", "x/tier"]);
    assert!(!reaches(&planner, address(3), address(5), 80));
    assert!(
        reaches(&planner, address(3), address(1), 80),
        "who was there"
    );
    planner.set_pod(&"1".into(), None);
    planner.fill_up();
    assert!(reaches(&planner, address(3), address(5), 80));
    assert_eq!(complaints(&mut planner), NONE);
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
        facts.addresses = vec![Ipv4Addr::from_bits(0x0a2a_0100 + number)];
        planner.set_pod(&format!("far-{number}").into(), Some(facts));
    }
    let (_, set) = planner.sets.iter().next().unwrap();
    assert_eq!(set.members().count(), 10_000);
    assert_eq!(table(&planner), "X.XX .XXX ..XX ..XX");
}
