//! Where whoever serves a request and whoever judges it meet: what is asked, and the traits that decide.

use std::borrow::Cow;

use async_trait::async_trait;
use knarr_meta::{fields::FieldSelector, labels, status::Status};

use crate::{Authenticated, UserInfo};

/// The request as authorizers see it, parsed once from method, path and query (upstream's `request.RequestInfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo<'a> {
    pub is_resource: bool,
    pub path: &'a str,
    /// `get`, `list`, `watch`, `create`, …; the lower-case HTTP method for non-resource paths.
    pub verb: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    pub namespace: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub name: &'a str,
    /// What a list, watch or deletecollection selects: the very value that its handler filters by.
    pub selectors: Cow<'a, Selectors>,
}

/// The selectors of a request; the default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    pub labels: labels::Selector,
    pub fields: FieldSelector,
}

impl Selectors {
    /// 400, in upstream's words, where one cannot be parsed.
    pub fn parse(labels: &str, fields: &str) -> Result<Selectors, Status> {
        let invalid = |error: &dyn std::fmt::Display| Status::bad_request(error.to_string());
        Ok(Selectors {
            labels: labels::Selector::parse(labels).map_err(|e| invalid(&e))?,
            fields: FieldSelector::parse(fields).map_err(|e| invalid(&e))?,
        })
    }
}

/// An answer of an authorizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow { reason: String },
    Deny { reason: String },
    NoOpinion { reason: String },
}

/// Decides from in-memory indexes, or by the word of somebody who is waited for on a thread that others need not.
pub trait Authorizer: Send + Sync {
    fn authorize(&self, user: &UserInfo, request: &RequestInfo<'_>) -> Decision;
}

/// The only paths that answer nobody. The last one is public by its nature: where the cluster is and who vouches for it, as kubeadm's
/// clusters publish it. RBAC decides about it, as about all that is no health endpoint.
const ANONYMOUS_PATHS: [&str; 4] = [
    "/healthz",
    "/livez",
    "/readyz",
    "/api/v1/namespaces/kube-public/configmaps/cluster-info",
];

/// True for the paths where a request without credentials goes on as [`anonymous`](crate::authn::anonymous) instead of 401.
pub fn anonymous_allowed(path: &str) -> bool {
    ANONYMOUS_PATHS.contains(&path)
}

/// Is told what is to be known of credentials beside whose they are.
pub trait Remarks: Send + Sync {
    /// For who sent them.
    fn warning(&self, text: &'static str);

    /// For the audit log.
    fn annotation(&self, key: &'static str, value: String);
}

/// Nobody is told.
impl Remarks for () {
    fn warning(&self, _: &'static str) {}

    fn annotation(&self, _: &'static str, _: String) {}
}

/// What a connection or a request carries as proof.
pub struct Credentials<'a> {
    /// DER of the verified client certificate chain's leaf (TLS has checked the chain against the CA).
    pub client_certificate: Option<&'a [u8]>,
    /// The `Authorization` header's bearer token.
    pub bearer: Option<&'a str>,
    pub remarks: &'a dyn Remarks,
}

/// Turns credentials into a user. `Ok(None)`: no credentials (anonymous). `Err`: 401.
#[async_trait]
pub trait Authenticator: Send + Sync {
    async fn authenticate(
        &self,
        credentials: Credentials<'_>,
    ) -> Result<Option<Authenticated>, Status>;

    /// Whether a request for a path goes on as nobody's where it has no credentials.
    fn anonymous_allowed(&self, path: &str) -> bool {
        anonymous_allowed(path)
    }
}

/// Knows tokens that are not the cluster's own: of files, issuers and webhooks.
#[async_trait]
pub trait TokenAuthenticator: Send + Sync {
    /// Whose a token is, without the group of all who are authenticated. `None`: nobody's.
    async fn user(&self, token: &str) -> Option<UserInfo>;

    /// As [`Authenticator::anonymous_allowed`], where somebody has said so.
    fn anonymous(&self, path: &str) -> Option<bool>;
}
