use serde_json::json;

use super::*;
use crate::testing;

/// Two instances that have ended, and a status whose last state names one of them, or none.
fn previous(last: Option<&str>) -> Option<String> {
    let mut pod = testing::pod(json!({ "containers": [{ "name": "a" }] }));
    let last = last.map(
        |id| json!({ "terminated": { "exitCode": 1, "containerID": format!("knarr://{id}") } }),
    );
    let status = json!({ "name": "a", "ready": false, "restartCount": 1, "image": "", "imageID": "", "lastState": last.unwrap_or_default() });
    pod.status = Some(testing::object(json!({ "containerStatuses": [status] })));
    let ended =
        |attempt, at| testing::container("a", attempt, ContainerState::ContainerExited, at, 1);
    let view = View {
        containers: vec![ended(1, 200), ended(0, 100)],
        ..View::default()
    };
    previous_instance(&pod, &view, "a", "knarr").map(|c| c.id.clone())
}

#[test]
fn the_previous_instance_is_that_of_the_last_state() {
    // Held off: the newest has ended and is the last state.
    assert_eq!(previous(Some("a-1")).as_deref(), Some("a-1"));
    assert_eq!(previous(Some("a-0")).as_deref(), Some("a-0"));
    // Not told yet, or gone from the runtime.
    assert_eq!(previous(None).as_deref(), Some("a-0"));
    assert_eq!(previous(Some("a-7")).as_deref(), Some("a-0"));
}

#[test]
fn a_container_that_is_started_anew_has_the_log_before() {
    let instance = |attempt, state| testing::container("a", attempt, state, 100, 1);
    let newest = |containers: Vec<ContainerStatus>| {
        let view = View {
            containers,
            ..View::default()
        };
        newest_instance(&view, "a").map(|found| found.id.clone())
    };
    let created = || instance(1, ContainerState::ContainerCreated);
    let ended = instance(0, ContainerState::ContainerExited);
    assert_eq!(newest(vec![created(), ended]).as_deref(), Some("a-0"));
    assert_eq!(newest(vec![created()]), None);
}
