use expect_test::expect;
use serde_json::{Value, json};

use super::KIND;
use crate::{
    kind::Part,
    testing::{create_errors, created, row, update_errors},
};

fn policy(spec: Value) -> Value {
    json!({"metadata": {"name": "p", "namespace": "d"}, "spec": spec})
}

#[test]
fn defaults() {
    for (spec, expected) in [
        (json!({}), json!({"policyTypes": ["Ingress"]})),
        (
            json!({"egress": [{"ports": [{"port": 80}]}]}),
            json!({"policyTypes": ["Ingress", "Egress"], "egress": [{"ports": [{"port": 80, "protocol": "TCP"}]}]}),
        ),
        (
            json!({"policyTypes": ["Egress"], "ingress": [{}]}),
            json!({"policyTypes": ["Egress"], "ingress": [{}]}),
        ),
    ] {
        assert_eq!(created(&KIND, policy(spec))["spec"], expected);
    }
}

#[test]
fn refusals() {
    let from = |peer: Value| json!({"ingress": [{"from": [peer]}]});
    let port = |port: Value| json!({"egress": [{"ports": [port]}]});
    let block =
        |cidr: &str, except: Value| from(json!({"ipBlock": {"cidr": cidr, "except": except}}));
    let errors = [
        json!({"podSelector": {"matchLabels": {"a": "b c"}}, "policyTypes": ["Sideways"]}),
        json!({"policyTypes": ["Ingress", "Egress", "Ingress"]}),
        port(json!({"protocol": "ICMP", "port": 0})),
        port(json!({"port": "-"})),
        port(json!({"port": 80, "endPort": 79})),
        port(json!({"port": 80, "endPort": 70000})),
        port(json!({"port": "http", "endPort": 90})),
        port(json!({"endPort": 90})),
        from(json!({})),
        from(json!({"podSelector": {}, "namespaceSelector": {}})),
        from(json!({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}})),
        block("", json!([])),
        block("10.0.0.0", json!([])),
        block(
            "10.0.0.0/8",
            json!(["10.1.0.0/16", "10.0.0.0/8", "11.0.0.0/16", "fd00::/64", "x"]),
        ),
        block("fd00::/64", json!(["fd00::/96"])),
    ]
    .map(|spec| create_errors(&KIND, policy(spec)))
    .join("\n");
    expect![[r#"
        spec.podSelector.matchLabels: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
        spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Ingress", "Egress"
        spec.policyTypes: Invalid value: ["Ingress","Egress","Ingress"]: may not specify more than two policyTypes
        spec.egress[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"
        spec.egress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
        spec.egress[0].ports[0].port: Invalid value: "-": must contain at least one letter (a-z)
        spec.egress[0].ports[0].port: Invalid value: "-": must not begin or end with a hyphen
        spec.egress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`
        spec.egress[0].ports[0].endPort: Invalid value: 70000: must be between 1 and 65535, inclusive
        spec.egress[0].ports[0].endPort: Invalid value: 90: may not be specified when `port` is non-numeric
        spec.egress[0].ports[0].endPort: Invalid value: 90: may not be specified when `port` is not specified
        spec.ingress[0].from[0]: Required value: must specify a peer

        spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer
        spec.ingress[0].from[0].ipBlock.cidr: Required value
        spec.ingress[0].from[0].ipBlock.cidr: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
        spec.ingress[0].from[0].ipBlock.except[1]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`
        spec.ingress[0].from[0].ipBlock.except[2]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`
        spec.ingress[0].from[0].ipBlock.except[3]: Invalid value: "fd00::/64": must be a strict subset of `cidr`
        spec.ingress[0].from[0].ipBlock.except[4]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
    "#]].assert_eq(&errors);
    let old = policy(block("10.0.0.0/33", json!([])));
    let same = policy(block("10.0.0.0/33", json!([])));
    assert_eq!(update_errors(&KIND, same, &old, Part::Main), "");
}

#[test]
fn rows() {
    let rows = [
        json!({}),
        json!({"podSelector": {"matchLabels": {"a": "b"}}}),
    ]
    .map(|spec| row(&KIND, &policy(spec), 0));
    assert_eq!(rows, ["p | <none> | <unknown>", "p | a=b | <unknown>"]);
}
