//! Leader election by a Lease, as client-go's: of several processes that could do a work, one does it.
//!
//! A candidate takes the Lease where nobody holds it, or where its holder has not renewed it for as long as the Lease promises, by
//! this candidate's own clock: clocks of different machines are not compared. A leader that cannot renew stops before the others
//! may begin.

use std::{pin::pin, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::errors;

/// Where the Leases of the control plane's parts are.
pub const NAMESPACE: &str = "kube-system";
/// For how long a renewal holds.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long a leader goes on without one.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between renewals, and between looks of those who wait, which are stretched by up to [`JITTER`].
const RETRY_PERIOD: Duration = Duration::from_secs(2);
const JITTER: f64 = 1.2;
/// How long work that has lost its Lease may take to stop: others begin when it ends.
const STOP: Duration = Duration::from_secs(4);

/// A candidate.
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// The Lease as it was last seen, and since when it has been so.
    seen: Option<(Lease, Instant)>,
}

/// What a candidate can do about a Lease.
#[derive(Debug, PartialEq)]
enum Plan {
    /// Another holds it.
    Wait,
    Create(LeaseSpec),
    Write(Box<Lease>),
}

impl Election {
    /// A candidate for the Lease `name` in `kube-system`. `identity` is nobody else's; a process that starts again with the identity it had
    /// need not wait for its own Lease.
    pub fn new(client: kube::Client, name: &str, identity: &str) -> Self {
        Self {
            api: Api::namespaced(client, NAMESPACE),
            name: name.to_owned(),
            identity: identity.to_owned(),
            seen: None,
        }
    }

    /// Runs `work` for as long as this candidate leads, until `token` is cancelled: then the Lease is given up, so that another
    /// takes it at its next look. Work that has ended by itself, or does not stop when its Lease is lost, ends this, too.
    pub async fn run<W: Future<Output = ()>>(
        mut self,
        token: CancellationToken,
        mut work: impl FnMut(CancellationToken) -> W,
    ) {
        while token.run_until_cancelled(self.acquire()).await.is_some() {
            tracing::info!(lease = self.name, identity = self.identity, "leads");
            let leading = token.child_token();
            let mut working = pin!(work(leading.clone()));
            let lost = tokio::select! {
                () = &mut working => return self.release().await,
                () = token.cancelled() => false,
                () = self.hold() => true,
            };
            leading.cancel();
            if !lost {
                working.await;
                return self.release().await;
            }
            tracing::warn!(lease = self.name, "leads no more");
            if timeout(STOP, working).await.is_err() {
                tracing::error!(
                    lease = self.name,
                    "the work that has lost its lease does not stop"
                );
                return;
            }
        }
    }

    /// Returns when the Lease is held.
    async fn acquire(&mut self) {
        loop {
            match timeout(RENEW_DEADLINE, self.attempt()).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error))
                    if errors::is_conflict(&error) || errors::is_already_exists(&error) => {}
                Ok(Err(error)) => {
                    let error = errors::message(&error);
                    tracing::warn!(lease = self.name, error, "lease not acquired");
                }
                Err(_) => tracing::warn!(lease = self.name, "lease not acquired in time"),
            }
            sleep(RETRY_PERIOD.mul_f64(1.0 + JITTER * fastrand::f64())).await;
        }
    }

    /// Returns when the Lease is lost.
    async fn hold(&mut self) {
        let mut renewed = Instant::now();
        loop {
            sleep(RETRY_PERIOD).await;
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            let begun = Instant::now();
            match timeout(left, self.attempt()).await {
                Ok(Ok(true)) => renewed = begun,
                // Somebody else has it.
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    let error = errors::message(&error);
                    tracing::warn!(lease = self.name, error, "lease not renewed");
                }
                Err(_) => return,
            }
        }
    }

    /// Takes or renews the Lease; false while another has it.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        self.look().await?;
        let plan = match &self.seen {
            None => Plan::Create(spec(&self.identity, Timestamp::now())),
            Some((lease, since)) => plan(lease, since.elapsed(), &self.identity, Timestamp::now()),
        };
        let written = match plan {
            Plan::Wait => return Ok(false),
            Plan::Create(spec) => {
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(self.name.clone()),
                        namespace: Some(NAMESPACE.to_owned()),
                        ..ObjectMeta::default()
                    },
                    spec: Some(spec),
                };
                self.api.create(&PostParams::default(), &lease).await?
            }
            Plan::Write(lease) => self.replace(&lease).await?,
        };
        self.seen = Some((written, Instant::now()));
        Ok(true)
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, kube::Error> {
        let params = PostParams::default();
        self.api.replace(&self.name, &params, lease).await
    }

    async fn look(&mut self) -> Result<(), kube::Error> {
        let lease = self.api.get_opt(&self.name).await?;
        let same = |lease: &Lease, seen: &Lease| {
            lease.metadata.resource_version == seen.metadata.resource_version
        };
        self.seen = match (lease, self.seen.take()) {
            (Some(lease), Some((seen, since))) if same(&lease, &seen) => Some((seen, since)),
            (lease, _) => lease.map(|lease| (lease, Instant::now())),
        };
        Ok(())
    }

    /// Says that nobody holds it, if this candidate does.
    async fn release(mut self) {
        let release = async {
            self.look().await?;
            let Some((mut lease, _)) = self.seen.take() else {
                return Ok(());
            };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() != Some(&self.identity) {
                return Ok(());
            }
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            self.replace(&lease).await.map(drop)
        };
        let released: Result<Result<(), kube::Error>, _> = timeout(STOP, release).await;
        if !matches!(released, Ok(Ok(()))) {
            tracing::warn!("a lease was not released; others wait until it ends");
        }
    }
}

fn spec(identity: &str, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(0),
        ..LeaseSpec::default()
    }
}

/// `unchanged`: for how long the Lease has been as it is.
fn plan(lease: &Lease, unchanged: Duration, identity: &str, now: Timestamp) -> Plan {
    let there = lease.spec.clone().unwrap_or_default();
    let holder = there.holder_identity.as_deref().unwrap_or_default();
    let promised = there.lease_duration_seconds.unwrap_or_default();
    let promised = Duration::from_secs(u64::try_from(promised).unwrap_or(0));
    if !holder.is_empty() && holder != identity && unchanged < promised {
        return Plan::Wait;
    }
    let mut spec = LeaseSpec {
        lease_transitions: there.lease_transitions,
        ..spec(identity, now)
    };
    if holder == identity {
        spec.acquire_time = there.acquire_time.or(spec.acquire_time);
    } else {
        let transitions = there.lease_transitions.unwrap_or(0);
        spec.lease_transitions = Some(transitions.saturating_add(1));
    }
    let mut lease = lease.clone();
    lease.metadata.managed_fields = None;
    lease.spec = Some(spec);
    Plan::Write(Box::new(lease))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn held(by: &str, transitions: i32) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                lease_transitions: Some(transitions),
                ..spec(by, NOW)
            }),
            ..Lease::default()
        }
    }

    #[test]
    fn a_lease_is_taken_when_nobody_renews_it() {
        let second = Duration::from_secs(1);
        let later = NOW + Duration::from_secs(60);
        for (holder, unchanged, taken) in [
            ("other", second, None),
            ("other", 14 * second, None),
            ("other", 15 * second, Some((5, later))),
            ("", second, Some((5, later))),
            // Its own: it goes on.
            ("me", second, Some((4, NOW))),
        ] {
            let plan = plan(&held(holder, 4), unchanged, "me", later);
            let Some((transitions, acquired)) = taken else {
                assert_eq!(plan, Plan::Wait, "{holder} {unchanged:?}");
                continue;
            };
            let Plan::Write(lease) = plan else {
                panic!("{plan:?}");
            };
            let spec = lease.spec.expect("a spec");
            assert_eq!(spec.holder_identity.as_deref(), Some("me"));
            assert_eq!(spec.lease_duration_seconds, Some(15));
            assert_eq!(spec.lease_transitions, Some(transitions));
            assert_eq!(spec.acquire_time, Some(MicroTime(acquired)));
            assert_eq!(spec.renew_time, Some(MicroTime(later)));
        }
    }
}
