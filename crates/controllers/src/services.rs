//! Which pods a service selects and which services select a pod; shared by the endpoint controllers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service, ServiceSpec};
use knarr_client::{Event, IndexKey, Informer};
use parking_lot::Mutex;

use crate::pods;
use crate::runner::Key;

/// Marks a headless service's endpoints.
pub(crate) const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
/// When the change that is published happened, for measuring how long that took.
pub(crate) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Services and pods, indexed by selectors and labels: neither direction walks a whole namespace.
#[derive(Clone)]
pub(crate) struct Membership {
    pub services: Informer<Service>,
    pub pods: Informer<Pod>,
}

/// A pair of labels within a namespace: pods by each of theirs, services by the first that they select.
#[derive(Clone, PartialEq, Eq, Hash)]
struct LabelPair {
    namespace: String,
    key: String,
    value: String,
}

impl LabelPair {
    fn new(namespace: &str, (key, value): (&String, &String)) -> Self {
        Self {
            namespace: namespace.to_owned(),
            key: key.clone(),
            value: value.clone(),
        }
    }
}

impl IndexKey<Service> for LabelPair {
    fn keys_of(service: &Service) -> Vec<Self> {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let first = selector(service).and_then(BTreeMap::first_key_value);
        first
            .map(|pair| Self::new(namespace, pair))
            .into_iter()
            .collect()
    }
}

impl IndexKey<Pod> for LabelPair {
    fn keys_of(pod: &Pod) -> Vec<Self> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let labels = pod.metadata.labels.iter().flatten();
        labels.map(|pair| Self::new(namespace, pair)).collect()
    }
}

/// Whether the service has endpoints that are the controllers' to find: it selects pods, and is no other name for something outside.
pub(crate) fn has_endpoints(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let external = spec.is_some_and(|spec| spec.type_.as_deref() == Some("ExternalName"));
    !external && selector(service).is_some()
}

pub(crate) fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    service
        .spec
        .as_ref()?
        .selector
        .as_ref()
        .filter(|selector| !selector.is_empty())
}

impl Membership {
    pub(crate) fn new(services: Informer<Service>, pods: Informer<Pod>) -> Self {
        Self { services, pods }
    }

    /// The pods `service` selects, by name.
    pub(crate) fn pods_of(&self, service: &Service) -> Vec<Arc<Pod>> {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let Some(selector) = selector(service) else {
            return Vec::new();
        };
        let Some(first) = selector.first_key_value() else {
            return Vec::new();
        };
        let mut pods = self.pods.by_index(&LabelPair::new(namespace, first));
        pods.retain(|pod| selects(selector, pod));
        pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        pods
    }

    /// The services that select `pod`.
    pub(crate) fn services_of(&self, pod: &Pod) -> BTreeSet<Key> {
        let pairs = <LabelPair as IndexKey<Pod>>::keys_of(pod).into_iter();
        let services = pairs.flat_map(|pair| self.services.by_index(&pair));
        let matching = services
            .filter(|service| selector(service).is_some_and(|selector| selects(selector, pod)));
        matching.map(|service| Key::of(&*service)).collect()
    }

    /// The services whose endpoints may change by a pod's event.
    pub(crate) fn affected(&self, event: &Event<Pod>) -> BTreeSet<Key> {
        match event {
            Event::Added(pod) | Event::Deleted(pod) => self.services_of(pod),
            Event::Updated { old, new } => {
                let changed = endpoint_changed(old, new);
                let moved =
                    old.metadata.labels != new.metadata.labels || hostname(old) != hostname(new);
                match (changed, moved) {
                    (false, false) => BTreeSet::new(),
                    (true, false) => self.services_of(new),
                    (true, true) => &self.services_of(new) | &self.services_of(old),
                    // Only labels: services that had it before and have it now see no difference, unless by its name.
                    (false, true) if hostname(old) == hostname(new) => {
                        &self.services_of(new) ^ &self.services_of(old)
                    }
                    (false, true) => &self.services_of(new) | &self.services_of(old),
                }
            }
        }
    }
}

fn selects(selector: &BTreeMap<String, String>, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

fn hostname(pod: &Pod) -> (Option<&str>, Option<&str>) {
    let spec = pod.spec.as_ref();
    (
        spec.and_then(|s| s.hostname.as_deref()),
        spec.and_then(|s| s.subdomain.as_deref()),
    )
}

fn endpoint_changed(old: &Pod, new: &Pod) -> bool {
    old.metadata.uid != new.metadata.uid
        || old.metadata.deletion_timestamp != new.metadata.deletion_timestamp
        || pods::is_ready(old) != pods::is_ready(new)
        || pods::is_terminal(old) != pods::is_terminal(new)
        || pods::node_name(old) != pods::node_name(new)
        || pods::addresses(old) != pods::addresses(new)
}

/// The hostname a pod has within a headless service that is its subdomain.
pub(crate) fn endpoint_hostname(pod: &Pod, service: &Service) -> Option<String> {
    let (hostname, subdomain) = hostname(pod);
    let hostname = hostname.filter(|h| !h.is_empty())?;
    (subdomain == service.metadata.name.as_deref()).then(|| hostname.to_owned())
}

/// It has no cluster address (`None` or not yet one), so its endpoints are for DNS.
pub(crate) fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip
        .as_deref()
        .is_none_or(|ip| ip.is_empty() || ip == "None")
}

pub(crate) fn publishes_not_ready(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .and_then(|s| s.publish_not_ready_addresses)
        .unwrap_or(false)
}

#[derive(Default)]
struct Seen {
    service: Option<Timestamp>,
    pods: HashMap<String, Timestamp>,
}

/// Remembers what each service's endpoints were made of, to tell the time of what is new.
#[derive(Default)]
pub(crate) struct TriggerTimes {
    seen: Mutex<HashMap<Key, Seen>>,
}

impl TriggerTimes {
    /// The earliest of the changes since the last call: the service's creation, pods' changes of readiness.
    pub(crate) fn latest_change(
        &self,
        key: &Key,
        service: &Service,
        pods: &[Arc<Pod>],
    ) -> Option<Timestamp> {
        let mut seen = self.seen.lock();
        let before = seen.remove(key).unwrap_or_default();
        let mut now = Seen {
            service: service.metadata.creation_timestamp.as_ref().map(|t| t.0),
            ..Seen::default()
        };
        let mut changes: Vec<Timestamp> = now
            .service
            .filter(|at| before.service.is_none_or(|b| b < *at))
            .into_iter()
            .collect();
        for pod in pods {
            let changed =
                pods::condition(pod, "Ready").and_then(|c| c.last_transition_time.as_ref());
            if let (Some(at), Some(name)) = (changed.map(|t| t.0), &pod.metadata.name) {
                if before.pods.get(name).is_none_or(|b| *b < at) {
                    changes.push(at);
                }
                now.pods.insert(name.clone(), at);
            }
        }
        seen.insert(key.clone(), now);
        changes.into_iter().min()
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.seen.lock().remove(key);
    }
}

#[cfg(test)]
mod tests;
