use serde_json::{Value, json};

use super::*;

fn pod(spec: Value, status: Value) -> Pod {
    let tree = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec, "status": status});
    serde_json::from_value(tree).expect("a pod")
}

fn claim(tree: Value) -> ResourceClaim {
    let mut whole = json!({"metadata": {"name": "c"}, "spec": {}});
    knarr_meta::patch::merge(&mut whole, &tree).expect("a patch");
    serde_json::from_value(whole).expect("a claim")
}

fn consumer_of(uid: &str) -> Value {
    json!({"resource": "pods", "name": uid, "uid": uid})
}

#[test]
fn claims_are_named() {
    let pod = pod(
        json!({"containers": [], "resourceClaims": [
            {"name": "own", "resourceClaimName": "x"},
            {"name": "made", "resourceClaimTemplateName": "t"},
            {"name": "new", "resourceClaimTemplateName": "t"},
        ]}),
        json!({"resourceClaimStatuses": [{"name": "made", "resourceClaimName": "p-made-1"}]}),
    );
    let names: Vec<_> = claims(&pod).map(|claim| claim_name(&pod, claim)).collect();
    assert_eq!(
        names,
        [Some("x".to_owned()), Some("p-made-1".to_owned()), None]
    );
    let status = statuses(&pod, &[("new".to_owned(), "p-new-2".to_owned())]);
    assert_eq!(
        status["status"]["resourceClaimStatuses"],
        json!([
            {"name": "made", "resourceClaimName": "p-made-1"},
            {"name": "new", "resourceClaimName": "p-new-2"},
        ])
    );
    assert_eq!(base("p", "gpu"), "p-gpu-");
    let long = base(&"p".repeat(60), &"g".repeat(20));
    assert_eq!(long.len(), 55);
    let template =
        json!({"metadata": {}, "spec": {"metadata": {"labels": {"a": "b"}}, "spec": {}}});
    let template: ResourceClaimTemplate = serde_json::from_value(template).expect("a template");
    let named = claims(&pod).last().expect("a claim");
    let made = claim_of(&pod, named, &template);
    assert!(is_for(&made, named));
    let owner = owners::controller_of(&made.metadata).expect("an owner");
    assert_eq!((&*owner.uid, owner.block_owner_deletion), ("u", None));
}

#[test]
fn claims_are_given_back() {
    let held = |status: Value, deleted: bool| {
        let mut tree = json!({"metadata": {"finalizers": [FINALIZER]}, "status": status});
        if deleted {
            tree["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        claim(tree)
    };
    let used = json!({"allocation": {}, "reservedFor": [consumer_of("a"), consumer_of("b")]});
    let all = |claim: &ResourceClaim| reserved(claim).to_vec();
    let claimed = held(used.clone(), false);
    // All use it, one does, none does.
    assert_eq!(release(&claimed, &all(&claimed)), None);
    let one = &all(&claimed)[..1];
    assert_eq!(
        release(&claimed, one),
        Some(Release {
            status: Some(json!({"reservedFor": [consumer_of("a")]})),
            finalizer: false,
        })
    );
    assert_eq!(
        release(&claimed, &[]),
        Some(Release {
            status: Some(json!({"reservedFor": null, "allocation": null})),
            finalizer: true,
        })
    );
    // Allocated and never used: until it is deleted.
    let unused = json!({"allocation": {}});
    assert_eq!(release(&held(unused.clone(), false), &[]), None);
    assert_eq!(
        release(&held(unused, true), &[]),
        Some(Release {
            status: Some(json!({"allocation": null})),
            finalizer: true,
        })
    );
    assert_eq!(release(&claim(json!({})), &[]), None);
}

#[test]
fn bound_pods_are_reserved_for() {
    let pod = pod(json!({"containers": [], "nodeName": "n"}), json!({}));
    let needs = |status: Value| needs_reservation(&pod, &claim(json!({"status": status})));
    assert!(needs(json!({"allocation": {}})));
    assert!(!needs(json!({})));
    assert!(!needs(
        json!({"allocation": {}, "reservedFor": [consumer_of("u")]})
    ));
    assert!(needs(
        json!({"allocation": {}, "reservedFor": [consumer_of("v")]})
    ));
}
