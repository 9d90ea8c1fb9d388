//! What is told of a pod while its volumes are set up.

use super::*;

/// A pod with a directory of the node's as its volume.
fn spec(directory: &str, image: &str) -> Value {
    json!({
        "volumes": [{ "name": "v", "hostPath": { "path": directory, "type": "Directory" } }],
        "containers": [{ "name": "a", "image": image }],
    })
}

/// Whether containers can start, and the pod's address.
fn told(pod: &Value) -> [Value; 2] {
    let status = &pod["status"];
    let conditions = status["conditions"].as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "PodReadyToStartContainers");
    let ready = ready.map_or(Value::Null, |condition| condition["status"].clone());
    [ready, status["podIP"].clone()]
}

#[tokio::test]
async fn a_pod_is_ready_to_start_containers_once_its_volumes_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let late = dir.path().join("late");
    let mut bench = Bench::new(spec(late.to_str().unwrap(), "img:1")).await;
    bench.fake.until_asked("run sandbox-0").await;
    bench.api.until_told("FailedMount").await;
    let history = bench.api.history.lock().unwrap().clone();
    let waits = [json!("False"), Value::Null];
    for pod in &history {
        assert_eq!(told(pod), waits, "{pod:#}");
    }
    std::fs::create_dir(&late).unwrap();
    let pod = bench.until_ready().await;
    assert_eq!(told(&pod), [json!("True"), json!("10.42.0.9")]);
    bench.delete(0).await;
}

#[tokio::test]
async fn a_pod_whose_volumes_are_there_is_ready_while_it_waits_for_an_image() {
    let mut bench = Bench::new(spec("/", "missing:slow")).await;
    let ready = |pod: Option<&Value>| pod.is_some_and(|pod| told(pod)[0] == "True");
    let pod = bench.api.until("it is ready", ready).await.unwrap();
    assert_eq!(told(&pod)[1], "10.42.0.9");
    assert!(!bench.log().contains(&"create a-0".to_owned()));
    bench.delete(0).await;
}
