use k8s_openapi::api::core::v1::Pod;
use knarr_client::fake;
use serde_json::json;

use super::*;
use crate::fixtures::pod;

#[tokio::test]
async fn a_delete_is_of_the_object_that_was_decided_about() {
    let (client, mut server) = fake::client();
    let api: Api<Pod> = Api::namespaced(client, "x");
    let web = pod("web", "n", json!({}));
    for (code, reason, ends_well) in [
        (200, "", true),
        (404, "NotFound", true),
        (409, "Conflict", false),
        (500, "InternalError", false),
    ] {
        let deleting = delete(&api, &web.metadata, DeleteParams::default().grace_period(0));
        let serving = async {
            let request = server.next().await;
            assert_eq!(request.method, "DELETE");
            assert_eq!(request.body["preconditions"]["uid"], "uid-web");
            assert_eq!(request.body["gracePeriodSeconds"], 0);
            let status = json!({"kind": "Status", "code": code, "reason": reason, "message": "",
                "status": if code < 300 { "Success" } else { "Failure" }});
            request.answer(code, &status);
        };
        let (deleted, ()) = tokio::join!(deleting, serving);
        assert_eq!(deleted.is_ok(), ends_well, "{code}");
    }
    let unknown = pod("web", "n", json!({"metadata": {"uid": ""}}));
    let refused = delete(&api, &unknown.metadata, DeleteParams::default()).await;
    assert!(refused.is_err() && server.is_idle(), "not by name alone");
}
