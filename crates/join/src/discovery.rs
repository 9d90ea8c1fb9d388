//! The cluster's authority, got from a server that nobody vouches for yet.
//!
//! The server's `cluster-info` is public, and is believed in nothing but what the token's hash confirms. No secret is sent.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::Request;
use http_body_util::{BodyExt, Limited};
use knarr_auth::{
    bootstrap_token::{self, BootstrapToken},
    cluster_info::{KUBECONFIG, NAME, NAMESPACE, SIGNATURE_PREFIX},
    unverified::AnyCertificate,
};
use knarr_x509::pem;
use kube::{
    client::Body,
    config::{Cluster, Kubeconfig},
};
use rustls::ClientConfig;
use serde::Deserialize;
use tower::ServiceExt;

use crate::{
    CaHash, Error,
    tls::{Authority, PROTOCOLS, provider},
    transport::{Servers, Transport},
};

#[cfg(test)]
mod tests;

/// Longest answer that is read: a kubeconfig, and a signature for each of some hundred tokens.
const INFO_BYTES: usize = 256 << 10;

/// What a server publishes of its cluster. Who asks without trust in the server may believe nothing of it before it is confirmed.
#[derive(Debug, Default)]
pub struct ClusterInfo {
    data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct ConfigMap {
    #[serde(default)]
    data: BTreeMap<String, String>,
}

/// What a server says of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenState {
    /// There is none of this id, or it may not sign.
    Unknown,
    /// There is one of this id with another secret.
    OtherSecret,
    /// The server knows the whole token.
    Known,
}

impl ClusterInfo {
    /// Asks the first server that answers.
    pub(crate) async fn fetch(servers: &Arc<Servers>) -> Result<Self, Error> {
        let tls = unverified()?;
        match Self::ask(Transport::new(servers.clone(), tls.clone()), servers).await {
            Err(error) => Err(servers.explain(&tls, error).await),
            asked => asked,
        }
    }

    /// Asks over a transport that the caller trusts, or not.
    pub(crate) async fn ask(transport: Transport, servers: &Servers) -> Result<Self, Error> {
        let told = |reason: String| Error::NoClusterInfo {
            server: servers.current().to_string(),
            reason,
        };
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}");
        let request = Request::get(path).body(Body::empty());
        let request = request.map_err(|error| told(error.to_string()))?;
        let answer = transport.oneshot(request).await;
        let answer = answer.map_err(|error| told(error.to_string()))?;
        if !answer.status().is_success() {
            return Err(told(answer.status().to_string()));
        }
        let body = Limited::new(answer.into_body(), INFO_BYTES).collect().await;
        let body = body.map_err(|error| told(error.to_string()))?.to_bytes();
        let map: ConfigMap =
            serde_json::from_slice(&body).map_err(|error| told(error.to_string()))?;
        Ok(Self { data: map.data })
    }

    /// The authority whose public key has this hash, without those that stand beside it.
    ///
    /// # Errors
    /// The hashes of those that are there.
    pub(crate) fn authority(&self, wanted: &CaHash) -> Result<Authority, String> {
        let mut found = Vec::new();
        for certificate in self.certificates() {
            match CaHash::of_pem(&certificate) {
                Some(hash) if hash == *wanted => {
                    return Authority::from_pem(&certificate)
                        .ok_or_else(|| "a certificate that cannot be used".to_owned());
                }
                Some(hash) => found.push(hash.to_string()),
                None => {}
            }
        }
        match found.is_empty() {
            true => Err("none".to_owned()),
            false => Err(found.join(", ")),
        }
    }

    /// Reads the object's data.
    #[must_use]
    pub fn from_data(data: BTreeMap<String, String>) -> Self {
        Self { data }
    }

    /// The URL by which servers are reached.
    #[must_use]
    pub fn server(&self) -> Option<String> {
        let mut clusters = self.clusters().into_iter();
        clusters.find_map(|cluster| cluster.server)
    }

    /// The hash of the authority, the first where there are several.
    #[must_use]
    pub fn hash(&self) -> Option<CaHash> {
        self.certificates()
            .iter()
            .find_map(|certificate| CaHash::of_pem(certificate))
    }

    fn clusters(&self) -> Vec<Cluster> {
        let kubeconfig = self.data.get(KUBECONFIG).map_or("", String::as_str);
        let clusters = Kubeconfig::from_yaml(kubeconfig).map(|config| config.clusters);
        let clusters = clusters.unwrap_or_default().into_iter();
        clusters.filter_map(|named| named.cluster).collect()
    }

    /// PEM of each certificate in the kubeconfig.
    pub(crate) fn certificates(&self) -> Vec<String> {
        let authorities = self.clusters().into_iter().filter_map(|cluster| {
            BASE64_STANDARD
                .decode(cluster.certificate_authority_data?)
                .ok()
        });
        authorities
            .flat_map(|text| pem::blocks(&text).collect::<Vec<_>>())
            .filter(|block| block.label == pem::CERTIFICATE)
            .map(|block| pem::encode(pem::CERTIFICATE, &block.der))
            .collect()
    }

    /// Why the server refuses a token, as far as its signatures tell.
    pub(crate) fn state(&self, token: &BootstrapToken) -> TokenState {
        let kubeconfig = self.data.get(KUBECONFIG).map_or("", String::as_str);
        let signature = self.data.get(&format!("{SIGNATURE_PREFIX}{}", token.id()));
        match signature {
            None => TokenState::Unknown,
            Some(signature) if bootstrap_token::verify(signature, kubeconfig, token) => {
                TokenState::Known
            }
            Some(_) => TokenState::OtherSecret,
        }
    }
}

/// TLS that takes any certificate. Nothing secret may be sent over it.
fn unverified() -> Result<Arc<ClientConfig>, Error> {
    let provider = provider();
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.alpn_protocols = PROTOCOLS.map(Vec::from).to_vec();
    Ok(Arc::new(config))
}
