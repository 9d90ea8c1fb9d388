//! The protocol between the runtime and the shims, one shim process a pod sandbox.
//!
//! A shim listens on a unix stream socket in its sandbox's directory. A client connects, writes one request and reads
//! one response ([`frame`]: length, version, JSON, with file descriptors attached by `SCM_RIGHTS`), then closes; only
//! [`Request::Subscribe`] keeps the connection, which carries [`Event`]s from then on. One request a connection keeps
//! both ends simple: nothing is multiplexed, a slow request delays no other, and a lost client is a closed socket.
//! Rejected: ttrpc (a protocol compiler and a second HTTP/2-like layer for nine messages), gRPC (an async runtime in
//! a process that must stay below 2 MiB).
//!
//! The shim leaves what it knows on disk as well ([`ExitRecord`] beside the container's bundle), so that nothing is
//! lost when it dies before the runtime has read it.
//!
//! Beside the protocol there is what both sides do to mounts ([`tree`]).

pub mod frame;
pub mod lines;
pub mod protocol;
pub mod tree;

/// An error with its causes, each said once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

pub use protocol::{
    ContainerState, Event, ExecSpec, ExitRecord, IdMapping, Request, Response, SandboxSpec,
    StartSpec, UserNamespace,
};
