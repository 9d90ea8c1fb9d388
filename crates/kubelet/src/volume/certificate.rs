//! Certificates for pods: a key of the kubelet's making, a PodCertificateRequest in the pod's name, and what its signer answers.
//! Kept until the pod goes, in memory only: a kubelet that starts again asks again.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    ByteString,
    api::core::v1::{Pod, PodCertificateProjection, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use knarr_client::certificates::{PodCertificateRequest, PodCertificateRequestSpec};
use knarr_x509::{Key, KeyType, pem};
use kube::{Api, api::PostParams};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    context::{self, Context},
    events::WARNING,
};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a pod's start waits for the signer before it counts as failed and is tried again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// A request that is not there this long after it was made was deleted.
const ABANDON_SECONDS: i64 = 600;
/// Requests and renewals are spread over this many seconds, so that pods which started together do not renew together.
const JITTER_SECONDS: i64 = 300;
/// A renewal is looked at again after this long where nothing happens.
const RETRY_SECONDS: i64 = 30;
/// A certificate that is not renewed this long after its renewal was due is overdue.
const OVERDUE_SECONDS: i64 = 600;

/// What a pod is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    /// PEM of the private key.
    pub key: String,
    /// PEM of the certificates, the leaf first.
    pub chain: String,
    /// When to ask for it again.
    pub refresh_at: Timestamp,
}

/// The files of a projection that asks for them.
pub(super) fn files<'s>(
    source: &'s PodCertificateProjection,
    bundle: &Bundle,
) -> Vec<(&'s str, Vec<u8>)> {
    let both = format!("{}{}", bundle.key, bundle.chain);
    [
        (&source.credential_bundle_path, both),
        (&source.key_path, bundle.key.clone()),
        (&source.certificate_chain_path, bundle.chain.clone()),
    ]
    .into_iter()
    .filter_map(|(path, content)| Some((path.as_deref()?, content.into_bytes())))
    .filter(|(path, _)| !path.is_empty())
    .collect()
}

/// The pod's uid, the volume's name, and which of its sources.
type Place = (String, String, usize);

/// A request that waits for its signer.
#[derive(Clone)]
struct Pending {
    key: String,
    request: String,
    abandon_at: Timestamp,
}

#[derive(Clone)]
struct Issued {
    bundle: Bundle,
    not_after: Timestamp,
    /// The events that were written about its age.
    told: [bool; 2],
}

#[derive(Clone)]
enum State {
    Pending(Pending),
    /// With the request for the next one, once that is due.
    Issued(Issued, Option<Pending>),
    /// For good: why.
    Refused(String),
}

/// What a request has come to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Waiting,
    Issued {
        chain: String,
        begin_refresh: Timestamp,
        not_after: Timestamp,
    },
    Refused {
        reason: &'static str,
        message: String,
    },
}

/// Certificates of the node's pods; clones share them.
#[derive(Clone)]
pub(crate) struct Certificates {
    client: kube::Client,
    held: Arc<Mutex<HashMap<Place, State>>>,
}

impl Certificates {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self {
            client,
            held: Arc::default(),
        }
    }

    /// What a projection shows; asks for it, and for the next one when that is due.
    pub(crate) async fn get(
        &self,
        ctx: &Context,
        pod: &Pod,
        (volume, index): (&str, usize),
        source: &PodCertificateProjection,
    ) -> Result<Bundle, String> {
        let place = (context::uid(pod).to_owned(), volume.to_owned(), index);
        let held = self.held.lock().get(&place).cloned();
        match held {
            Some(State::Refused(why)) => Err(why),
            Some(State::Issued(issued, next)) => {
                self.renew(ctx, pod, place, source, issued, next).await
            }
            Some(State::Pending(pending)) => self.wait(ctx, pod, place, pending).await,
            None => {
                let pending = self.request(ctx, pod, source).await;
                let pending = pending.map_err(|why| {
                    format!("while creating initial PodCertificateRequest: {why}")
                })?;
                self.keep(&place, State::Pending(pending.clone()));
                self.wait(ctx, pod, place, pending).await
            }
        }
    }

    /// Drops the pod's keys.
    pub(crate) fn forget(&self, uid: &str) {
        self.held.lock().retain(|(of, _, _), _| of != uid);
    }

    fn keep(&self, place: &Place, state: State) {
        self.held.lock().insert(place.clone(), state);
    }

    /// Waits a little for the first certificate.
    async fn wait(
        &self,
        ctx: &Context,
        pod: &Pod,
        place: Place,
        pending: Pending,
    ) -> Result<Bundle, String> {
        let changed = ctx.objects.certificate_requests_changed();
        let deadline = Instant::now()
            .checked_add(ANSWER_TIMEOUT)
            .ok_or("no such time")?;
        loop {
            let told = changed.as_ref().map(|changed| changed.notified());
            match self.outcome(ctx, pod, &pending).await? {
                Some(Outcome::Waiting) => {}
                None if Timestamp::now() > pending.abandon_at => {
                    self.held.lock().remove(&place);
                    return Err(format!(
                        "PodCertificateRequest \"{}/{}\" appears to have been deleted",
                        context::namespace(pod),
                        pending.request
                    ));
                }
                None => {}
                Some(outcome) => return self.settle(ctx, pod, &place, &pending, outcome),
            }
            let waiting = async {
                match told {
                    Some(told) => told.await,
                    None => std::future::pending().await,
                }
            };
            if timeout_at(deadline, waiting).await.is_err() {
                return Err("credential bundle is not issued yet".to_owned());
            }
        }
    }

    /// What is there, renewed once that is due and the signer has answered.
    async fn renew(
        &self,
        ctx: &Context,
        pod: &Pod,
        place: Place,
        source: &PodCertificateProjection,
        mut issued: Issued,
        next: Option<Pending>,
    ) -> Result<Bundle, String> {
        let now = Timestamp::now();
        if next.is_none() && now < issued.bundle.refresh_at {
            return Ok(issued.bundle);
        }
        tell_age(ctx, pod, &mut issued, now);
        let next = match next {
            None => match self.request(ctx, pod, source).await {
                Ok(next) => Some(next),
                Err(error) => {
                    tracing::warn!(
                        error,
                        pod = context::display(pod),
                        "cannot ask for a certificate's successor"
                    );
                    None
                }
            },
            Some(next) => match self.outcome(ctx, pod, &next).await? {
                None if now > next.abandon_at => None,
                None | Some(Outcome::Waiting) => Some(next),
                Some(outcome) => return self.settle(ctx, pod, &place, &next, outcome),
            },
        };
        // Until the answer comes the old one is shown; the answer wakes who shows it.
        let refresh_at = later(now, RETRY_SECONDS);
        let bundle = Bundle {
            refresh_at,
            ..issued.bundle.clone()
        };
        self.keep(&place, State::Issued(issued, next));
        Ok(bundle)
    }

    /// Keeps what the signer has decided.
    fn settle(
        &self,
        ctx: &Context,
        pod: &Pod,
        place: &Place,
        pending: &Pending,
        outcome: Outcome,
    ) -> Result<Bundle, String> {
        match outcome {
            Outcome::Issued {
                chain,
                begin_refresh,
                not_after,
            } => {
                let bundle = Bundle {
                    key: pending.key.clone(),
                    chain,
                    refresh_at: later(begin_refresh, fastrand::i64(0..JITTER_SECONDS)),
                };
                let issued = Issued {
                    bundle: bundle.clone(),
                    not_after,
                    told: [false; 2],
                };
                self.keep(place, State::Issued(issued, None));
                Ok(bundle)
            }
            Outcome::Refused { reason, message } => {
                let verb = if reason == "Denied" {
                    "denied"
                } else {
                    "failed"
                };
                let why = format!("PodCertificateRequest was permanently {verb}: {message}");
                let request = format!("{}/{}", context::namespace(pod), pending.request);
                let note = format!("PodCertificateRequest {request} was {verb}, {message}");
                ctx.events.pod(pod, WARNING, reason, note);
                self.keep(place, State::Refused(why.clone()));
                Err(why)
            }
            Outcome::Waiting => Err("credential bundle is not issued yet".to_owned()),
        }
    }

    /// `None`: the request is not there (yet, or any more).
    async fn outcome(
        &self,
        ctx: &Context,
        pod: &Pod,
        pending: &Pending,
    ) -> Result<Option<Outcome>, String> {
        let namespace = context::namespace(pod);
        let found = ctx
            .objects
            .certificate_request(namespace, &pending.request)
            .await;
        let found = found.map_err(|error| error.to_string())?;
        Ok(found.map(|request| outcome(&request)))
    }

    async fn request(
        &self,
        ctx: &Context,
        pod: &Pod,
        source: &PodCertificateProjection,
    ) -> Result<Pending, String> {
        let kind = KeyType::parse(&source.key_type).map_err(|error| error.to_string())?;
        let namespace = context::namespace(pod);
        let spec = pod.spec.as_ref();
        let account = spec.and_then(|s| s.service_account_name.as_deref());
        let account = account.filter(|a| !a.is_empty()).unwrap_or("default");
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let found = bounded(accounts.get(account)).await;
        let found = found.map_err(|why| format!("while fetching service account: {why}"))?;
        let node_name = &ctx.config.node_name;
        let node = ctx
            .node
            .get("", node_name)
            .ok_or("the node is not registered yet")?;
        let key = Key::generate(kind).map_err(|error| error.to_string())?;
        let stub = key.stub_request().map_err(|error| error.to_string())?;
        let metadata = ObjectMeta {
            namespace: Some(namespace.to_owned()),
            generate_name: Some("req-".to_owned()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
                name: context::name(pod).to_owned(),
                uid: context::uid(pod).to_owned(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        };
        let spec = PodCertificateRequestSpec {
            signer_name: source.signer_name.clone(),
            pod_name: context::name(pod).to_owned(),
            pod_uid: context::uid(pod).to_owned(),
            service_account_name: account.to_owned(),
            service_account_uid: found.metadata.uid.unwrap_or_default(),
            node_name: node_name.clone(),
            node_uid: node.metadata.uid.clone().unwrap_or_default(),
            max_expiration_seconds: source.max_expiration_seconds,
            stub_pkcs10_request: ByteString(stub),
            unverified_user_annotations: source.user_annotations.clone(),
        };
        let api: Api<PodCertificateRequest> = Api::namespaced(self.client.clone(), namespace);
        let request = PodCertificateRequest::new(metadata, spec);
        let made = bounded(api.create(&PostParams::default(), &request)).await;
        let made = made.map_err(|why| format!("while creating on API: {why}"))?;
        let abandon = ABANDON_SECONDS.saturating_add(fastrand::i64(0..JITTER_SECONDS));
        Ok(Pending {
            key: key.to_pem(),
            request: made.metadata.name.unwrap_or_default(),
            abandon_at: later(Timestamp::now(), abandon),
        })
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match timeout(REQUEST_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(|error| knarr_client::errors::message(&error)),
        Err(_) => Err("context deadline exceeded".to_owned()),
    }
}

/// Once each: that the renewal is overdue, and that the certificate has ended.
fn tell_age(ctx: &Context, pod: &Pod, issued: &mut Issued, now: Timestamp) {
    let overdue = later(issued.bundle.refresh_at, OVERDUE_SECONDS);
    let events = [
        (
            overdue,
            "CertificateOverdueForRefresh",
            "PodCertificate refresh overdue",
        ),
        (
            issued.not_after,
            "CertificateExpired",
            "PodCertificate expired",
        ),
    ];
    for ((at, reason, note), told) in events.into_iter().zip(&mut issued.told) {
        if now > at && !*told {
            ctx.events.pod(pod, WARNING, reason, note);
            *told = true;
        }
    }
}

fn outcome(request: &PodCertificateRequest) -> Outcome {
    let Some(status) = &request.status else {
        return Outcome::Waiting;
    };
    for condition in &status.conditions {
        let message = || {
            format!(
                "reason=\"{}\" message=\"{}\"",
                condition.reason, condition.message
            )
        };
        let refused = |reason| Outcome::Refused {
            reason,
            message: message(),
        };
        match condition.type_.as_str() {
            "Denied" => return refused("Denied"),
            "Failed" => return refused("Failed"),
            "Issued" => {
                let (Some(begin_refresh), Some(not_after)) =
                    (status.begin_refresh_at, status.not_after)
                else {
                    continue;
                };
                return Outcome::Issued {
                    chain: clean(&status.certificate_chain),
                    begin_refresh,
                    not_after,
                };
            }
            _ => {}
        }
    }
    Outcome::Waiting
}

/// The certificates without what stands between and in front of them.
fn clean(chain: &str) -> String {
    pem::blocks(chain.as_bytes())
        .map(|block| pem::encode(pem::CERTIFICATE, &block.der))
        .collect()
}

/// The last of times where there is no such time.
fn later(time: Timestamp, seconds: i64) -> Timestamp {
    time.saturating_add(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
