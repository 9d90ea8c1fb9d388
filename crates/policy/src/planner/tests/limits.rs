//! What namespaces and nodes have room for.

use super::*;

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
    fill(&mut planner, pod);
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
    fill(&mut planner, pod);
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
    let far = IpAddr::from([192, 168, 9, 1]);
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
    fill(&mut planner, pod);
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
        IpAddr::from([192, 168, 5, 1]),
        address(3),
        80
    ));
}

#[test]
fn a_namespace_has_a_share_of_sets() {
    let many = limits(1000, 1000);
    let mut planner = Planner::with_limits(limits(2, 100), many, many);
    fill(&mut planner, pod);
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
    fill(&mut planner, pod);
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
    fill(&mut planner, pod);
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
