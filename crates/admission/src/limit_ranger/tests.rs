use expect_test::expect;
use knarr_auth::{
    UserInfo,
    testing::{Fake, kind, user},
};

use super::*;
use crate::testing::Write;

fn ann() -> UserInfo {
    user("ann", &[])
}

fn plugin(limits: Value) -> LimitRanger {
    let fake = Fake::new();
    let range = json!({"metadata": {"name": "l", "namespace": "ns"}, "spec": {"limits": limits}});
    fake.put("", "limitranges", range);
    LimitRanger::new(fake)
}

fn pod(spec: Value) -> Write {
    let pod = json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec});
    Write {
        namespace: "ns",
        ..Write::create(kind("", "pods", "Pod"), ann(), pod)
    }
}

fn container(requests: Value, limits: Value) -> Value {
    json!({"name": "c", "resources": {"requests": requests, "limits": limits}})
}

#[tokio::test]
async fn containers_are_completed() {
    let plugin = plugin(
        json!([{"type": "Container", "default": {"cpu": "2", "memory": "1Gi"}, "defaultRequest": {"cpu": "1"}}]),
    );
    let spec = json!({
        "containers": [{"name": "a"}, {"name": "b", "resources": {"limits": {"cpu": "5"}, "requests": {"cpu": "3"}}}],
        "initContainers": [{"name": "i"}],
    });
    let done = pod(spec).run(&plugin).await.expect("admitted");
    let both = json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}});
    assert_eq!(done["spec"]["containers"][0]["resources"], both);
    assert_eq!(done["spec"]["initContainers"][0]["resources"], both);
    assert_eq!(
        done["spec"]["containers"][1]["resources"],
        json!({"limits": {"cpu": "5", "memory": "1Gi"}, "requests": {"cpu": "3"}})
    );
    assert_eq!(
        done["metadata"]["annotations"][ANNOTATION],
        "LimitRanger plugin set: cpu request for container a; cpu, memory limit for container a; memory limit for \
         container b; cpu request for init container i; cpu, memory limit for init container i"
    );
    let elsewhere = Write {
        namespace: "other",
        ..pod(json!({"containers": [{"name": "a"}]}))
    };
    let done = elsewhere.run(&plugin).await.expect("admitted");
    assert_eq!(done["spec"]["containers"][0], json!({"name": "a"}));
}

#[tokio::test]
async fn amounts_stay_within_the_limits() {
    let plugin = plugin(json!([
        {"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "4"}},
        {"type": "Pod", "max": {"memory": "1Gi"}},
    ]));
    let mut told = Vec::new();
    for containers in [
        json!([container(
            json!({"cpu": "250m", "memory": "1Gi"}),
            json!({"cpu": "1", "memory": "1Gi"})
        )]),
        json!([container(
            json!({"cpu": "50m"}),
            json!({"cpu": "200m", "memory": "1Gi"})
        )]),
        json!([container(
            json!({"cpu": "500m"}),
            json!({"cpu": "2", "memory": "1Gi"})
        )]),
        json!([container(
            json!({"cpu": "200m"}),
            json!({"cpu": "1", "memory": "1Gi"})
        )]),
        json!([
            container(json!({"cpu": "1"}), json!({"cpu": "1", "memory": "600Mi"})),
            container(json!({"cpu": "1"}), json!({"cpu": "1", "memory": "600Mi"}))
        ]),
        json!([container(json!({}), json!({}))]),
    ] {
        let result = pod(json!({"containers": containers})).run(&plugin).await;
        told.push(
            result
                .err()
                .map_or("admitted".to_owned(), |status| status.message),
        );
    }
    expect![[r#"
        admitted
        pods "p" is forbidden: minimum cpu usage per Container is 100m, but request is 50m
        pods "p" is forbidden: maximum cpu usage per Container is 1, but limit is 2
        pods "p" is forbidden: cpu max limit to request ratio per Container is 4, but provided ratio is 5.000000
        pods "p" is forbidden: maximum memory usage per Pod is 1Gi, but limit is 1200Mi
        pods "p" is forbidden: [minimum cpu usage per Container is 100m.  No request is specified, maximum cpu usage per Container is 1.  No limit is specified, cpu max limit to request ratio per Container is 4, but no request is specified or request is 0, maximum memory usage per Pod is 1Gi.  No limit is specified]"#]].assert_eq(&told.join("\n"));
}

#[tokio::test]
async fn a_pod_is_resized_within_the_limits() {
    let plugin = plugin(json!([{"type": "Container", "max": {"cpu": "1"}}]));
    let resize = |cpu: &str, subresource| {
        let amounts = json!({"cpu": cpu});
        let write = pod(json!({"containers": [container(amounts.clone(), amounts)]}));
        Write {
            operation: Operation::Update,
            old: write.object.clone(),
            subresource,
            ..write
        }
    };
    assert!(resize("1", "resize").run(&plugin).await.is_ok());
    let refused = resize("2", "resize").run(&plugin).await.unwrap_err();
    assert_eq!(
        refused.message,
        "pods \"p\" is forbidden: maximum cpu usage per Container is 1, but limit is 2"
    );
    // Other changes of a pod do not touch its resources.
    assert!(resize("2", "").run(&plugin).await.is_ok());
}

#[test]
fn claims() {
    let range = json!({"spec": {"limits": [{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}]}});
    let errors = ["1", "1Gi", "3Gi"].map(|size| {
        let claim = json!({"spec": {"resources": {"requests": {"storage": size}}}});
        aggregate(claim_errors(&claim, &range)).unwrap_or_else(|| "admitted".to_owned())
    });
    let none = aggregate(claim_errors(&json!({}), &range)).unwrap_or_default();
    expect![[r#"
        minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1
        admitted
        maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi
        [minimum storage usage per PersistentVolumeClaim is 1Gi.  No request is specified, maximum storage usage per PersistentVolumeClaim is 2Gi.  No request is specified]"#]].assert_eq(&[errors.join("\n"), none].join("\n"));
}
