//! Numbers that are taken by compare and swap: a key a number, which only one can create.
//!
//! An address has an IPAddress, as upstream, which anybody can see, and which keeps its ServiceCIDR. A node port has a key of our own
//! where other servers have the store, too, since upstream's bitmap does not say whose a port is.
//! The pools only say which number is worth trying.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use knarr_meta::{names, object, status::Status, time};
use knarr_store::{KeyValue, Op, Outcome, Store};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::service;
use crate::cache::store_error;

const ADDRESSES: &str = "/registry/ipaddresses/";
const PORTS: &str = "/knarr/nodeports/";
/// Upstream's labels of addresses that Services have.
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";
/// Whose an address is, if Services of one name follow each other.
const SERVICE_UID: &str = "knarr.dev/service-uid";

/// What a Service can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Number {
    Address(IpAddr),
    Port(u64),
}

/// The Service that has it.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    namespace: String,
    name: String,
    uid: String,
}

/// A claim that a write has made.
#[derive(Debug)]
pub(super) struct Claim {
    key: String,
    revision: u64,
}

/// The claims of all servers.
pub(super) struct Claims {
    store: Arc<dyn Store>,
    /// Other servers have the store, too: ports are claimed as well as addresses.
    shared: bool,
    /// Claims, at their revisions, that no Service has, and since when that is known.
    unclaimed: Mutex<HashMap<Arc<str>, (u64, Instant)>>,
}

impl Number {
    fn key(self) -> String {
        match self {
            Number::Address(ip) => format!("{ADDRESSES}{ip}"),
            Number::Port(port) => format!("{PORTS}{port}"),
        }
    }

    fn of_key(key: &str) -> Option<Number> {
        let address = key.strip_prefix(ADDRESSES);
        let address = address.and_then(|ip| ip.parse().ok()).map(Number::Address);
        let port = || key.strip_prefix(PORTS)?.parse().ok().map(Number::Port);
        address.or_else(port)
    }
}

impl Owner {
    pub(super) fn of(service: &Value) -> Owner {
        Owner {
            namespace: object::namespace(service).to_owned(),
            name: object::name(service).to_owned(),
            uid: object::uid(service).to_owned(),
        }
    }
}

/// Everything that a Service has.
pub(super) fn of_service(service: &Value) -> Vec<Number> {
    let addresses = service::ips(service).into_iter().map(Number::Address);
    let ports = service::node_ports(service).into_iter().map(Number::Port);
    addresses.chain(ports).collect()
}

impl Claims {
    pub(super) fn new(store: Arc<dyn Store>, shared: bool) -> Claims {
        Claims {
            store,
            shared,
            unclaimed: Mutex::default(),
        }
    }

    /// Whether a number is claimed at all.
    pub(super) fn are_for(&self, number: Number) -> bool {
        self.shared || matches!(number, Number::Address(_))
    }

    /// Takes a number; `None` where another Service has it.
    pub(super) async fn take(
        &self,
        number: Number,
        owner: &Owner,
    ) -> Result<Option<Claim>, Status> {
        let key = number.key();
        let value = value(number, owner).to_string();
        let outcome = self.store.commit(Op::create(&*key, value)).await;
        Ok(match outcome.map_err(|error| store_error(&error))? {
            Outcome::Committed { revision, .. } => Some(Claim { key, revision }),
            Outcome::Conflict { .. } => None,
        })
    }

    /// Gives back what a write took that did not happen.
    pub(super) async fn undo(&self, claim: Claim) {
        self.delete(&claim.key, claim.revision).await;
    }

    /// Gives back what a Service has. A number that it only names stays with who has it.
    pub(super) async fn release(&self, number: Number, owner: &Owner) {
        let key = number.key();
        match self.store.get(&key, None).await {
            Ok((_, Some(kv))) if is_of(&kv, owner) => self.delete(&key, kv.mod_revision).await,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, key, "a claim is left to the next repair"),
        }
    }

    /// Makes the claims agree with the stored Services, the oldest of which come first: what one has without a claim is claimed, and a
    /// claim that no Service has had for longer than `life` goes.
    pub(super) async fn repair(
        &self,
        services: &[Value],
        life: Duration,
    ) -> Result<(), knarr_store::Error> {
        let mut claimed: HashMap<Number, KeyValue> = HashMap::new();
        let prefixes = [ADDRESSES, PORTS];
        for prefix in prefixes.into_iter().take(if self.shared { 2 } else { 1 }) {
            let all = self.store.range(prefix, None, 0, None).await?.kvs;
            let ours = all.into_iter().filter(is_ours);
            claimed.extend(ours.filter_map(|kv| Some((Number::of_key(&kv.key)?, kv))));
        }
        let mut had: HashSet<Number> = HashSet::new();
        for service in services {
            let numbers = of_service(service).into_iter();
            for number in numbers.filter(|number| self.are_for(*number)) {
                if had.insert(number) && !claimed.contains_key(&number) {
                    let value = value(number, &Owner::of(service)).to_string();
                    self.store.commit(Op::create(number.key(), value)).await?;
                }
            }
        }
        claimed.retain(|number, _| !had.contains(number));
        for (key, revision) in self.overdue(claimed.values(), life) {
            self.delete(&key, revision).await;
        }
        Ok(())
    }

    /// Of the claims that no Service has, those that were so long ago, too: a write that is under way is younger.
    fn overdue<'k>(
        &self,
        unclaimed: impl Iterator<Item = &'k KeyValue>,
        life: Duration,
    ) -> Vec<(Arc<str>, u64)> {
        let mut known = self.unclaimed.lock();
        let before = std::mem::take(&mut *known);
        let mut overdue = Vec::new();
        for kv in unclaimed {
            let since = match before.get(&kv.key) {
                Some((revision, since)) if *revision == kv.mod_revision => *since,
                _ => Instant::now(),
            };
            if since.elapsed() >= life {
                overdue.push((kv.key.clone(), kv.mod_revision));
            }
            known.insert(kv.key.clone(), (kv.mod_revision, since));
        }
        overdue
    }

    async fn delete(&self, key: &str, revision: u64) {
        if let Err(error) = self.store.commit(Op::delete_at(key, revision)).await {
            tracing::warn!(%error, key, "a claim is left to the next repair");
        }
    }
}

fn value(number: Number, owner: &Owner) -> Value {
    let Owner {
        namespace,
        name,
        uid,
    } = owner;
    let Number::Address(ip) = number else {
        return json!({"namespace": namespace, "name": name, "uid": uid});
    };
    let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
    json!({
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": ip.to_string(),
            "uid": names::new_uid(),
            "creationTimestamp": time::now_seconds(),
            "labels": {FAMILY: family, MANAGED_BY: MANAGER},
            "annotations": {SERVICE_UID: uid},
        },
        "spec": {
            "parentRef": {"group": "", "resource": "services", "namespace": namespace, "name": name},
        },
    })
}

fn tree(kv: &KeyValue) -> Value {
    serde_json::from_slice(&kv.value).unwrap_or_default()
}

/// Not an IPAddress that somebody made for another purpose.
fn is_ours(kv: &KeyValue) -> bool {
    !kv.key.starts_with(ADDRESSES)
        || object::str_at(&tree(kv), &["metadata", "labels", MANAGED_BY]) == MANAGER
}

fn is_of(kv: &KeyValue, owner: &Owner) -> bool {
    let tree = tree(kv);
    if kv.key.starts_with(PORTS) {
        return object::str_at(&tree, &["uid"]) == owner.uid;
    }
    let parent = |field| object::str_at(&tree, &["spec", "parentRef", field]);
    match object::str_at(&tree, &["metadata", "annotations", SERVICE_UID]) {
        // Made by an upstream server.
        "" => (parent("namespace"), parent("name")) == (&*owner.namespace, &*owner.name),
        uid => uid == owner.uid,
    }
}
