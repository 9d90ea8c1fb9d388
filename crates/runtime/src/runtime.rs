//! The runtime: its state, its start, its end.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use knarr_cni::Invoker;
use knarr_cri::images::images_server::ImagesServer;
use knarr_cri::v1::image_service_server::ImageServiceServer;
use knarr_cri::v1::runtime_service_server::RuntimeServiceServer;
use knarr_tasks::{Shares, Tasks};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Layout};
use crate::container::Container;
use crate::cri;
use crate::events::Hub;
use crate::exec::{Executor, Streaming};
use crate::files;
use crate::image_volume;
use crate::images::pull::{PullError, Puller, Timeouts};
use crate::images::{ImageStore, StoreError};
use crate::sandbox::Sandbox;
use crate::shim::ShimError;
use crate::spec::SpecError;
use crate::streaming;

/// How long running requests and tasks may take to end after the token is cancelled.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Containers of a namespace that may be being made at a time, and of all of them: each has a thread until its mounts answer.
const MAX_CREATING_OF_NAMESPACE: usize = 8;
const MAX_CREATING: usize = 64;
/// Connections to pods' ports that may be being made at a time; more wait.
const MAX_CONNECTING: usize = 64;

/// Why something could not be done. The CRI service turns each into the code that containerd gives.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{kind} {id:?} not found")]
    NotFound { kind: &'static str, id: String },
    #[error("{0}")]
    InvalidArgument(String),
    /// The object is not in the state that the request needs.
    #[error("{0}")]
    State(String),
    #[error("{0}")]
    Unsupported(String),
    #[error("{0}")]
    DeadlineExceeded(String),
    /// A limit of the runtime's own.
    #[error("{0}")]
    Exhausted(String),
    #[error("failed to set up sandbox network: {0}")]
    Network(#[from] knarr_cni::invoke::Error),
    /// As containerd says it.
    #[error(
        "failed to setup network for sandbox {id:?}: get cni namespace options: reading pod bandwidth annotations: {source}"
    )]
    Bandwidth {
        id: String,
        source: knarr_cni::Unreasonable,
    },
    #[error(transparent)]
    Shim(#[from] ShimError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Image(#[from] StoreError),
    #[error(transparent)]
    ImageVolume(#[from] image_volume::Error),
    #[error(transparent)]
    Pull(#[from] Arc<PullError>),
    #[error("{what}: {source}")]
    Io {
        what: &'static str,
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

/// All that the services share.
pub(crate) struct Inner {
    pub config: Config,
    pub layout: Layout,
    pub images: Arc<ImageStore>,
    pub puller: Puller,
    pub cni: Invoker,
    pub events: Hub,
    pub sandboxes: Mutex<BTreeMap<String, Arc<Sandbox>>>,
    pub containers: Mutex<BTreeMap<String, Arc<Container>>>,
    pub streaming: OnceLock<Arc<dyn Streaming>>,
    /// Containers that are being made, by their pods' namespaces.
    pub creating: Shares,
    /// Connections to pods' ports that are being made.
    pub connecting: Semaphore,
    pub tasks: TaskTracker,
    pub token: CancellationToken,
}

/// The embedded runtime.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

impl Runtime {
    /// Opens what is on disk, reconnects to the shims that live and cleans up after those that do not.
    pub async fn new(config: Config) -> Result<Self, Error> {
        let layout = config.layout();
        for directory in [
            layout.sandboxes(),
            layout.containers(),
            layout.netns_dir().to_path_buf(),
            layout.userns_dir().to_path_buf(),
            layout.cni_cache.clone(),
        ] {
            files::make_dir(&directory).map_err(Error::io("make the data directory"))?;
        }
        let images = Arc::new(ImageStore::open(layout.images())?);
        let cni = Invoker::new(
            config.cni_conf_dir.clone(),
            config.cni_bin_dirs.clone(),
            layout.cni_cache.clone(),
        );
        let tasks = TaskTracker::new();
        let puller = Puller::new(
            images.clone(),
            config.registries.clone(),
            Timeouts::default(),
            tasks.clone(),
        );
        let inner = Arc::new(Inner {
            config,
            layout,
            images,
            puller,
            cni,
            events: Hub::new(),
            sandboxes: Mutex::new(BTreeMap::new()),
            containers: Mutex::new(BTreeMap::new()),
            streaming: OnceLock::new(),
            creating: Shares::new(MAX_CREATING_OF_NAMESPACE, MAX_CREATING),
            connecting: Semaphore::new(MAX_CONNECTING),
            tasks,
            token: CancellationToken::new(),
        });
        inner.recover().await?;
        Ok(Self { inner })
    }

    /// The image store, for imports.
    pub fn images(&self) -> Arc<ImageStore> {
        self.inner.images.clone()
    }

    /// What a streaming server runs processes with.
    pub fn executor(&self) -> Arc<dyn Executor> {
        self.inner.clone()
    }

    /// Makes `Exec`, `Attach` and `PortForward` answer with URLs of this server. Once; later calls change nothing.
    pub fn set_streaming(&self, streaming: Arc<dyn Streaming>) {
        let _ = self.inner.streaming.set(streaming);
    }

    /// Kills and removes every sandbox with its containers, and the cgroup root. Images stay.
    pub async fn remove_all(&self) -> Result<(), Error> {
        self.inner.remove_all().await
    }

    /// Serves CRI until the token is cancelled. Containers go on running.
    pub async fn run(self, token: CancellationToken) -> Result<(), Error> {
        let socket = self.inner.config.socket.clone();
        let listener = files::listen(&socket)
            .and_then(|listener| {
                listener.set_nonblocking(true)?;
                tokio::net::UnixListener::from_std(listener)
            })
            .map_err(Error::io("listen on the CRI socket"))?;
        let runtime = RuntimeServiceServer::new(cri::RuntimeApi::new(self.inner.clone()))
            .max_decoding_message_size(knarr_cri::MAX_MESSAGE_BYTES);
        let images = ImageServiceServer::new(cri::ImageApi::new(self.inner.clone()))
            .max_decoding_message_size(knarr_cri::MAX_MESSAGE_BYTES);
        let imports = ImagesServer::new(cri::ImportApi::new(self.inner.images.clone()));
        let streaming = streaming::Server::bind(streaming::Timeouts::default())
            .await
            .map_err(Error::io("listen for streams"))?;
        self.set_streaming(streaming.urls());
        let streams = Tasks::new(token.clone());
        streams.keep(
            "the server of streams",
            streaming.run(self.executor(), token.clone()),
        );
        tracing::info!(socket = %socket.display(), "container runtime is ready");
        let stop = self.inner.token.clone();
        let serving = tonic::transport::Server::builder()
            .add_service(runtime)
            .add_service(images)
            .add_service(imports)
            .serve_with_incoming_shutdown(
                UnixListenerStream::new(listener),
                token.clone().cancelled_owned(),
            );
        let ending = async {
            token.cancelled().await;
            // Ends the event streams, which would otherwise keep their connections, and the shim readers.
            stop.cancel();
            tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
        };
        let outcome = tokio::select! {
            outcome = serving => outcome,
            () = ending => Ok(()),
        };
        self.inner.token.cancel();
        self.inner.tasks.close();
        let ended = futures::future::join(self.inner.tasks.wait(), streams.stopped());
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, ended).await;
        let _ = files::remove(&socket);
        outcome.map_err(|error| Error::Io {
            what: "serve CRI",
            source: io::Error::other(error),
        })
    }
}

impl Inner {
    /// By id or a unique prefix of it.
    pub fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>, Error> {
        find(&self.sandboxes.lock(), id).ok_or_else(|| Error::NotFound {
            kind: "sandbox",
            id: id.to_owned(),
        })
    }

    pub fn container(&self, id: &str) -> Result<Arc<Container>, Error> {
        find(&self.containers.lock(), id).ok_or_else(|| Error::NotFound {
            kind: "container",
            id: id.to_owned(),
        })
    }

    pub fn containers_of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        self.containers
            .lock()
            .values()
            .filter(|container| container.record.sandbox == sandbox)
            .cloned()
            .collect()
    }
}

fn find<T>(all: &BTreeMap<String, Arc<T>>, id: &str) -> Option<Arc<T>> {
    if let Some(exact) = all.get(id) {
        return Some(exact.clone());
    }
    if id.is_empty() {
        return None;
    }
    let mut matching = all
        .range(id.to_owned()..)
        .take_while(|(key, _)| key.starts_with(id));
    let (_, first) = matching.next()?;
    matching.next().is_none().then(|| first.clone())
}

/// Runs blocking work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(Error::io(what)),
        Err(error) => Err(Error::Io {
            what,
            source: io::Error::other(error),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// There is one thread for requests: it answers while the disk does not.
    #[test]
    fn what_waits_for_a_disk_holds_no_thread_of_requests() {
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
        let (answered, answers) = mpsc::channel();
        let stalled = runtime.spawn(blocking("write", move || {
            Ok(answers.recv_timeout(Duration::from_secs(60)).is_ok())
        }));
        runtime.spawn(async move { answered.send(()) });
        assert!(
            runtime.block_on(stalled).unwrap().unwrap(),
            "nobody answered"
        );
    }
}
