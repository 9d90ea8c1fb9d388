use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

fn check(found: Warnings, expected: Expect) {
    expected.assert_eq(&Vec::from(found).join("\n"));
}

#[test]
fn addresses_have_one_form() {
    let mut out = Warnings::default();
    for value in [
        "10.0.0.1",
        "fd00::1",
        "::ffff:10.0.0.1",
        "FD00::1",
        "fd00:0:0::1",
        "no address",
    ] {
        ip(&Path::new("ip"), value, &mut out);
    }
    check(
        out,
        expect![[r#"
        ip: non-standard IP address "::ffff:10.0.0.1" is invalid: use "10.0.0.1"
        ip: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")
        ip: IPv6 address "fd00:0:0::1" should be in RFC 5952 canonical format ("fd00::1")"#]],
    );
}

#[test]
fn ranges_begin_with_their_first_address() {
    let mut out = Warnings::default();
    for value in [
        "10.0.0.0/8",
        "0.0.0.0/0",
        "10.1.2.3/8",
        "fd00::/64",
        "fd00::1/64",
        "FD00::/64",
        "::ffff:10.0.0.0/104",
        "10.0.0.0/x",
    ] {
        cidr(&Path::new("cidr"), value, &mut out);
    }
    check(
        out,
        expect![[r#"
        cidr: CIDR value "10.1.2.3/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.1.2.3/32"?)
        cidr: CIDR value "fd00::1/64" is ambiguous in this context (should be "fd00::/64" or "fd00::1/128"?)
        cidr: IPv6 CIDR value "FD00::/64" should be in RFC 5952 canonical format ("fd00::/64")
        cidr: non-standard CIDR value "::ffff:10.0.0.0/104" is invalid: use "10.0.0.0/8""#]],
    );
}

#[test]
fn terms_name_labels_that_nodes_no_longer_have() {
    let mut out = Warnings::default();
    let term = json!({"matchExpressions": [
        {"key": "beta.kubernetes.io/os", "operator": "In", "values": ["linux", "no value"]},
        {"key": "kubernetes.io/os", "operator": "Exists"},
    ]});
    node_selector_term(&term, false, &Path::new("term"), &mut out);
    node_selector_term(&term, true, &Path::new("preference"), &mut out);
    let found = Vec::from(out);
    assert_eq!(
        found[0],
        "term.matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use \"kubernetes.io/os\" instead"
    );
    assert_eq!(found.len(), 3);
    let value = "preference.matchExpressions[0].values[1]: no value is invalid, ";
    assert!(found[2].starts_with(value), "{}", found[2]);
}

#[test]
fn there_are_no_more_than_an_answer_carries() {
    let mut out = Warnings::default();
    for _ in 0..MAX_BYTES {
        out.add("a warning");
    }
    assert!(out.is_full());
    let found: usize = Vec::from(out).iter().map(String::len).sum();
    assert!(found < MAX_BYTES + 10);
}
