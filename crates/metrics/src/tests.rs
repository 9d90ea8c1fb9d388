use knarr_auth::route::Decoded;
use knarr_client::fake::{self, Exchange, Server};
use serde_json::json;

use super::*;

/// Asks as the server does.
async fn ask(metrics: &Metrics, method: &str, path: &str) -> Result<Value, Status> {
    let request = http::Request::builder().method(method).uri(path).body(());
    let (parts, ()) = request.expect("a request").into_parts();
    let decoded = Decoded::new(&parts).expect("can be decoded");
    let request = ApiRequest::parse(&parts.method, &decoded).expect("can be parsed");
    metrics.answer(&request).await
}

fn started() -> (Metrics, Server) {
    let (client, server) = fake::client();
    let metrics = Metrics::default();
    metrics.start(client);
    (metrics, server)
}

fn list(kind: &str, names: &[(&str, &str)]) -> Value {
    let item = |(namespace, name): &(&str, &str)| {
        json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": "web"}},
        })
    };
    json!({
        "kind": kind, "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "1"},
        "items": names.iter().map(item).collect::<Vec<_>>(),
    })
}

/// Answers the requests of a scrape of the node `a`, whose clock stands at a second and whose container has used so many seconds.
async fn scraped(server: &mut Server, at: i64, used: u32) {
    let nodes = server.next().await;
    assert_eq!(nodes.uri, "/api/v1/nodes?");
    nodes.answer(200, &list("PartialObjectMetadataList", &[("", "a")]));
    let node = server.next().await;
    assert_eq!(node.uri, "/api/v1/nodes/a/proxy/metrics/resource");
    let at = at * 1_000;
    text(
        node,
        format!(
            "node_cpu_usage_seconds_total 5 {at}\nnode_memory_working_set_bytes 2048 {at}\n\
             container_cpu_usage_seconds_total{{container=\"c\",namespace=\"n\",pod=\"p\"}} {used} {at}\n\
             container_memory_working_set_bytes{{container=\"c\",namespace=\"n\",pod=\"p\"}} 1024 {at}\n\
             container_start_time_seconds{{container=\"c\",namespace=\"n\",pod=\"p\"}} 50\n"
        ),
    );
}

fn text(exchange: Exchange, text: String) {
    exchange.stream().raw(text);
}

#[tokio::test(start_paused = true)]
async fn the_first_who_asks_waits_for_two_points_and_others_share_them() {
    let (metrics, mut server) = started();
    let path = "/apis/metrics.k8s.io/v1beta1/namespaces/n/pods?labelSelector=app%3Dweb";
    let answers = async {
        let pods = server.next().await;
        assert_eq!(
            pods.uri,
            "/api/v1/namespaces/n/pods?&labelSelector=app%3Dweb"
        );
        pods.answer(
            200,
            &list("PartialObjectMetadataList", &[("n", "p"), ("n", "q")]),
        );
        scraped(&mut server, 1_000, 10).await;
        scraped(&mut server, 1_002, 11).await;
        // The second caller: what is known is new enough.
        let node = server.next().await;
        assert_eq!(node.uri, "/api/v1/nodes/a");
        node.answer(200, &json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"},
        }));
        tokio::time::sleep(RESOLUTION).await;
        // The third: the last points are those before now.
        server
            .next()
            .await
            .answer(200, &list("PartialObjectMetadataList", &[("n", "p")]));
        scraped(&mut server, 1_022, 11).await;
    };
    let asked = async {
        let first = ask(&metrics, "GET", path).await.expect("answered");
        let node = ask(&metrics, "GET", "/apis/metrics.k8s.io/v1beta1/nodes/a").await;
        tokio::time::sleep(RESOLUTION).await;
        let third = ask(&metrics, "GET", path).await.expect("answered");
        (first, node.expect("answered"), third)
    };
    let ((first, node, third), ()) = tokio::join!(asked, answers);
    assert_eq!(first["kind"], "PodMetricsList");
    let items = first["items"].as_array().expect("items");
    assert_eq!(items.len(), 1, "of the other pod nothing is known");
    let pod = &items[0];
    assert_eq!(pod["metadata"]["labels"]["app"], "web");
    assert_eq!(pod["timestamp"], "1970-01-01T00:16:42Z");
    assert_eq!(pod["window"], "2s");
    let usage = json!({"cpu": "500m", "memory": "1Ki"});
    assert_eq!(pod["containers"], json!([{"name": "c", "usage": usage}]));
    assert_eq!(node["usage"], json!({"cpu": "0", "memory": "2Ki"}));
    assert_eq!(third["items"][0]["window"], "20s");
    assert_eq!(third["items"][0]["containers"][0]["usage"]["cpu"], "0");
}

#[tokio::test]
async fn what_is_not_served_is_refused() {
    let (metrics, mut server) = started();
    let root = "/apis/metrics.k8s.io/v1beta1";
    for (method, path, code) in [
        ("GET", "/pods?watch=true", 405),
        ("DELETE", "/nodes/a", 405),
        ("POST", "/namespaces/n/pods", 405),
        ("GET", "/namespaces/n/nodes", 404),
        ("GET", "/pods/p", 404),
        ("GET", "/services", 404),
        ("GET", "/namespaces/n/pods/p/status", 404),
        ("GET", "/pods?labelSelector=a%20b%20c", 400),
    ] {
        let refused = ask(&metrics, method, &format!("{root}{path}")).await;
        assert_eq!(refused.expect_err(path).code, code, "{method} {path}");
    }
    assert!(server.is_idle(), "nothing was done for them");
    let early = ask(&Metrics::default(), "GET", &format!("{root}/nodes")).await;
    assert_eq!(early.expect_err("is not started").code, 503);
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_points_is_not_found() {
    let (metrics, mut server) = started();
    let answers = async {
        let pod = server.next().await;
        assert_eq!(pod.uri, "/api/v1/namespaces/n/pods/q");
        pod.answer(
            200,
            &json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                "metadata": {"name": "q", "namespace": "n"},
            }),
        );
        for at in [1_000, 1_002] {
            scraped(&mut server, at, 1).await;
        }
    };
    let path = "/apis/metrics.k8s.io/v1beta1/namespaces/n/pods/q";
    let (refused, ()) = tokio::join!(ask(&metrics, "GET", path), answers);
    let refused = refused.expect_err("has no points");
    assert_eq!(refused.code, 404);
    assert_eq!(
        refused.message,
        "podmetrics.metrics.k8s.io \"n/q\" not found"
    );
}

/// Whoever reads OpenAPI v2 learns the same of it as who reads v3.
#[test]
fn both_documents_describe_the_same() {
    let (v3, v2) = (schema::document(), schema::document_v2());
    let names = |of: &Value| -> Vec<String> {
        let all = of.as_object().expect("an object").keys();
        all.cloned().collect()
    };
    assert_eq!(names(&v3["paths"]), names(&v2["paths"]));
    let definitions = v3["components"]["schemas"].to_string();
    let definitions = definitions.replace("#/components/schemas/", "#/definitions/");
    assert_eq!(v2["definitions"].to_string(), definitions);
    let nodes = &v2["paths"]["/apis/metrics.k8s.io/v1beta1/nodes"]["get"];
    assert_eq!(
        nodes["responses"]["200"]["schema"]["$ref"],
        "#/definitions/io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetricsList"
    );
}
