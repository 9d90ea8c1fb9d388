//! Where a Service's port is served: its ready endpoints, straight from the slices.
//!
//! A backend is looked up when it is first asked for and kept until its Service or a slice of it changes.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use k8s_openapi::api::{
    core::v1::{Service, ServicePort},
    discovery::v1::EndpointSlice,
};
use knarr_client::{IndexKey, Informer};
use parking_lot::RwLock;

use crate::{
    backend_ref::{BackendRef, PortRef},
    build::Key,
};

/// The label by which a slice names its service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Application protocols of ports whose servers speak HTTP/2 without TLS.
const H2C: [&str; 2] = ["kubernetes.io/h2c", "grpc"];

/// A Service's port with its endpoints.
#[derive(Debug, Default)]
pub struct Backend {
    endpoints: Vec<SocketAddr>,
    next: AtomicUsize,
    /// Its servers speak HTTP/2 without TLS.
    pub h2c: bool,
}

impl Backend {
    /// Its endpoints, each once, beginning with another one at each call.
    pub fn in_turn(&self) -> impl Iterator<Item = SocketAddr> {
        let count = self.endpoints.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let places = (0..count).filter_map(move |i| first.wrapping_add(i).checked_rem(count));
        places.filter_map(|place| self.endpoints.get(place).copied())
    }
}

/// All backends.
pub struct Backends {
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    known: RwLock<HashMap<BackendRef, Arc<Backend>>>,
    /// How often something was forgotten: what was looked up before is not kept after.
    forgotten: AtomicU64,
}

impl Backends {
    pub fn new(services: Informer<Service>, slices: Informer<EndpointSlice>) -> Arc<Self> {
        let this = Arc::new(Self {
            services,
            slices,
            known: RwLock::default(),
            forgotten: AtomicU64::new(0),
        });
        let known = this.clone();
        this.services
            .on_event(move |event| known.forget(&Key::of(&**event.object())));
        let known = this.clone();
        this.slices.on_event(move |event| {
            if let Some(SliceOf(key)) = SliceOf::of(event.object()) {
                known.forget(&key);
            }
            if let knarr_client::Event::Updated { old, .. } = &event
                && let Some(SliceOf(key)) = SliceOf::of(old)
            {
                known.forget(&key);
            }
        });
        this
    }

    /// Waits until Services and slices are known.
    pub async fn synced(&self) {
        self.services.synced().await;
        self.slices.synced().await;
    }

    pub fn get(&self, wanted: &BackendRef) -> Arc<Backend> {
        if let Some(known) = self.known.read().get(wanted) {
            return known.clone();
        }
        let before = self.forgotten.load(Ordering::Acquire);
        let found = Arc::new(self.look_up(wanted));
        let mut known = self.known.write();
        if self.forgotten.load(Ordering::Acquire) == before {
            known.insert(wanted.clone(), found.clone());
        }
        found
    }

    /// A Service, if there is one.
    pub fn service(&self, key: &Key) -> Option<Arc<Service>> {
        self.services.get(&key.namespace, &key.name)
    }

    /// Calls `changed` when a Service comes or goes, or has other ports.
    pub fn on_ports(&self, changed: impl Fn() + Send + Sync + 'static) {
        self.services.on_event(move |event| {
            let facts = |service: &Service| {
                let spec = service.spec.as_ref();
                spec.map(|spec| (spec.type_.clone(), spec.ports.clone()))
            };
            let same = match &event {
                knarr_client::Event::Updated { old, new } => facts(old) == facts(new),
                knarr_client::Event::Added(_) | knarr_client::Event::Deleted(_) => false,
            };
            if !same {
                changed();
            }
        });
    }

    /// Routes have changed: what none leads to is not kept.
    pub fn forget_all(&self) {
        let mut known = self.known.write();
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        known.clear();
    }

    fn forget(&self, service: &Key) {
        let mut known = self.known.write();
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        known.retain(|backend, _| {
            backend.namespace != service.namespace || backend.service != service.name
        });
    }

    fn look_up(&self, wanted: &BackendRef) -> Backend {
        let service = self.services.get(&wanted.namespace, &wanted.service);
        let key = Key {
            namespace: wanted.namespace.clone(),
            name: wanted.service.clone(),
        };
        let slices = self.slices.by_index(&SliceOf(key));
        let found = service.and_then(|service| backend(&service, &slices, &wanted.port));
        found.unwrap_or_default()
    }
}

/// Slices by their Service.
#[derive(Clone, PartialEq, Eq, Hash)]
struct SliceOf(Key);

impl SliceOf {
    fn of(slice: &EndpointSlice) -> Option<Self> {
        Some(Self(Key {
            namespace: slice.metadata.namespace.clone()?,
            name: slice
                .metadata
                .labels
                .as_ref()?
                .get(SERVICE_NAME_LABEL)?
                .clone(),
        }))
    }
}

impl IndexKey<EndpointSlice> for SliceOf {
    fn keys_of(slice: &EndpointSlice) -> Vec<Self> {
        Self::of(slice).into_iter().collect()
    }
}

/// None of a port that the Service does not have, and of what is only another name for something outside: anybody could name a
/// server there that trusts the node.
fn backend(service: &Service, slices: &[Arc<EndpointSlice>], port: &PortRef) -> Option<Backend> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let is_wanted = |one: &&ServicePort| match port {
        PortRef::Name(name) => one.name.as_ref() == Some(name),
        PortRef::Number(number) => one.port == *number,
    };
    let tcp = |one: &&ServicePort| matches!(one.protocol.as_deref(), None | Some("TCP"));
    let port = spec.ports.iter().flatten().filter(tcp).find(is_wanted)?;
    let name = port.name.as_deref().unwrap_or_default();
    let endpoints: BTreeSet<SocketAddr> =
        slices.iter().flat_map(|slice| ready(slice, name)).collect();
    let protocol = port.app_protocol.as_deref();
    Some(Backend {
        endpoints: endpoints.into_iter().collect(),
        next: AtomicUsize::new(0),
        h2c: protocol.is_some_and(|protocol| H2C.contains(&protocol)),
    })
}

/// The ready endpoints of a slice's port.
fn ready(slice: &EndpointSlice, port: &str) -> Vec<SocketAddr> {
    let mut ports = slice.ports.iter().flatten();
    let port = ports.find(|one| {
        one.name.as_deref().unwrap_or_default() == port
            && matches!(one.protocol.as_deref(), None | Some("TCP"))
    });
    let Some(port) = port.and_then(|port| u16::try_from(port.port?).ok()) else {
        return Vec::new();
    };
    let endpoints = slice.endpoints.iter().filter(|endpoint| {
        // Unknown readiness is to be read as ready.
        let ready = endpoint.conditions.as_ref().and_then(|c| c.ready);
        ready.unwrap_or(true)
    });
    endpoints
        .filter_map(|endpoint| endpoint.addresses.first()?.parse().ok())
        .filter(may_be_asked)
        .map(|address| SocketAddr::new(address, port))
        .collect()
}

/// Who may write endpoints must not reach what this node has for itself, or its neighbours by link.
fn may_be_asked(address: &IpAddr) -> bool {
    // One in IPv6's clothes is the same address.
    let address = address.to_canonical();
    let special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    let by_link = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !special && !by_link
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: Value) -> Service {
        let metadata = json!({"namespace": "x", "name": "web"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a Service")
    }

    fn slice(name: &str, endpoints: Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"namespace": "x", "name": name, "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }))
        .expect("a slice")
    }

    fn backends(service: Service, slices: Vec<EndpointSlice>) -> Arc<Backends> {
        let backends = Backends::new(Informer::new(), Informer::new());
        backends.services.apply(service);
        for slice in slices {
            backends.slices.apply(slice);
        }
        backends
    }

    fn ask(backends: &Backends, port: PortRef) -> Vec<String> {
        let backend = backends.get(&BackendRef {
            namespace: "x".to_owned(),
            service: "web".to_owned(),
            port,
        });
        backend
            .in_turn()
            .map(|endpoint| endpoint.to_string())
            .collect()
    }

    fn http() -> Value {
        json!({"ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 80, "protocol": "UDP"}]})
    }

    #[test]
    fn ready_endpoints_take_turns() {
        let endpoints = json!([
            {"addresses": ["10.42.0.2"]},
            {"addresses": ["10.42.0.3"], "conditions": {"ready": true}},
            {"addresses": ["10.42.0.4"], "conditions": {"ready": false}},
        ]);
        let backends = backends(service(http()), vec![slice("a", endpoints)]);
        let port = || PortRef::Number(80);
        assert_eq!(ask(&backends, port()), ["10.42.0.2:8080", "10.42.0.3:8080"]);
        assert_eq!(ask(&backends, port()), ["10.42.0.3:8080", "10.42.0.2:8080"]);
        assert_eq!(ask(&backends, PortRef::Name("http".to_owned())).len(), 2);
        assert_eq!(ask(&backends, PortRef::Number(81)), [""; 0]);
        // What changes is seen.
        backends
            .slices
            .apply(slice("a", json!([{"addresses": ["10.42.0.9"]}])));
        assert_eq!(ask(&backends, port()), ["10.42.0.9:8080"]);
        backends.services.remove(service(http()));
        assert_eq!(ask(&backends, port()), [""; 0]);
    }

    #[test]
    fn addresses_that_are_nobodys_to_give() {
        for address in [
            "127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::ffff:127.0.0.1",
            "::1",
            "fe80::1",
        ] {
            let slice = slice("a", json!([{"addresses": [address]}]));
            let backends = backends(service(http()), vec![slice]);
            assert_eq!(ask(&backends, PortRef::Number(80)), [""; 0], "{address}");
        }
        let mut external = http();
        external["type"] = "ExternalName".into();
        let slice = slice("a", json!([{"addresses": ["10.42.0.2"]}]));
        let backends = backends(service(external), vec![slice]);
        assert_eq!(ask(&backends, PortRef::Number(80)), [""; 0]);
    }
}
