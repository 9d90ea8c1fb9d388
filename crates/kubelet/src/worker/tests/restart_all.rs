use super::*;

/// `s` is a sidecar, `a` has all started anew when it ends with 42, `b` just runs.
fn spec() -> Value {
    let rule = json!({
        "action": "RestartAllContainers",
        "exitCodes": { "operator": "In", "values": [42] },
    });
    json!({
        "restartPolicy": "Never",
        "initContainers": [{ "name": "s", "image": "img:1", "restartPolicy": "Always" }],
        "containers": [
            { "name": "a", "image": "img:1", "restartPolicy": "Never", "restartPolicyRules": [rule] },
            { "name": "b", "image": "img:1" },
        ],
    })
}

/// Names and states of the containers, with their restarts.
fn restarts(pod: &Value) -> Vec<(String, u64)> {
    let lists = ["initContainerStatuses", "containerStatuses"];
    let lists = lists
        .iter()
        .filter_map(|list| pod["status"][list].as_array());
    let named = |c: &Value| {
        let name = c["name"].as_str().unwrap().to_owned();
        (name, c["restartCount"].as_u64().unwrap())
    };
    lists.flatten().map(named).collect()
}

fn all(count: u64) -> Vec<(String, u64)> {
    ["s", "a", "b"].map(|name| (name.to_owned(), count)).into()
}

fn restarting(pod: &Value) -> Option<&str> {
    let conditions = pod["status"]["conditions"].as_array()?;
    let kind = |c: &&Value| c["type"] == "AllContainersRestarting";
    conditions.iter().find(kind)?["status"].as_str()
}

async fn until_restarted(bench: &Bench, count: u64) -> Value {
    let done = |pod: Option<&Value>| {
        pod.is_some_and(|pod| {
            let mains = pod["status"]["containerStatuses"].as_array().unwrap();
            restarts(pod) == all(count) && mains.iter().all(|c| c["ready"] == true)
        })
    };
    bench.api.until("all are started anew", done).await.unwrap()
}

#[tokio::test]
async fn all_containers_start_anew_in_their_sandbox() {
    let bench = Bench::new(spec()).await;
    let pod = bench.until_ready().await;
    assert_eq!(restarting(&pod), Some("False"));
    let before = bench.log().len();
    bench.fake.exit("a", 42);
    let pod = until_restarted(&bench, 1).await;
    let log = bench.log()[before..].to_vec();
    let at = |operation: &str| log.iter().position(|o| o == operation).unwrap();
    // Those that run are ended, who asked for it is removed last, the sidecar comes first.
    assert!(at("stop b-0 2") < at("remove b-0") && at("stop s-0 2") < at("remove s-0"));
    assert!(at("remove s-0") < at("remove a-0") && at("remove b-0") < at("remove a-0"));
    assert!(at("remove a-0") < at("create s-1") && at("start s-1") < at("create a-1"));
    assert!(log.iter().all(|operation| !operation.contains("sandbox")));
    assert_eq!(restarting(&pod), Some("False"));
    let ended = &pod["status"]["containerStatuses"][1]["lastState"]["terminated"];
    assert_eq!(ended["reason"], "RestartingAllContainers");
    assert_eq!(
        (&ended["exitCode"], &pod["status"]["phase"]),
        (&json!(137), &json!("Running"))
    );
    // There is no end to it, nor a delay.
    bench.fake.exit("a", 42);
    until_restarted(&bench, 2).await;
}

#[tokio::test]
async fn a_new_kubelet_goes_on_with_the_restart() {
    let mut bench = Bench::new(spec()).await;
    bench.until_ready().await;
    // As it is left by one that ended when some were removed, and had told so.
    bench.token.cancel();
    (&mut bench.worker).await.unwrap();
    bench.fake.state(|state| state.containers.remove("b-0"));
    {
        let mut held = bench.api.pod.lock().unwrap();
        let status = &mut held.as_mut().unwrap()["status"];
        let mut conditions = status["conditions"].as_array_mut().unwrap().iter_mut();
        let mine = conditions.find(|c| c["type"] == "AllContainersRestarting");
        mine.unwrap()["status"] = json!("True");
    }
    bench.resume().await;
    let pod = until_restarted(&bench, 1).await;
    assert_eq!(restarting(&pod), Some("False"));
    let before = bench.log();
    bench.restart().await;
    bench.until_ready().await;
    assert_eq!(bench.log(), before, "it is over");
}
