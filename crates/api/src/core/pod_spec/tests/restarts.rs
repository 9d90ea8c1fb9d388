use super::*;
use crate::{schema::enums::add_empty_values, testing::lines};

#[test]
fn policies_of_containers_and_their_rules() {
    let rule = |action: &str| json!([{"action": action, "exitCodes": {"values": [1]}}]);
    let list = |policy: Value, action: &str| json!([{"name": "c", "image": "i:1", "restartPolicy": policy, "restartPolicyRules": rule(action)}]);
    check(
        of(json!({"containers": list(json!(""), "")})),
        expect![[r#"
            spec.containers[0].restartPolicy: Unsupported value: "": supported values: "Always", "Never", "OnFailure"
            spec.containers[0].restartPolicyRules[0].action: Unsupported value: "": supported values: "Restart", "RestartAllContainers"
            spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: "": supported values: "In", "NotIn""#]],
    );
    check(
        of(json!({"containers": list(Value::Null, "Restart")})),
        expect![[r#"
            spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used
            spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: "": supported values: "In", "NotIn""#]],
    );
    let mut init = list(Value::Null, "");
    init[0]["name"] = json!("i");
    check(
        of(json!({"initContainers": init})),
        expect![
            "spec.initContainers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used"
        ],
    );
}

#[test]
fn propagation_is_told_of_the_list() {
    let mounts = json!([{"name": "v", "mountPath": "/v", "mountPropagation": ""}]);
    let pod = of(json!({
        "containers": [{"name": "c", "image": "i:1", "volumeMounts": mounts}],
        "volumes": [{"name": "v", "emptyDir": {}}],
    }));
    let mut errors = pod::KIND
        .strategy
        .validate_create(&created(&pod::KIND, pod.clone()));
    add_empty_values("io.k8s.api.core.v1.Pod", &pod, None, &mut errors);
    expect![[r#"spec.containers[0].volumeMounts.mountPropagation: Unsupported value: "": supported values: "Bidirectional", "HostToContainer", "None""#]]
        .assert_eq(&lines(&errors));
}
