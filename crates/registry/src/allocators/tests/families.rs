//! Addresses of Services of both families.

use serde_json::{Value, json};

use super::*;

/// As [`small`], with six addresses of IPv4 and seven of IPv6.
fn dual() -> Allocators {
    let ranges = ["10.9.0.0/29", "fd09::/125"];
    let config = Config::new(ranges.map(|range| range.parse().unwrap()).into());
    Allocators::new(&config, Fake::new(), None).unwrap()
}

/// `clusterIPs`, families and policy, in a line; random addresses by their families.
fn shown(service: &Value) -> String {
    let spec = |field| object::list_at(service, &["spec", field]).iter();
    let texts = |field| -> Vec<String> {
        let texts = spec(field).filter_map(Value::as_str);
        texts.map(String::from).collect()
    };
    let ips = texts("clusterIPs");
    assert_eq!(
        service["spec"]["clusterIP"].as_str(),
        ips.first().map(String::as_str)
    );
    let ips: Vec<String> = ips
        .iter()
        .map(|ip| match ip.parse::<IpAddr>() {
            Ok(ip) => Family::of(ip.is_ipv6()).to_string(),
            Err(_) => ip.clone(),
        })
        .collect();
    let policy = object::str_at(service, &["spec", "ipFamilyPolicy"]);
    format!(
        "{} | {} | {policy}",
        ips.join(" "),
        texts("ipFamilies").join(" ")
    )
}

#[tokio::test]
async fn services_have_the_families_that_they_ask_for() {
    for (spec, expected) in [
        (json!({}), "IPv4 | IPv4 | SingleStack"),
        (json!({"ipFamilies": ["IPv6"]}), "IPv6 | IPv6 | SingleStack"),
        (json!({"clusterIP": "fd09::3"}), "IPv6 | IPv6 | SingleStack"),
        (
            json!({"ipFamilyPolicy": "PreferDualStack"}),
            "IPv4 IPv6 | IPv4 IPv6 | PreferDualStack",
        ),
        (
            json!({"ipFamilyPolicy": "RequireDualStack"}),
            "IPv4 IPv6 | IPv4 IPv6 | RequireDualStack",
        ),
        (
            json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}),
            "IPv6 IPv4 | IPv6 IPv4 | RequireDualStack",
        ),
        (
            json!({"ipFamilyPolicy": "PreferDualStack", "clusterIP": "fd09::3", "clusterIPs": ["fd09::3"]}),
            "IPv6 IPv4 | IPv6 IPv4 | PreferDualStack",
        ),
        (
            json!({"ipFamilyPolicy": "RequireDualStack", "clusterIP": "10.9.0.3", "clusterIPs": ["10.9.0.3", "fd09::3"]}),
            "IPv4 IPv6 | IPv4 IPv6 | RequireDualStack",
        ),
        (
            json!({"clusterIP": "None", "selector": {"a": "b"}, "ipFamilyPolicy": "PreferDualStack"}),
            "None | IPv4 IPv6 | PreferDualStack",
        ),
        (
            json!({"clusterIP": "None", "selector": {"a": "b"}}),
            "None | IPv4 | SingleStack",
        ),
        (
            json!({"clusterIP": "None"}),
            "None | IPv4 IPv6 | RequireDualStack",
        ),
        (
            json!({"clusterIP": "None", "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv6"]}),
            "None | IPv6 | SingleStack",
        ),
    ] {
        let made = create(&dual(), service("a", spec.clone())).await;
        assert_eq!(shown(&made.unwrap()), expected, "{spec}");
    }
    for (spec, expected) in [
        (
            json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"]}),
            r#"spec.ipFamilyPolicy: Invalid value: "SingleStack": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"#,
        ),
        (
            json!({"clusterIP": "10.9.0.3", "clusterIPs": ["10.9.0.3", "fd09::3"]}),
            r#"spec.ipFamilyPolicy: Invalid value: "SingleStack": must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"#,
        ),
        (
            json!({"ipFamilyPolicy": "PreferDualStack", "clusterIP": "10.9.0.3", "clusterIPs": ["10.9.0.3", "10.9.0.4"]}),
            r#"spec.clusterIPs: Invalid value: ["10.9.0.3","10.9.0.4"]: may specify no more than one IP for each IP family"#,
        ),
        (
            json!({"clusterIP": "fd09::3", "ipFamilies": ["IPv4"]}),
            r#"spec.clusterIPs[0]: Invalid value: "fd09::3": expected an IPv4 value as indicated by `ipFamilies[0]`"#,
        ),
        (
            json!({"ipFamilyPolicy": "RequireDualStack", "clusterIP": "10.9.0.3", "clusterIPs": ["10.9.0.3", "fd08::3"]}),
            r#"spec.clusterIPs: Invalid value: ["10.9.0.3","fd08::3"]: failed to allocate IP fd08::3: the provided network does not match the current range"#,
        ),
    ] {
        let allocators = dual();
        let refused = create(&allocators, service("b", spec.clone())).await;
        assert_eq!(
            refused.unwrap_err(),
            format!("Service \"b\" is invalid: {expected}"),
            "{spec}"
        );
        assert_eq!(taken(&allocators), (0, 0), "{spec}");
    }
}

#[tokio::test]
async fn a_service_gets_and_loses_its_second_family() {
    let allocators = dual();
    let one = create(&allocators, service("a", json!({}))).await.unwrap();
    let change = async |old: &Value, change: Value| {
        let mut new = old.clone();
        for (field, value) in change.as_object().unwrap() {
            new["spec"][field] = value.clone();
        }
        update(&allocators, old, new).await
    };
    let both = change(&one, json!({"ipFamilyPolicy": "PreferDualStack"}))
        .await
        .unwrap();
    assert_eq!(shown(&both), "IPv4 IPv6 | IPv4 IPv6 | PreferDualStack");
    assert_eq!(both["spec"]["clusterIP"], one["spec"]["clusterIP"]);
    assert_eq!(taken(&allocators).0, 2);
    for (fewer, expected) in [
        (
            json!({"clusterIPs": [both["spec"]["clusterIP"]]}),
            "must be 'SingleStack' to release the secondary cluster IP",
        ),
        (
            json!({"ipFamilies": ["IPv4"]}),
            "must be 'SingleStack' to release the secondary IP family",
        ),
    ] {
        let refused = change(&both, fewer).await.unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
    let single = change(&both, json!({"ipFamilyPolicy": "SingleStack"}))
        .await
        .unwrap();
    assert_eq!(shown(&single), "IPv4 | IPv4 | SingleStack");
    assert_eq!(taken(&allocators).0, 1);
    let chosen = json!({
        "ipFamilyPolicy": "RequireDualStack",
        "clusterIPs": [one["spec"]["clusterIP"], "fd09::5"],
    });
    let chosen = change(&single, chosen).await.unwrap();
    assert_eq!(chosen["spec"]["clusterIPs"][1], "fd09::5");
    // Whoever says nothing of it keeps it.
    let again = change(&chosen, json!({"ipFamilyPolicy": null, "clusterIPs": null}))
        .await
        .unwrap();
    assert_eq!(shown(&again), "IPv4 IPv6 | IPv4 IPv6 | RequireDualStack");
    assert_eq!(taken(&allocators).0, 2);
    allocators.after_delete(&again).await;
    assert_eq!(taken(&allocators).0, 0);
}

#[tokio::test]
async fn what_a_service_prefers_is_not_changed_with_the_cluster() {
    let before = small(&Fake::new());
    let prefers = service("a", json!({"ipFamilyPolicy": "PreferDualStack"}));
    let one = create(&before, prefers).await.unwrap();
    assert_eq!(shown(&one), "IPv4 | IPv4 | PreferDualStack");
    let mut labelled = one.clone();
    labelled["metadata"]["labels"] = json!({"x": "y"});
    let kept = update(&dual(), &one, labelled).await.unwrap();
    assert_eq!(shown(&kept), shown(&one));
}

#[tokio::test]
async fn a_service_that_cannot_have_both_has_none() {
    let allocators = dual();
    for at in 0..6 {
        create(&allocators, service(&format!("v4-{at}"), json!({})))
            .await
            .unwrap();
    }
    let both = service(
        "both",
        json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"]}),
    );
    let refused = create(&allocators, both).await.unwrap_err();
    assert!(
        refused.contains("for Service \"both\": range is full"),
        "{refused}"
    );
    assert_eq!(taken(&allocators).0, 6);
}
