//! Asking the kubelets, through the API's proxies of nodes.

use std::time::Duration;

use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Limited};
use k8s_openapi::api::core::v1::Node;
use knarr_client::errors;
use kube::{Api, Client, ResourceExt, api::ListParams, client::Body};
use tokio::time::timeout;

use crate::{decode::decode, points::Batch};

/// Longest that a node may take, as metrics-server's `--kubelet-request-timeout`.
const NODE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest that listing the nodes may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of a node's answer: a thousand containers say half a megabyte.
const MAX_BYTES: usize = 8 << 20;
/// Nodes that are asked at once.
const CONCURRENCY: usize = 32;

/// What all nodes say; one that does not answer is left out.
///
/// # Errors
/// Why the nodes cannot be listed.
pub(crate) async fn all(client: &Client) -> Result<Batch, String> {
    let nodes: Api<Node> = Api::all(client.clone());
    let listed = timeout(LIST_TIMEOUT, nodes.list_metadata(&ListParams::default())).await;
    let listed = listed.map_err(|_| "listing the nodes takes too long".to_owned())?;
    let listed = listed.map_err(|error| errors::message(&error))?;
    let names = listed.items.into_iter().map(|node| node.name_any());
    let answers = stream::iter(names)
        .map(|name| async move {
            let answer = timeout(NODE_TIMEOUT, one(client, &name)).await;
            let answer = answer.unwrap_or_else(|_| Err("it does not answer in time".to_owned()));
            (name, answer)
        })
        .buffer_unordered(CONCURRENCY);
    let batch = answers.fold(Batch::default(), async |mut batch, (name, answer)| {
        match answer {
            Ok(text) => decode(&text, &name, now(), &mut batch),
            Err(error) => tracing::warn!(error, node = name, "cannot tell what a node uses"),
        }
        batch
    });
    Ok(batch.await)
}

async fn one(client: &Client, node: &str) -> Result<String, String> {
    let path = format!("/api/v1/nodes/{node}/proxy/metrics/resource");
    let request = http::Request::get(path).body(Body::empty());
    let request = request.map_err(|error| error.to_string())?;
    let answer = client.send(request).await;
    let answer = answer.map_err(|error| errors::message(&error))?;
    let code = answer.status();
    if !code.is_success() {
        return Err(format!("request failed, status: {code}"));
    }
    let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
    let body = body.map_err(|error| format!("failed to read response body - {error}"))?;
    String::from_utf8(body.to_bytes().into()).map_err(|error| error.to_string())
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
