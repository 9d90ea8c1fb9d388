//! The metrics API (`metrics.k8s.io/v1beta1`): what nodes and pods use, for `kubectl top` and for autoscalers, as metrics-server
//! serves it.
//!
//! ```text
//! GET pods, nodes --> Metrics: are the points new enough? --no--> scrape every kubelet's /metrics/resource
//!                        |                                              |
//!                        +--> objects of the API, by selector           +--> Points: the last and those before, rates
//! ```
//!
//! It is an API server that is a part of another's process ([`LocalApi`]): requests come authorized, and who installs
//! metrics-server gets its place. Nothing is scraped for nobody: a request finds points that are at most [`RESOLUTION`] old, or
//! has them made, which all who ask meanwhile share. After a pause there is no point before, so that the first who asks waits for
//! [`FIRST_WINDOW`]. Kubelets are reached through the API, and objects are listed there with the caller's selectors: there is
//! nothing to keep of them here, and no loop to run.
//!
//! Rejected: scraping every 15 seconds as metrics-server does (an idle node would pay for what nobody looks at); informers of pods
//! and nodes (a copy of every pod's labels, for a request in fifteen seconds).

mod decode;
mod objects;
mod points;
mod schema;
mod scrape;

use std::{sync::OnceLock, time::Duration};

use async_trait::async_trait;
use knarr_auth::route::ApiRequest;
use knarr_meta::{GroupResource, status::Status};
use knarr_webhook::LocalApi;
use kube::Client;
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::Instant};

use points::Points;

pub const GROUP: &str = "metrics.k8s.io";
pub const VERSION: &str = "v1beta1";

/// Points are made anew when they are as old as this: metrics-server's `--metric-resolution`.
pub const RESOLUTION: Duration = Duration::from_secs(15);
/// Points before the last that are older than this tell of another time.
const STALE: Duration = Duration::from_secs(60);
/// Between the points of who asks after a pause. Kubelets give the same figures out for a second.
pub const FIRST_WINDOW: Duration = Duration::from_secs(2);

/// The metrics API.
#[derive(Default)]
pub struct Metrics {
    client: OnceLock<Client>,
    points: Mutex<Known>,
}

/// What is known of what is used.
#[derive(Default)]
struct Known {
    points: Points,
    /// When the last points were made.
    made: Option<Instant>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// From now on requests are answered. `client` may list pods and nodes and reach the proxies of nodes.
    pub fn start(&self, client: Client) {
        // Who starts it twice keeps the first.
        let _first = self.client.set(client);
    }

    /// Calls `read` with points that are new enough.
    async fn with_points<T>(&self, client: &Client, read: impl FnOnce(&Points) -> T) -> T {
        // Who comes while others scrape waits for them.
        let mut known = self.points.lock().await;
        let age = known.made.map(|made| made.elapsed());
        if age.is_none_or(|age| age > STALE) {
            known.points = Points::default();
            known.scrape(client).await;
            tokio::time::sleep(FIRST_WINDOW).await;
            known.scrape(client).await;
        } else if age.is_some_and(|age| age >= RESOLUTION) {
            known.scrape(client).await;
        }
        read(&known.points)
    }

    async fn list(
        &self,
        client: &Client,
        resource: Resource,
        request: &ApiRequest<'_>,
    ) -> Result<Value, Status> {
        // Refused before anything is done for it.
        request.selectors()?;
        let labels = request.query.get("labelSelector");
        let fields = request.query.get("fieldSelector");
        let namespace = request.info.namespace;
        let found = objects::list(client, resource, namespace, labels, fields).await?;
        let items = self
            .with_points(client, |points| objects::metrics(resource, found, points))
            .await;
        Ok(json!({
            "kind": format!("{}List", resource.kind()),
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "metadata": {},
            "items": items,
        }))
    }

    async fn get(
        &self,
        client: &Client,
        resource: Resource,
        request: &ApiRequest<'_>,
    ) -> Result<Value, Status> {
        let (namespace, name) = (request.info.namespace, request.info.name);
        let found = objects::get(client, resource, namespace, name).await?;
        let items = self
            .with_points(client, |points| {
                objects::metrics(resource, vec![found], points)
            })
            .await;
        let shown = match namespace {
            "" => name.to_owned(),
            namespace => format!("{namespace}/{name}"),
        };
        let missing = || Status::not_found(GroupResource::new(GROUP, resource.missing()), &shown);
        items.into_iter().next().ok_or_else(missing)
    }
}

impl Known {
    async fn scrape(&mut self, client: &Client) {
        match scrape::all(client).await {
            Ok(batch) => self.points.store(batch),
            Err(error) => tracing::warn!(error, "cannot ask the nodes what they use"),
        }
        self.made = Some(Instant::now());
    }
}

/// What there are metrics of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    Nodes,
    Pods,
}

impl Resource {
    fn named(name: &str) -> Option<Self> {
        match name {
            "nodes" => Some(Self::Nodes),
            "pods" => Some(Self::Pods),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Pods => "pods",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Nodes => "NodeMetrics",
            Self::Pods => "PodMetrics",
        }
    }

    /// What metrics-server calls it where it has none.
    fn missing(self) -> &'static str {
        match self {
            Self::Nodes => "nodemetrics",
            Self::Pods => "podmetrics",
        }
    }

    fn namespaced(self) -> bool {
        self == Self::Pods
    }
}

#[async_trait]
impl LocalApi for Metrics {
    fn group(&self) -> &'static str {
        GROUP
    }

    fn version(&self) -> &'static str {
        VERSION
    }

    fn priority(&self) -> (i32, i32) {
        // Those of metrics-server's manifest.
        (100, 100)
    }

    fn resources(&self) -> Vec<Value> {
        let resource = |resource: Resource| {
            json!({
                "resource": resource.name(),
                "responseKind": {"group": GROUP, "version": VERSION, "kind": resource.kind()},
                "scope": if resource.namespaced() { "Namespaced" } else { "Cluster" },
                "singularResource": "",
                "verbs": ["get", "list"],
            })
        };
        vec![resource(Resource::Nodes), resource(Resource::Pods)]
    }

    fn schema(&self) -> Value {
        schema::document()
    }

    fn schema_v2(&self) -> Value {
        schema::document_v2()
    }

    async fn answer(&self, request: &ApiRequest<'_>) -> Result<Value, Status> {
        let info = &request.info;
        let resource = Resource::named(info.resource).filter(|_| info.subresource.is_empty());
        let resource = resource.ok_or_else(Status::path_not_found)?;
        if !resource.namespaced() && !info.namespace.is_empty() {
            return Err(Status::path_not_found());
        }
        let client = self.client.get().ok_or_else(|| {
            Status::service_unavailable("the metrics API has not been started yet")
        })?;
        match info.verb {
            // A name in the field selector is one of the request to who authorizes it; the path decides.
            "list" => self.list(client, resource, request).await,
            "get" if resource.namespaced() && info.namespace.is_empty() => {
                Err(Status::path_not_found())
            }
            "get" => self.get(client, resource, request).await,
            _ => Err(Status::method_not_supported(
                GroupResource::new(GROUP, resource.name()),
                info.verb,
            )),
        }
    }

    fn table(&self, object: &Value) -> Value {
        objects::table(object)
    }
}

#[cfg(test)]
mod tests;
