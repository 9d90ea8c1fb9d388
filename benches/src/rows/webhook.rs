//! What one validating webhook adds to a create: the same creates in two namespaces, of which one has the webhook called.
//!
//! The webhook is a TLS server of this process on the loopback address, which answers at once. Creates alternate, one after the
//! other, so that the machine is the same for both.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::{
    http::{Connection, Endpoint, create, delete, refusal},
    rows::{Effort, Measured},
    seed,
    server::Server,
    stats::{Latencies, millis, number},
    target::Target,
};

const PAIRS: u64 = 2_000;
const PAIRS_QUICK: u64 = 100;
const WARM_UP: u64 = 50;
/// For all creates; fewer are enough for a median.
const TIME: Duration = Duration::from_secs(20);
/// For the configuration to be in force.
const FORCE_TIMEOUT: Duration = Duration::from_secs(10);
const FORCE_POLL: Duration = Duration::from_millis(20);
const CONFIGURATIONS: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    let endpoint = &target.endpoint;
    let namespaces = target.block_on(|| async {
        let plain = seed::create_namespace(endpoint, "plain").await?;
        Ok([plain, seed::create_namespace(endpoint, "hooked").await?])
    })?;
    let name = format!("knarr-bench-{}", std::process::id());
    let measured = target.block_on(|| async {
        let server = Server::bind().await?;
        let configuration = configuration(&name, &namespaces[1], &server);
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        let served = server.serve(move |request| review(request, Arc::clone(&counted)));
        tokio::select! {
            measured = run(endpoint, &namespaces, configuration, &calls, effort) => measured,
            ended = served => ended.map(|never: Infallible| match never {}),
        }
    });
    target.block_on(|| async {
        delete(endpoint, &format!("{CONFIGURATIONS}/{name}")).await?;
        for namespace in &namespaces {
            seed::delete_namespace(endpoint, namespace).await?;
        }
        Ok(())
    })?;
    measured
}

async fn run(
    endpoint: &Endpoint,
    [plain, hooked]: &[String; 2],
    configuration: Bytes,
    calls: &AtomicU64,
    effort: Effort,
) -> Result<Measured> {
    create(endpoint, CONFIGURATIONS, configuration).await?;
    let mut connection = endpoint.connect().await?;
    await_force(endpoint, &mut connection, hooked, calls).await?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let (started, before) = (Instant::now(), calls.load(Ordering::Relaxed));
    let mut pairs = 0;
    while pairs < WARM_UP + effort.pick(PAIRS, PAIRS_QUICK) && started.elapsed() < TIME {
        let name = format!("cm-{pairs}");
        without.push(time_create(endpoint, &mut connection, plain, &name).await?);
        with.push(time_create(endpoint, &mut connection, hooked, &name).await?);
        pairs += 1;
    }
    let called = calls.load(Ordering::Relaxed) - before;
    ensure!(
        called == pairs,
        "the webhook was called {called} times for {pairs} creates"
    );
    let counted = |mut all: Vec<Duration>| Latencies::new(all.split_off(WARM_UP as usize));
    ensure!(
        pairs > WARM_UP,
        "only {pairs} creates were done within {TIME:?}"
    );
    let (without, with) = (counted(without), counted(with));
    let mut measured = Measured::default();
    measured.value("webhook", millis(with.p50().saturating_sub(without.p50())));
    measured.value("webhook-without", millis(without.p50()));
    measured.note(format!(
        "webhook: {} creates each, one at a time; p99 {} ms without it, {} ms with it",
        pairs - WARM_UP,
        number(millis(without.p99())),
        number(millis(with.p99()))
    ));
    Ok(measured)
}

/// Creates until the webhook is called.
async fn await_force(
    endpoint: &Endpoint,
    connection: &mut Connection,
    namespace: &str,
    calls: &AtomicU64,
) -> Result<()> {
    let deadline = Instant::now() + FORCE_TIMEOUT;
    let mut number = 0;
    while calls.load(Ordering::Relaxed) == 0 {
        if Instant::now() > deadline {
            bail!("the webhook was not called within {FORCE_TIMEOUT:?}");
        }
        time_create(endpoint, connection, namespace, &format!("first-{number}")).await?;
        number += 1;
        tokio::time::sleep(FORCE_POLL).await;
    }
    Ok(())
}

/// How long a create takes.
async fn time_create(
    endpoint: &Endpoint,
    connection: &mut Connection,
    namespace: &str,
    name: &str,
) -> Result<Duration> {
    let path = seed::config_maps(namespace);
    let request = endpoint.request(Method::POST, &path, seed::config_map(name, ""))?;
    let started = Instant::now();
    let (status, body) = connection.call(request).await?;
    ensure!(
        status == StatusCode::CREATED,
        "POST {path}: {}",
        refusal(status, &body)
    );
    Ok(started.elapsed())
}

/// Of ConfigMaps that are created in one namespace.
fn configuration(name: &str, namespace: &str, server: &Server) -> Bytes {
    let bundle = base64::engine::general_purpose::STANDARD.encode(&server.pem);
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": "config-maps.bench.knarr.dev",
            "clientConfig": {"url": format!("{}/validate", server.url), "caBundle": bundle},
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"],
            }],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
        }],
    });
    Bytes::from(object.to_string())
}

/// Allows whatever it is asked about.
async fn review(request: Request<Incoming>, calls: Arc<AtomicU64>) -> Response<Full<Bytes>> {
    let answer = match allowed(request).await {
        Ok(answer) => {
            calls.fetch_add(1, Ordering::Relaxed);
            Response::builder()
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(answer))
        }
        Err(error) => Response::builder()
            .status(StatusCode::BAD_REQUEST)
            .body(Full::new(Bytes::from(format!("{error:#}")))),
    };
    answer.unwrap_or_default()
}

async fn allowed(request: Request<Incoming>) -> Result<Bytes> {
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).context("a review")?;
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": true},
    });
    Ok(Bytes::from(answer.to_string()))
}
