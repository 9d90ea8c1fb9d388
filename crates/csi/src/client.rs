//! Dialling a plugin's socket, and the calls that the kubelet makes there.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::net::UnixStream;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Uri},
};

use crate::{
    registration::{
        InfoRequest, PluginInfo, RegistrationStatus, registration_client::RegistrationClient,
    },
    v1::{self, node_client::NodeClient},
};

/// Deadline of a call of CSI, the dial included: upstream's `csiTimeout`.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Deadline of the question who a plugin is, as upstream has it.
pub const GET_INFO_TIMEOUT: Duration = Duration::from_secs(1);
/// Deadline of telling a plugin what has become of its registration, as upstream has it.
pub const NOTIFY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read (4 MiB): gRPC's own default, which drivers count on.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Longest answer of a plugin that says who it is (64 KiB).
const MAX_INFO_BYTES: usize = 64 << 10;
/// What the kernel takes as a socket's path, bytes, with the zero that ends it.
const SOCKET_PATH_BYTES: usize = 108;

/// A call failed; shown as gRPC's own clients show it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("rpc error: code = {code:?} desc = {description}")]
pub struct Error {
    /// What kind of failure it is. A missed deadline and an unreachable plugin have kinds, too.
    pub code: Code,
    /// What the plugin said of it.
    pub description: String,
}

impl Error {
    fn deadline() -> Self {
        Self {
            code: Code::DeadlineExceeded,
            description: "context deadline exceeded".to_owned(),
        }
    }

    /// Whether the plugin has finally refused: otherwise what was asked for may be under way, or done. As upstream's `IsFinalError`.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(
            self.code,
            Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Unavailable
                | Code::ResourceExhausted
                | Code::Aborted
        )
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self {
            code: status.code(),
            description: status.message().to_owned(),
        }
    }
}

/// Dials the socket at `path`. There is no deadline here: callers have one around dial and call.
///
/// # Errors
/// With [`Code::Unavailable`] when nothing answers there.
pub async fn dial(path: &Path) -> Result<Channel, Error> {
    let shared = Arc::new(path.to_owned());
    // The URI is never looked at: the connector below dials the socket whatever it says.
    let dialled = Endpoint::from_static("http://plugin.invalid")
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let path = shared.clone();
            async move { connect(&path).await.map(hyper_util::rt::TokioIo::new) }
        }))
        .await;
    dialled.map_err(|error| {
        let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        let path = path.display();
        Error {
            code: Code::Unavailable,
            description: format!(
                "connection error: desc = \"transport: Error while dialing: dial unix {path}: {why}\""
            ),
        }
    })
}

/// Connects to a socket whose path may be longer than what the kernel takes: through its directory then.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() < SOCKET_PATH_BYTES {
        return UnixStream::connect(path).await;
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let directory = File::open(parent)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
    UnixStream::connect(short).await
}

async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let done = tokio::time::timeout(deadline, call).await;
    done.unwrap_or_else(|_| Err(Error::deadline()))
}

/// Where a plugin says who it is.
#[derive(Clone, Debug)]
pub struct Registrar {
    socket: PathBuf,
}

impl Registrar {
    /// Of the plugin that registers on `socket`.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    async fn client(&self) -> Result<RegistrationClient<Channel>, Error> {
        let client = RegistrationClient::new(dial(&self.socket).await?);
        Ok(client.max_decoding_message_size(MAX_INFO_BYTES))
    }

    /// Who the plugin is.
    ///
    /// # Errors
    /// What the plugin says, and [`Code::DeadlineExceeded`] after [`GET_INFO_TIMEOUT`].
    pub async fn info(&self) -> Result<PluginInfo, Error> {
        let call = async {
            let mut client = self.client().await?;
            Ok(client.get_info(InfoRequest {}).await?.into_inner())
        };
        within(GET_INFO_TIMEOUT, call).await
    }

    /// Tells the plugin that it is registered, or why it is not.
    ///
    /// # Errors
    /// What the plugin says, and [`Code::DeadlineExceeded`] after [`NOTIFY_TIMEOUT`].
    pub async fn notify(&self, registered: Result<(), String>) -> Result<(), Error> {
        let status = RegistrationStatus {
            plugin_registered: registered.is_ok(),
            error: registered.err().unwrap_or_default(),
        };
        let call = async {
            let mut client = self.client().await?;
            client.notify_registration_status(status).await?;
            Ok(())
        };
        within(NOTIFY_TIMEOUT, call).await
    }
}

/// The node service of a driver; each call has [`CALL_TIMEOUT`].
#[derive(Clone, Debug)]
pub struct Node {
    socket: PathBuf,
}

/// Defines one method a call: its name, the client's, request, response.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $call:ident($request:ident) -> $response:ident;)*) => {
        impl Node {
            $($(#[$doc])*
            ///
            /// # Errors
            /// What the driver says, and [`Code::DeadlineExceeded`] when it does not say anything.
            pub async fn $name(&self, request: v1::$request) -> Result<v1::$response, Error> {
                let call = async {
                    let mut client = NodeClient::new(dial(&self.socket).await?)
                        .max_decoding_message_size(MAX_MESSAGE_BYTES);
                    Ok(client.$call(request).await?.into_inner())
                };
                within(CALL_TIMEOUT, call).await
            })*
        }
    };
}

calls! {
    /// What the driver calls this node, and where that is.
    info = node_get_info(NodeGetInfoRequest) -> NodeGetInfoResponse;
    /// What the driver can do on nodes.
    capabilities = node_get_capabilities(NodeGetCapabilitiesRequest) -> NodeGetCapabilitiesResponse;
    /// Makes a volume ready on the node, once for all its pods.
    stage = node_stage_volume(NodeStageVolumeRequest) -> NodeStageVolumeResponse;
    /// Undoes [`Self::stage`].
    unstage = node_unstage_volume(NodeUnstageVolumeRequest) -> NodeUnstageVolumeResponse;
    /// Makes a volume available at a pod's place for it.
    publish = node_publish_volume(NodePublishVolumeRequest) -> NodePublishVolumeResponse;
    /// Undoes [`Self::publish`].
    unpublish = node_unpublish_volume(NodeUnpublishVolumeRequest) -> NodeUnpublishVolumeResponse;
    /// Makes use of a volume's new size.
    expand = node_expand_volume(NodeExpandVolumeRequest) -> NodeExpandVolumeResponse;
    /// How much of a volume is used.
    stats = node_get_volume_stats(NodeGetVolumeStatsRequest) -> NodeGetVolumeStatsResponse;
}

impl Node {
    /// Of the driver that serves `socket`.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }
}
