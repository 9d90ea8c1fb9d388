//! Follows APIServices: keeps those of what is served here, the routes, and one [`Follower`] a server.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use knarr_admission::writer::Writer;
use knarr_api::{
    apiregistration::{
        GROUP,
        api_service::{self, Availability},
    },
    kind::Part,
};
use knarr_meta::status::Status;
use knarr_registry::{Registry, cache::resource::ResourceCache};
use knarr_webhook::Backend;
use rustls::client::ResolvesClientCert;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Aggregation,
    follower::{Follower, Hands},
    objects::{RESOURCE, kind},
    registration::{self, Step, Wanted},
    routes::{Route, Routes, Way},
};

/// After a failure everything is looked at again, at the latest after this.
const RETRY: Duration = Duration::from_secs(1);
/// Writes under way at once.
const MAX_CONCURRENT_WRITES: usize = 32;
/// Servers that are asked at once of this process' own accord.
const MAX_CONCURRENT_CHECKS: usize = 16;

/// The task that follows APIServices.
pub struct Task {
    aggregation: Arc<Aggregation>,
    registry: Arc<Registry>,
    /// What this server shows to others.
    identity: Arc<dyn ResolvesClientCert>,
    hands: Arc<Hands>,
    tasks: TaskTracker,
    /// By name of the APIService.
    followed: HashMap<String, Followed>,
    /// Until the first look that went well.
    starting: bool,
}

struct Followed {
    route: Arc<Route>,
    token: CancellationToken,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl Task {
    /// Knows the routes of what is stored; followers run among `tasks`.
    pub fn new(
        aggregation: Arc<Aggregation>,
        registry: Arc<Registry>,
        identity: Arc<dyn ResolvesClientCert>,
        tasks: TaskTracker,
    ) -> Task {
        let hands = Hands {
            aggregation: aggregation.clone(),
            registry: registry.clone(),
            checks: Semaphore::new(MAX_CONCURRENT_CHECKS),
        };
        let task = Task {
            aggregation,
            registry,
            identity,
            hands: Arc::new(hands),
            tasks,
            followed: HashMap::new(),
            starting: true,
        };
        task.route(&task.objects());
        task
    }

    /// Follows until the token is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let Some(resource) = self.resource() else {
            return;
        };
        let mut kinds = self.registry.catalog.changes();
        loop {
            let seen = resource.last_change();
            kinds.mark_unchanged();
            let done = self.look(&stop).await;
            let retry = async {
                match done {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(RETRY).await,
                }
            };
            tokio::select! {
                () = resource.changed(seen) => {}
                changed = kinds.changed() => if changed.is_err() { return },
                () = retry => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn resource(&self) -> Option<Arc<ResourceCache>> {
        self.registry.cache.resource(GROUP, RESOURCE)
    }

    fn objects(&self) -> Vec<Value> {
        let objects: &dyn knarr_auth::objects::Objects = &*self.registry.cache;
        let all = objects.list(GROUP, RESOURCE, "");
        let all = all.iter().map(|found| serde_json::from_slice(&found.json));
        all.filter_map(Result::ok).collect()
    }

    /// Makes routes, followers and objects what they should be. False: look again.
    async fn look(&mut self, stop: &CancellationToken) -> bool {
        let objects = self.objects();
        self.route(&objects);
        self.follow(stop);
        let kinds = self.registry.catalog.current();
        let wanted = registration::wanted(&kinds.kinds);
        let mut steps = registration::plan(&wanted, &objects, self.starting);
        if self.starting {
            let locals = self.aggregation.locals.all.iter();
            let wanted: Vec<Wanted> = locals.map(|local| local.wanted()).collect();
            steps.extend(registration::plan_local(&wanted, &objects));
        }
        let registry = &*self.registry;
        let failed = stream::iter(steps)
            .map(|step| execute(registry, step))
            .buffer_unordered(MAX_CONCURRENT_WRITES)
            .fold(0usize, async |failed, done| match done {
                Ok(()) => failed,
                Err(status) => {
                    tracing::warn!(error = %status.message, "cannot write an APIService");
                    failed.saturating_add(1)
                }
            })
            .await;
        self.starting &= failed > 0;
        failed == 0
    }

    fn route(&self, objects: &[Value]) {
        let make = |way: &Way| {
            let objects: Arc<dyn knarr_auth::objects::Objects> = self.registry.cache.clone();
            Backend::new(&way.target, &way.trust, self.identity.clone(), objects)
        };
        let routes = Routes::new(objects.iter(), &self.aggregation.routes.load(), make);
        self.aggregation.routes.store(Arc::new(routes));
        self.aggregation.follow_locals(objects);
    }

    fn follow(&mut self, stop: &CancellationToken) {
        let routes = self.aggregation.routes.load_full();
        let wanted: HashMap<&str, &Arc<Route>> = routes
            .iter()
            .map(|route| (route.name.as_str(), route))
            .collect();
        let aggregation = &self.aggregation;
        self.followed.retain(|name, followed| {
            let keep = match wanted.get(name.as_str()) {
                Some(route) => route.same_server(&followed.route),
                None => false,
            };
            if !keep {
                followed.token.cancel();
                aggregation.forget(name);
            }
            keep
        });
        for (name, route) in wanted {
            if self.followed.contains_key(name) {
                continue;
            }
            let token = stop.child_token();
            let follower = Follower::new(self.hands.clone(), route.clone(), token.clone());
            self.tasks.spawn(follower.run());
            let route = route.clone();
            self.followed
                .insert(name.to_owned(), Followed { route, token });
        }
    }
}

async fn execute(writer: &dyn Writer, step: Step) -> Result<(), Status> {
    let kind = kind()?;
    let result = match step {
        Step::Create(object) => writer.create(kind, "", object).await.map(drop),
        Step::Delete(name) => writer.delete(kind, "", &name).await,
        Step::SetSpec(name, spec) => {
            let change = |object: &mut Value| {
                let ours = registration::is_managed(object);
                if let Some(object) = object.as_object_mut().filter(|_| ours) {
                    object.insert("spec".to_owned(), spec.clone());
                }
                Ok(ours)
            };
            let update = writer.update(kind, "", &name, Part::Main, &change);
            update.await.map(drop)
        }
        Step::MakeLocal(name) => {
            let change = |object: &mut Value| {
                let local = api_service::service(object).is_none();
                Ok(local && api_service::set_availability(object, &Availability::local()))
            };
            let update = writer.update(kind, "", &name, Part::Status, &change);
            update.await.map(drop)
        }
    };
    match result {
        // Somebody else was first: what came of it is seen.
        Err(status) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(status) if status.reason == knarr_meta::status::Reason::AlreadyExists => Ok(()),
        result => result,
    }
}
