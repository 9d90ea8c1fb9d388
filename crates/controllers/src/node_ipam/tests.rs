use super::*;

#[test]
fn pieces_are_given_once_and_come_back() {
    let mut ranges = Ranges::new("10.42.0.0/22", 24).expect("a range");
    ranges.occupy("b", "10.42.1.0/24");
    assert_eq!(ranges.allocate("a").as_deref(), Some("10.42.0.0/24"));
    assert_eq!(
        ranges.allocate("a").as_deref(),
        Some("10.42.0.0/24"),
        "a retry gets the same"
    );
    assert_eq!(ranges.allocate("c").as_deref(), Some("10.42.2.0/24"));
    assert_eq!(ranges.allocate("d").as_deref(), Some("10.42.3.0/24"));
    assert_eq!(ranges.allocate("e"), None, "all are taken");
    ranges.release("b");
    assert_eq!(ranges.allocate("e").as_deref(), Some("10.42.1.0/24"));
}

#[test]
fn foreign_ranges_do_not_count() {
    let mut ranges = Ranges::new("10.42.0.0/23", 24).expect("a range");
    for cidr in [
        "10.41.0.0/24",
        "10.42.2.0/24",
        "10.42.0.0/25",
        "fd00::/24",
        "nonsense",
        "10.42.0.0/33",
    ] {
        ranges.occupy("x", cidr);
    }
    assert_eq!(ranges.allocate("a").as_deref(), Some("10.42.0.0/24"));
    assert_eq!(ranges.allocate("b").as_deref(), Some("10.42.1.0/24"));
}

#[test]
fn a_range_shared_by_mistake_is_free_when_both_are_gone() {
    let mut ranges = Ranges::new("10.42.0.0/24", 24).expect("a range");
    ranges.occupy("a", "10.42.0.0/24");
    ranges.occupy("b", "10.42.0.0/24");
    ranges.release("a");
    assert_eq!(ranges.allocate("c"), None);
    ranges.release("b");
    assert_eq!(ranges.allocate("c").as_deref(), Some("10.42.0.0/24"));
}

#[test]
fn other_sizes_and_families() {
    let mut v6 = Ranges::new("fd00:42::/56", 64).expect("a range");
    assert_eq!(v6.allocate("a").as_deref(), Some("fd00:42::/64"));
    assert_eq!(v6.allocate("b").as_deref(), Some("fd00:42:0:1::/64"));
    let mut unaligned = Ranges::new("10.42.7.9/16", 24).expect("a range");
    assert_eq!(unaligned.allocate("a").as_deref(), Some("10.42.0.0/24"));
    for (cidr, piece) in [
        ("10.42.0.0/25", 24),
        ("10.0.0.0/8", 32),
        ("10.0.0.0", 24),
        ("10.0.0.0/40", 24),
        ("x/8", 24),
    ] {
        assert!(
            Ranges::new(cidr, piece).is_none(),
            "{cidr} in pieces of /{piece}"
        );
    }
}

#[test]
fn a_node_has_a_piece_of_each_family_or_none() {
    let cluster = ["10.42.0.0/22", "fd42::/63"].map(|range| range.parse().expect("a range"));
    let mut families = Families::new(&cluster, NodeMasks::default()).expect("ranges");
    families.occupy("old", &["10.42.0.0/24"]);
    let mut given = |node: &str| families.allocate(node).map(|pieces| pieces.join(" "));
    assert_eq!(given("a").as_deref(), Some("10.42.1.0/24 fd42::/64"));
    assert_eq!(given("a").as_deref(), Some("10.42.1.0/24 fd42::/64"));
    assert_eq!(given("b").as_deref(), Some("10.42.2.0/24 fd42:0:0:1::/64"));
    assert_eq!(given("c"), None, "there is none of IPv6");
    families.release("b");
    let again = families.allocate("d").map(|pieces| pieces.join(" "));
    assert_eq!(again.as_deref(), Some("10.42.2.0/24 fd42:0:0:1::/64"));
    let (ipv4, ipv6) = (8, 8);
    assert!(Families::new(&cluster, NodeMasks { ipv4, ipv6 }).is_none());
    assert!(Families::new(&[], NodeMasks::default()).is_none());
}

#[test]
fn what_a_node_has_is_read_from_either_field() {
    let node = |spec: serde_json::Value, label: &str| -> Node {
        let node = serde_json::json!({"metadata": {"labels": {label: "x"}}, "spec": spec});
        serde_json::from_value(node).expect("a node")
    };
    let both =
        serde_json::json!({"podCIDR": "10.42.1.0/24", "podCIDRs": ["10.42.1.0/24", "fd42::/64"]});
    let both = node(both, "a");
    assert_eq!(
        pod_cidrs(&both),
        ["10.42.1.0/24", "fd42::/64", "10.42.1.0/24"]
    );
    let none = node(serde_json::json!({"podCIDR": ""}), SIMULATED_LABEL);
    assert!(pod_cidrs(&none).is_empty());
    assert!(is_simulated(&none) && !is_simulated(&both));
}
