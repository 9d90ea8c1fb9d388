//! What there is, as plans are made from it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Service, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use rustls::sign::CertifiedKey;

use super::types::{Gateway, GatewayClass, GrpcRoute, HttpRoute, ReferenceGrant};
use crate::{build::Key, listen::State};

/// The controller, as classes name it.
pub const CONTROLLER: &str = "knarr.dev/gateway";

/// Objects, each kind in no order.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub classes: Vec<Arc<GatewayClass>>,
    pub gateways: Vec<Arc<Gateway>>,
    pub http_routes: Vec<Arc<HttpRoute>>,
    pub grpc_routes: Vec<Arc<GrpcRoute>>,
    pub grants: Vec<Arc<ReferenceGrant>>,
    /// The release of the definitions, if they tell it.
    pub release: Option<String>,
}

impl World {
    /// Names of the classes that are ours.
    pub fn our_classes(&self) -> BTreeSet<&str> {
        let classes = self.classes.iter();
        classes
            .filter(|class| class.spec.controller_name == CONTROLLER)
            .filter_map(|class| class.metadata.name.as_deref())
            .collect()
    }

    /// Gateways of those classes that are accepted, the oldest first.
    pub fn our_gateways(&self) -> Vec<Arc<Gateway>> {
        let mut classes = self.our_classes();
        for class in &self.classes {
            if class.spec.parameters_ref.is_some() {
                classes.remove(class.metadata.name.as_deref().unwrap_or_default());
            }
        }
        let mut ours: Vec<_> = (self.gateways.iter())
            .filter(|gateway| classes.contains(&*gateway.spec.gateway_class_name))
            .filter(|gateway| gateway.metadata.deletion_timestamp.is_none())
            .cloned()
            .collect();
        ours.sort_by_cached_key(|gateway| age(&gateway.metadata));
        ours
    }
}

/// Where Gateways are served.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Of the node, where Gateways are that have no address of their own.
    pub shared: Vec<IpAddr>,
    /// Of this machine, for one Gateway each.
    pub own: Vec<IpAddr>,
    /// Ports of the shared addresses that are of Ingresses: HTTP and HTTPS.
    pub ingresses: Option<(u16, u16)>,
}

/// What is looked up by name.
pub trait Lookups {
    fn service(&self, key: &Key) -> Option<Arc<Service>>;
    /// The certificate of a Secret, or why it has none.
    fn certificate(&mut self, secret: &Key) -> Result<Arc<CertifiedKey>, String>;
    /// None of a namespace that there is not.
    fn labels(&self, namespace: &str) -> Option<BTreeMap<String, String>>;
    fn port(&self, number: u16) -> State;
}

/// Whose a host of Ingresses is, by host.
pub type Owners = HashMap<String, String>;

/// Older ones first, then by name.
pub fn age(meta: &ObjectMeta) -> (Option<Timestamp>, Key) {
    let created = meta.creation_timestamp.as_ref().map(|time| time.0);
    let key = Key {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    };
    (created, key)
}
