use knarr_client::fake;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::object;

fn controller(client: kube::Client) -> StatefulSetController {
    StatefulSetController {
        recorder: Recorder::new(client.clone(), "statefulset-controller"),
        client,
        sets: Informer::new(),
        pods: Informer::new(),
        claims: Informer::new(),
        revisions: Informer::new(),
        written: Written::default(),
        queue: WorkQueue::new(),
    }
}

/// What a server that takes no claims answers.
fn refused() -> Value {
    json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden",
        "message": "exceeded quota"})
}

/// Does what creates a pod, against a server that takes claims or does not. How that ended, what was asked for, and what events say.
async fn create(claims: bool) -> (Result<(), String>, Vec<String>, Vec<String>) {
    let (client, mut server) = fake::client();
    let controller = controller(client);
    let set: StatefulSet = object(json!({
        "metadata": {"namespace": "x", "name": "db", "uid": "sts"},
        "spec": {"selector": {}, "template": {}, "volumeClaimTemplates": [{"metadata": {"name": "data"}}]},
    }));
    let template = set.spec.as_ref().map(|s| s.template.clone());
    let pod = identity::new_pod(&set, &template.expect("a spec"), "db-abc", 0);
    let key = Key::new("x", "db");
    let op = Op::Create(Box::new(pod));
    let creating = controller.execute(&key, &set, &op);
    tokio::pin!(creating);
    let (mut asked, mut events) = (Vec::new(), Vec::new());
    let mut result = None;
    // Events are sent behind everything else: one for a pod, one for a claim.
    while result.is_none() || events.len() < 2 {
        tokio::select! {
            ended = &mut creating, if result.is_none() => {
                result = Some(ended.map_err(|error| error.to_string()));
            }
            request = server.next() => {
                let path = request.uri.split('?').next().unwrap_or_default();
                let resource = path.trim_start_matches("/api/v1/namespaces/x/").to_owned();
                if resource.contains("events") {
                    let text = |field: &str| request.body[field].as_str().unwrap_or_default().to_owned();
                    events.push(format!("{}: {}{}", text("reason"), text("message"), text("note")));
                } else {
                    asked.push(format!("{} {resource}", request.method));
                }
                let about_claims = resource.starts_with("persistentvolumeclaims");
                if about_claims && !claims {
                    request.answer(403, &refused());
                } else {
                    let body = request.body.clone();
                    request.answer(201, &body);
                }
            }
        }
    }
    (result.expect("the loop's end"), asked, events)
}

/// A set whose claims are refused says so and makes no pods; otherwise these come, each after its claim.
#[tokio::test]
async fn pods_come_after_their_claims() {
    let claim = "persistentvolumeclaims";
    let (result, asked, events) = create(false).await;
    let why = "exceeded quota";
    assert_eq!(
        result,
        Err(format!("failed to create PVC data-db-0: {why}"))
    );
    let claim_asked = [format!("POST {claim}")];
    assert_eq!(asked, claim_asked);
    let failed = "FailedCreate: Create";
    assert_eq!(
        events,
        [
            format!("{failed} Claim data-db-0 for Pod db-0 in StatefulSet db failed error: {why}"),
            format!(
                "{failed} Pod db-0 in StatefulSet db failed error: failed to create PVC data-db-0: {why}"
            ),
        ]
    );
    let (result, asked, events) = create(true).await;
    assert_eq!(result, Ok(()));
    assert_eq!(asked[..1], claim_asked);
    assert_eq!(asked[1], "POST pods");
    assert_eq!(
        events,
        [
            "SuccessfulCreate: Create Claim data-db-0 Pod db-0 in StatefulSet db success",
            "SuccessfulCreate: Create Pod db-0 in StatefulSet db successful",
        ]
    );
}

/// Its revisions are deleted with it: one that is made would be deleted, which wakes the controller, for ever.
#[tokio::test]
async fn a_set_that_goes_gets_no_revision() {
    let (client, mut server) = fake::client();
    let controller = controller(client);
    let set: StatefulSet = object(json!({
        "metadata": {"namespace": "x", "name": "db", "uid": "sts", "deletionTimestamp": "2030-01-01T11:59:00Z"},
        "spec": {"selector": {"matchLabels": {"app": "db"}}, "template": {}},
    }));
    let selector = selector(&set).expect("a selector");
    let key = Key::new("x", "db");
    let versions = controller.versions(&key, &set, &selector);
    let versions = tokio::time::timeout(std::time::Duration::from_secs(5), versions).await;
    assert!(matches!(versions, Ok(Ok(None))) && server.is_idle());
}

/// A claim that goes with its pod names the pod before that is deleted; where it cannot be written, the pod stays.
#[tokio::test]
async fn pods_go_after_their_claims_know_of_it() {
    let set: StatefulSet = object(json!({
        "metadata": {"namespace": "x", "name": "db", "uid": "sts"},
        "spec": {"replicas": 0, "selector": {}, "template": {}, "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"}},
    }));
    let pod: Arc<Pod> = Arc::new(object(
        json!({"metadata": {"namespace": "x", "name": "db-0", "uid": "pod"}}),
    ));
    let key = Key::new("x", "db");
    for (code, wanted) in [(409, 1), (200, 2)] {
        let (client, mut server) = fake::client();
        let controller = controller(client);
        controller.claims.apply(object(
            json!({"metadata": {"namespace": "x", "name": "data-db-0", "uid": "claim",
            "ownerReferences": [owners::controller_reference(&set)]}}),
        ));
        let ops = vec![Op::Delete(pod.clone())];
        let owned = [pod.clone()];
        let doing = controller.carry_out(&key, &set, &owned, ops);
        tokio::pin!(doing);
        let (mut asked, mut result) = (Vec::new(), None);
        while result.is_none() {
            tokio::select! {
                ended = &mut doing => result = Some(ended),
                request = server.next() => {
                    let path = request.uri.split('?').next().unwrap_or_default();
                    if !path.contains("events") {
                        asked.push(format!("{} {}", request.method, path.rsplit('/').next().unwrap_or_default()));
                    }
                    match code {
                        200 => request.answer(200, &json!({"metadata": {"name": "data-db-0"}})),
                        _ => request.answer(409, &json!({"kind": "Status", "status": "Failure", "code": 409,
                            "reason": "Conflict", "message": "changed"})),
                    }
                }
            }
        }
        assert_eq!(result.is_some_and(|r| r.is_ok()), code == 200);
        assert_eq!(asked, ["PUT data-db-0", "DELETE db-0"][..wanted]);
    }
}
