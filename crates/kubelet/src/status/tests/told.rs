use super::*;

#[test]
fn ephemeral_containers_are_told_and_count_for_nothing() {
    let spec = json!({
        "containers": [{ "name": "a", "image": "img" }],
        "ephemeralContainers": [{ "name": "debugger", "image": "box" }, { "name": "late", "image": "box" }],
    });
    let containers = |state, code| {
        vec![
            container("a", 0, ContainerRunning, 101, 0),
            container("debugger", 0, state, 102, code),
        ]
    };
    for (state, code, field) in [
        (ContainerRunning, 0, "running"),
        (ContainerExited, 3, "terminated"),
    ] {
        let status = Case::new(spec.clone(), containers(state, code)).make();
        let all = status["ephemeralContainerStatuses"].as_array().unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0]["name"], "debugger");
        assert!(all[0]["state"][field].is_object(), "{}", all[0]);
        assert_eq!(all[0]["ready"], false);
        assert!(all[0].get("started").is_none());
        assert_eq!(all[1]["state"]["waiting"]["reason"], "ContainerCreating");
        assert_eq!(status["phase"], "Running");
        assert_eq!(condition(&status, "Ready")["status"], "True");
    }
    // Of one that the runtime has forgotten the last that was told stays.
    let mut case = Case::new(spec.clone(), containers(ContainerExited, 3));
    case.base = object(case.make());
    case.view.containers.pop();
    let status = case.make();
    let debugger = &status["ephemeralContainerStatuses"][0];
    assert_eq!(debugger["state"]["terminated"]["exitCode"], 3);
    assert!(status["containerStatuses"].as_array().unwrap().len() == 1);
}

#[test]
fn mounts_and_the_user_are_told() {
    let spec = json!({ "containers": [{ "name": "a", "volumeMounts": [
        { "name": "v", "mountPath": "/v" },
        { "name": "r", "mountPath": "/r", "readOnly": true },
        { "name": "r", "mountPath": "/all", "readOnly": true, "recursiveReadOnly": "IfPossible" },
    ] }] });
    let mut running = container("a", 0, ContainerRunning, 101, 0);
    let linux = v1::LinuxContainerUser {
        uid: 7,
        gid: 8,
        supplemental_groups: vec![8, 9],
    };
    running.user = Some(v1::ContainerUser { linux: Some(linux) });
    let status = Case::new(spec.clone(), vec![running]).make();
    let status = &status["containerStatuses"][0];
    let wanted = json!([
        { "name": "v", "mountPath": "/v" },
        { "name": "r", "mountPath": "/r", "readOnly": true, "recursiveReadOnly": "Disabled" },
        { "name": "r", "mountPath": "/all", "readOnly": true, "recursiveReadOnly": "Enabled" },
    ]);
    assert_eq!(status["volumeMounts"], wanted);
    assert_eq!(
        status["user"],
        json!({ "linux": { "uid": 7, "gid": 8, "supplementalGroups": [8, 9] } })
    );
    let waiting = Case::new(spec, vec![]).make();
    assert_eq!(waiting["containerStatuses"][0]["volumeMounts"], wanted);
}

#[test]
fn lists_are_in_the_order_of_upstreams() {
    let spec = json!({ "containers": [{ "name": "b" }, { "name": "a" }] });
    let mut case = Case::new(spec, Vec::new());
    case.base.conditions = object(
        json!([{ "type": "PodScheduled", "status": "True" }, { "type": "x/y", "status": "True" }]),
    );
    let first = case.make();
    let names = |list: &Value, key: &str| -> Vec<String> {
        let items = list.as_array().unwrap().iter();
        items.map(|i| object(i[key].clone())).collect()
    };
    assert_eq!(names(&first["containerStatuses"], "name"), ["a", "b"]);
    let wanted = "x/y PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled";
    assert_eq!(names(&first["conditions"], "type").join(" "), wanted);
    case.base.conditions = object(first["conditions"].clone());
    case.base.conditions.as_mut().unwrap().rotate_left(1);
    let told = names(&case.make()["conditions"], "type").join(" ");
    assert!(
        told.ends_with("PodScheduled x/y"),
        "another brought it there: {told}"
    );
}

#[test]
fn an_image_is_told_by_the_runtimes_name_of_it() {
    for (name, wanted) in [
        (
            "docker.io/library/img:latest",
            "docker.io/library/img:latest",
        ),
        // It has no tag there.
        ("sha256:abc", "sha256:abc"),
        ("", "img"),
    ] {
        let mut running = container("a", 0, ContainerRunning, 101, 0);
        running.image = Some(v1::ImageSpec {
            image: name.to_owned(),
            user_specified_image: "img".to_owned(),
            ..Default::default()
        });
        let status = Case::new(one(), vec![running]).make();
        assert_eq!(status["containerStatuses"][0]["image"], wanted);
    }
}

#[test]
fn what_never_ran_started_in_1970() {
    let mut failed = container("a", 0, ContainerExited, 101, 128);
    failed.started_at = 0;
    let status = Case::new(one(), vec![failed]).make();
    let ended = &status["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(ended["startedAt"], "1970-01-01T00:00:00Z");
    assert_eq!(ended["finishedAt"], "1970-01-01T00:01:42Z");
}
