//! The objects of the API, once there are definitions for them.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knarr_client::{Event, Informer, Informers, Object};
use tokio::sync::Notify;

use super::{
    install::Installed,
    types::{Gateway, GatewayClass, GrpcRoute, HttpRoute, ReferenceGrant},
    world::World,
};

/// An informer of each kind.
pub struct Kinds {
    pub classes: Informer<GatewayClass>,
    pub gateways: Informer<Gateway>,
    pub http_routes: Informer<HttpRoute>,
    pub grpc_routes: Informer<GrpcRoute>,
    grants: Informer<ReferenceGrant>,
    installed: Installed,
}

impl Kinds {
    /// Begins to follow them; returns when they are known. `changed` is told of what matters to a plan.
    pub async fn follow(
        informers: &Informers,
        installed: Installed,
        changed: &Arc<Notify>,
    ) -> Self {
        let this = Self {
            classes: informers.informer(),
            gateways: informers.informer(),
            http_routes: informers.informer(),
            grpc_routes: informers.informer(),
            grants: informers.informer(),
            installed,
        };
        this.classes.synced().await;
        this.gateways.synced().await;
        this.http_routes.synced().await;
        this.grpc_routes.synced().await;
        this.grants.synced().await;
        notify(&this.classes, changed);
        notify(&this.gateways, changed);
        notify(&this.http_routes, changed);
        notify(&this.grpc_routes, changed);
        notify(&this.grants, changed);
        let changed = changed.clone();
        this.installed.on_change(move || changed.notify_one());
        this
    }

    pub fn world(&self) -> World {
        World {
            classes: self.classes.list(),
            gateways: self.gateways.list(),
            http_routes: self.http_routes.list(),
            grpc_routes: self.grpc_routes.list(),
            grants: self.grants.list(),
            release: self.installed.release(),
        }
    }
}

/// A new status alone changes nothing of what is served.
fn notify<K>(informer: &Informer<K>, changed: &Arc<Notify>)
where
    K: Object + k8s_openapi::Metadata<Ty = ObjectMeta>,
{
    let changed = changed.clone();
    informer.on_event(move |event| {
        let same = match &event {
            Event::Updated { old, new } => {
                let (old, new) = (old.metadata(), new.metadata());
                old.generation == new.generation
                    && old.uid == new.uid
                    && old.deletion_timestamp == new.deletion_timestamp
            }
            Event::Added(_) | Event::Deleted(_) => false,
        };
        if !same {
            changed.notify_one();
        }
    });
}
