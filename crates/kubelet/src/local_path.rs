//! The provisioner of the class `local-path`: a directory of this node for each claim, as `rancher.io/local-path` makes them.
//!
//! It runs on every node and serves the claims that the scheduler has sent there, as CSI drivers that are deployed with their
//! nodes do: what makes and removes a directory is beside it, and no path comes from elsewhere. A directory's name is its
//! volume's, which is made of the claim's uid; what is in the volume's spec is compared, never used.
//!
//! A directory is made before its volume and removed before it, so that each volume has one; what a crash leaves in between
//! is empty, and goes at the next start.

mod directories;
mod plan;

use std::{path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use knarr_client::{
    Event, IndexKey, Informer, Informers, WorkQueue, errors,
    events::{NORMAL, Recorder, WARNING},
};
use knarr_volumes::{claim, names, volume};
use kube::{
    Resource,
    api::{Api, DeleteParams, PostParams, Preconditions},
};
use tokio_util::sync::CancellationToken;

use directories::Directories;
use plan::{Due, Refusal};

/// Longest that one claim or volume may take; it is tried again then.
const WORK_TIMEOUT: Duration = Duration::from_secs(120);

/// Where a provisioner works.
#[derive(Clone, Debug)]
pub struct Config {
    /// Claims that are sent to this node are served.
    pub node_name: String,
    /// Holds the directories of volumes.
    pub directory: PathBuf,
}

/// A provisioner, not yet running.
pub struct Provisioner {
    node_name: String,
    client: kube::Client,
    recorder: Recorder,
    directories: Directories,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    queue: WorkQueue<Work>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    /// Namespace and name.
    Claim(String, String),
    Volume(String),
}

/// Claims without a volume, by class.
#[derive(Clone, PartialEq, Eq, Hash)]
struct WaitsFor(String);

impl IndexKey<PersistentVolumeClaim> for WaitsFor {
    fn keys_of(of: &PersistentVolumeClaim) -> Vec<Self> {
        let waits = claim::volume_name(of).is_empty();
        let class = waits.then(|| Self(claim::class(of).to_owned()));
        class.into_iter().collect()
    }
}

/// Why work is tried again.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{}", errors::message(.0))]
    Api(#[from] kube::Error),
    #[error("{0}")]
    Host(#[from] std::io::Error),
    #[error("not done within {}s", WORK_TIMEOUT.as_secs())]
    Timeout,
}

impl Error {
    /// Another writer, or an informer's delay, came in between.
    fn is_race(&self) -> bool {
        matches!(self, Self::Api(error) if errors::is_conflict(error))
    }
}

impl Provisioner {
    /// `client` and `informers` act as the provisioner's service account.
    pub fn new(config: Config, client: kube::Client, informers: &Informers) -> Arc<Self> {
        let provisioner = Arc::new(Self {
            recorder: Recorder::new(
                client.clone(),
                names::LOCAL_PATH_PROVISIONER,
                config.node_name.clone(),
            ),
            node_name: config.node_name,
            client,
            directories: Directories::new(config.directory),
            claims: informers.informer(),
            volumes: informers.informer(),
            classes: informers.informer(),
            queue: WorkQueue::new(),
        });
        provisioner.watch();
        provisioner
    }

    /// Serves claims and volumes until the token is cancelled.
    pub async fn run(self: Arc<Self>, token: CancellationToken) {
        let synced = async {
            self.claims.synced().await;
            self.volumes.synced().await;
            self.classes.synced().await;
        };
        if token.run_until_cancelled(synced).await.is_none() {
            return;
        }
        self.sweep().await;
        token.run_until_cancelled(self.work()).await;
        self.queue.shut_down();
    }

    fn watch(self: &Arc<Self>) {
        let this = Arc::downgrade(self);
        self.claims.on_event(move |event| {
            let (Some(this), false) = (this.upgrade(), matches!(event, Event::Deleted(_))) else {
                return;
            };
            this.add_claim(event.object());
        });
        let this = Arc::downgrade(self);
        self.volumes.on_event(move |event| {
            let (Some(this), false) = (this.upgrade(), matches!(event, Event::Deleted(_))) else {
                return;
            };
            let name = volume::name(event.object()).to_owned();
            this.queue.add(Work::Volume(name));
        });
        let this = Arc::downgrade(self);
        self.classes.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            let name = event.object().metadata.name.clone().unwrap_or_default();
            let waiting = this.claims.by_index(&WaitsFor(name));
            waiting.iter().for_each(|claim| this.add_claim(claim));
        });
    }

    fn add_claim(&self, claim: &PersistentVolumeClaim) {
        let meta = &claim.metadata;
        let (namespace, name) = (meta.namespace.clone(), meta.name.clone());
        let work = Work::Claim(namespace.unwrap_or_default(), name.unwrap_or_default());
        self.queue.add(work);
    }

    async fn work(&self) {
        while let Some(work) = self.queue.next().await {
            let done = async {
                match &work {
                    Work::Claim(namespace, name) => self.serve_claim(namespace, name).await,
                    Work::Volume(name) => self.serve_volume(name).await,
                }
            };
            match tokio::time::timeout(WORK_TIMEOUT, done)
                .await
                .unwrap_or(Err(Error::Timeout))
            {
                Ok(()) => self.queue.forget(&work),
                Err(error) => {
                    match error.is_race() {
                        true => tracing::debug!(?work, %error, "overtaken, trying again"),
                        false => tracing::warn!(?work, %error, "cannot serve it, trying again"),
                    }
                    self.queue.add_rate_limited(work.clone());
                }
            }
            self.queue.done(&work);
        }
    }

    /// Removes what a crash has left: empty directories that are no volume's.
    async fn sweep(&self) {
        let volumes = self.volumes.clone();
        let left = self
            .directories
            .sweep(move |name| volumes.get("", name).is_some());
        if let Err(error) = left.await {
            tracing::warn!(%error, "cannot look for directories that were left");
        }
    }

    fn note<K: Resource<DynamicType = ()>>(
        &self,
        about: &K,
        kind: &'static str,
        reason: &str,
        note: String,
    ) {
        let about = about.object_ref(&());
        self.recorder.event(&about, kind, reason, note);
    }

    async fn serve_claim(&self, namespace: &str, name: &str) -> Result<(), Error> {
        let Some(wanting) = self.claims.get(namespace, name) else {
            return Ok(());
        };
        let class = self.classes.get("", claim::class(&wanting));
        let Some(class) = class.filter(|class| plan::is_ours(&wanting, class)) else {
            return Ok(());
        };
        let wanted = match plan::check(&wanting, &class, &self.node_name) {
            Ok(()) => plan::volume(&wanting, &class, &self.node_name, self.directories.path()),
            Err(Refusal::Elsewhere) => return Ok(()),
            Err(Refusal::Never(why)) => {
                self.failed(&wanting, &class, why);
                return Ok(());
            }
        };
        if self.volumes.get("", volume::name(&wanted)).is_some() {
            return Ok(());
        }
        let note =
            format!("External provisioner is provisioning volume for claim \"{namespace}/{name}\"");
        self.note(&*wanting, NORMAL, "Provisioning", note);
        match self.make(&wanted).await {
            Ok(()) => {
                let made = volume::name(&wanted);
                let note = format!("Successfully provisioned volume {made}");
                self.note(&*wanting, NORMAL, "ProvisioningSucceeded", note);
                Ok(())
            }
            Err(error) => {
                self.failed(&wanting, &class, error.to_string());
                Err(error)
            }
        }
    }

    fn failed(&self, wanting: &PersistentVolumeClaim, class: &StorageClass, why: String) {
        let class = class.metadata.name.as_deref().unwrap_or_default();
        let note = format!("failed to provision volume with StorageClass \"{class}\": {why}");
        self.note(wanting, WARNING, "ProvisioningFailed", note);
    }

    async fn make(&self, wanted: &PersistentVolume) -> Result<(), Error> {
        self.directories.make(volume::name(wanted)).await?;
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        match api.create(&PostParams::default(), wanted).await {
            Err(error) if errors::is_already_exists(&error) => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }

    async fn serve_volume(&self, name: &str) -> Result<(), Error> {
        let Some(volume) = self.volumes.get("", name) else {
            return Ok(());
        };
        match plan::due(&volume, &self.node_name, self.directories.path()) {
            Due::Nothing => Ok(()),
            Due::Remove => {
                if let Err(error) = self.directories.remove(name).await {
                    self.note(&*volume, WARNING, "VolumeFailedDelete", error.to_string());
                    return Err(error.into());
                }
                self.delete(&volume).await?;
                self.release(&volume).await
            }
            Due::LetGo => self.release(&volume).await,
        }
    }

    /// Deletes the volume that was read, and no other of its name.
    async fn delete(&self, volume: &PersistentVolume) -> Result<(), Error> {
        if volume.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: volume.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        errors::optional(api.delete(volume::name(volume), &params).await)?;
        Ok(())
    }

    /// Takes the provisioner's finalizer away.
    async fn release(&self, volume: &PersistentVolume) -> Result<(), Error> {
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let name = volume::name(volume);
        let Some(mut live) = api.get_opt(name).await? else {
            return Ok(());
        };
        if live.metadata.uid != volume.metadata.uid {
            return Ok(());
        }
        let finalizers = live.metadata.finalizers.get_or_insert_default();
        let before = finalizers.len();
        finalizers.retain(|finalizer| finalizer != names::PROVISIONER_FINALIZER);
        if finalizers.len() < before {
            let replaced = api.replace(name, &PostParams::default(), &live).await;
            errors::optional(replaced)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
