use serde_json::{Value, json};

use super::*;

fn policy(spec: Value) -> Policy {
    let object = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec});
    Policy::of(&serde_json::from_value(object).unwrap(), &Family::BOTH)
}

/// Whether it isolates, by direction.
fn isolates(spec: Value) -> [bool; 2] {
    policy(spec).clauses.map(|clauses| clauses.is_some())
}

#[test]
fn directions_have_upstreams_defaults() {
    for (spec, wanted) in [
        (json!({}), [true, false]),
        (json!({"egress": []}), [true, false]),
        (json!({"egress": [{}]}), [true, true]),
        (json!({"policyTypes": []}), [true, false]),
        (json!({"policyTypes": ["Egress"]}), [false, true]),
        (
            json!({"policyTypes": ["Egress"], "ingress": [{}]}),
            [false, true],
        ),
        (json!({"policyTypes": ["Ingress", "Egress"]}), [true, true]),
    ] {
        assert_eq!(isolates(spec.clone()), wanted, "{spec}");
    }
}

/// The clauses of a policy's only rule.
fn clauses(rule: Value) -> (Vec<Clause<Arc<SetSpec>>>, Option<String>) {
    let policy = policy(json!({"ingress": [rule]}));
    let [ingress, _] = policy.clauses;
    (ingress.unwrap(), policy.complaint)
}

fn numbers(protocol: Protocol, ranges: &[Range]) -> Ports<Arc<SetSpec>> {
    Ports::Numbers(protocol, Arc::new(SetSpec::Ports(ranges.to_vec())))
}

#[test]
fn ports_are_what_they_name() {
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    let web = SetSpec::Named(vec![(tcp, "web".to_owned())]);
    for (ports, wanted) in [
        (json!([]), vec![Ports::Any]),
        (json!([{}]), vec![Ports::Protocol(tcp)]),
        (json!([{"port": 80}]), vec![numbers(tcp, &[(80, 80)])]),
        (
            json!([{"port": 81, "endPort": 90}, {"port": 80}, {"protocol": "UDP", "port": 53}]),
            vec![numbers(tcp, &[(80, 90)]), numbers(udp, &[(53, 53)])],
        ),
        (
            json!([{"protocol": "UDP"}, {"protocol": "UDP", "port": 53}]),
            vec![Ports::Protocol(udp)],
        ),
        (json!([{"port": "web"}]), vec![Ports::Named(Arc::new(web))]),
        // The whole range, and what is none.
        (
            json!([{"port": 0, "endPort": 65535}]),
            vec![numbers(tcp, &[(0, 65535)])],
        ),
        (json!([{"port": 90, "endPort": 80}]), vec![]),
        (
            json!([{"port": 70000}, {"port": -1}, {"protocol": "ICMP"}]),
            vec![],
        ),
    ] {
        let found: Vec<_> = clauses(json!({"ports": ports.clone()})).0;
        let found: Vec<_> = found.into_iter().map(|clause| clause.ports).collect();
        assert_eq!(found, wanted, "{ports}");
    }
}

#[test]
fn blocks_have_no_exceptions_left() {
    for (block, wanted) in [
        (
            json!({"cidr": "10.0.0.0/8"}),
            Some((vec![(0x0a00_0000, 0x0aff_ffff)], false)),
        ),
        (
            json!({"cidr": "10.0.0.7/31"}),
            Some((vec![(0x0a00_0006, 0x0a00_0007)], false)),
        ),
        (
            json!({"cidr": "0.0.0.0/0", "except": ["0.0.0.0/1", "255.255.255.255/32"]}),
            Some((vec![(0x8000_0000, 0xffff_fffe)], false)),
        ),
        (
            json!({"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}),
            None,
        ),
    ] {
        let (found, complaint) = clauses(json!({"from": [{"ipBlock": block.clone()}]}));
        let found = found.first().and_then(|clause| clause.peers.clone());
        match wanted {
            Some((ranges, complains)) => {
                let blocks = Blocks {
                    ip: ranges,
                    ..Blocks::default()
                };
                assert_eq!(found.as_deref(), Some(&SetSpec::Blocks(blocks)), "{block}");
                assert_eq!(complaint.is_some(), complains, "{block}");
            }
            None => assert_eq!(found, None, "{block}"),
        }
    }
}

#[test]
fn blocks_are_of_families() {
    let peers = json!([
        {"ipBlock": {"cidr": "10.0.0.0/31"}},
        {"ipBlock": {"cidr": "fd00::/127", "except": ["fd00::1/128", "10.0.0.0/8"]}},
        {"ipBlock": {"cidr": "::ffff:ffff:ffff:fffe/127"}},
    ]);
    let spec = json!({"podSelector": {}, "ingress": [{"from": peers}]});
    let object = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
    let ip = vec![(0x0a00_0000, 0x0a00_0001)];
    let first = 0xfd00 << 112;
    let ip6 = vec![
        (0xffff_ffff_ffff_fffe, 0xffff_ffff_ffff_ffff),
        (first, first),
    ];
    for (families, ip, ip6) in [
        (&Family::BOTH[..], ip.clone(), ip6.clone()),
        (&[Family::Ip], ip, vec![]),
        (&[Family::Ip6], vec![], ip6),
    ] {
        let policy = Policy::of(&object, families);
        let [Some(ingress), _] = &policy.clauses else {
            panic!("{policy:?}")
        };
        let wanted = SetSpec::Blocks(Blocks { ip, ip6 });
        assert_eq!(ingress[0].peers.as_deref(), Some(&wanted), "{families:?}");
        assert_eq!(policy.complaint, None);
    }
}

#[test]
fn what_cannot_be_understood_allows_nothing() {
    for peer in [
        json!({"ipBlock": {"cidr": "10.0.0.0/33"}}),
        json!({"ipBlock": {"cidr": "fd00::/129"}}),
        json!({"ipBlock": {"cidr": "rubbish"}}),
        json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["rubbish"]}}),
        json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}),
        json!({"namespaceSelector": {"matchLabels": {"not a key": "b"}}}),
    ] {
        let (found, complaint) = clauses(json!({"from": [peer.clone()]}));
        assert_eq!(found, [], "{peer}");
        assert!(complaint.is_some(), "{peer}");
    }
    let selects = json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}});
    assert!(policy(selects).selector.is_empty(), "every pod is selected");
}

#[test]
fn a_policy_of_too_many_combinations_allows_none() {
    let rule = |port: usize| json!({"ports": [{"port": port}]});
    let rules: Vec<Value> = (1..=CLAUSES_MAX + 1).map(rule).collect();
    let policy = policy(json!({"ingress": rules}));
    assert_eq!(policy.clauses, [Some(Vec::new()), None]);
    assert!(policy.complaint.is_some());
}

#[test]
fn a_policy_of_too_many_ranges_allows_none() {
    let excepts = |count: usize| -> Vec<String> {
        let hole = |n: usize| format!("10.{}.{}.{}/32", n >> 15, (n >> 7) & 255, (n & 127) * 2);
        (0..count).map(hole).collect()
    };
    let block =
        |holes| json!([{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": excepts(holes)}}]}]);
    // What is before the first hole is none.
    let most = policy(json!({"ingress": block(RANGES_MAX)}));
    assert_eq!(most.clauses[0].as_ref().map(Vec::len), Some(1));
    assert_eq!(most.complaint, None);
    let types = ["Ingress", "Egress"];
    let more =
        policy(json!({"policyTypes": types, "ingress": block(RANGES_MAX + 1), "egress": [{}]}));
    assert_eq!(more.clauses[0], Some(Vec::new()));
    assert_eq!(more.clauses[1].as_ref().map(Vec::len), Some(1));
    assert!(more.complaint.is_some());
}

#[test]
fn huge_rules_are_few_clauses() {
    let peers: Vec<Value> = (0..10_000)
        .map(|n| json!({"podSelector": {"matchLabels": {"app": format!("a{n}")}}}))
        .collect();
    assert_eq!(clauses(json!({"from": peers})).0.len(), 1);
    let excepts: Vec<String> = (0..1000)
        .map(|n| format!("10.{}.{}.0/24", n / 250, n % 250))
        .collect();
    let (found, _) =
        clauses(json!({"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": excepts}}]}));
    assert_eq!(found.len(), 1);
}

#[test]
fn a_pod_that_has_ended_has_no_address() {
    for (phase, addresses) in [
        ("Running", 2),
        ("Pending", 2),
        ("Succeeded", 0),
        ("Failed", 0),
    ] {
        let pod = json!({
            "metadata": {"name": "a", "namespace": "n"},
            "spec": {"nodeName": "here", "containers": [{
                "name": "c",
                "ports": [{"name": "web", "containerPort": 80}, {"containerPort": 81}, {"name": "bad", "containerPort": 70000}],
            }]},
            "status": {"phase": phase, "podIP": "10.42.0.2", "podIPs": [{"ip": "10.42.0.2"}, {"ip": "fd00::2"}]},
        });
        let facts = PodFacts::of(&serde_json::from_value(pod).unwrap(), "here");
        assert_eq!(facts.addresses.len(), addresses, "{phase}");
        assert!(facts.here && !facts.host_network);
        assert_eq!(facts.named_ports, [(Protocol::Tcp, "web".to_owned(), 80)]);
    }
}
