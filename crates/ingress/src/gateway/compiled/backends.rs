//! Services that routes name.

use k8s_openapi::api::core::v1::{Service, ServicePort};

use super::Compiling;
use crate::{
    backend_ref::{BackendRef as Asked, PortRef},
    build::Key,
    gateway::{
        grants::{Named, may_name},
        said::Why,
        types::BackendRef,
        world::Lookups,
    },
};

/// Protocols of ports that are spoken over TLS, which backends are not asked over.
const OVER_TLS: [&str; 3] = ["https", "kubernetes.io/https", "kubernetes.io/wss"];

impl<L: Lookups> Compiling<'_, '_, '_, L> {
    /// The port to ask. None, with a problem, of one that there is not.
    pub(super) fn backend(&mut self, named: &BackendRef) -> Option<Asked> {
        match self.find(named) {
            Ok(found) => Some(found),
            Err(why) => {
                self.unresolved(why);
                None
            }
        }
    }

    fn find(&self, named: &BackendRef) -> Result<Asked, Why> {
        let group = named.group.as_deref().unwrap_or_default();
        let kind = named.kind.as_deref().unwrap_or("Service");
        let namespace = named.namespace.as_deref().unwrap_or(self.namespace);
        let to = Named {
            group,
            kind,
            namespace,
            name: &named.name,
        };
        if !(group.is_empty() && kind == "Service") {
            let message = format!("{kind} of group {group:?} is no backend, only Services are");
            return Err(Why::new("InvalidKind", message));
        }
        let shown = format!("Service {namespace}/{}", named.name);
        if !may_name(&self.world.grants, self.kind, self.namespace, to) {
            let (kind, own) = (self.kind, self.namespace);
            let message = format!("no ReferenceGrant lets {kind}s of {own} name {shown}");
            return Err(Why::new("RefNotPermitted", message));
        }
        let key = Key {
            namespace: namespace.to_owned(),
            name: named.name.clone(),
        };
        let missing = |what: &str| Why::new("BackendNotFound", format!("{shown} {what}"));
        let service = self.lookups.service(&key);
        let service = service.ok_or_else(|| missing("does not exist"))?;
        let number = named
            .port
            .ok_or_else(|| missing("is named without a port"))?;
        let port = port(&service, number).ok_or_else(|| missing("has no such TCP port"))?;
        let protocol = port.app_protocol.as_deref().unwrap_or_default();
        if OVER_TLS.contains(&protocol) {
            let message = format!("{shown} speaks {protocol}; backends over TLS are not supported");
            return Err(Why::new("UnsupportedProtocol", message));
        }
        Ok(Asked {
            namespace: key.namespace,
            service: key.name,
            port: PortRef::Number(number),
        })
    }
}

/// None of what is only another name for something outside.
fn port(service: &Service, number: i32) -> Option<&ServicePort> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let mut ports = spec.ports.iter().flatten();
    ports.find(|port| port.port == number && matches!(port.protocol.as_deref(), None | Some("TCP")))
}
