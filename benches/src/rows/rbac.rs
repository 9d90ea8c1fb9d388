//! GETs by a service account of a cluster with 8 000 bindings, while none of them changes and while one does every second.

use std::{cell::Cell, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    http::{Connection, Endpoint, delete, refusal},
    kubeconfig::Access,
    load::{self, Load, Plan},
    rows::{Effort, Measured},
    seed,
    stats::millis,
    target::{self, Target},
};

/// Half of them of the cluster, which each request is held against; half of one namespace.
const BINDINGS: u64 = 8_000;
const BINDINGS_QUICK: u64 = 800;
const CREATE_TIME: Duration = Duration::from_secs(60);
const CONNECTIONS: usize = 32;
/// Several changes long.
const TIME: Duration = Duration::from_secs(6);
const TIME_QUICK: Duration = Duration::from_secs(2);
/// Before the time that counts, on connections of its own.
const WARM_UP: Duration = Duration::from_millis(300);
/// More than any machine does in that time.
const REQUESTS_MAX: u64 = 10_000_000;
/// Between two changes of a binding.
const CHANGE_EVERY: Duration = Duration::from_secs(1);
const GROUP: &str = "/apis/rbac.authorization.k8s.io/v1";
/// Of everything of the cluster's scope that this row makes.
const LABEL: &str = "knarr-bench=rbac";
const READER: &str = "reader";

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    let count = effort.pick(BINDINGS, BINDINGS_QUICK);
    let time = effort.pick(TIME, TIME_QUICK);
    let endpoint = &target.endpoint;
    let namespace = target.block_on(|| seed::create_namespace(endpoint, "rbac"))?;
    let measured = target.block_on(|| async {
        bind(endpoint, &namespace, count).await?;
        let access = reader(endpoint, &namespace, &target.access).await?;
        let reader = Endpoint::new(&access, target.protocol)?;
        run(endpoint, &reader, &namespace, time).await
    });
    target.block_on(|| clean_up(endpoint, &namespace))?;
    let (still, load, changes) = measured?;
    let mut measured = Measured::default();
    measured.value("gets-bound", still.per_second());
    measured.value("gets-bound-p99", millis(still.latencies.p99()));
    measured.value("gets-rbac", load.per_second());
    measured.value("gets-rbac-p99", millis(load.latencies.p99()));
    measured.note(format!(
        "gets beside {changes} changes of {count} bindings: {}",
        load.generator_note()
    ));
    Ok(measured)
}

/// Creates the bindings of others.
async fn bind(endpoint: &Endpoint, namespace: &str, count: u64) -> Result<()> {
    let (of_cluster, of_namespace) = (cluster_bindings(), bindings(namespace));
    let plan = Plan {
        connections: seed::CREATE_CONNECTIONS,
        requests: count,
        time: CREATE_TIME,
    };
    let make = |number: u64| {
        let (path, kind) = match number % 2 {
            0 => (&of_cluster, "ClusterRoleBinding"),
            _ => (&of_namespace, "RoleBinding"),
        };
        let user = json!({
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "User",
            "name": format!("user-{number}"),
        });
        let name = format!("knarr-bench-{number}");
        endpoint.request(Method::POST, path, binding(kind, &name, &user))
    };
    let load = load::run(endpoint, plan, StatusCode::CREATED, make).await?;
    ensure!(
        load.done == count,
        "only {} of {count} bindings were created within {CREATE_TIME:?}",
        load.done
    );
    Ok(())
}

/// Makes the account that reads, and what it reads; with which access.
async fn reader(endpoint: &Endpoint, namespace: &str, admin: &Access) -> Result<Access> {
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": READER},
    });
    target::create(endpoint, &accounts, Bytes::from(account.to_string())).await?;
    let subject = json!({"kind": "ServiceAccount", "name": READER, "namespace": namespace});
    let body = binding("RoleBinding", READER, &subject);
    target::create(endpoint, &bindings(namespace), body).await?;
    let object = seed::config_map("read", "");
    target::create(endpoint, &seed::config_maps(namespace), object).await?;
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600},
    });
    let path = format!("{accounts}/{READER}/token");
    let (status, answer) = endpoint
        .call(Method::POST, &path, Bytes::from(request.to_string()))
        .await?;
    ensure!(
        status == StatusCode::CREATED,
        "POST {path}: {}",
        refusal(status, &answer)
    );
    let answer: Value = serde_json::from_slice(&answer)?;
    let token = answer["status"]["token"].as_str().context("no token")?;
    Ok(Access {
        server: admin.server.clone(),
        tls_server_name: admin.tls_server_name.clone(),
        authorities: admin.authorities.clone(),
        client_certificate: None,
        token: Some(token.to_owned()),
    })
}

/// Reads for `time`, and for as long again while bindings change; both, and how often one changed.
async fn run(
    admin: &Endpoint,
    reader: &Endpoint,
    namespace: &str,
    time: Duration,
) -> Result<(Load, Load, u64)> {
    let path = format!("{}/read", seed::config_maps(namespace));
    let make = |_| reader.request(Method::GET, &path, Bytes::new());
    let plan = Plan {
        connections: CONNECTIONS,
        requests: REQUESTS_MAX,
        time,
    };
    let warm_up = Plan {
        time: WARM_UP,
        ..plan
    };
    load::run(reader, warm_up, StatusCode::OK, make).await?;
    let still = load::run(reader, plan, StatusCode::OK, make).await?;
    let mut connection = admin.connect().await?;
    let changes = Cell::new(0);
    tokio::select! {
        load = load::run(reader, plan, StatusCode::OK, make) => Ok((still, load?, changes.get())),
        error = change(admin, &mut connection, &changes) => error.map(|never| match never {}),
    }
}

/// Gives one binding of the cluster to another user, again and again.
async fn change(
    endpoint: &Endpoint,
    connection: &mut Connection,
    changes: &Cell<u64>,
) -> Result<std::convert::Infallible> {
    let path = format!("{}/knarr-bench-0", cluster_bindings());
    let mut ticks = interval(CHANGE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let user = json!({
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "User",
            "name": format!("other-{}", changes.get()),
        });
        let body = binding("ClusterRoleBinding", "knarr-bench-0", &user);
        let (status, answer) = connection
            .call(endpoint.request(Method::PUT, &path, body)?)
            .await?;
        ensure!(
            status == StatusCode::OK,
            "PUT {path}: {}",
            refusal(status, &answer)
        );
        changes.set(changes.get() + 1);
    }
}

fn binding(kind: &str, name: &str, subject: &Value) -> Bytes {
    let (key, value) = LABEL.split_once('=').unwrap_or((LABEL, ""));
    let object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {key: value}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [subject],
    });
    Bytes::from(object.to_string())
}

fn cluster_bindings() -> String {
    format!("{GROUP}/clusterrolebindings")
}

fn bindings(namespace: &str) -> String {
    format!("{GROUP}/namespaces/{namespace}/rolebindings")
}

async fn clean_up(endpoint: &Endpoint, namespace: &str) -> Result<()> {
    let ours = format!("{}?labelSelector={LABEL}", cluster_bindings());
    delete(endpoint, &ours).await?;
    seed::delete_namespace(endpoint, namespace).await
}
