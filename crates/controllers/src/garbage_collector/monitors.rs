//! One metadata watch for each resource that is served; new ones are found when a definition of custom resources changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use knarr_client::{Event, Informer, Source};
use kube::discovery::verbs;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::GarbageCollector;
use super::graph::AnyObject;
use crate::resources::{self, Discovered, ServedResource};

/// Events are many, short-lived and own nothing.
const IGNORED: [(&str, &str); 2] = [("", "events"), ("events.k8s.io", "events")];
/// Resources whose changes change what is served.
const DEFINITIONS: [(&str, &str); 2] = [
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
];
/// Definitions that change together are taken together.
const SETTLE: Duration = Duration::from_secs(1);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Longest wait for a first list; a resource that cannot be listed must not stop the collection of all others.
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

struct Monitor {
    informer: Informer<AnyObject>,
    token: CancellationToken,
}

/// Watches everything, until the token is cancelled. Tells the collector when it may begin.
pub(super) async fn run(
    collector: Arc<GarbageCollector>,
    reader: kube::Client,
    token: CancellationToken,
) {
    let mut monitors: HashMap<String, Monitor> = HashMap::new();
    let mut retry = RETRY_MIN;
    loop {
        match resources::discover(&reader).await {
            Ok(discovered) => {
                retry = RETRY_MIN;
                let resources = with_known(discovered, &collector.resources.read());
                update(&collector, &reader, &token, &mut monitors, resources).await;
                collector.definitions_changed.notified().await;
                sleep(SETTLE).await;
            }
            Err(error) => {
                tracing::warn!(%error, retry_in = ?retry, "discovery failed");
                sleep(retry).await;
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
    }
}

/// What a server was known to serve that cannot be asked now: its objects are no more gone than it is.
fn with_known(discovered: Discovered, known: &[ServedResource]) -> Vec<ServedResource> {
    let mut resources = discovered.resources;
    let kept = known
        .iter()
        .filter(|resource| discovered.failed.contains(&resource.api.api_version));
    resources.extend(kept.cloned());
    resources
}

async fn update(
    collector: &Arc<GarbageCollector>,
    reader: &kube::Client,
    token: &CancellationToken,
    monitors: &mut HashMap<String, Monitor>,
    resources: Vec<ServedResource>,
) {
    let watched = |resource: &&ServedResource| {
        resource.supports(verbs::LIST)
            && resource.supports(verbs::WATCH)
            && !is_one_of(resource, &IGNORED)
    };
    let wanted: HashMap<String, &ServedResource> = resources
        .iter()
        .filter(watched)
        .map(|resource| (resource.path(), resource))
        .collect();
    monitors.retain(|path, monitor| {
        let keep = wanted.contains_key(path);
        if !keep {
            monitor.token.cancel();
            let objects = monitor.informer.list();
            collector.unobserved(objects.iter().map(|object| &*object.metadata.uid));
        }
        keep
    });
    for (path, resource) in wanted {
        monitors.entry(path).or_insert_with_key(|path| {
            let token = token.child_token();
            start(collector, reader.clone(), token, path, resource)
        });
    }
    let synced = join_all(monitors.values().map(|monitor| monitor.informer.synced()));
    if timeout(SYNC_TIMEOUT, synced).await.is_err() {
        tracing::warn!("not all resources could be listed, collecting without them");
    }
    collector.begin(resources);
}

fn is_one_of(resource: &ServedResource, list: &[(&str, &str)]) -> bool {
    let api = &resource.api;
    list.iter()
        .any(|(group, plural)| *group == api.group && *plural == api.plural)
}

/// Follows the metadata of a resource's objects.
fn start(
    collector: &Arc<GarbageCollector>,
    reader: kube::Client,
    token: CancellationToken,
    path: &str,
    resource: &ServedResource,
) -> Monitor {
    let informer = Informer::<AnyObject>::new();
    let resource = Arc::new(resource.clone());
    let defines = is_one_of(&resource, &DEFINITIONS);
    let handler = Arc::downgrade(collector);
    informer.on_event(move |event| {
        let Some(collector) = handler.upgrade() else {
            return;
        };
        match &event {
            Event::Added(object) => collector.seen(&resource, &object.metadata),
            Event::Updated { old, new } => {
                if old.metadata.uid != new.metadata.uid {
                    collector.removed(&old.metadata.uid);
                    collector.gone.tell(&resource, &old.metadata.namespace);
                }
                collector.seen(&resource, &new.metadata);
            }
            Event::Deleted(object) => {
                collector.removed(&object.metadata.uid);
                collector.gone.tell(&resource, &object.metadata.namespace);
            }
        }
        if defines && collector.has_begun() {
            collector.definitions_changed.notify_one();
        }
    });
    let source = Source {
        path: path.to_owned(),
        label_selector: None,
        field_selector: None,
        metadata_only: true,
    };
    let monitoring = informer.clone().run(reader, source, token.clone());
    collector
        .tasks
        .spawn("a monitor of the garbage collector", monitoring);
    Monitor { informer, token }
}

#[cfg(test)]
mod tests {
    use kube::discovery::ApiResource;

    use super::*;

    fn resource(api_version: &str, plural: &str) -> ServedResource {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        ServedResource {
            api: ApiResource {
                group: group.to_owned(),
                version: version.to_owned(),
                api_version: api_version.to_owned(),
                kind: plural.to_owned(),
                plural: plural.to_owned(),
            },
            namespaced: true,
            verbs: Vec::new(),
        }
    }

    #[test]
    fn a_server_that_cannot_be_asked_still_has_its_objects() {
        let known = [
            resource("a.example.com/v1", "as"),
            resource("b.example.com/v1", "bs"),
        ];
        let discovered = Discovered {
            resources: vec![resource("v1", "pods")],
            failed: vec!["a.example.com/v1".to_owned()],
        };
        let found = with_known(discovered, &known);
        let plurals: Vec<&str> = found.iter().map(|one| one.api.plural.as_str()).collect();
        assert_eq!(plurals, ["pods", "as"]);
    }
}
