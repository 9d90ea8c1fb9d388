use std::net::IpAddr;

use super::*;
use crate::conntrack::Flows;

fn key(name: &str) -> ServiceKey {
    ServiceKey {
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

fn frontend(last: u8) -> Frontend {
    Frontend {
        address: Some(IpAddr::from([192, 0, 2, last])),
        protocol: knarr_nft::Protocol::Tcp,
        port: 80,
    }
}

fn rules(served: &[u8], unserved: &[u8]) -> Option<ServiceRules> {
    let served = served
        .iter()
        .map(|last| (frontend(*last), "ext".to_owned()));
    Some(ServiceRules {
        sticky: served.collect(),
        unserved: unserved.iter().map(|last| frontend(*last)).collect(),
        ..ServiceRules::default()
    })
}

/// Settles a service; what it got, and who may try again.
fn settle(
    claims: &mut Claims,
    name: &str,
    wanted: Option<ServiceRules>,
) -> (Option<ServiceRules>, Vec<String>) {
    let mut rules = wanted;
    let freed = claims.settle(&key(name), &mut rules);
    (rules, freed.into_iter().map(|key| key.name).collect())
}

#[test]
fn the_first_one_keeps_a_frontend_until_it_gives_it_up() {
    let mut claims = Claims::default();
    assert_eq!(
        settle(&mut claims, "b", rules(&[1, 2], &[])),
        (rules(&[1, 2], &[]), vec![])
    );
    assert_eq!(
        settle(&mut claims, "a", rules(&[2, 3], &[])),
        (rules(&[3], &[]), vec![])
    );
    assert_eq!(
        settle(&mut claims, "c", rules(&[2], &[])),
        (rules(&[], &[]), vec![])
    );
    // Asked again, nothing changes.
    assert_eq!(
        settle(&mut claims, "a", rules(&[2, 3], &[])),
        (rules(&[3], &[]), vec![])
    );
    assert_eq!(
        settle(&mut claims, "b", rules(&[1], &[])),
        (rules(&[1], &[]), vec!["a".to_owned(), "c".to_owned()])
    );
    assert_eq!(
        settle(&mut claims, "a", rules(&[2, 3], &[])),
        (rules(&[2, 3], &[]), vec![])
    );
    assert_eq!(
        settle(&mut claims, "c", rules(&[2], &[])),
        (rules(&[], &[]), vec![])
    );
    assert_eq!(settle(&mut claims, "a", None), (None, vec!["c".to_owned()]));
}

#[test]
fn nothing_is_left_of_services_that_are_gone() {
    let mut claims = Claims::default();
    settle(&mut claims, "a", rules(&[1], &[2]));
    settle(&mut claims, "b", rules(&[1], &[2]));
    settle(&mut claims, "b", None);
    settle(&mut claims, "a", None);
    assert!(claims.owners.is_empty() && claims.waiting.is_empty() && claims.wanted.is_empty());
}

#[test]
fn who_has_no_endpoint_does_not_keep_others_from_serving() {
    let mut claims = Claims::default();
    settle(&mut claims, "a", rules(&[], &[1]));
    assert_eq!(
        settle(&mut claims, "b", rules(&[1], &[])),
        (rules(&[1], &[]), vec![])
    );
    assert_eq!(
        settle(&mut claims, "c", rules(&[], &[1])),
        (rules(&[], &[]), vec![])
    );
}

#[test]
fn flows_lead_where_the_one_who_serves_says() {
    let flows = Flows::from([(frontend(1), BTreeSet::new())]);
    let idle = || {
        Some(ServiceRules {
            unserved: BTreeSet::from([frontend(1)]),
            flows: flows.clone(),
            ..ServiceRules::default()
        })
    };
    let mut claims = Claims::default();
    assert_eq!(settle(&mut claims, "a", idle()), (idle(), vec![]));
    settle(&mut claims, "b", rules(&[1], &[]));
    assert_eq!(settle(&mut claims, "a", idle()), (rules(&[], &[1]), vec![]));
}
