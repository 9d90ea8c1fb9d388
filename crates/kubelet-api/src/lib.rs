//! Protocols between the kubelet and programs that have devices, or ask who has them, over unix sockets.
//!
//! - [`dra`]: drivers of dynamic resources, which the kubelet has prepare what the scheduler has allocated;
//! - [`device_plugin`]: device plugins, which tell the kubelet of devices that count as extended resources;
//! - [`pod_resources`]: the kubelet tells monitoring agents which devices pods have.
//!
//! Types are generated from `proto/`, which has the names and numbers of v1.37. A server answers what it does not implement with
//! `UNIMPLEMENTED`.

use std::{path::PathBuf, sync::Arc, time::Duration};

pub use tonic;

use tonic::transport::{Channel, Endpoint, Uri};

/// `k8s.io/kubelet/pkg/apis/dra`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod dra {
    /// Messages, client and server.
    pub mod v1 {
        tonic::include_proto!("k8s.io.kubelet.pkg.apis.dra.v1");
    }
    /// The service under its earlier name, with the messages of [`v1`].
    pub mod v1beta1 {
        tonic::include_proto!("k8s.io.kubelet.pkg.apis.dra.v1beta1");
    }
}

/// `k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod device_plugin {
    tonic::include_proto!("v1beta1");
}

/// `k8s.io/kubelet/pkg/apis/podresources/v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod pod_resources {
    tonic::include_proto!("v1");
}

/// How long one dial of a socket may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Dials a socket.
///
/// # Errors
/// Where nothing answers there in time.
pub async fn dial(socket: PathBuf) -> Result<Channel, tonic::transport::Error> {
    let socket = Arc::new(socket);
    // The URI is never looked at: the connector below dials the socket whatever it says.
    Endpoint::from_static("http://plugin.invalid")
        .connect_timeout(CONNECT_TIMEOUT)
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move {
                let stream = tokio::net::UnixStream::connect(socket.as_path()).await?;
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
            }
        }))
        .await
}
