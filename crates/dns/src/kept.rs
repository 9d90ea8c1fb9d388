//! The names of a cluster whose API is away when a node starts: what was known last is kept in a file.
//!
//! A server that runs goes on answering with what it knows while the API is away; one that has been started again does so by the file,
//! until the informers have their first lists.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hickory_proto::ProtoError;
use k8s_openapi::{
    api::{
        core::v1::{Namespace, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use knarr_client::{Informer, Informers};
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::zone::Zone;

/// After names were written: changes meanwhile are written together.
const PAUSE: Duration = Duration::from_secs(30);
/// What is longer is not kept: some hundred thousand endpoints.
const LIMIT_BYTES: usize = 64 << 20;

/// What names are made from.
#[derive(Serialize, Deserialize)]
struct Names {
    services: Vec<Service>,
    slices: Vec<EndpointSlice>,
    namespaces: Vec<Namespace>,
}

/// Keeps the names that informers know.
pub struct Keeper {
    path: PathBuf,
    zone: Zone,
    changed: Arc<Notify>,
}

impl Keeper {
    fn new(path: PathBuf, zone: Zone) -> Self {
        let changed = Arc::new(Notify::new());
        let (services, slices, namespaces) = (changed.clone(), changed.clone(), changed.clone());
        zone.services.on_event(move |_| services.notify_one());
        zone.slices.on_event(move |_| slices.notify_one());
        zone.namespaces.on_event(move |_| namespaces.notify_one());
        Self {
            path,
            zone,
            changed,
        }
    }

    /// Writes what changes until `token` is cancelled.
    pub async fn run(self, token: CancellationToken) {
        token.run_until_cancelled(self.keep()).await;
    }

    async fn keep(&self) {
        self.zone.synced().await;
        loop {
            let (names, path) = (Names::of(&self.zone), self.path.clone());
            let written = tokio::task::spawn_blocking(move || names.write(&path));
            if let Ok(Err(error)) = written.await {
                warn!(%error, path = %self.path.display(), "names are not kept for a start without a server");
            }
            sleep(PAUSE).await;
            self.changed.notified().await;
        }
    }
}

/// The names that were kept, if there are any.
pub(crate) fn zone(domain: &str, path: &Path) -> Result<Option<Zone>, ProtoError> {
    let Some(names) = Names::read(path) else {
        return Ok(None);
    };
    let (services, slices, namespaces) = (Informer::new(), Informer::new(), Informer::new());
    services.replace(names.services);
    slices.replace(names.slices);
    namespaces.replace(names.namespaces);
    Zone::with(domain, services, slices, namespaces).map(Some)
}

impl Names {
    fn of(zone: &Zone) -> Self {
        let services = zone.services.list().into_iter().map(|service| Service {
            metadata: named(&service.metadata),
            spec: service.spec.clone(),
            status: None,
        });
        let slices = zone.slices.list().into_iter().map(|slice| EndpointSlice {
            metadata: named(&slice.metadata),
            ..EndpointSlice::clone(&slice)
        });
        let namespaces = zone.namespaces.list().into_iter();
        let namespaces = namespaces.map(|namespace| Namespace {
            metadata: named(&namespace.metadata),
            ..Namespace::default()
        });
        Self {
            services: services.collect(),
            slices: slices.collect(),
            namespaces: namespaces.collect(),
        }
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec(self)?;
        if bytes.len() > LIMIT_BYTES {
            let why = format!("{} bytes are too many", bytes.len());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        knarr_host::write_durably(path, &bytes)
    }

    /// What is not there, or damaged, was never kept: the API tells all of it.
    fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}

/// What an object is called, and what a slice is of.
fn named(meta: &ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        labels: meta.labels.clone(),
        ..ObjectMeta::default()
    }
}

/// Of a cluster's domain, over informers as those of [`crate::Dns`]: see [`Keeper`].
///
/// # Errors
/// When the domain is none.
pub fn keeper(domain: &str, path: PathBuf, informers: &Informers) -> Result<Keeper, crate::Error> {
    let zone = Zone::new(domain, informers).map_err(|source| crate::Error::Domain {
        domain: domain.to_owned(),
        source,
    })?;
    Ok(Keeper::new(path, zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_was_never_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("names.json");
        assert!(zone("cluster.local", &path).unwrap().is_none());
        let names = Names::of(&crate::zone::tests::zone());
        assert_eq!(names.namespaces.len(), 1);
        names.write(&path).unwrap();
        assert!(zone("cluster.local", &path).unwrap().is_some());
        std::fs::write(&path, &std::fs::read(&path).unwrap()[..100]).unwrap();
        assert!(zone("cluster.local", &path).unwrap().is_none());
    }

    #[tokio::test]
    async fn names_are_there_when_they_are_known_and_when_they_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("names.json");
        let (services, slices, namespaces) = (Informer::new(), Informer::new(), Informer::new());
        let zone = Zone::with(
            "cluster.local",
            services.clone(),
            slices.clone(),
            namespaces.clone(),
        );
        let keeper = Keeper::new(path.clone(), zone.unwrap());
        tokio::time::pause();
        let work = tokio::spawn(keeper.run(CancellationToken::new()));
        namespaces.replace(Vec::new());
        slices.replace(Vec::new());
        tokio::time::sleep(PAUSE).await;
        assert!(!path.exists(), "not all is known");
        services.replace(Vec::new());
        let count = async |wanted: usize| {
            while Names::read(&path).map(|names| names.services.len()) != Some(wanted) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        count(0).await;
        services.apply(Service {
            metadata: ObjectMeta {
                name: Some("web".to_owned()),
                ..ObjectMeta::default()
            },
            ..Service::default()
        });
        tokio::time::timeout(PAUSE * 100, count(1)).await.unwrap();
        work.abort();
    }
}
