//! Addresses for Services of type LoadBalancer: those of the nodes themselves, or one each of a range (upstream's service controller,
//! with the cluster as its own load balancer).
//!
//! A Service gets each node's address on which all of its ports are free, and waits, with an event that says for what, where it gets
//! none. Who has a port keeps it; then the older Service gets it. With a range every Service has an address for itself. What is given
//! out stands in the Services' statuses and nowhere else: it is read from there at a start, before anything new is given out.
//!
//! There is no finalizer, unlike upstream: nothing outside of the cluster is made for a Service, so nothing has to be cleaned up, and
//! no Service could be deleted any more once the addresses are left to another controller.

mod candidates;
mod claims;
mod pool;

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Node, Pod, Service, ServiceSpec},
    discovery::v1::EndpointSlice,
};
use knarr_client::{Event, IndexKey, Informer, WorkQueue};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::json;

use self::{
    candidates::{Candidate, HostPorts},
    claims::{Claims, Wanted},
};
pub use self::{
    claims::Protocol,
    pool::{BadPool, Pool},
};
use crate::{
    events::{NORMAL, Recorder, WARNING},
    runner::{Context, Error, Key, Reconciler, synced},
};

/// One at a time: two must not be given the same address.
const WORKERS: usize = 1;

/// Services of this class are ours, as are those without one. Those of any other belong to another controller.
pub const CLASS: &str = "knarr.dev/load-balancer";
/// The address that a Service wants of the range, or one of each of two ranges with a comma between, for those who would not use the deprecated `spec.loadBalancerIP`.
pub const ADDRESS_ANNOTATION: &str = "knarr.dev/load-balancer-ip";
/// The label by which a slice names its service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// What Services of type LoadBalancer may get.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Addresses to give out, at most one range a family and one address of each a Service; without any, Services share the addresses
    /// of the nodes, by port.
    pub ranges: Vec<Pool>,
    /// Ports of nodes that no Service gets.
    pub reserved: Vec<Reserved>,
}

/// A port of the nodes that is somebody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    pub protocol: Protocol,
    pub port: u16,
    /// Whose it is, for people: `the API server`.
    pub holder: String,
}

pub(crate) struct ServiceLb {
    client: kube::Client,
    recorder: Recorder,
    config: Config,
    services: Informer<Service>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    pods: Informer<Pod>,
    state: Mutex<State>,
    queue: WorkQueue<Key>,
}

/// What is known beside the informers.
#[derive(Default)]
struct State {
    /// Whether what the statuses say has been read.
    loaded: bool,
    claims: Claims,
    /// What users were told of Services that wait, so that they are told once.
    told: HashMap<Key, String>,
}

/// What a Service gets.
#[derive(Debug, Default, PartialEq, Eq)]
struct Decision {
    addresses: Vec<IpAddr>,
    /// Why it did not get all, for people.
    problem: Option<String>,
}

/// Slices by their Service.
#[derive(Clone, PartialEq, Eq, Hash)]
struct SlicesOf(Key);

impl IndexKey<EndpointSlice> for SlicesOf {
    fn keys_of(slice: &EndpointSlice) -> Vec<Self> {
        service_of(slice).into_iter().map(Self).collect()
    }
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
    Some(Key::new(namespace, name.as_str()))
}

/// Whether this controller gives the Service its addresses.
fn is_ours(service: &Service) -> bool {
    let Some(spec) = &service.spec else {
        return false;
    };
    let class = spec.load_balancer_class.as_deref();
    spec.type_.as_deref() == Some("LoadBalancer") && class.is_none_or(|class| class == CLASS)
}

fn is_local(spec: &ServiceSpec) -> bool {
    spec.external_traffic_policy.as_deref() == Some("Local")
}

fn is_primary(service: &Service, address: IpAddr) -> bool {
    let families = service
        .spec
        .iter()
        .flat_map(|spec| spec.ip_families.iter().flatten());
    let primary = families.map(String::as_str).next().unwrap_or("IPv4");
    (primary == "IPv4") == address.is_ipv4()
}

/// What the Service's status says that it has.
fn published(service: &Service) -> Vec<IpAddr> {
    let balancer = service.status.iter().flat_map(|s| &s.load_balancer);
    let ingress = balancer.flat_map(|b| b.ingress.iter().flatten());
    ingress
        .filter_map(|i| i.ip.as_ref()?.parse().ok())
        .collect()
}

pub(crate) fn start(context: &Context) {
    let Some(config) = context.config.service_lb.clone() else {
        return;
    };
    let client = context.client("service-controller");
    let controller = Arc::new(ServiceLb {
        recorder: context.recorder(&client, "service-controller"),
        client,
        config,
        services: context.informers.informer(),
        nodes: context.informers.informer(),
        slices: context.informers.informer(),
        pods: context.informers.informer(),
        state: Mutex::default(),
        queue: WorkQueue::new(),
    });
    controller.listen();
    let informers = vec![
        synced(&controller.services),
        synced(&controller.nodes),
        synced(&controller.slices),
        synced(&controller.pods),
    ];
    context.start(controller, WORKERS, informers);
}

impl ServiceLb {
    /// Puts into the queue what events may change.
    fn listen(&self) {
        let queue = self.queue.clone();
        self.services.on_event(move |event| {
            let was = matches!(&event, Event::Updated { old, .. } if is_ours(old));
            if was || is_ours(event.object()) {
                queue.add(Key::of(&**event.object()));
            }
        });
        let (queue, services) = (self.queue.clone(), self.services.clone());
        self.nodes.on_event(move |event| {
            let unchanged = match &event {
                Event::Updated { old, new } => Candidate::of(old) == Candidate::of(new),
                Event::Added(_) | Event::Deleted(_) => false,
            };
            if !unchanged {
                add_all(&queue, &services);
            }
        });
        let (queue, services) = (self.queue.clone(), self.services.clone());
        self.slices.on_event(move |event| {
            let Some(key) = service_of(event.object()) else {
                return;
            };
            let service = services.get(&key.namespace, &key.name);
            let local = |service: &Service| service.spec.as_ref().is_some_and(is_local);
            if service.is_some_and(|service| is_ours(&service) && local(&service)) {
                queue.add(key);
            }
        });
        let (queue, services) = (self.queue.clone(), self.services.clone());
        self.pods.on_event(move |event| {
            // What comes does not take a port from a Service that has it; what goes may leave it one.
            if let Event::Deleted(pod) = &event
                && !HostPorts::keys_of(pod).is_empty()
            {
                add_all(&queue, &services);
            }
        });
    }

    fn decide(&self, key: &Key, service: &Service) -> Decision {
        let mut state = self.state.lock();
        if !state.loaded {
            self.load(&mut state.claims);
            state.loaded = true;
        }
        self.settle(key, service, &mut state.claims)
    }

    /// Gives everybody what they have by their status, the oldest first.
    fn load(&self, claims: &mut Claims) {
        let mut services = self.services.list();
        services.retain(|service| is_ours(service) && !published(service).is_empty());
        services.sort_by_cached_key(|service| age(service));
        for service in services {
            let has = published(&service);
            let mut wanted = self.wanted(&service, claims);
            wanted.retain(|wanted| has.contains(&wanted.address));
            // Pods that came later take nothing from those that have it.
            for wanted in &mut wanted {
                wanted.problem = None;
            }
            claims.settle(&Key::of(&*service), wanted);
        }
    }

    fn settle(&self, key: &Key, service: &Service, claims: &mut Claims) -> Decision {
        let wanted = self.wanted(service, claims);
        let settled = claims.settle(key, wanted);
        self.wake(settled.freed);
        let problem = settled.problems.into_iter().next();
        let nothing = settled.addresses.is_empty();
        let mut addresses = settled.addresses;
        // Those of the Service's first family come first.
        addresses.sort_by_key(|address| !is_primary(service, *address));
        Decision {
            addresses,
            problem: problem.or_else(|| nothing.then(|| self.why_nothing(service))),
        }
    }

    /// Addresses that the Service may get, as far as they are nobody else's.
    fn wanted(&self, service: &Service, claims: &Claims) -> Vec<Wanted> {
        match self.config.ranges.as_slice() {
            [] => self.of_nodes(service),
            pools => pool::wanted(pools, service, claims),
        }
    }

    fn of_nodes(&self, service: &Service) -> Vec<Wanted> {
        let Some(spec) = &service.spec else {
            return Vec::new();
        };
        let mut nodes: Vec<Candidate> = (self.nodes.list().iter())
            .filter_map(|node| Candidate::of(node))
            .collect();
        nodes.sort();
        if is_local(spec) {
            let slices = self.slices.by_index(&SlicesOf(Key::of(service)));
            let serving = candidates::serving_nodes(&slices);
            nodes.retain(|node| serving.contains(&node.name));
        }
        candidates::wanted(spec, &nodes, &self.config.reserved, |node| {
            self.pods.by_index(&HostPorts(node.to_owned()))
        })
    }

    fn why_nothing(&self, service: &Service) -> String {
        match self.config.ranges.as_slice() {
            [] => "no ready node has an address for it".to_owned(),
            pools => pool::why_nothing(pools, service),
        }
    }

    /// The Service wants nothing any more.
    fn release(&self, key: &Key) {
        let freed = {
            let mut state = self.state.lock();
            state.told.remove(key);
            state.claims.forget(key)
        };
        self.wake(freed);
    }

    /// Those that wait for what somebody has given up; the oldest first.
    fn wake(&self, freed: impl IntoIterator<Item = Key>) {
        let mut services: Vec<Arc<Service>> = (freed.into_iter())
            .filter_map(|key| self.services.get(&key.namespace, &key.name))
            .collect();
        services.sort_by_cached_key(|service| age(service));
        for service in services {
            self.queue.add(Key::of(&*service));
        }
    }

    /// Tells why a Service did not get what it wants, when that is news.
    fn tell(&self, key: &Key, service: &Service, problem: Option<&String>) {
        let news = {
            let told = &mut self.state.lock().told;
            match problem {
                None => {
                    told.remove(key);
                    None
                }
                Some(problem) if told.get(key) == Some(problem) => None,
                Some(problem) => {
                    told.insert(key.clone(), problem.clone());
                    Some(problem)
                }
            }
        };
        if let Some(problem) = news {
            let note = format!("Error syncing load balancer: {problem}");
            let reason = "SyncLoadBalancerFailed";
            self.recorder
                .event(&service.object_ref(&()), WARNING, reason, note);
        }
    }
}

/// By age, then by name.
fn age(service: &Service) -> (Option<jiff::Timestamp>, Key) {
    let created = service.metadata.creation_timestamp.as_ref();
    (created.map(|time| time.0), Key::of(service))
}

fn add_all(queue: &WorkQueue<Key>, services: &Informer<Service>) {
    let mut ours = services.list();
    ours.retain(|service| is_ours(service));
    ours.sort_by_cached_key(|service| age(service));
    for service in ours {
        queue.add(Key::of(&*service));
    }
}

impl Reconciler for ServiceLb {
    const NAME: &'static str = "service-lb";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let service = self.services.get(&key.namespace, &key.name);
        // One that changes its type loses its status by the API server, in the same write.
        let Some(service) = service.filter(|service| is_ours(service)) else {
            self.release(key);
            return Ok(());
        };
        if service.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let decision = self.decide(key, &service);
        self.tell(key, &service, decision.problem.as_ref());
        if published(&service) == decision.addresses {
            return Ok(());
        }
        let ingress = (decision.addresses.iter())
            .map(|address| json!({"ip": address, "ipMode": "VIP"}))
            .collect::<Vec<_>>();
        let patch = json!({
            "metadata": {"uid": service.metadata.uid, "resourceVersion": service.metadata.resource_version},
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        let api: Api<Service> = Api::namespaced(self.client.clone(), &key.namespace);
        // What was taken stays so also on failure: the retry finds it.
        api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        if !decision.addresses.is_empty() {
            let reason = "EnsuredLoadBalancer";
            self.recorder.event(
                &service.object_ref(&()),
                NORMAL,
                reason,
                "Ensured load balancer",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
