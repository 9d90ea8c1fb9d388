//! Requests whose answers nobody decodes: with thousands of writes a second that is most of what a client costs.

use http::Request;
use kube::{
    Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    core::Request as Path,
};
use serde_json::Value;

pub(crate) const NODES: &str = "/api/v1/nodes";

/// Where the pods of a namespace are.
pub(crate) fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

async fn send(client: &Client, request: Request<Vec<u8>>) -> Result<String, kube::Error> {
    client.request_text(request).await
}

fn built<T>(result: Result<T, kube::core::request::Error>) -> Result<T, kube::Error> {
    result.map_err(kube::Error::BuildRequest)
}

/// Creates an object; the answer is the object.
pub(crate) async fn create(
    client: &Client,
    path: &str,
    object: &Value,
) -> Result<String, kube::Error> {
    let body = object.to_string().into_bytes();
    let request = built(Path::new(path).create(&PostParams::default(), body))?;
    send(client, request).await
}

/// Merges a patch into the status of an object, its lists by their keys.
pub(crate) async fn patch_status(
    client: &Client,
    path: &str,
    name: &str,
    patch: &Value,
) -> Result<(), kube::Error> {
    let patch = Patch::Strategic(patch);
    let params = PatchParams::default();
    let request = built(Path::new(path).patch_subresource("status", name, &params, &patch))?;
    send(client, request).await.map(drop)
}

pub(crate) async fn delete(
    client: &Client,
    path: &str,
    name: &str,
    params: &DeleteParams,
) -> Result<(), kube::Error> {
    let request = built(Path::new(path).delete(name, params))?;
    send(client, request).await.map(drop)
}
