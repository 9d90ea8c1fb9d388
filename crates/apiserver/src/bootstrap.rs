//! What every cluster has from its first second: namespaces, the API server's own Service, the DNS Service, the range of Services'
//! addresses, what aggregated API servers trust, the APIServices of what is served here, what machines that join find, the system's
//! PriorityClasses, the default StorageClass, and upstream's roles and bindings.
//!
//! [`Bootstrap::run`] compares what is wanted with the watch cache and writes only what differs: namespaces first, then
//! everything else at once, so that the store commits it in a few fsyncs. On a later start nothing is written.
//! [`Bootstrap::maintain`] keeps the API server's Service and endpoints right while it runs, and what others find the cluster by.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use knarr_admission::writer::Writer;
use knarr_api::{Kind, kind::Part, networking::service_cidr};
use knarr_auth::{cluster_info, objects::Objects};
use knarr_meta::{
    prefix::Prefix,
    status::{Reason, Status},
};
use knarr_store::Store;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

mod aggregation;
mod flow_control;
mod joining;
mod masters;
mod objects;
mod reconcile;
#[cfg(test)]
mod tests;
mod token_tracking;

use self::masters::Masters;

/// Writes under way at once.
const MAX_CONCURRENT_WRITES: usize = 256;
/// How long another server may take to make what it has begun to make.
const OTHERS_WAIT: Duration = Duration::from_secs(5);
/// How often the own Service is looked at, as upstream does it.
const MAINTAIN_PERIOD: Duration = Duration::from_secs(10);

/// Addresses that stand in the objects.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the `default/kubernetes` Service ([`knarr_registry::allocators::first_service_ips`]).
    pub service_ip: IpAddr,
    /// The ranges that Services get their addresses from, such as `10.43.0.0/16`, at most one a family, the primary one first.
    pub service_cidrs: Vec<Prefix>,
    /// Where the API server is reached: the endpoint of that Service.
    pub advertise_ip: IpAddr,
    /// The API server's port.
    pub port: u16,
    /// Addresses of the `kube-system/kube-dns` Service, of the same families.
    pub cluster_dns: Vec<IpAddr>,
    /// Where cluster DNS listens: the endpoint of that Service. `None`, or an address that no endpoint may have (link-local):
    /// the EndpointSlice is someone else's business.
    pub dns_endpoint: Option<(IpAddr, u16)>,
    /// PEM of the authority of clients' certificates.
    pub client_ca: String,
    /// PEM of the authority of who passes requests on to aggregated API servers.
    pub front_proxy_ca: String,
    /// What nodes must agree on; see [`knarr_auth::cluster_info::SETTINGS_NAME`].
    pub node_settings: BTreeMap<String, String>,
}

/// The start cannot be completed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this build does not serve {0}")]
    NoKind(String),
    #[error(
        "this server was given {setting} {own:?}, the cluster has {stored:?}: change the one, or the other in the ConfigMap kube-system/knarr-node-config"
    )]
    Settings {
        setting: String,
        own: String,
        stored: String,
    },
    #[error("cannot tell other servers of this one")]
    Store(#[from] knarr_store::Error),
    #[error("cannot write {what}: {status}")]
    Write { what: String, status: Box<Status> },
}

/// One object that must be there.
struct Wanted {
    kind: &'static Kind,
    namespace: String,
    name: String,
    object: Value,
    /// Completes a stored object; false where it is fine.
    merge: fn(&mut Value, &Value) -> Merge,
}

/// What a stored object lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Merge {
    Fine,
    Changed,
    /// What differs cannot be changed in place.
    Replace,
}

/// Makes the cluster's own objects.
pub struct Bootstrap {
    config: Config,
    masters: Masters,
    objects: Arc<dyn Objects>,
    writer: Arc<dyn Writer>,
}

impl Bootstrap {
    /// `writer` passes the usual write path (admission, allocators) as the server itself. `shared`: the store, where other servers
    /// may have it, too.
    pub fn new(
        config: Config,
        objects: Arc<dyn Objects>,
        writer: Arc<dyn Writer>,
        shared: Option<Arc<dyn Store>>,
    ) -> Bootstrap {
        Bootstrap {
            masters: Masters::new(config.advertise_ip, shared),
            config,
            objects,
            writer,
        }
    }

    /// Makes what is missing. Call it before requests are served, after the cache is filled.
    pub async fn run(&self) -> Result<(), Error> {
        self.agrees()?;
        self.masters.renew().await?;
        self.ensure_all(objects::namespaces()?).await?;
        let mut wanted = self.own_service()?;
        wanted.extend(objects::dns_service(&self.config)?);
        wanted.push(aggregation::trust(&self.config)?);
        wanted.push(token_tracking::since()?);
        wanted.extend(self.joining()?);
        wanted.extend(aggregation::api_services()?);
        wanted.extend(objects::priority_classes()?);
        wanted.extend(flow_control::wanted()?);
        wanted.extend(objects::storage_classes()?);
        wanted.extend(reconcile::roles_and_bindings()?);
        let range = objects::service_cidr(&self.config)?;
        let kind = range.kind;
        wanted.push(range);
        self.ensure_all(wanted).await?;
        self.remove_unsuggested().await?;
        self.make_ready(kind).await
    }

    /// Servers that share a store must not undo each other's settings.
    fn agrees(&self) -> Result<(), Error> {
        let (namespace, name) = (
            cluster_info::SETTINGS_NAMESPACE,
            cluster_info::SETTINGS_NAME,
        );
        let stored = self.objects.get("", "configmaps", namespace, name);
        let Some(stored) = stored.filter(|_| self.masters.are_several()) else {
            return Ok(());
        };
        let stored: Value = serde_json::from_slice(&stored.json).unwrap_or_default();
        match joining::disagreement(&self.config, &stored) {
            None => Ok(()),
            Some((setting, own, stored)) => Err(Error::Settings {
                setting: setting.to_owned(),
                own: own.to_owned(),
                stored,
            }),
        }
    }

    fn own_service(&self) -> Result<Vec<Wanted>, Error> {
        objects::own_service(&self.config, &self.masters.addresses())
    }

    /// What machines that join need to find.
    fn joining(&self) -> Result<Vec<Wanted>, Error> {
        let mut wanted = joining::node_accounts()?;
        let servers = self.masters.addresses();
        wanted.push(joining::cluster_info(&self.config, &servers)?);
        wanted.extend(joining::node_settings(&self.config)?);
        Ok(wanted)
    }

    /// Says of the range of Services' addresses that it is used.
    async fn make_ready(&self, kind: &Kind) -> Result<(), Error> {
        let name = service_cidr::DEFAULT;
        let stored = self.objects.get(&kind.group, &kind.resource, "", name);
        let stored = stored.and_then(|stored| serde_json::from_slice::<Value>(&stored.json).ok());
        if stored.is_some_and(|mut stored| !objects::set_ready(&mut stored)) {
            return Ok(());
        }
        let ready = |range: &mut Value| Ok(objects::set_ready(range));
        let written = self.writer.update(kind, "", name, Part::Status, &ready);
        let result = written.await.map(drop);
        result.map_err(|status| Error::Write {
            what: format!("the status of {} {name}", kind.kind),
            status: Box::new(status),
        })
    }

    /// Repairs the `default/kubernetes` Service, its endpoints, what aggregated API servers trust, what machines that join need, and
    /// flow control's own objects when someone changes or deletes them, until cancelled.
    pub async fn maintain(&self, token: CancellationToken) {
        let mut period = tokio::time::interval(MAINTAIN_PERIOD);
        period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seen = (self.masters.addresses(), self.own_revisions());
        loop {
            tokio::select! {
                () = token.cancelled() => return self.masters.leave().await,
                _ = period.tick() => {}
            }
            if let Err(error) = self.masters.renew().await {
                tracing::warn!(%error, "cannot tell other servers of this one");
            }
            let now = (self.masters.addresses(), self.own_revisions());
            if now == seen {
                continue;
            }
            match token.run_until_cancelled(self.repair()).await {
                None => return self.masters.leave().await,
                Some(Ok(())) => seen = now,
                Some(Err(error)) => {
                    tracing::warn!(%error, "cannot repair what every cluster has");
                }
            }
        }
    }

    fn own_revisions(&self) -> [u64; 7] {
        [
            ("", "configmaps"),
            ("", "serviceaccounts"),
            ("", "services"),
            ("", "endpoints"),
            ("discovery.k8s.io", "endpointslices"),
            ("flowcontrol.apiserver.k8s.io", flow_control::LEVELS),
            ("flowcontrol.apiserver.k8s.io", flow_control::SCHEMAS),
        ]
        .map(|(group, resource)| self.objects.revision_of(group, resource))
    }

    async fn repair(&self) -> Result<(), Error> {
        let mut wanted = self.own_service()?;
        wanted.extend(objects::dns_service(&self.config)?);
        wanted.push(aggregation::trust(&self.config)?);
        wanted.push(token_tracking::since()?);
        wanted.extend(self.joining()?);
        wanted.extend(flow_control::wanted()?);
        self.ensure_all(wanted).await?;
        self.remove_unsuggested().await
    }

    async fn ensure_all(&self, wanted: Vec<Wanted>) -> Result<(), Error> {
        let writes: Vec<BoxFuture<'_, Result<(), Error>>> = wanted
            .into_iter()
            .filter(|wanted| self.needs(wanted))
            .map(|wanted| Box::pin(self.ensure(wanted)) as _)
            .collect();
        stream::iter(writes)
            .buffer_unordered(MAX_CONCURRENT_WRITES)
            .try_collect()
            .await
    }

    /// Judged from the cache alone.
    fn needs(&self, wanted: &Wanted) -> bool {
        let stored = self.objects.get(
            &wanted.kind.group,
            &wanted.kind.resource,
            &wanted.namespace,
            &wanted.name,
        );
        match stored.and_then(|stored| serde_json::from_slice::<Value>(&stored.json).ok()) {
            Some(mut stored) => (wanted.merge)(&mut stored, &wanted.object) != Merge::Fine,
            None => true,
        }
    }

    async fn ensure(&self, wanted: Wanted) -> Result<(), Error> {
        self.write(&wanted).await.map_err(|status| {
            let place = if wanted.namespace.is_empty() {
                String::new()
            } else {
                format!("{}/", wanted.namespace)
            };
            Error::Write {
                what: format!("{} {place}{}", wanted.kind.kind, wanted.name),
                status: Box::new(status),
            }
        })
    }

    async fn write(&self, wanted: &Wanted) -> Result<(), Status> {
        let Wanted {
            kind,
            namespace,
            name,
            object,
            merge,
        } = wanted;
        let created = match self.writer.create(kind, namespace, object.clone()).await {
            Err(status) if status.reason == Reason::AlreadyExists => None,
            // A Service that exists holds its address already, also one that another server is about to make.
            Err(status) if status.reason == Reason::Invalid && self.appears(wanted).await => None,
            result => Some(result),
        };
        if let Some(result) = created {
            return result.map(drop);
        }
        let replace = std::sync::atomic::AtomicBool::new(false);
        let change = |stored: &mut Value| match merge(stored, object) {
            Merge::Fine => Ok(false),
            Merge::Changed => Ok(true),
            Merge::Replace => {
                replace.store(true, std::sync::atomic::Ordering::Relaxed);
                // What holds the old one up holds the new one up as well.
                let metadata = stored.get_mut("metadata").and_then(Value::as_object_mut);
                Ok(metadata.is_some_and(|metadata| metadata.remove("finalizers").is_some()))
            }
        };
        self.writer
            .update(kind, namespace, name, Part::Main, &change)
            .await?;
        if replace.into_inner() {
            self.writer.delete(kind, namespace, name).await?;
            self.writer.create(kind, namespace, object.clone()).await?;
        }
        Ok(())
    }

    async fn appears(&self, wanted: &Wanted) -> bool {
        let object = self.objects.appears(
            &wanted.kind.group,
            &wanted.kind.resource,
            &wanted.namespace,
            &wanted.name,
            OTHERS_WAIT,
        );
        object.await.is_some()
    }
}

fn kind(
    group: &'static str,
    version: &'static str,
    resource: &'static str,
) -> Result<&'static Kind, Error> {
    knarr_api::built_in(group, version, resource)
        .map(|kind| &**kind)
        .ok_or_else(|| Error::NoKind(format!("{group}/{version} {resource}")))
}
