use knarr_nft::Connection;
use serde_json::{Value, json};

use super::*;
use crate::{
    changes::Changes,
    testing::{
        address as at, address6 as at6, dual_pod as pod, in_namespace, labels, ruleset, set_policy,
    },
};

const TABLE: &str = "knarr-policy";
const DNS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 20, 10)),
    IpAddr::V6(Ipv6Addr::new(0xfd6b, 0x6e61, 0x7272, 0, 0, 0, 0, 0x53)),
];

fn of_both(made: impl Fn(&Table) -> Transaction) -> Transaction {
    let mut all = Transaction::new();
    for family in Family::BOTH {
        all.append(made(&table(family, TABLE)));
    }
    all
}

fn anew(planner: &Planner) -> Transaction {
    of_both(|table| whole(table, &DNS, planner))
}

fn changed(planner: &Planner) -> Transaction {
    of_both(|table| difference(table, planner))
}

fn commit(transaction: &Transaction) {
    let mut connection = Connection::open().unwrap();
    if let Err(error) = connection.commit(transaction, None) {
        panic!("{error}\n{transaction}");
    }
}

/// What follows from a step is applied as a difference; the table has to be as if it were made anew.
fn step(planner: &mut Planner, what: &str, change: impl FnOnce(&mut Planner)) {
    change(planner);
    commit(&changed(planner));
    planner.changes = Changes::default();
    let stepwise = ruleset();
    commit(&anew(planner));
    assert_eq!(stepwise, ruleset(), "{what}");
    assert!(changed(planner).is_empty(), "{what}");
}

fn everything() -> Value {
    json!({
        "podSelector": {"matchLabels": {"app": "web"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [{"podSelector": {}}, {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "255.0.0.0/8"]}},
                      {"ipBlock": {"cidr": "::/0", "except": ["fd00::/8", "::/128", "ffff::/16"]}}],
             "ports": [
                {"port": 80}, {"port": 1000, "endPort": 65535}, {"port": "web"},
                {"protocol": "UDP"}, {"protocol": "SCTP", "port": 7},
             ]},
        ],
        "egress": [{"to": [{"namespaceSelector": {"matchLabels": {"team": "y"}}}]}, {"ports": [{"protocol": "UDP", "port": 53}]}],
    })
}

#[test]
fn differences_lead_to_the_same_table_as_making_it_anew() {
    in_namespace(|| {
        let mut planner = Planner::default();
        commit(&anew(&planner));
        let planner = &mut planner;
        let set = |namespace: &'static str, last: u8, text: &'static str| {
            move |planner: &mut Planner| {
                let (uid, facts) = pod(namespace, last, text);
                planner.set_pod(&uid, Some(facts));
            }
        };
        step(planner, "namespaces", |planner| {
            planner.set_namespace("x", Some(labels("team=x")));
            planner.set_namespace("y", Some(labels("team=y")));
        });
        step(planner, "a pod", set("x", 2, "app=web"));
        step(planner, "a policy", |p| {
            set_policy(p, "x", "all", everything())
        });
        step(planner, "a peer", set("x", 3, "app=db"));
        step(planner, "a far peer", set("y", 4, "app=db"));
        step(planner, "a second pod", set("x", 5, "app=web"));
        step(planner, "a second policy", |p| {
            set_policy(p, "x", "deny", json!({"podSelector": {}}));
        });
        step(planner, "other labels", set("x", 5, "app=db"));
        step(planner, "another policy", |p| {
            set_policy(
                p,
                "x",
                "all",
                json!({"podSelector": {}, "policyTypes": ["Egress"]}),
            );
        });
        step(planner, "a claim", |p| {
            p.claim(at(7), &"new".into());
            p.claim(at6(7), &"new".into());
        });
        step(planner, "back and forth", |p| {
            set_policy(p, "y", "deny", json!({"podSelector": {}}));
            p.release(at(7), &"new".into());
            p.release(at6(7), &"new".into());
            p.set_policy("y", "deny", None);
        });
        step(planner, "a namespace is gone", |p| {
            p.set_namespace("y", None)
        });
        step(planner, "a pod is gone", |p| p.set_pod(&"2".into(), None));
        step(planner, "policies are gone", |p| {
            p.set_policy("x", "all", None);
            p.set_policy("x", "deny", None);
        });
        assert!(planner.isolated().is_empty());
    });
}

#[test]
fn huge_policies_are_one_transaction() {
    in_namespace(|| {
        let mut planner = Planner::default();
        let (uid, facts) = pod("x", 2, "app=web");
        planner.set_pod(&uid, Some(facts));
        let excepts: Vec<String> = (0..1000)
            .map(|n| format!("10.{}.{}.0/25", n / 250, n % 250))
            .collect();
        let ports: Vec<Value> = (1..32_000).map(|n| json!({"port": n * 2})).collect();
        let rule = json!({"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": excepts}}], "ports": ports});
        set_policy(
            &mut planner,
            "x",
            "huge",
            json!({"podSelector": {}, "ingress": [rule]}),
        );
        commit(&anew(&planner));
        let listing = ruleset().join("\n");
        assert!(
            listing.contains("255.255.255.255") && listing.contains("63998"),
            "{}",
            listing.len()
        );
    });
}
