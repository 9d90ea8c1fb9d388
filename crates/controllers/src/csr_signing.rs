//! Approved requests to the signers of Kubernetes' own are signed by the cluster's authority, or fail for good.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use knarr_client::{Event, Informer, WorkQueue};
use knarr_x509::{Authority, Policy, Request};
use kube::Api;
use kube::api::PostParams;

use crate::certificates::{
    ACCOUNT, APPROVED, DENIED, FAILED, KUBELET_CLIENT, KUBELET_SERVING, check_client,
    check_kubelet_client, check_kubelet_serving, has, issued,
};
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 1;

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const LEGACY_UNKNOWN: &str = "kubernetes.io/legacy-unknown";

/// The longest life that certificates get, and that of requests which do not say.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
const SHORTEST: Duration = Duration::from_secs(10 * 60);

pub(crate) struct CsrSigning {
    client: kube::Client,
    authority: Arc<Authority>,
    requests: Informer<CertificateSigningRequest>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let Some(authority) = context.config.signer.clone() else {
        return;
    };
    let controller = Arc::new(CsrSigning {
        client: context.client(ACCOUNT),
        authority,
        requests: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.requests.on_event(move |event| {
        if !matches!(event, Event::Deleted(_)) && is_due(event.object()) {
            queue.add(Key::of(&**event.object()));
        }
    });
    let informers = vec![synced(&controller.requests)];
    context.start(controller, WORKERS, informers);
}

/// Whether a request waits for one of these signers.
fn is_due(csr: &CertificateSigningRequest) -> bool {
    let known = [CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY_UNKNOWN];
    known.contains(&csr.spec.signer_name.as_str())
        && has(csr, APPROVED)
        && !has(csr, DENIED)
        && !has(csr, FAILED)
        && !issued(csr)
}

/// Why the request's signer does not sign it.
fn check(csr: &CertificateSigningRequest, request: &Request) -> Result<(), String> {
    match csr.spec.signer_name.as_str() {
        CLIENT => check_client(csr),
        KUBELET_CLIENT => check_kubelet_client(csr, request),
        KUBELET_SERVING => check_kubelet_serving(csr, request),
        _ => Ok(()),
    }
}

/// The life that the certificate gets.
fn life(csr: &CertificateSigningRequest) -> Duration {
    match csr.spec.expiration_seconds.map(u64::try_from) {
        None => LONGEST,
        Some(seconds) => Duration::from_secs(seconds.unwrap_or(0)).clamp(SHORTEST, LONGEST),
    }
}

/// The request with its certificate, or with why there will be none.
fn answer(
    csr: &CertificateSigningRequest,
    authority: &Authority,
    now: Timestamp,
) -> Result<CertificateSigningRequest, knarr_x509::Error> {
    let request = Request::from_pem(&csr.spec.request.0)?;
    let mut answer = csr.clone();
    let status = answer.status.get_or_insert_default();
    if let Err(why) = check(csr, &request) {
        let conditions = status.conditions.get_or_insert_default();
        conditions.push(CertificateSigningRequestCondition {
            type_: FAILED.to_owned(),
            status: "True".to_owned(),
            reason: Some("SignerValidationFailure".to_owned()),
            message: Some(why),
            last_update_time: Some(Time(now)),
            ..CertificateSigningRequestCondition::default()
        });
        return Ok(answer);
    }
    let usages: Vec<&str> = csr
        .spec
        .usages
        .iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let policy = Policy {
        usages: &usages,
        life: life(csr),
        now,
    };
    let certificate = authority.sign(&request, &policy)?;
    status.certificate = Some(ByteString(certificate.into_bytes()));
    Ok(answer)
}

impl Reconciler for CsrSigning {
    const NAME: &'static str = "csrsigning";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(csr) = self.requests.get("", &key.name) else {
            return Ok(());
        };
        if !is_due(&csr) {
            return Ok(());
        }
        let answer = answer(&csr, &self.authority, knarr_meta::clock::now())
            .map_err(|error| Error::Other(format!("error auto signing csr: {error}")))?;
        let api: Api<CertificateSigningRequest> = Api::all(self.client.clone());
        api.replace_status(&key.name, &PostParams::default(), &answer)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
