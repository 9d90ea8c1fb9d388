//! Namespaces of the bench and the ConfigMaps in them.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::{
    http::{Endpoint, create, delete},
    load::{self, Load, Plan},
};

/// Objects that lists are measured over.
pub const OBJECTS: u64 = 15_000;
/// Characters of data in each: 0.5 KiB.
const DATA: usize = 512;
pub const CREATE_CONNECTIONS: usize = 32;
const CREATE_TIME: Duration = Duration::from_secs(60);
/// For the controllers to put the service account and the CA's ConfigMap into a new namespace.
const FURNISH_TIMEOUT: Duration = Duration::from_secs(10);
const FURNISH_POLL: Duration = Duration::from_millis(20);

/// A namespace with `count` ConfigMaps, named `cm-0` and so on.
pub struct Seed {
    pub namespace: String,
    pub count: u64,
}

impl Seed {
    pub fn path(&self) -> String {
        config_maps(&self.namespace)
    }
}

/// The URL path of a namespace's ConfigMaps.
pub fn config_maps(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

/// A ConfigMap whose data begins with `mark`.
pub fn config_map(name: &str, mark: &str) -> Bytes {
    static FILLER: LazyLock<String> = LazyLock::new(|| {
        let mut random = fastrand::Rng::with_seed(1);
        (0..DATA).map(|_| random.alphanumeric()).collect()
    });
    let payload = format!("{mark}{}", &FILLER[mark.len()..]);
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"payload": payload},
    });
    Bytes::from(object.to_string())
}

/// Makes a namespace and waits until it is furnished; its name, which ends in `what`. Where no controller furnishes
/// namespaces, goes on without.
pub async fn create_namespace(endpoint: &Endpoint, what: &str) -> Result<String> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let name = format!("knarr-bench-{}-{number}-{what}", std::process::id());
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    create(
        endpoint,
        "/api/v1/namespaces",
        Bytes::from(body.to_string()),
    )
    .await?;
    let wanted = [
        format!("/api/v1/namespaces/{name}/serviceaccounts/default"),
        format!("{}/kube-root-ca.crt", config_maps(&name)),
    ];
    let mut connection = endpoint.connect().await?;
    let deadline = Instant::now() + FURNISH_TIMEOUT;
    for path in wanted {
        loop {
            let request = endpoint.request(Method::GET, &path, Bytes::new())?;
            if connection.call(request).await?.0 == StatusCode::OK {
                break;
            }
            if Instant::now() > deadline {
                eprintln!("  {path} did not appear within {FURNISH_TIMEOUT:?}: going on without");
                return Ok(name);
            }
            tokio::time::sleep(FURNISH_POLL).await;
        }
    }
    Ok(name)
}

/// Deletes a namespace; its ConfigMaps are deleted first, for clusters without a namespace controller.
pub async fn delete_namespace(endpoint: &Endpoint, name: &str) -> Result<()> {
    for path in [config_maps(name), format!("/api/v1/namespaces/{name}")] {
        delete(endpoint, &path).await?;
    }
    Ok(())
}

/// Deletes what [`fill`] made, over as many connections: a server may well delete a collection one by one.
pub async fn remove(endpoint: &Endpoint, seed: &Seed) -> Result<()> {
    let path = seed.path();
    let plan = Plan {
        connections: CREATE_CONNECTIONS,
        requests: seed.count,
        time: CREATE_TIME,
    };
    let make =
        |number| endpoint.request(Method::DELETE, &format!("{path}/cm-{number}"), Bytes::new());
    load::run(endpoint, plan, StatusCode::OK, make).await?;
    delete_namespace(endpoint, &seed.namespace).await
}

/// Creates ConfigMaps `first` to `last` (exclusive) and measures it.
pub async fn fill(endpoint: &Endpoint, namespace: &str, first: u64, last: u64) -> Result<Load> {
    let path = config_maps(namespace);
    let plan = Plan {
        connections: CREATE_CONNECTIONS,
        requests: last.saturating_sub(first),
        time: CREATE_TIME,
    };
    let make = |number| -> Result<Request<Full<Bytes>>> {
        let body = config_map(&format!("cm-{}", first + number), "");
        endpoint.request(Method::POST, &path, body)
    };
    load::run(endpoint, plan, StatusCode::CREATED, make).await
}

/// All [`OBJECTS`], as far as `seed` lacks them.
pub async fn complete(endpoint: &Endpoint, seed: Option<Seed>) -> Result<Seed> {
    let mut seed = match seed {
        Some(seed) => seed,
        None => {
            let namespace = create_namespace(endpoint, "seed").await?;
            Seed {
                namespace,
                count: 0,
            }
        }
    };
    if seed.count < OBJECTS {
        eprintln!("  creating {} ConfigMaps", OBJECTS - seed.count);
        seed.count += fill(endpoint, &seed.namespace, seed.count, OBJECTS)
            .await?
            .done;
        if seed.count < OBJECTS {
            bail!(
                "only {} of {OBJECTS} ConfigMaps were created in time",
                seed.count
            );
        }
    }
    Ok(seed)
}
