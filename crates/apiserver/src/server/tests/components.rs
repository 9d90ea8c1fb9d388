//! What is said beside answers, and of the cluster's components.

use super::*;
use crate::server::components::Component;

const COMPONENTS: &str = "/api/v1/componentstatuses";

fn warnings(reply: &Reply) -> Vec<&str> {
    let values = reply.headers.get_all("warning").iter();
    values.filter_map(|value| value.to_str().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn components_are_healthy_while_they_run() {
    let cluster = Cluster::new().await;
    let running = (cluster.server.components()).running(Component::Scheduler);
    let all = cluster.get(COMPONENTS).await;
    assert_eq!(
        warnings(&all),
        ["299 - \"v1 ComponentStatus is deprecated in v1.19+\""]
    );
    let states: Vec<String> = (all.body["items"].as_array().into_iter().flatten())
        .map(|item| {
            let condition = &item["conditions"][0];
            format!("{} {}", item["metadata"]["name"], condition["status"])
        })
        .collect();
    let expected = [
        "\"controller-manager\" \"False\"",
        "\"etcd-0\" \"True\"",
        "\"scheduler\" \"True\"",
    ];
    assert_eq!(states, expected);
    drop(running);
    let one = cluster.get(&format!("{COMPONENTS}/scheduler")).await;
    assert_eq!(one.body["conditions"][0]["status"], "False");
    assert_eq!(cluster.get(&format!("{COMPONENTS}/other")).await.code, 404);
    let watch = cluster.get(&format!("{COMPONENTS}?watch=1")).await;
    assert_eq!(watch.code, 405);
    let selected = cluster
        .get(&format!("{COMPONENTS}?fieldSelector=metadata.name=etcd-0"))
        .await;
    assert_eq!(selected.body["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_must_be_a_duration() {
    let cluster = Cluster::new().await;
    for (timeout, code) in [("10s", 200), ("0", 200), ("-1s", 200), ("10", 400)] {
        let uri = format!("{CONFIGMAPS}?timeout={timeout}");
        assert_eq!(cluster.get(&uri).await.code, code, "{timeout}");
    }
    // A watch has `timeoutSeconds`.
    let watch = cluster
        .get(&format!("{CONFIGMAPS}?watch=1&timeoutSeconds=1&timeout=10"))
        .await;
    assert_eq!(watch.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_warn_when_they_are_made_and_when_they_are_tried() {
    let cluster = Cluster::new().await;
    let service = json!({"metadata": {"name": "a"}, "spec": {
        "type": "ExternalName", "externalName": "example.com", "externalIPs": ["1.2.3.4"],
    }});
    let uri = "/api/v1/namespaces/default/services";
    let ignored = "299 - \"spec.externalIPs is ignored when spec.type is \\\"ExternalName\\\"\"";
    for uri in [&format!("{uri}?dryRun=All"), uri] {
        let made = cluster.call(Method::POST, uri, service.clone()).await;
        assert_eq!((made.code, warnings(&made)), (201, vec![ignored]));
    }
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let changed = cluster.merge(&format!("{uri}/a"), labels).await;
    assert_eq!(warnings(&changed), [ignored]);
    let endpoints = cluster.get("/api/v1/namespaces/default/endpoints").await;
    let deprecated =
        "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"";
    assert_eq!(warnings(&endpoints), [deprecated]);
}

/// What dashboards and upgrade checks of others look at.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_of_deprecated_and_unavailable_apis() {
    let cluster = Cluster::new().await;
    let metrics = async || {
        let page = cluster.get("/metrics").await.body;
        page.as_str().expect("text").to_owned()
    };
    let asked = "apiserver_requested_deprecated_apis{";
    assert!(!metrics().await.contains(asked));
    cluster.get("/api/v1/namespaces/default/endpoints").await;
    cluster
        .get("/api/v1/namespaces/default/endpoints/a/nope")
        .await;
    let page = metrics().await;
    let told: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with(asked))
        .collect();
    let endpoints = r#"apiserver_requested_deprecated_apis{group="",removed_release="",resource="endpoints",subresource="",version="v1"} 1"#;
    assert_eq!(told, [endpoints]);
    let service = json!({
        "metadata": {"name": "v1.nowhere.example.com"},
        "spec": {
            "group": "nowhere.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
            "insecureSkipTLSVerify": true, "service": {"namespace": "default", "name": "nowhere"},
        },
    });
    cluster
        .create("/apis/apiregistration.k8s.io/v1/apiservices", service)
        .await;
    let page = metrics().await;
    for (name, value) in [("v1.nowhere.example.com", 1), ("v1.apps", 0)] {
        let line = format!("aggregator_unavailable_apiservice{{name=\"{name}\"}} {value}\n");
        assert!(page.contains(&line), "{line} not in:\n{page}");
    }
}
