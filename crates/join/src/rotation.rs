//! Certificates that are replaced before they end, without a restart.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::sleep;

use crate::{
    Error,
    certificate::{Certified, Place},
    request::{self, Identity, Purpose},
};

/// Waits between tries while a certificate is due, growing from one to the other: a server that is away has nothing to sign.
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(5 * 60);
/// Longest sleep: a clock that was set meanwhile is noticed then.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// A certificate that is kept up.
pub(crate) struct Rotation {
    pub(crate) client: kube::Client,
    pub(crate) place: Place,
    pub(crate) identity: Identity,
    pub(crate) purpose: Purpose,
    pub(crate) current: Certified,
    pub(crate) replace: Replace,
}

/// Called with the new one and the old one.
pub(crate) type Replace = Arc<dyn Fn(&Certified, &Certified) -> Result<(), Error> + Send + Sync>;

impl Rotation {
    /// For ever; to be dropped when the node stops.
    pub(crate) async fn run(mut self) {
        loop {
            self.until_due().await;
            self.renew().await;
        }
    }

    async fn until_due(&self) {
        let due = self.current.rotation(fastrand::u32(..1000));
        loop {
            let left = Duration::try_from(Timestamp::now().duration_until(due));
            match left {
                Ok(left) if !left.is_zero() => sleep(left.min(LOOK_AGAIN)).await,
                _ => return,
            }
        }
    }

    /// Returns when there is a new one.
    async fn renew(&mut self) {
        let mut wait = RETRY_MIN;
        loop {
            match self.next().await {
                Ok(next) => {
                    tracing::info!(
                        purpose = ?self.purpose, until = %next.not_after, "certificate rotated"
                    );
                    self.current = next;
                    return;
                }
                Err(error) => tracing::warn!(
                    purpose = ?self.purpose, until = %self.current.not_after, %error,
                    "cannot rotate the certificate, trying again"
                ),
            }
            sleep(wait.mul_f64(1.0 + fastrand::f64() / 2.0)).await;
            wait = wait.saturating_mul(2).min(RETRY_MAX);
        }
    }

    async fn next(&self) -> Result<Certified, Error> {
        let (place, identity) = (&self.place, &self.identity);
        let next = request::certificate(&self.client, place, identity, self.purpose).await?;
        (self.replace)(&next, &self.current)?;
        Ok(next)
    }
}
