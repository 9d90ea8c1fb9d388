//! API aggregation: group-versions that other servers serve, behind Services of this cluster, as upstream's kube-aggregator.
//!
//! ```text
//! APIServices --> routes: which server serves a group-version --> proxy: authorized requests, with the user's name
//!      ^               |
//!      |               +--> follower: one task a server: is it available, what does it serve? --> discovery, OpenAPI
//!      |                        |       schemas: what it says in OpenAPI v2, when somebody wants the document of all
//!      +-- registration         +--> status of the APIService
//!          (what is served here has APIServices too)
//! ```
//!
//! A part of this process may serve a group-version as such a server does, without the way to it ([`local`]): until somebody's server
//! takes it.
//!
//! Who runs such a server is trusted with the requests for its group-versions and with the names of those who send them, and with
//! nothing else: redirects are refused, answers have deadlines, what it says of itself has a size, and it can only speak of the
//! group-versions that its APIServices name. It is told who asks by headers, and believes them because this server shows a certificate
//! of an authority that signs no other. Requests to it take places of their own, so that one that hangs costs only its callers.
//!
//! Upstream runs all of it in the API server, too: what dials and what judges by dialing hold the same credentials. A request for what
//! is served here pays one look at a set that is mostly empty.

mod ask;
mod availability;
mod discovery;
mod follower;
mod identity;
pub mod local;
mod objects;
mod proxy;
pub mod registration;
mod routes;
mod schemas;
mod task;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::{ArcSwap, ArcSwapOption};
use knarr_registry::{
    catalog::Snapshot,
    discovery::{self as documents, Aggregated, Group, Remote},
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::schemas::Schemas;
pub use self::{
    local::Locals,
    proxy::pass,
    routes::{Route, Routes},
    task::Task,
};

/// Before the name of an APIService, for what is told in this process.
const LOCALLY: &str = "/";

/// What is known of other servers at this moment.
#[derive(Default)]
pub struct Aggregation {
    routes: ArcSwap<Routes>,
    /// By name of the APIService.
    learned: Mutex<BTreeMap<String, Learned>>,
    /// What is in `learned`, as it is shown.
    shown: ArcSwap<Shown>,
    merged: ArcSwapOption<Merged>,
    /// Their OpenAPI v2 documents.
    v2: Arc<Schemas>,
    /// What other parts of this process serve.
    pub locals: Locals,
}

/// What a server says of itself.
#[derive(Clone)]
struct Learned {
    serves: Arc<Remote>,
    /// The hash of its OpenAPI v3 document, where it has one.
    schema: Option<String>,
}

#[derive(Default)]
struct Shown {
    remote: Vec<Arc<Remote>>,
    /// Path of an OpenAPI v3 document (`apis/GROUP/VERSION`) and its hash.
    schemas: BTreeMap<String, String>,
}

/// Discovery of a set of kinds and of other servers.
pub struct Merged {
    snapshot: Arc<Snapshot>,
    shown: Arc<Shown>,
    groups: Vec<Group>,
    aggregated: Aggregated,
}

/// What discovery is answered from.
pub enum View {
    Own(Arc<Snapshot>),
    Merged(Arc<Merged>),
}

impl View {
    pub fn groups(&self) -> &[Group] {
        match self {
            View::Own(snapshot) => snapshot.groups(),
            View::Merged(merged) => &merged.groups,
        }
    }

    pub fn aggregated(&self) -> &Aggregated {
        match self {
            View::Own(snapshot) => &snapshot.aggregated,
            View::Merged(merged) => &merged.aggregated,
        }
    }
}

impl Aggregation {
    pub fn new(locals: Locals) -> Aggregation {
        Aggregation {
            locals,
            ..Aggregation::default()
        }
    }

    /// Serves and shows what the APIServices leave to other parts of this process.
    fn follow_locals(&self, objects: &[Value]) {
        if !self.locals.follow(objects) {
            return;
        }
        let serving = self.locals.serving();
        self.change(|all| {
            // No APIService has such a name: what its server says has its own place.
            all.retain(|name, _| !name.starts_with(LOCALLY));
            for local in serving.iter() {
                all.insert(format!("{LOCALLY}{}", local.name), local.learned());
            }
        });
    }

    /// Who serves a group-version, where it is another server.
    pub fn find(&self, group: &str, version: &str) -> Option<Arc<Route>> {
        self.routes.load().find(group, version).cloned()
    }

    /// Who answers a path that names no resource: the discovery or the OpenAPI v3 document of a group-version.
    pub fn of_path(&self, path: &str) -> Option<Arc<Route>> {
        let routes = self.routes.load();
        if routes.is_empty() {
            return None;
        }
        let path = path.trim_matches('/');
        let path = path.strip_prefix("openapi/v3/").unwrap_or(path);
        let mut parts = path.split('/');
        let (group, version) = match (parts.next()?, parts.next()?, parts.next()) {
            ("api", version, None) => ("", version),
            ("apis", group, Some(version)) => (group, version),
            _ => return None,
        };
        match parts.next() {
            None => routes.find(group, version).cloned(),
            Some(_) => None,
        }
    }

    /// Discovery with what other servers serve.
    pub fn view(&self, snapshot: &Arc<Snapshot>) -> View {
        let shown = self.shown.load_full();
        if shown.remote.is_empty() {
            return View::Own(snapshot.clone());
        }
        if let Some(merged) = self.merged.load_full()
            && Arc::ptr_eq(&merged.snapshot, snapshot)
            && Arc::ptr_eq(&merged.shown, &shown)
        {
            return View::Merged(merged);
        }
        let merged = Arc::new(Merged {
            snapshot: snapshot.clone(),
            groups: documents::merged(snapshot.groups(), &shown.remote),
            shown,
            aggregated: Aggregated::default(),
        });
        self.merged.store(Some(merged.clone()));
        View::Merged(merged)
    }

    /// The OpenAPI v2 document with what other servers say of themselves; `None` where they say nothing.
    pub async fn merged_v2(&self, snapshot: &Arc<Snapshot>) -> Option<Arc<schemas::Merged>> {
        let mut parts = self.locals.parts();
        parts.extend(self.v2.parts(&self.routes.load_full()).await);
        self.v2.merged(snapshot, parts)
    }

    /// Paths of other servers' OpenAPI v3 documents (`apis/GROUP/VERSION`) with their hashes.
    pub fn schemas(&self) -> Vec<(String, String)> {
        let shown = self.shown.load();
        let schemas = shown.schemas.iter();
        schemas
            .map(|(path, hash)| (path.clone(), hash.clone()))
            .collect()
    }

    /// Shows what a server says, unless it is no more followed: `followed` is cancelled before that is forgotten.
    fn learn(&self, name: &str, learned: Learned, followed: &CancellationToken) {
        self.change(|all| {
            if !followed.is_cancelled() {
                all.insert(name.to_owned(), learned);
            }
        });
    }

    fn forget(&self, name: &str) {
        self.change(|all| {
            all.remove(name);
        });
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Learned>)) {
        let mut all = self.learned.lock();
        change(&mut all);
        let schemas = all.values().filter_map(|one| {
            let path = format!("apis/{}/{}", one.serves.group, one.serves.version);
            Some((path, one.schema.clone()?))
        });
        let shown = Shown {
            remote: all.values().map(|one| one.serves.clone()).collect(),
            schemas: schemas.collect(),
        };
        let before = self.shown.load();
        // The documents that were made stay valid where nothing changed.
        if before.remote != shown.remote || before.schemas != shown.schemas {
            self.shown.store(Arc::new(shown));
        }
    }
}
