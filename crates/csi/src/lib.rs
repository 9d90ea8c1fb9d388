//! CSI (the container storage interface, `csi.v1`) as a node uses it, and the protocol by which plugins of a kubelet make themselves
//! known: protocol types, and clients of a plugin's socket.
//!
//! A plugin is a program of somebody else's: it may hang, answer with anything, or go away at any time. Each call dials the
//! socket anew, as upstream's kubelet does, so that a plugin that was replaced needs no detection; it has a deadline that covers the
//! dial, and an answer is read up to a limit.
//!
//! Controllers of CSI drivers are the business of the sidecars that drivers are deployed with: their messages are not here.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod client;

pub use client::{
    CALL_TIMEOUT, Error, GET_INFO_TIMEOUT, MAX_MESSAGE_BYTES, NOTIFY_TIMEOUT, Node, Registrar, dial,
};
pub use tonic;

/// Messages, clients and servers of CSI. A server answers what it does not implement with `UNIMPLEMENTED`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("csi.v1");

    macro_rules! redacted {
        ($($message:ident),*) => {
            $(impl std::fmt::Debug for $message {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    let name = stringify!($message);
                    f.debug_struct(name).field("volume_id", &self.volume_id).finish_non_exhaustive()
                }
            })*
        };
    }

    redacted!(
        NodeStageVolumeRequest,
        NodePublishVolumeRequest,
        NodeExpandVolumeRequest
    );
}

/// The registration of plugins, version 1.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod registration {
    tonic::include_proto!("pluginregistration");
}

#[cfg(test)]
mod tests;
