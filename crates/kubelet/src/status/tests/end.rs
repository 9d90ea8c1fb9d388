//! What is told of pods that are not let in, and of containers that never ran.

use super::*;

#[test]
fn a_rejected_pod_has_failed() {
    let mut case = Case::new(one(), vec![]);
    case.view = View::default();
    case.verdict = Some(Verdict {
        reason: "OutOfcpu".into(),
        message: "m".into(),
        disruption: false,
        rejected: true,
    });
    case.base = object(json!({
        "hostIP": "10.0.0.1",
        "conditions": [{ "type": "PodScheduled", "status": "True" }, { "type": "example.com/x", "status": "True" }],
    }));
    let status = case.make();
    assert_eq!(
        (&status["phase"], &status["reason"], &status["message"]),
        (&json!("Failed"), &json!("OutOfcpu"), &json!("m"))
    );
    let told: Vec<&str> = status
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    // Nothing of what is told of a pod that was let in.
    for left_out in ["containerStatuses", "hostIP", "hostIPs", "podIP"] {
        assert!(!told.contains(&left_out), "{told:?}");
    }
    let conditions = json!([{ "type": "example.com/x", "status": "True" }]);
    assert_eq!(status["conditions"][0]["type"], conditions[0]["type"]);
    assert_eq!(status["conditions"].as_array().unwrap().len(), 1);
}

#[test]
fn what_never_started_ends_with_its_pod() {
    let unknown = "ContainerStatusUnknown";
    let i = json!({ "name": "i" });
    let s = json!({ "name": "i", "restartPolicy": "Always" });
    let told = |state: Value| json!({ "name": "i", "image": "", "imageID": "", "ready": false, "restartCount": 0, "started": true, "state": state });
    for (init, base, main_ends, init_ends) in [
        (Value::Null, json!({}), true, false),
        (json!([i]), json!({}), false, true),
        (
            json!([i]),
            json!({ "initContainerStatuses": [told(json!({ "terminated": { "exitCode": 0 } }))] }),
            true,
            false,
        ),
        (
            json!([s]),
            json!({ "initContainerStatuses": [told(json!({ "running": {} }))] }),
            true,
            true,
        ),
    ] {
        let mut spec = one();
        spec["initContainers"] = init;
        let mut case = Case::new(spec, vec![]);
        case.view = View::default();
        case.base = object(base.clone());
        (case.over, case.stopped) = (true, true);
        let status = case.make();
        let reason = |kind: &str| status[kind][0]["state"]["terminated"]["reason"].clone();
        assert_eq!(reason("containerStatuses") == unknown, main_ends, "{base}");
        assert_eq!(
            reason("initContainerStatuses") == unknown,
            init_ends,
            "{base}"
        );
        assert_eq!(status["phase"], "Failed");
    }
}
