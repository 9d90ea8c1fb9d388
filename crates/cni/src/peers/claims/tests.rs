use expect_test::{Expect, expect};

use super::*;

fn ground() -> Ground {
    Ground {
        node: "own".to_owned(),
        addresses: vec!["192.0.2.1".parse().unwrap()],
        cluster: vec!["10.42.0.0/16".parse().unwrap()],
        services: vec!["10.43.0.0/16".parse().unwrap()],
    }
}

/// `name seconds addresses ranges`, the last two divided by commas, `-` for none.
fn claim(line: &str) -> Claim {
    let words: Vec<&str> = line.split_whitespace().collect();
    let list = |word: &str| -> Vec<String> {
        let parts = word.split(',').filter(|part| *part != "-");
        parts.map(str::to_owned).collect()
    };
    Claim {
        node: words[0].to_owned(),
        uid: format!("uid-{}", words[0]),
        created: words[1]
            .parse()
            .ok()
            .and_then(|s| Timestamp::from_second(s).ok()),
        addresses: list(words[2])
            .iter()
            .map(|text| text.parse().unwrap())
            .collect(),
        pods: list(words[3])
            .iter()
            .map(|text| text.parse().unwrap())
            .collect(),
    }
}

fn settled(lines: &[&str], before: &Claims) -> Claims {
    let claims: Vec<Claim> = lines.iter().map(|line| claim(line)).collect();
    settle(&ground(), &claims, before)
}

fn shown(claims: &Claims) -> String {
    let peers = claims
        .peers
        .iter()
        .map(|(name, peer)| format!("{name}: {:?} {:?}\n", peer.addresses, peer.pods));
    let refused = claims
        .refused
        .iter()
        .map(|refusal| format!("{} refused: {}\n", refusal.node, refusal.reason));
    peers.chain(refused).collect()
}

fn check(lines: &[&str], expected: Expect) {
    expected.assert_eq(&shown(&settled(lines, &Claims::default())));
}

const OWN: &str = "own 1 192.0.2.1 10.42.0.0/24";

#[test]
fn nodes_that_are_complete_are_believed() {
    check(
        &[
            OWN,
            "a 2 192.0.2.2 10.42.1.0/24",
            "b 3 - 10.42.2.0/24",
            "c 3 192.0.2.3 -",
        ],
        expect![[r#"
            a: [192.0.2.2] [10.42.1.0/24]
        "#]],
    );
}

#[test]
fn what_no_node_may_have_is_refused() {
    check(
        &[
            OWN,
            "a 2 192.0.2.2 10.41.0.0/24",
            "b 2 192.0.2.3 10.43.1.0/24",
            "c 2 192.0.2.4 10.0.0.0/8",
            "d 2 10.42.9.9 10.42.4.0/24",
            "e 2 10.43.0.1 10.42.5.0/24",
            "f 2 127.0.0.1 10.42.6.0/24",
            "g 2 0.0.0.0 10.42.7.0/24",
            "h 2 224.0.0.1 10.42.8.0/24",
        ],
        expect![[r#"
            a refused: its pods' range 10.41.0.0/24 is not the cluster's
            b refused: its pods' range 10.43.1.0/24 is not the cluster's
            c refused: its pods' range 10.0.0.0/8 is not the cluster's
            d refused: its address 10.42.9.9 is of pods or Services
            e refused: its address 10.43.0.1 is of pods or Services
            f refused: its address 127.0.0.1 is no machine's
            g refused: its address 0.0.0.0 is no machine's
            h refused: its address 224.0.0.1 is no machine's
        "#]],
    );
}

#[test]
fn the_older_node_has_what_two_want() {
    check(
        &[
            OWN,
            "young 9 192.0.2.9 10.42.1.0/24",
            "old 2 192.0.2.2 10.42.1.0/24",
            "wide 3 192.0.2.3 10.42.0.0/17",
            "part 4 192.0.2.4 10.42.1.128/25",
            "same 5 192.0.2.2 10.42.5.0/24",
            "unknown - 192.0.2.6 10.42.1.0/24",
        ],
        expect![[r#"
            old: [192.0.2.2] [10.42.1.0/24]
            part refused: its pods' range 10.42.1.128/25 overlaps 10.42.1.0/24 of the node old
            same refused: its address 192.0.2.2 is the node old's
            unknown refused: its pods' range 10.42.1.0/24 overlaps 10.42.1.0/24 of the node old
            wide refused: its pods' range 10.42.0.0/17 overlaps 10.42.0.0/24 of the node own
            young refused: its pods' range 10.42.1.0/24 overlaps 10.42.1.0/24 of the node old
        "#]],
    );
}

#[test]
fn what_this_node_has_nobody_gets() {
    check(
        &[
            "own 9 192.0.2.7 10.42.0.0/24",
            "thief 1 192.0.2.1 10.42.1.0/24",
            "other 2 192.0.2.2 10.42.0.0/24",
        ],
        expect![[r#"
            other refused: its pods' range 10.42.0.0/24 overlaps 10.42.0.0/24 of the node own
            thief refused: its address 192.0.2.1 is the node own's
        "#]],
    );
}

#[test]
fn who_has_it_keeps_it_from_an_older_one() {
    let before = settled(&[OWN, "young 9 192.0.2.9 10.42.1.0/24"], &Claims::default());
    let lines = [
        OWN,
        "young 9 192.0.2.9 10.42.1.0/24",
        "old 2 192.0.2.9 10.42.1.0/24",
    ];
    expect![[r#"
        young: [192.0.2.9] [10.42.1.0/24]
        old refused: its address 192.0.2.9 is the node young's
    "#]]
    .assert_eq(&shown(&settled(&lines, &before)));
    // Not who comes by another address, nor another of the same name.
    let lines = [
        OWN,
        "young 9 192.0.2.8 10.42.1.0/24",
        "old 2 192.0.2.9 10.42.1.0/24",
    ];
    assert_eq!(
        settled(&lines, &before).peers.keys().collect::<Vec<_>>(),
        ["old"]
    );
    let mut claims: Vec<Claim> = lines.iter().map(|line| claim(line)).collect();
    claims[1] = Claim {
        uid: "another".to_owned(),
        ..claim("young 9 192.0.2.9 10.42.1.0/24")
    };
    let settled = settle(&ground(), &claims, &before);
    assert_eq!(settled.peers.keys().collect::<Vec<_>>(), ["old"]);
}

#[test]
fn overlaps_are_found_however_wide() {
    let mut ranges = BTreeMap::new();
    for (range, node) in [
        ("10.42.0.0/24", "a"),
        ("10.42.4.0/22", "b"),
        ("10.42.16.0/24", "c"),
    ] {
        ranges.insert(range.parse().unwrap(), node.to_owned());
    }
    for (range, owner) in [
        ("10.42.0.0/24", Some("a")),
        ("10.42.0.128/25", Some("a")),
        ("10.42.0.0/16", Some("a")),
        ("10.42.7.0/24", Some("b")),
        ("10.42.16.255/32", Some("c")),
        ("10.42.8.0/24", None),
        ("10.42.1.0/24", None),
        ("10.42.17.0/24", None),
        ("fd00::/64", None),
    ] {
        let found = overlapping(&range.parse().unwrap(), &ranges);
        assert_eq!(found.map(|(_, owner)| owner.as_str()), owner, "{range}");
    }
}

#[test]
fn simulated_nodes_are_told_from_others() {
    for (labels, expected) in [
        (serde_json::json!({"knarr.dev/simulated": "sim"}), true),
        (serde_json::json!({"kubernetes.io/os": "linux"}), false),
        (serde_json::json!(null), false),
    ] {
        let node = serde_json::json!({"metadata": {"name": "a", "labels": labels}});
        let node: Node = serde_json::from_value(node).unwrap();
        assert_eq!(is_simulated(&node), expected);
    }
}

#[test]
fn nodes_are_read_as_the_api_has_them() {
    let node: Node = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "a", "uid": "u"},
        "spec": {"podCIDR": "10.42.1.0/24", "podCIDRs": ["10.42.1.0/24", "fd00::/64", "nonsense"]},
        "status": {"addresses": [
            {"type": "Hostname", "address": "a"}, {"type": "ExternalIP", "address": "203.0.113.1"},
            {"type": "InternalIP", "address": "192.0.2.1"}, {"type": "InternalIP", "address": "fd01::1"},
        ]},
    }))
    .unwrap();
    let claim = Claim::of(&node);
    assert_eq!(
        format!("{:?} {:?}", claim.addresses, claim.pods),
        "[192.0.2.1, fd01::1] [10.42.1.0/24, fd00::/64]"
    );
    assert_eq!(Claim::of(&Node::default()).pods, []);
}
