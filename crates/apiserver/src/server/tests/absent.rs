//! Paths that nothing serves.

use super::*;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

async fn with_widgets() -> Cluster {
    let cluster = Cluster::new().await;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}},
                {"name": "v2", "served": false, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}},
            ],
        },
    });
    cluster.create(DEFINITIONS, definition).await;
    let served = async {
        while cluster.get(WIDGETS).await.code != 200 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let served = tokio::time::timeout(DEADLINE, served).await;
    served.expect("the definition is served in time");
    cluster
}

/// Clients tell a Status from a page: of a page they say what they asked for.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_compiled_in_is_answered_with_a_page() {
    let cluster = with_widgets().await;
    for path in [
        "/nope",
        "/apis/nope.example.com/v1",
        "/apis/nope.example.com/v1/namespaces/default/nopes",
        "/apis/example.com/v1/nopes",
        "/apis/example.com/v1/widgets/a",
        "/apis/example.com/v2",
        "/apis/example.com/v2/widgets",
        "/apis/example.com/v9/widgets",
        "/healthz/nope",
        "/metrics/nope",
        "/openapi/nope",
    ] {
        let reply = cluster.get(path).await;
        let told = (reply.code, &reply.headers["content-type"], &reply.body);
        let page = json!("404 page not found\n");
        assert_eq!(
            told,
            (
                404,
                &"text/plain; charset=utf-8".parse().expect("a type"),
                &page
            ),
            "{path}"
        );
        assert_eq!(reply.headers["x-content-type-options"], "nosniff", "{path}");
    }
    let document = cluster.get("/openapi/v3/apis/nope/v1").await;
    assert_eq!((document.code, &document.body), (404, &json!("")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compiled_in_is_answered_with_a_status() {
    let cluster = with_widgets().await;
    for path in [
        "/api/v2/pods",
        "/api/v1/nopes",
        "/api/v1/pods/a",
        "/apis/apps/v9",
        "/apis/apps/v9/deployments",
        "/apis/apps/v1/namespaces/default/deployments/a/nope",
    ] {
        let reply = cluster.get(path).await;
        assert_eq!(
            (reply.code, &reply.body["kind"]),
            (404, &json!("Status")),
            "{path}"
        );
        let message = &reply.body["message"];
        assert_eq!(
            message, "the server could not find the requested resource",
            "{path}"
        );
    }
    // The object's own name, which clients take for an object that is not there.
    for part in ["status", "scale", "nope"] {
        let reply = cluster.get(&format!("{WIDGETS}/a/{part}")).await;
        let message = &reply.body["message"];
        assert_eq!(message, "widgets.example.com \"a\" not found", "{part}");
    }
}

/// Scripts read these line by line, and field by field in upstream's order.
#[tokio::test(flavor = "multi_thread")]
async fn the_version_and_the_index_are_indented_for_all() {
    let cluster = Cluster::new().await;
    let text = async |path: &str| {
        let request = Request::get(path).header("user-agent", "client");
        let request = request.body(Full::new(Bytes::new())).expect("a request");
        let response = cluster.send(request).await;
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = response.into_body().collect().await.expect("a body");
        String::from_utf8(body.to_bytes().to_vec()).expect("text")
    };
    let version = text("/version").await;
    let start = "{\n  \"major\": \"1\",\n  \"minor\": \"37\",\n  \"emulationMajor\": \"1\",\n";
    assert!(version.starts_with(start), "{version}");
    let fields: Value = serde_json::from_str(&version).expect("JSON");
    assert_eq!(fields.as_object().map(serde_json::Map::len), Some(13));
    let index = text("/").await;
    let start = "{\n  \"paths\": [\n    \"/.well-known/openid-configuration\",\n    \"/api\",\n";
    assert!(index.starts_with(start), "{index}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_indented_for_people() {
    let cluster = Cluster::new().await;
    for (path, agent, indented) in [
        ("/api/v1/namespaces/nope", "curl/8.0", true),
        ("/api/v1/namespaces/nope?pretty=true", "client", true),
        ("/api/v1/namespaces/nope", "client", false),
    ] {
        let request = Request::get(path).header("user-agent", agent);
        let request = request.body(Full::new(Bytes::new())).expect("a request");
        let response = cluster.send(request).await;
        let bytes = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(
            text.starts_with("{\n  \"kind\": \"Status\",\n"),
            indented,
            "{text}"
        );
    }
}
