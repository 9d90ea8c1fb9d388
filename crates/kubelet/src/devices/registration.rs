//! Where device plugins register: the socket that they all know, and the plugin manager.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use knarr_kubelet_api::{
    device_plugin::{
        Empty, RegisterRequest,
        registration_server::{Registration, RegistrationServer},
    },
    tonic::{Request, Response, Status, transport::Server},
};
use parking_lot::Mutex;
use tokio::net::UnixListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::plugin::Plugin;
use crate::{
    context::Shared,
    plugins::{self, Handler},
    socket,
};

/// What device plugins call their type where they register as other plugins do.
pub(crate) const DEVICE_PLUGIN: &str = "DevicePlugin";
const VERSION: &str = "v1beta1";
/// In the directory of device plugins, as upstream.
const SOCKET: &str = "kubelet.sock";
/// Resources that may be registered.
const RESOURCES_MAX: usize = 1_024;
const RETRY: Duration = Duration::from_secs(10);

/// Follows plugins, and takes them from both ways in.
#[derive(Clone)]
pub(crate) struct Registered {
    ctx: Shared,
    tracker: TaskTracker,
    token: CancellationToken,
    /// Ends following, by socket.
    following: Arc<Mutex<BTreeMap<PathBuf, CancellationToken>>>,
}

impl Registered {
    pub(crate) fn new(ctx: Shared, tracker: TaskTracker, token: CancellationToken) -> Self {
        Self {
            ctx,
            tracker,
            token,
            following: Arc::default(),
        }
    }

    fn directory(&self) -> PathBuf {
        self.ctx.config.device_plugins_dir()
    }

    /// Begins to use a plugin.
    async fn connect(&self, resource: &str, socket: PathBuf) -> Result<(), String> {
        let devices = &self.ctx.devices;
        if devices.capacity().len() >= RESOURCES_MAX {
            return Err(format!(
                "there are {RESOURCES_MAX} resources of device plugins already"
            ));
        }
        let plugin = Plugin::connect(socket.clone()).await?;
        let stream = plugin.watch().await;
        let mut stream =
            stream.map_err(|error| format!("listAndWatch ended unexpectedly: {error}"))?;
        devices.connect(resource, plugin)?;
        tracing::info!(resource, socket = %socket.display(), "a device plugin has registered");
        let token = self.token.child_token();
        self.following.lock().insert(socket.clone(), token.clone());
        let (this, resource) = (self.clone(), resource.to_owned());
        self.tracker.spawn(async move {
            let follow = async {
                while let Ok(Some(told)) = stream.message().await {
                    this.ctx.devices.tell(&resource, told.devices);
                }
            };
            token.run_until_cancelled(follow).await;
            this.following.lock().remove(&socket);
            this.ctx.devices.disconnect(&resource, &socket);
            tracing::info!(resource, socket = %socket.display(), "a device plugin is gone");
        });
        Ok(())
    }
}

/// Whether a resource may be a device plugin's: it has a domain, which is not Kubernetes' own.
fn check(version: &str, resource: &str) -> Result<(), String> {
    if version != VERSION {
        return Err(format!(
            "requested API version {version:?} is not supported by kubelet. Supported version is [{VERSION:?}]"
        ));
    }
    let extended = resource.split_once('/').is_some_and(|(domain, name)| {
        let own = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
        !domain.is_empty() && !name.is_empty() && !own && !domain.starts_with("requests.")
    });
    match extended {
        true => Ok(()),
        false => Err(format!("invalid resource name: {resource:?}")),
    }
}

#[async_trait]
impl Registration for Registered {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        let request = request.into_inner();
        check(&request.version, &request.resource_name).map_err(Status::invalid_argument)?;
        // A plugin is in the directory in which it was told to be.
        let name = Path::new(&request.endpoint).file_name();
        let Some(name) = name.filter(|name| *name == request.endpoint.as_str()) else {
            let endpoint = &request.endpoint;
            return Err(Status::invalid_argument(format!(
                "invalid endpoint {endpoint:?}"
            )));
        };
        let connected = self
            .connect(&request.resource_name, self.directory().join(name))
            .await;
        connected.map_err(Status::unknown)?;
        Ok(Response::new(Empty {}))
    }
}

#[async_trait]
impl Handler for Registered {
    async fn validate(&self, plugin: &plugins::Plugin) -> Result<(), String> {
        let known = plugin.versions.iter().any(|version| version == VERSION);
        let version = plugin
            .versions
            .first()
            .map(String::as_str)
            .unwrap_or_default();
        check(if known { VERSION } else { version }, &plugin.name)
    }

    async fn register(&self, plugin: &plugins::Plugin) -> Result<(), String> {
        let socket = self.ctx.config.root().resolve(&plugin.endpoint);
        self.connect(&plugin.name, socket).await
    }

    async fn deregister(&self, plugin: &plugins::Plugin) {
        let socket = self.ctx.config.root().resolve(&plugin.endpoint);
        if let Some(token) = self.following.lock().remove(&socket) {
            token.cancel();
        }
    }
}

/// Serves the socket until the token is cancelled.
pub(crate) async fn run(registered: Registered, token: CancellationToken) {
    let serve = async {
        loop {
            let directory = registered.directory();
            let listener = crate::disk::waiting(|| listen(&directory));
            let ended = match listener {
                Ok(listener) => {
                    let incoming = socket::incoming(listener);
                    let service = RegistrationServer::new(registered.clone());
                    let server = Server::builder().add_service(service);
                    server
                        .serve_with_incoming(incoming)
                        .await
                        .map_err(|error| error.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = ended {
                tracing::warn!(error, "device plugins cannot register");
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    token.run_until_cancelled(serve).await;
}

/// Plugins watch for the socket to be made anew, and register then; what is left of them in the directory is not theirs any more.
fn listen(directory: &Path) -> io::Result<UnixListener> {
    fs::create_dir_all(directory)?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_socket() {
            fs::remove_file(entry.path())?;
        }
    }
    socket::listen(&directory.join(SOCKET))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_have_resources_of_their_own() {
        let cases = [
            ("v1beta1", "vendor.com/gpu", true),
            ("v1alpha", "vendor.com/gpu", false),
            ("v1beta1", "cpu", false),
            ("v1beta1", "kubernetes.io/gpu", false),
            ("v1beta1", "requests.vendor.com/gpu", false),
            ("v1beta1", "vendor.com/", false),
        ];
        for (version, resource, wanted) in cases {
            assert_eq!(
                check(version, resource).is_ok(),
                wanted,
                "{version} {resource}"
            );
        }
    }
}
