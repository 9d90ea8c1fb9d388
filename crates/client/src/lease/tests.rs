use serde_json::json;

use super::*;
use crate::fake;

#[tokio::test(start_paused = true)]
async fn created_once_then_renewed_by_what_was_written() {
    let (client, mut server) = fake::client();
    let token = CancellationToken::new();
    let lease = NodeLease::new(client, "n1", Some("uid-1".to_owned()));
    let running = tokio::spawn(lease.run(token.clone()));
    let not_found =
        json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": "no lease"});
    let read = server.next().await;
    assert_eq!(
        (read.method.as_str(), read.uri.as_str()),
        (
            "GET",
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"
        )
    );
    read.answer(404, &not_found);
    let created = server.next().await;
    assert_eq!(created.method, "POST");
    let mut stored = created.body.clone();
    assert_eq!(stored["spec"]["holderIdentity"], "n1");
    assert_eq!(
        stored["spec"]["leaseDurationSeconds"],
        LEASE_DURATION_SECONDS
    );
    assert_eq!(stored["metadata"]["ownerReferences"][0]["uid"], "uid-1");
    stored["metadata"]["resourceVersion"] = json!("7");
    created.answer(201, &stored);
    let start = tokio::time::Instant::now();
    let renewed = server.next().await;
    assert_eq!(
        (
            renewed.method.as_str(),
            &renewed.body["metadata"]["resourceVersion"]
        ),
        ("PUT", &json!("7"))
    );
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(10) && waited < Duration::from_millis(10_500),
        "{waited:?}"
    );
    // Somebody else wrote: read, and write again.
    renewed.answer(
        409,
        &json!({"kind": "Status", "code": 409, "reason": "Conflict", "message": "modified"}),
    );
    let read = server.next().await;
    assert_eq!(read.method, "GET");
    stored["metadata"]["resourceVersion"] = json!("9");
    read.answer(200, &stored);
    let renewed = server.next().await;
    assert_eq!(
        (
            renewed.method.as_str(),
            &renewed.body["metadata"]["resourceVersion"]
        ),
        ("PUT", &json!("9"))
    );
    token.cancel();
    running.await.expect("ends with the token");
}
