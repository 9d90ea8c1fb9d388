//! What the runtime tells of itself and of what runs.

use knarr_cri::v1::*;
use tonic::Code;

use crate::common::{TestRuntime, able, shell};

/// What a RuntimeClass may name is in the node's status, and nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn handlers_are_those_that_are_told() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let status = test.runtime.status(StatusRequest { verbose: false }).await;
    let told = status.unwrap().into_inner().runtime_handlers;
    let names: Vec<&str> = told.iter().map(|handler| handler.name.as_str()).collect();
    assert_eq!(names, ["", "knarr", "runc"]);
    assert!(told.iter().all(|one| one.features == told[0].features));
    for name in names {
        let config = Some(test.pod(&format!("by{name}")));
        let request = RunPodSandboxRequest {
            config,
            runtime_handler: name.to_owned(),
        };
        let made = test.runtime.run_pod_sandbox(request).await.unwrap();
        test.remove_sandbox(&made.into_inner().pod_sandbox_id).await;
    }
    let request = RunPodSandboxRequest {
        config: Some(test.pod("other")),
        runtime_handler: "kata".to_owned(),
    };
    let refused = test.runtime.run_pod_sandbox(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused
            .message()
            .contains("no runtime for \"kata\" is configured")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_of_pods_and_of_their_containers() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("measured");
    let sandbox = test.sandbox(pod).await;
    let command = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";
    let container = test.create(&sandbox, shell("main", command)).await;
    test.start_container(&container).await.unwrap();
    let described = test
        .runtime
        .list_metric_descriptors(ListMetricDescriptorsRequest {})
        .await
        .unwrap()
        .into_inner()
        .descriptors;
    let listed = test
        .runtime
        .list_pod_sandbox_metrics(ListPodSandboxMetricsRequest {})
        .await
        .unwrap()
        .into_inner()
        .pod_metrics;
    let [of_pod] = &listed[..] else {
        panic!("{listed:?}")
    };
    let [of_container] = &of_pod.container_metrics[..] else {
        panic!("{of_pod:?}")
    };
    assert_eq!(of_pod.pod_sandbox_id, sandbox);
    assert_eq!(of_container.container_id, container);
    for metric in of_pod.metrics.iter().chain(&of_container.metrics) {
        let mut known = described.iter().filter(|one| one.name == metric.name);
        let keys = &known.next().expect("a descriptor").label_keys;
        assert_eq!(keys.len(), metric.label_values.len(), "{metric:?}");
        let at = keys.iter().position(|key| key == "pod").unwrap();
        assert_eq!(metric.label_values[at], "measured");
        assert!(metric.timestamp > 0);
    }
    let memory = "container_memory_working_set_bytes";
    for metrics in [&of_pod.metrics, &of_container.metrics] {
        let found = metrics.iter().find(|one| one.name == memory).unwrap();
        assert!(found.value.unwrap().value > 0);
    }
    test.remove_sandbox(&sandbox).await;
}
