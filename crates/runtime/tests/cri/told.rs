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
