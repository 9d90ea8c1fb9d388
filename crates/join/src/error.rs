//! Why a machine cannot be a node: one line each, with what to do.

use std::{io, path::PathBuf};

use crate::{AddressError, SettingsError};

/// Why joining fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("name a server with --server https://HOST:PORT")]
    NoServer,
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("cannot keep what a node has of its cluster: {0}")]
    Files(#[from] knarr_auth::pki::Error),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{0}")]
    KubeconfigFile(String),
    #[error("{path} is no kubeconfig that can be used: {why}")]
    Kubeconfig { path: PathBuf, why: String },
    #[error("{path} holds no certificate of an authority")]
    CaFile { path: PathBuf },
    #[error("the kubeconfig names no authority of the server's certificate")]
    NoAuthority,
    #[error(
        "this machine has not joined before: make a token with knarr token create on the server, and give it with --token"
    )]
    NoToken,
    #[error(
        "the token has no hash of the cluster's authority: take all of what knarr token create prints, or give its certificate too, with --ca-file"
    )]
    NoHash,
    #[error("{server} does not answer: {reason}; is it running, and is its port open?")]
    Unreachable { server: String, reason: String },
    #[error("{server} does not tell its authority ({reason}); give its certificate with --ca-file")]
    NoClusterInfo { server: String, reason: String },
    #[error(
        "{server} has another authority ({found}) than the token's: it is not the cluster's server, or the token is of another cluster"
    )]
    WrongHash { server: String, found: String },
    #[error(
        "{path} is of another cluster than the token: give another --data-dir, or remove it where its node is to be forgotten"
    )]
    OtherCluster { path: PathBuf },
    #[error("{server} is no API server of Kubernetes: {reason}")]
    NoServerThere { server: String, reason: String },
    #[error(
        "{server} is not of the cluster's authority, or not named so in its certificate: {reason}"
    )]
    Untrusted { server: String, reason: String },
    #[error(
        "the clock of this machine or of {server} is off: {reason}; set it (timedatectl set-ntp true), then try again"
    )]
    Clock { server: String, reason: String },
    #[error(
        "no token {id} at {server}: it has expired or was deleted; make a new one with knarr token create"
    )]
    TokenUnknown { id: String, server: String },
    #[error("the token {id} is known to {server}, but its secret is another one")]
    TokenSecret { id: String, server: String },
    #[error(
        "the token {id} is good for {server}, but not as a credential: make another one with knarr token create"
    )]
    TokenUsage { id: String, server: String },
    #[error(
        "the certificate in {path} has ended, or is another node's: delete the Node, make a token with knarr token create on the server, and give it with --token"
    )]
    CertificateEnded { path: PathBuf },
    #[error(
        "{server} does not know this node's certificate any more; remove {path} and join with a new token"
    )]
    CertificateRefused { server: String, path: PathBuf },
    #[error(
        "a node named {name} exists: remove it (kubectl delete node {name}), or name this one with --node-name"
    )]
    NameTaken { name: String },
    #[error("the certificate request {request} was denied: {reason}")]
    Denied { request: String, reason: String },
    #[error("the certificate request {request} failed: {reason}")]
    Failed { request: String, reason: String },
    #[error(
        "the certificate request {request} was not approved in time; see it with kubectl describe csr {request}, approve it with kubectl certificate approve {request}"
    )]
    NotApproved { request: String },
    #[error(
        "the server is of version {server}, this node of {node}: they may be one minor version apart"
    )]
    Version { server: String, node: String },
    #[error("not joined within {}s", .0.as_secs())]
    Timeout(std::time::Duration),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("cannot {action}: {}", knarr_client::errors::message(.source))]
    Api {
        action: &'static str,
        source: kube::Error,
    },
    #[error("work on the disk was aborted")]
    Aborted,
    #[error("the server gave a certificate for another key")]
    OtherKey,
    #[error("cannot make a key or a certificate request")]
    Key(#[from] knarr_x509::Error),
    #[error("cannot make a certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Error {
    /// Whether it only says that no server answers (yet), whatever it would answer.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NoServerThere { .. } | Self::Timeout(_) => true,
            // One that has just been started, or has too much to do.
            Self::Api { source, .. } => knarr_client::errors::status(source)
                .is_none_or(|status| status.code >= 500 || status.code == 429),
            _ => false,
        }
    }
}
