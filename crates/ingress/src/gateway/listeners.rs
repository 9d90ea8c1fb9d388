//! Which listeners are served, and why others are not.

mod conflicts;

use std::{collections::BTreeMap, sync::Arc};

use knarr_meta::labels::Selector;
use rustls::sign::CertifiedKey;

pub use self::conflicts::addresses;
use super::{
    addresses::Given,
    grants::{Named, may_name},
    said::Why,
    types::{AllowedRoutes, CertificateRef, GROUP, Gateway, Listener},
    world::{Lookups, Owners, Places, World},
};
use crate::{build::Key, listen::State};

/// Kinds of routes that listeners may have.
pub const KINDS: [&str; 2] = ["HTTPRoute", "GRPCRoute"];

/// A Gateway, as it is served.
#[derive(Debug)]
pub struct ServedGateway {
    pub key: Key,
    pub gateway: Arc<Gateway>,
    pub given: Given,
    pub listeners: Vec<Listening>,
}

/// A listener, as it is served.
#[derive(Debug)]
pub struct Listening {
    pub name: String,
    /// In small letters; empty of all hosts.
    pub pattern: String,
    pub port: u16,
    pub tls: bool,
    pub kinds: Vec<&'static str>,
    pub accepted: Result<(), Why>,
    pub conflict: Option<Why>,
    pub resolved: Result<(), Why>,
    pub certificates: Vec<Arc<CertifiedKey>>,
    pub state: State,
    /// Another listener with TLS has some of its hosts.
    pub overlapping: bool,
    pub attached: i32,
}

impl Listening {
    /// Whether routes can be attached.
    pub fn is_usable(&self) -> bool {
        self.accepted.is_ok() && self.conflict.is_none()
    }

    /// Whether it is served as soon as its port is open.
    pub fn is_served(&self) -> bool {
        let shows = !self.tls || !self.certificates.is_empty();
        self.is_usable() && shows && !self.kinds.is_empty()
    }

    /// Why its port is not served, if it is another program's.
    pub fn taken(&self) -> Option<Why> {
        match &self.state {
            State::Taken(problem) => Some(Why::new("PortUnavailable", problem)),
            State::Waiting | State::Listening => None,
        }
    }
}

/// Looks at Gateways' listeners; `gateways` come with the oldest first.
pub fn resolve(
    gateways: Vec<(Arc<Gateway>, Given)>,
    world: &World,
    places: &Places,
    owners: &Owners,
    lookups: &mut impl Lookups,
) -> Vec<ServedGateway> {
    let mut served_gateways = Vec::with_capacity(gateways.len());
    for (gateway, given) in gateways {
        let listeners = gateway.spec.listeners.iter();
        let listeners = listeners.map(|listener| look_at(listener, &gateway, world, lookups));
        served_gateways.push(ServedGateway {
            key: Key::of(&*gateway),
            listeners: listeners.collect(),
            given,
            gateway,
        });
    }
    conflicts::settle(&mut served_gateways, places, owners);
    served_gateways
}

fn look_at(
    listener: &Listener,
    gateway: &Gateway,
    world: &World,
    lookups: &mut impl Lookups,
) -> Listening {
    let tls = listener.protocol == "HTTPS";
    let accepted = accepted(listener, gateway);
    let mut resolved = Ok(());
    let mut kinds = Vec::new();
    if is_spoken(&listener.protocol) {
        kinds = known_kinds(listener.allowed_routes.as_ref(), &mut resolved);
    }
    let mut certificates = Vec::new();
    let configured = listener.tls.as_ref().filter(|_| tls);
    for named in configured.iter().flat_map(|tls| &tls.certificate_refs) {
        match certificate(named, gateway, world, lookups) {
            Ok(found) => certificates.push(found),
            Err(why) => resolved = Err(why),
        }
    }
    Listening {
        name: listener.name.clone(),
        pattern: lower(listener.hostname.as_deref()),
        port: listener.port,
        tls,
        kinds,
        accepted,
        conflict: None,
        resolved,
        certificates,
        state: lookups.port(listener.port),
        overlapping: false,
        attached: 0,
    }
}

fn is_spoken(protocol: &str) -> bool {
    matches!(protocol, "HTTP" | "HTTPS")
}

pub fn lower(host: Option<&str>) -> String {
    host.unwrap_or_default().to_ascii_lowercase()
}

fn accepted(listener: &Listener, gateway: &Gateway) -> Result<(), Why> {
    let protocol = &listener.protocol;
    if !is_spoken(protocol) {
        let message = format!("{protocol} is not supported, only HTTP and HTTPS");
        return Err(Why::new("UnsupportedProtocol", message));
    }
    let has = |part: &str| (gateway.spec.tls.as_ref()).is_some_and(|tls| tls.get(part).is_some());
    if has("backend") {
        return Err(Why::unsupported(
            "backends over TLS (spec.tls.backend) are not supported",
        ));
    }
    if protocol != "HTTPS" {
        return Ok(());
    }
    if has("frontend") {
        let message = "certificates of clients (spec.tls.frontend) are not supported";
        return Err(Why::unsupported(message));
    }
    let Some(tls) = &listener.tls else {
        return Err(Why::unsupported("HTTPS without tls is not supported"));
    };
    if let Some(mode) = tls.mode.as_deref().filter(|mode| *mode != "Terminate") {
        let message = format!("mode {mode} of TLS is not supported, only Terminate");
        return Err(Why::unsupported(message));
    }
    match tls.options.keys().next() {
        Some(option) => Err(Why::unsupported(format!(
            "tls.options[{option}] is not supported"
        ))),
        None => Ok(()),
    }
}

/// The kinds that a listener may have and that there are; what there is not is told.
fn known_kinds(
    allowed: Option<&AllowedRoutes>,
    resolved: &mut Result<(), Why>,
) -> Vec<&'static str> {
    let wanted = allowed
        .map(|allowed| allowed.kinds.as_slice())
        .unwrap_or_default();
    if wanted.is_empty() {
        return KINDS.to_vec();
    }
    let mut kinds = Vec::new();
    for wanted in wanted {
        let group = wanted.group.as_deref().unwrap_or(GROUP);
        let known = KINDS.into_iter().find(|kind| *kind == wanted.kind);
        match known.filter(|_| group == GROUP) {
            Some(kind) if kinds.contains(&kind) => {}
            Some(kind) => kinds.push(kind),
            None => {
                let message = format!(
                    "{} of group {group:?} is no kind that is supported",
                    wanted.kind
                );
                *resolved = Err(Why::new("InvalidRouteKinds", message));
            }
        }
    }
    kinds
}

fn certificate(
    named: &CertificateRef,
    gateway: &Gateway,
    world: &World,
    lookups: &mut impl Lookups,
) -> Result<Arc<CertifiedKey>, Why> {
    let invalid = |message: String| Why::new("InvalidCertificateRef", message);
    let group = named.group.as_deref().unwrap_or_default();
    let kind = named.kind.as_deref().unwrap_or("Secret");
    let own = gateway.metadata.namespace.as_deref().unwrap_or_default();
    let namespace = named.namespace.as_deref().unwrap_or(own);
    let secret = Named {
        group,
        kind,
        namespace,
        name: &named.name,
    };
    let shown = format!("Secret {namespace}/{}", named.name);
    if !(group.is_empty() && kind == "Secret") {
        let message = format!("{kind} of group {group:?} is no certificate, only Secrets are");
        return Err(invalid(message));
    }
    if !may_name(&world.grants, "Gateway", own, secret) {
        let message = format!("no ReferenceGrant lets Gateways of {own} name {shown}");
        return Err(Why::new("RefNotPermitted", message));
    }
    let key = Key {
        namespace: namespace.to_owned(),
        name: named.name.clone(),
    };
    let found = lookups.certificate(&key);
    found.map_err(|why| invalid(format!("{shown}: {why}")))
}

/// Whether routes of a namespace may be attached. `labels` are that namespace's.
pub fn admits(
    listener: &Listener,
    own: &str,
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    let allowed = listener.allowed_routes.as_ref();
    let allowed = allowed.and_then(|allowed| allowed.namespaces.as_ref());
    match allowed.and_then(|namespaces| namespaces.from.as_deref()) {
        None | Some("Same") => own == namespace,
        Some("All") => true,
        Some("Selector") => {
            let selector = allowed.and_then(|namespaces| namespaces.selector.as_ref());
            // Without a selector, and with one that cannot be read, nobody may.
            let selector = Selector::from_optional(selector);
            match (selector, labels) {
                (Ok(selector), Some(labels)) => selector.matches(labels),
                _ => false,
            }
        }
        Some(_) => false,
    }
}
