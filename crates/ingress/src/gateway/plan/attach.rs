//! Which listeners a route is attached to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{
    gateway::{
        listeners::{self, Listening, ServedGateway},
        said::Why,
        types::{GROUP, Listener, ParentRef},
        world::Lookups,
    },
    hosts,
};

/// What routes of all kinds have.
#[derive(Clone, Copy)]
pub struct Facts<'r> {
    pub kind: &'static str,
    pub meta: &'r ObjectMeta,
    pub parents: &'r [ParentRef],
    /// In small letters; one empty one of all.
    pub hosts: &'r [String],
}

impl<'r> Facts<'r> {
    fn namespace(&self) -> &'r str {
        self.meta.namespace.as_deref().unwrap_or_default()
    }

    /// The Gateway that a parent names, if it is one of ours.
    pub fn gateway(&self, parent: &ParentRef, served_gateways: &[ServedGateway]) -> Option<usize> {
        let group = parent.group.as_deref().unwrap_or(GROUP);
        let kind = parent.kind.as_deref().unwrap_or("Gateway");
        let namespace = parent.namespace.as_deref().unwrap_or(self.namespace());
        let named = |served_gateway: &ServedGateway| {
            served_gateway.key.namespace == namespace && served_gateway.key.name == parent.name
        };
        match (group, kind) {
            (GROUP, "Gateway") => served_gateways.iter().position(named),
            _ => None,
        }
    }

    /// The listeners of a Gateway that a parent leads to, or why there are none.
    pub fn join(
        &self,
        parent: &ParentRef,
        served_gateway: &ServedGateway,
        lookups: &impl Lookups,
    ) -> Result<Vec<usize>, Why> {
        let specs = served_gateway.gateway.spec.listeners.iter();
        let all = specs.zip(&served_gateway.listeners).enumerate();
        let mut left: Vec<(usize, (&Listener, &Listening))> = all
            .filter(|(_, (_, one))| {
                let name = parent.section_name.as_deref();
                name.is_none_or(|name| name == one.name)
                    && parent.port.is_none_or(|port| port == one.port)
            })
            .collect();
        if left.is_empty() {
            let message = "the Gateway has no such listener";
            return Err(Why::new("NoMatchingParent", message));
        }
        let labels = lookups.labels(self.namespace());
        left.retain(|(_, (spec, one))| {
            let own = &served_gateway.key.namespace;
            one.kinds.contains(&self.kind)
                && listeners::admits(spec, own, self.namespace(), labels.as_ref())
        });
        if left.is_empty() {
            let message = "no listener allows routes of this kind and namespace";
            return Err(Why::new("NotAllowedByListeners", message));
        }
        left.retain(|(_, (_, one))| self.hosts_of(one).next().is_some());
        if left.is_empty() {
            let message = "no listener is for any of the route's hosts";
            return Err(Why::new("NoMatchingListenerHostname", message));
        }
        left.retain(|(_, (_, one))| one.is_usable());
        match left.is_empty() {
            true => {
                let message = "the listeners that the route is for are not accepted";
                Err(Why::new("NoMatchingParent", message))
            }
            false => Ok(left.into_iter().map(|(at, _)| at).collect()),
        }
    }

    /// The route's hosts of which some are a listener's.
    pub fn hosts_of(&self, listener: &Listening) -> impl Iterator<Item = &'r String> {
        let pattern = listener.pattern.clone();
        let own = self.hosts.iter();
        own.filter(move |host| hosts::intersection(host, &pattern).is_some())
    }
}
