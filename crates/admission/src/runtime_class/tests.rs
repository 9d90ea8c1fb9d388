use expect_test::expect;
use knarr_auth::testing::{Fake, kind, user};
use serde_json::json;

use super::*;
use crate::testing::Write;

fn plugin(class: Value) -> RuntimeClass {
    let fake = Fake::new();
    let mut object = json!({"metadata": {"name": "c"}, "handler": "runc"});
    if let (Some(object), Value::Object(class)) = (object.as_object_mut(), class) {
        object.extend(class);
    }
    fake.put(GROUP, RESOURCE, object);
    RuntimeClass::new(fake)
}

async fn admitted(plugin: &RuntimeClass, spec: Value) -> Result<Value, String> {
    let pod = json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec});
    let write = Write::create(kind("", "pods", "Pod"), user("ann", &[]), pod);
    let pod = write.run(plugin).await.map_err(|status| status.message)?;
    Ok(pod["spec"].clone())
}

#[tokio::test]
async fn pods_get_what_their_class_has() {
    let exists = |key: &str| json!({"key": key, "operator": "Exists"});
    let plugin = plugin(
        json!({"overhead": {"podFixed": {"cpu": "10m"}}, "scheduling": {
        "nodeSelector": {"kind": "big"}, "tolerations": [exists("a"), exists("b")]}}),
    );
    let plain = admitted(&plugin, json!({"runtimeClassName": "c"})).await;
    let expected = json!({"runtimeClassName": "c", "overhead": {"cpu": "10m"}, "nodeSelector": {"kind": "big"},
        "tolerations": [exists("a"), exists("b")]});
    assert_eq!(plain, Ok(expected));
    let narrow = json!({"key": "a", "operator": "Equal", "value": "1"});
    let same = json!({"runtimeClassName": "c", "overhead": {"cpu": "0.01"}, "nodeSelector": {"kind": "big", "x": "y"},
        "tolerations": [narrow, exists("z")]});
    let spec = admitted(&plugin, same).await.expect("admitted");
    assert_eq!(
        spec["tolerations"],
        json!([exists("z"), exists("a"), exists("b")])
    );
    assert_eq!(spec["nodeSelector"], json!({"kind": "big", "x": "y"}));
    let mut told = Vec::new();
    for spec in [
        json!({"runtimeClassName": "nope"}),
        json!({"runtimeClassName": "c", "overhead": {"cpu": "1"}}),
        json!({"runtimeClassName": "c", "nodeSelector": {"kind": "small"}}),
        json!({"overhead": {"cpu": "1"}}),
    ] {
        told.push(admitted(&plugin, spec).await.expect_err("refused"));
    }
    expect![[r#"
        pods "p" is forbidden: pod rejected: RuntimeClass "nope" not found
        pods "p" is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead
        pods "p" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[kind] = big; pod.spec.nodeSelector[kind] = small
        pods "p" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"#]].assert_eq(&told.join("\n"));
}

#[tokio::test]
async fn a_plain_class_changes_nothing() {
    let plugin = plugin(json!({}));
    let spec = json!({"runtimeClassName": "c"});
    assert_eq!(admitted(&plugin, spec.clone()).await, Ok(spec));
    assert_eq!(admitted(&plugin, json!({})).await, Ok(json!({})));
}
