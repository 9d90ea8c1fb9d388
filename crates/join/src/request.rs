//! A certificate from the cluster's signers: asked for, approved, signed, kept.

use std::{net::IpAddr, time::Duration};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::certificates::v1::{
        CertificateSigningRequest, CertificateSigningRequestCondition,
        CertificateSigningRequestSpec,
    },
};
use knarr_auth::cluster_info::NAME_TAKEN;
use knarr_client::errors;
use knarr_x509::{Subject, pem};
use kube::{
    Api,
    api::{ObjectMeta, PostParams, WatchEvent, WatchParams},
};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};

use crate::{
    Error,
    certificate::{Certified, Place},
};

/// Longest wait for approval and signature: those who approve by themselves do so at once.
const APPROVAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest life of one watch, in seconds; the wait above is shorter.
const WATCH_SECONDS: u32 = 60;
/// Of a hash in a request's name: no two keys share it.
const NAME_BYTES: usize = 16;

const ORGANIZATION: &str = "system:nodes";

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The node as a client of the API.
    Client,
    /// The node's own server.
    Serving,
}

impl Purpose {
    fn signer(self) -> &'static str {
        match self {
            Purpose::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Purpose::Serving => "kubernetes.io/kubelet-serving",
        }
    }

    fn usages(self) -> [&'static str; 2] {
        let usage = match self {
            Purpose::Client => "client auth",
            Purpose::Serving => "server auth",
        };
        ["digital signature", usage]
    }

    /// Name of its file.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Purpose::Client => "kubelet-client",
            Purpose::Serving => "kubelet-serving",
        }
    }
}

/// Who a node is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) node_name: String,
    pub(crate) node_ips: Vec<IpAddr>,
    /// Of its certificates; the signer's longest where it is `None`.
    pub(crate) life: Option<Duration>,
}

impl Identity {
    pub(crate) fn user(&self) -> String {
        format!("system:node:{}", self.node_name)
    }

    /// A certificate of the node's server that nobody vouches for.
    pub(crate) fn self_signed(&self) -> Result<Certified, Error> {
        let addresses = self.node_ips.iter().map(ToString::to_string);
        let names: Vec<String> = [self.node_name.clone()]
            .into_iter()
            .chain(addresses)
            .collect();
        let (certificate, key) = crate::self_signed(&names)?;
        let text = [
            pem::encode(pem::CERTIFICATE, &certificate),
            pem::encode(pem::PRIVATE_KEY, key.secret_der()),
        ];
        Certified::from_pem(&text.concat()).ok_or(Error::OtherKey)
    }

    /// Whether a certificate says of its server what it has to.
    pub(crate) fn is_served_by(&self, certified: &Certified) -> bool {
        let octets = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        certified.leaf().is_some_and(|leaf| {
            leaf.dns_names == [self.node_name.clone()]
                && leaf.ip_addresses == self.node_ips.iter().map(octets).collect::<Vec<_>>()
        })
    }
}

/// Asks for a certificate through `client`, waits for it and keeps it. A request that was left behind is taken up again.
///
/// # Errors
/// Those of the way to a certificate; a denied request's key is forgotten, so that the next try makes another request.
pub(crate) async fn certificate(
    client: &kube::Client,
    place: &Place,
    identity: &Identity,
    purpose: Purpose,
) -> Result<Certified, Error> {
    let user = identity.user();
    let names = std::slice::from_ref(&identity.node_name);
    let (dns_names, ip_addresses): (&[String], &[IpAddr]) = match purpose {
        Purpose::Client => (&[], &[]),
        Purpose::Serving => (names, &identity.node_ips),
    };
    let key = blocking(place, Place::pending).await?;
    let request = key.request(&Subject {
        common_name: &user,
        organization: ORGANIZATION,
        dns_names,
        ip_addresses,
    })?;
    let name = name(&key.public_key(), purpose);
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let csr = csr(&name, request, identity, purpose);
    match api.create(&PostParams::default(), &csr).await {
        Ok(_) => {}
        Err(error) if errors::is_already_exists(&error) => {}
        Err(source) => {
            let action = "ask for a certificate";
            return Err(Error::Api { action, source });
        }
    }
    let chain = match wait(&api, &name, &identity.node_name).await {
        Ok(chain) => chain,
        Err(error) => {
            if matches!(error, Error::NotApproved { .. }) {
                // It may be approved by somebody, later.
                return Err(error);
            }
            place.forget_pending();
            return Err(error);
        }
    };
    let text = format!("{}\n{}", String::from_utf8_lossy(&chain), key.to_pem());
    let certified = Certified::from_pem(&text).ok_or(Error::OtherKey)?;
    let kept = certified.clone();
    blocking(place, move |place| place.store(&kept)).await?;
    Ok(certified)
}

/// Runs what waits for the disk off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    place: &Place,
    work: impl FnOnce(&Place) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let place = place.clone();
    tokio::task::spawn_blocking(move || work(&place))
        .await
        .unwrap_or(Err(Error::Aborted))
}

/// A request's name follows from its key: who asks again asks for the same.
fn name(public_key: &[u8], purpose: Purpose) -> String {
    let mut hash = Sha256::new();
    hash.update(purpose.signer());
    hash.update(public_key);
    let hash = hash.finalize();
    let hex: String = hash
        .iter()
        .take(NAME_BYTES)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("node-csr-{hex}")
}

fn csr(
    name: &str,
    request: Vec<u8>,
    identity: &Identity,
    purpose: Purpose,
) -> CertificateSigningRequest {
    let seconds = identity.life.map(|life| life.as_secs());
    CertificateSigningRequest {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem::encode(pem::REQUEST, &request).into_bytes()),
            signer_name: purpose.signer().to_owned(),
            usages: Some(purpose.usages().map(String::from).to_vec()),
            expiration_seconds: seconds.and_then(|seconds| i32::try_from(seconds).ok()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    }
}

/// The certificate, once it is there.
async fn wait(
    api: &Api<CertificateSigningRequest>,
    name: &str,
    node: &str,
) -> Result<Vec<u8>, Error> {
    let deadline = Instant::now() + APPROVAL_TIMEOUT;
    let late = || Error::NotApproved {
        request: name.to_owned(),
    };
    let params = WatchParams::default()
        .fields(&format!("metadata.name={name}"))
        .timeout(WATCH_SECONDS);
    let action = "wait for a certificate";
    let failed = |source| Error::Api { action, source };
    loop {
        // From any state on: the first event is the request as it is.
        let watch = timeout_at(deadline, api.watch(&params, "0")).await;
        let mut events = Box::pin(watch.map_err(|_| late())?.map_err(failed)?);
        while let Some(event) = timeout_at(deadline, events.next())
            .await
            .map_err(|_| late())?
        {
            match event.map_err(failed)? {
                WatchEvent::Added(csr) | WatchEvent::Modified(csr) => {
                    if let Some(decided) = decided(&csr, name, node) {
                        return decided;
                    }
                }
                WatchEvent::Deleted(_) => return Err(late()),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) => return Err(failed(kube::Error::Api(status))),
            }
        }
    }
}

/// What became of a request; `None` while nothing did.
fn decided(
    csr: &CertificateSigningRequest,
    name: &str,
    node: &str,
) -> Option<Result<Vec<u8>, Error>> {
    let status = csr.status.as_ref()?;
    let of = |type_: &str| {
        let mut conditions = status.conditions.iter().flatten();
        conditions.find(|condition| condition.type_ == type_)
    };
    let said = |condition: &CertificateSigningRequestCondition| {
        let message = condition.message.clone();
        message
            .or_else(|| condition.reason.clone())
            .unwrap_or_default()
    };
    let request = name.to_owned();
    if let Some(denied) = of("Denied") {
        return Some(Err(match denied.reason.as_deref() {
            Some(NAME_TAKEN) => Error::NameTaken {
                name: node.to_owned(),
            },
            _ => Error::Denied {
                request,
                reason: said(denied),
            },
        }));
    }
    if let Some(failed) = of("Failed") {
        let reason = said(failed);
        return Some(Err(Error::Failed { request, reason }));
    }
    let certificate = status.certificate.as_ref()?;
    (!certificate.0.is_empty()).then(|| Ok(certificate.0.clone()))
}

/// Whether a certificate can be used; the clock is what makes a new one useless.
pub(crate) fn check_clock(
    certified: &Certified,
    server: &str,
    now: Timestamp,
) -> Result<(), Error> {
    if certified.is_valid(now) {
        return Ok(());
    }
    Err(Error::Clock {
        server: server.to_owned(),
        reason: format!(
            "the certificate that it gave is valid from {} to {}, and it is {now} here",
            certified.not_before, certified.not_after
        ),
    })
}
