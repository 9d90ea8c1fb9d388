//! Certificate requests that were decided go after an hour, those that nobody cares about after a day.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use knarr_client::{Event, Informer, WorkQueue};
use knarr_x509::{Certificate, pem};
use kube::Api;
use kube::api::DeleteParams;

use crate::certificates::{ACCOUNT, APPROVED, DENIED, FAILED, certificate, conditions, issued};
use crate::deletion;
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 1;

const DECIDED: SignedDuration = SignedDuration::from_hours(1);
const PENDING: SignedDuration = SignedDuration::from_hours(24);

pub(crate) struct CsrCleaner {
    client: kube::Client,
    requests: Informer<CertificateSigningRequest>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(CsrCleaner {
        client: context.client(ACCOUNT),
        requests: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.requests.on_event(move |event| {
        if !matches!(event, Event::Deleted(_)) {
            queue.add(Key::of(&**event.object()));
        }
    });
    let informers = vec![synced(&controller.requests)];
    context.start(controller, WORKERS, informers);
}

/// When a request is to go; the reasons are upstream's.
fn expiry(csr: &CertificateSigningRequest) -> Option<Timestamp> {
    let after = |time: &Option<Time>, life| time.as_ref()?.0.checked_add(life).ok();
    let mut times = Vec::new();
    let conditions_of = |type_| conditions(csr, type_).map(|c| &c.last_update_time);
    for time in conditions_of(APPROVED) {
        if issued(csr) {
            times.extend(after(time, DECIDED));
            times.extend(not_after(certificate(csr)));
        } else {
            times.extend(after(time, PENDING));
        }
    }
    for time in conditions_of(DENIED).chain(conditions_of(FAILED)) {
        times.extend(after(time, DECIDED));
    }
    let status = csr.status.as_ref();
    let undecided = status.is_none_or(|s| s.conditions.iter().flatten().next().is_none());
    if undecided {
        times.extend(after(&csr.metadata.creation_timestamp, PENDING));
    }
    times.into_iter().min()
}

/// When the first certificate ends.
fn not_after(text: &[u8]) -> Option<Timestamp> {
    let block = pem::blocks(text).next()?;
    Some(Certificate::from_der(&block.der).ok()?.not_after)
}

impl Reconciler for CsrCleaner {
    const NAME: &'static str = "csrcleaner";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(csr) = self.requests.get("", &key.name) else {
            return Ok(());
        };
        let Some(expiry) = expiry(&csr) else {
            return Ok(());
        };
        let left = Duration::try_from(knarr_meta::clock::now().duration_until(expiry));
        if let Some(left) = left.ok().filter(|left| !left.is_zero()) {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        let api: Api<CertificateSigningRequest> = Api::all(self.client.clone());
        deletion::delete(&api, &csr.metadata, DeleteParams::default()).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use knarr_client::fake;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use serde_json::json;

    use super::*;
    use crate::certificates::tests::csr;
    use crate::exchange::{accepted, looks_again, reconcile};
    use crate::fixtures::object;

    #[test]
    fn a_certificate_takes_its_request_along() {
        let key = KeyPair::generate().expect("a key");
        for (year, expected) in [
            (2029, "2029-06-01T00:00:00Z"),
            (2031, "2030-01-01T13:00:00Z"),
        ] {
            let mut params = CertificateParams::default();
            params.not_after = date_time_ymd(year, 6, 1);
            let certificate = params.self_signed(&key).expect("a certificate").pem();
            let approved = json!({"type": APPROVED, "status": "True", "lastUpdateTime": "2030-01-01T12:00:00Z"});
            let mut csr = csr("a.b/c", "", &[]);
            csr.status = object(json!({"conditions": [approved]}));
            let status = csr.status.get_or_insert_default();
            status.certificate = Some(k8s_openapi::ByteString(certificate.into_bytes()));
            let expiry = expiry(&csr).map(|time| time.to_string());
            assert_eq!(expiry.as_deref(), Some(expected), "{year}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_deleted() {
        for (hours, expected) in [(23, 0), (25, 1)] {
            let (client, mut server) = fake::client();
            let controller = CsrCleaner {
                client,
                requests: Informer::new(),
                queue: WorkQueue::new(),
            };
            let mut pending = csr("a.b/c", "", &[]);
            let made = knarr_meta::clock::now() - SignedDuration::from_hours(hours);
            pending.metadata.creation_timestamp = Some(Time(made));
            pending.metadata.uid = Some("u".to_owned());
            controller.requests.apply(pending);
            let key = Key::new("", "r");
            let (result, asked) = reconcile(&controller, &key, &mut server, accepted).await;
            assert!(result.is_ok(), "{result:?}");
            let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests/r";
            let shown: Vec<String> = asked.iter().map(|asked| asked.shown()).collect();
            assert_eq!(
                shown,
                vec![format!("DELETE {path}"); expected],
                "{hours} hours"
            );
            // What is not over is looked at when it is.
            let again = looks_again(&controller.queue).await;
            assert_eq!(again, expected == 0, "{hours} hours");
        }
    }

    #[test]
    fn requests_expire_by_what_became_of_them() {
        let at = "2030-01-01T12:00:00Z";
        for (types, certificate, expected) in [
            (&[][..], "", "2030-01-02T00:00:00Z"),
            (&[APPROVED], "", "2030-01-02T12:00:00Z"),
            (&[APPROVED], "eA==", "2030-01-01T13:00:00Z"),
            (&[DENIED], "", "2030-01-01T13:00:00Z"),
            (&[APPROVED, FAILED], "", "2030-01-01T13:00:00Z"),
        ] {
            let mut csr = csr("a.b/c", "", &[]);
            let condition =
                |type_: &&str| json!({"type": type_, "status": "True", "lastUpdateTime": at});
            let conditions: Vec<_> = types.iter().map(condition).collect();
            csr.status = object(json!({"conditions": conditions, "certificate": certificate}));
            let expiry = expiry(&csr).map(|time| time.to_string());
            assert_eq!(expiry.as_deref(), Some(expected), "{types:?}");
        }
    }
}
