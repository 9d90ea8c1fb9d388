//! Protocols between the kubelet and programs that have devices, or ask who has them, over unix sockets.
//!
//! - [`dra`]: drivers of dynamic resources, which the kubelet has prepare what the scheduler has allocated;
//! - [`device_plugin`]: device plugins, which tell the kubelet of devices that count as extended resources;
//! - [`pod_resources`]: the kubelet tells monitoring agents which devices pods have.
//!
//! Types are generated from `proto/`, which has the names and numbers of v1.37. A server answers what it does not implement with
//! `UNIMPLEMENTED`. Sockets are dialled as those of other plugins, by `knarr-csi`.

pub use tonic;

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
