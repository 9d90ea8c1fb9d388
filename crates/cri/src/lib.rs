//! CRI (the container runtime interface, `runtime.v1`): its protocol types and the client side of its socket.
//!
//! The kubelet is the only caller: it dials the runtime's unix socket once and clones the two clients as often as
//! it likes, since they share one HTTP/2 connection that is dialled again by itself after the runtime restarts.
//! The embedded runtime takes the same types to build its server from, so that both ends agree by construction.
//!
//! The types are generated from `proto/v1.proto`, which has the names and numbers of the release that the rest of the API is of.
//! The crate `k8s-cri` was in its place until image volumes needed fields that its copy, of v1.32, does not have: what a type
//! has no field for is lost without a word.

use std::{path::PathBuf, sync::Arc, time::Duration};

pub mod cpu;
pub mod reference;

pub use tonic;

use images::images_client::ImagesClient;
use tonic::transport::{Channel, Endpoint, Uri};
use v1::{image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient};

/// Messages, clients and servers. A server answers what it does not implement with `UNIMPLEMENTED`, and a record that was written
/// before a message had a field is read as one without it.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}

/// What the embedded runtime serves beside CRI: messages, client and server.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod images {
    tonic::include_proto!("knarr.images.v1");
}

/// How long one dial of the socket may take, in seconds.
const CONNECT_TIMEOUT_SECONDS: u64 = 5;
/// Upstream's limit for one CRI message (16 MiB): lists of thousands of containers pass, runaways do not.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// HTTP/2 keeps dead peers from hanging calls for ever.
const KEEP_ALIVE_SECONDS: u64 = 30;

/// The runtime could not be reached, or the endpoint makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Only unix sockets are spoken to, as `unix:///path` or a plain absolute path.
    #[error("container runtime endpoint {0:?} is not a unix socket path")]
    Endpoint(String),
    /// Nothing listens on the socket, or it did not answer in time.
    #[error("cannot reach the container runtime at {path}: {source}")]
    Connect {
        /// The socket that was dialled.
        path: PathBuf,
        /// What the transport said.
        source: tonic::transport::Error,
    },
}

/// Dials the runtime at `endpoint` (`unix:///run/x.sock` or `/run/x.sock`) and returns clients of its two services.
///
/// # Errors
/// [`Error::Endpoint`] for anything but a unix socket, [`Error::Connect`] when nothing answers there.
pub async fn connect(
    endpoint: &str,
) -> Result<(RuntimeServiceClient<Channel>, ImageServiceClient<Channel>), Error> {
    let channel = dial(endpoint).await?;
    Ok((
        RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
        ImageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES),
    ))
}

/// Dials the embedded runtime, for what CRI has no call for. Another runtime answers `UNIMPLEMENTED`.
///
/// # Errors
/// As [`connect`].
pub async fn connect_images(endpoint: &str) -> Result<ImagesClient<Channel>, Error> {
    Ok(ImagesClient::new(dial(endpoint).await?))
}

async fn dial(endpoint: &str) -> Result<Channel, Error> {
    let path = socket_path(endpoint)?;
    let shared = Arc::new(path.clone());
    // The URI is never looked at: the connector below dials the socket whatever it says.
    Endpoint::from_static("http://cri.invalid")
        .connect_timeout(Duration::from_secs(CONNECT_TIMEOUT_SECONDS))
        .http2_keep_alive_interval(Duration::from_secs(KEEP_ALIVE_SECONDS))
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let path = shared.clone();
            async move {
                let stream = tokio::net::UnixStream::connect(path.as_path()).await?;
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
            }
        }))
        .await
        .map_err(|source| Error::Connect { path, source })
}

fn socket_path(endpoint: &str) -> Result<PathBuf, Error> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err(Error::Endpoint(endpoint.to_owned()))
    }
}

#[cfg(test)]
mod tests;
