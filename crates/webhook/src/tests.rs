use std::{sync::Arc, time::Duration};

use http::StatusCode;
use knarr_auth::testing::Fake;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::testing::{Reaction, Server};

const BOUNDS: Bounds = Bounds {
    time: Duration::from_secs(20),
    answer_bytes: 1 << 10,
};

async fn call(clients: &Clients, config: &Value, bounds: Bounds) -> Result<Value, String> {
    let config = ClientConfig::new(config).map_err(|error| error.to_string())?;
    let answer = clients
        .call(&config, Bytes::from("{\"a\":1}"), bounds)
        .await;
    let answer = answer.map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&answer).expect("JSON"))
}

fn clients() -> Clients {
    Clients::new(Arc::new(Fake::default()))
}

#[tokio::test]
async fn a_review_goes_there_and_an_answer_comes_back() {
    let server = Server::start(&[], |path, review| {
        Reaction::Answer(json!({"path": path, "review": review}))
    })
    .await;
    let clients = clients();
    for _ in 0..3 {
        let answer = call(&clients, &server.config("//x/../y/"), BOUNDS).await;
        let wanted = json!({"path": "/y?timeout=20s", "review": {"a": 1}});
        assert_eq!(answer, Ok(wanted));
    }
    assert_eq!(
        (server.calls(), server.connections()),
        (3, 1),
        "a connection is kept"
    );
}

#[tokio::test]
async fn what_is_no_answer_is_an_error() {
    let server = Server::start(&[], |path, _| match path.split('?').next() {
        Some("/redirect") => Reaction::Redirect("/answer".to_owned()),
        Some("/large") => Reaction::Bytes(StatusCode::OK, vec![b' '; 10 << 20]),
        Some("/broken") => Reaction::Bytes(StatusCode::BAD_GATEWAY, b"oh no\n".to_vec()),
        Some("/missing") => Reaction::Bytes(StatusCode::NOT_FOUND, Vec::new()),
        _ => Reaction::Answer(json!({})),
    })
    .await;
    let clients = clients();
    let failed = async |path: &str| {
        call(&clients, &server.config(path), BOUNDS)
            .await
            .unwrap_err()
    };
    let prefix = "failed to call webhook: ";
    for (path, wanted) in [
        (
            "/redirect",
            "the server responded with the status code 307 but did not return more information",
        ),
        ("/large", "the answer is longer than 1024 bytes"),
        (
            "/broken",
            "an error on the server (\"oh no\") has prevented the request from succeeding",
        ),
        (
            "/missing",
            "the server could not find the requested resource",
        ),
    ] {
        assert_eq!(failed(path).await, format!("{prefix}{wanted}"), "{path}");
    }
}

#[tokio::test]
async fn who_hangs_is_waited_for_as_long_as_is_said() {
    let server = Server::start(&[], |_, _| Reaction::Hang).await;
    let bounds = Bounds {
        time: Duration::from_millis(300),
        ..BOUNDS
    };
    let before = Instant::now();
    let error = call(&clients(), &server.config("/"), bounds)
        .await
        .unwrap_err();
    assert!(before.elapsed() < Duration::from_secs(10));
    let wanted = format!(
        "failed to call webhook: Post \"https://{}/?timeout=1s\": context deadline exceeded",
        server.address
    );
    assert_eq!(error, wanted);
}

#[tokio::test]
async fn who_is_not_vouched_for_is_not_asked() {
    let server = Server::start(&[], |_, _| Reaction::Answer(json!({}))).await;
    let other = Server::start(&[], |_, _| Reaction::Answer(json!({}))).await;
    let clients = clients();
    let mut config = server.config("/");
    config["caBundle"] = json!(other.ca_bundle());
    let error = call(&clients, &config, BOUNDS).await.unwrap_err();
    assert!(
        error.ends_with(
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        ),
        "{error}"
    );
    config["caBundle"] = json!("bm9uZQ==");
    let error = call(&clients, &config, BOUNDS).await.unwrap_err();
    assert!(
        error.starts_with("could not get REST client: unable to load root certificates"),
        "{error}"
    );
    assert_eq!(server.calls(), 0);
    let nobody = json!({"url": "https://127.0.0.1:1/x", "caBundle": server.ca_bundle()});
    let error = call(&clients, &nobody, BOUNDS).await.unwrap_err();
    let wanted = "failed to call webhook: Post \"https://127.0.0.1:1/x?timeout=20s\": \
        dial tcp 127.0.0.1:1: connect: connection refused";
    assert_eq!(error, wanted);
    let error = call(&clients, &json!({}), BOUNDS).await.unwrap_err();
    assert!(
        error.contains("webhook configuration must have either service or URL"),
        "{error}"
    );
}

#[test]
fn a_service_is_reached_at_a_ready_endpoint_of_its_port() {
    let objects = Fake::default();
    let service = |kind: &str| {
        json!({
            "metadata": {"namespace": "n", "name": "s"},
            "spec": {"type": kind, "ports": [{"name": "https", "port": 443}, {"name": "b", "port": 8443}]},
        })
    };
    let resolve = |objects: &Fake, port| service::resolve(objects, "n", "s", port);
    assert_eq!(
        resolve(&objects, 443),
        Err("service \"s\" not found".to_owned())
    );
    objects.put("", "services", service("ExternalName"));
    assert_eq!(
        resolve(&objects, 443),
        Err("unsupported service type \"ExternalName\"".to_owned())
    );
    objects.put("", "services", service("ClusterIP"));
    let none = Err("no endpoints available for service \"s\"".to_owned());
    assert_eq!(resolve(&objects, 443), none);
    let slice = |name: &str, of: &str, address: &str, ready: bool| {
        json!({
            "metadata": {"namespace": "n", "name": name, "labels": {"kubernetes.io/service-name": of}},
            "ports": [{"name": "https", "port": 10250}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": ready}}],
        })
    };
    let put = |slice: Value| objects.put("discovery.k8s.io", "endpointslices", slice);
    put(slice("a", "other", "10.0.0.1", true));
    put(slice("b", "s", "10.0.0.2", false));
    put(slice("c", "s", "127.0.0.1", true));
    put(slice("d", "s", "169.254.169.254", true));
    assert_eq!(resolve(&objects, 443), none, "none that may be called");
    put(slice("e", "s", "10.0.0.3", true));
    assert_eq!(resolve(&objects, 443), Ok(([10, 0, 0, 3], 10250).into()));
    assert_eq!(resolve(&objects, 8443), none);
    assert_eq!(
        resolve(&objects, 80),
        Err("no service port 80 found for service \"s\"".to_owned())
    );
}
