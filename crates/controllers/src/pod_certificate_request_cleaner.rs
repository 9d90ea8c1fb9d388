//! PodCertificateRequests go a quarter of an hour after they were made: whoever waits for one has its answer by then.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use knarr_client::certificates::PodCertificateRequest;
use knarr_client::{Event, Informer, WorkQueue};
use kube::Api;
use kube::api::DeleteParams;

use crate::deletion;
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 1;

const LIFE: SignedDuration = SignedDuration::from_mins(15);

pub(crate) struct PodCertificateRequestCleaner {
    client: kube::Client,
    requests: Informer<PodCertificateRequest>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(PodCertificateRequestCleaner {
        client: context.client("podcertificaterequestcleaner"),
        requests: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.requests.on_event(move |event| {
        if matches!(event, Event::Added(_)) {
            queue.add(Key::of(&**event.object()));
        }
    });
    let informers = vec![synced(&controller.requests)];
    context.start(controller, WORKERS, informers);
}

/// How long a request has left; zero when it is over, `None` for one that was never made.
fn left(request: &PodCertificateRequest, now: Timestamp) -> Option<Duration> {
    let made = request.metadata.creation_timestamp.as_ref()?;
    let end = made.0.checked_add(LIFE).ok()?;
    Some(Duration::try_from(now.duration_until(end)).unwrap_or_default())
}

impl Reconciler for PodCertificateRequestCleaner {
    const NAME: &'static str = "podcertificaterequestcleaner";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(request) = self.requests.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let Some(left) = left(&request, knarr_meta::clock::now()) else {
            return Ok(());
        };
        if !left.is_zero() {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        let api: Api<PodCertificateRequest> = Api::namespaced(self.client.clone(), &key.namespace);
        deletion::delete(&api, &request.metadata, DeleteParams::default()).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use knarr_client::fake;
    use serde_json::json;

    use super::*;
    use crate::exchange::{accepted, failed, looks_again, reconcile};
    use crate::fixtures::{now, object};

    fn request(made: Timestamp) -> PodCertificateRequest {
        object(json!({"metadata": {
            "namespace": "x", "name": "r", "uid": "u", "creationTimestamp": made.to_string(),
        }}))
    }

    #[test]
    fn requests_live_a_quarter_of_an_hour() {
        for (made, expected) in [
            ("2030-01-01T12:00:00Z", 900),
            ("2030-01-01T11:45:01Z", 1),
            ("2030-01-01T11:45:00Z", 0),
            ("2029-01-01T12:00:00Z", 0),
        ] {
            let request = request(made.parse().expect("a time"));
            let left = left(&request, now()).map(|left| left.as_secs());
            assert_eq!(left, Some(expected), "{made}");
        }
        assert_eq!(left(&object(json!({"metadata": {}})), now()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_goes_whatever_came_of_it() {
        let made = |minutes| knarr_meta::clock::now() - SignedDuration::from_mins(minutes);
        for (minutes, gone, expected) in [(14, false, 0), (16, false, 1), (16, true, 1)] {
            let (client, mut server) = fake::client();
            let controller = PodCertificateRequestCleaner {
                client,
                requests: Informer::new(),
                queue: WorkQueue::new(),
            };
            controller.requests.apply(request(made(minutes)));
            let (result, asked) = reconcile(
                &controller,
                &Key::new("x", "r"),
                &mut server,
                |asked| match gone {
                    true => failed(404, "NotFound"),
                    false => accepted(asked),
                },
            )
            .await;
            assert!(result.is_ok(), "{minutes} {result:?}");
            assert_eq!(asked.len(), expected, "{minutes}");
            // The one that is not over is looked at when it is.
            let again = looks_again(&controller.queue).await;
            assert_eq!(again, expected == 0, "{minutes}");
            for asked in asked {
                let path = "/apis/certificates.k8s.io/v1/namespaces/x/podcertificaterequests/r";
                assert_eq!(asked.shown(), format!("DELETE {path}"));
                assert_eq!(asked.body["preconditions"]["uid"], "u");
            }
        }
    }
}
