//! Certificates that are replaced before they end, without a restart.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::watch, time::sleep};

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

/// Has certificates rotated before they are due.
#[derive(Clone, Debug)]
pub struct Order {
    given: Arc<watch::Sender<u64>>,
    /// Of each order how many have done it, the newest alone.
    done: Arc<watch::Sender<(u64, usize)>>,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            given: Arc::new(watch::Sender::new(0)),
            done: Arc::new(watch::Sender::new((0, 0))),
        }
    }
}

impl Order {
    /// Returns when every certificate that is kept up is a new one. How many there are.
    pub async fn rotate(&self) -> usize {
        let wanted = self.given.receiver_count();
        let mut done = self.done.subscribe();
        let mut number = 0;
        self.given.send_modify(|last| {
            *last = last.wrapping_add(1);
            number = *last;
        });
        // The sender lives as long as this does.
        let _ = done
            .wait_for(|(of, count)| wanted == 0 || (*of == number && *count >= wanted))
            .await;
        wanted
    }

    pub(crate) fn follow(&self) -> Ordered {
        Ordered {
            given: self.given.subscribe(),
            done: self.done.clone(),
        }
    }
}

/// The orders as who has to obey them sees them.
pub(crate) struct Ordered {
    given: watch::Receiver<u64>,
    done: Arc<watch::Sender<(u64, usize)>>,
}

impl Ordered {
    /// Waits for the next order.
    async fn given(&mut self) -> u64 {
        match self.given.changed().await {
            Ok(()) => *self.given.borrow_and_update(),
            // Nobody is left who could give one.
            Err(_) => std::future::pending().await,
        }
    }

    fn obeyed(&self, number: u64) {
        self.done.send_modify(|(of, count)| {
            if *of != number {
                (*of, *count) = (number, 0);
            }
            *count = count.saturating_add(1);
        });
    }
}

/// What is known of a certificate that is kept up.
#[derive(Debug)]
pub struct Kept {
    not_after: AtomicI64,
    failures: AtomicU64,
}

impl Kept {
    pub(crate) fn new(current: &Certified) -> Self {
        Self {
            not_after: AtomicI64::new(current.not_after.as_second()),
            failures: AtomicU64::new(0),
        }
    }

    /// When it ends, seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after.load(Ordering::Relaxed)
    }

    /// How often it could not be renewed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

/// A certificate that is kept up.
pub(crate) struct Rotation {
    pub(crate) client: kube::Client,
    pub(crate) place: Place,
    pub(crate) identity: Identity,
    pub(crate) purpose: Purpose,
    pub(crate) current: Certified,
    pub(crate) kept: Arc<Kept>,
    pub(crate) ordered: Ordered,
    pub(crate) replace: Replace,
}

/// Called with the new one and the old one.
pub(crate) type Replace = Arc<dyn Fn(&Certified, &Certified) -> Result<(), Error> + Send + Sync>;

impl Rotation {
    /// For ever; to be dropped when the node stops.
    pub(crate) async fn run(mut self) {
        loop {
            let due = until_due(self.current.rotation(fastrand::u32(..1000)));
            let order = tokio::select! {
                () = due => None,
                number = self.ordered.given() => Some(number),
            };
            self.renew().await;
            if let Some(number) = order {
                self.ordered.obeyed(number);
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
                    let end = next.not_after.as_second();
                    self.kept.not_after.store(end, Ordering::Relaxed);
                    self.current = next;
                    return;
                }
                Err(error) => {
                    self.kept.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(
                        purpose = ?self.purpose, until = %self.current.not_after, %error,
                        "cannot rotate the certificate, trying again"
                    );
                }
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

async fn until_due(due: Timestamp) {
    loop {
        let left = Duration::try_from(Timestamp::now().duration_until(due));
        match left {
            Ok(left) if !left.is_zero() => sleep(left.min(LOOK_AGAIN)).await,
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_order_waits_for_all_who_follow() {
        let order = Order::default();
        assert_eq!(order.rotate().await, 0, "nobody has to");
        let (mut one, mut other) = (order.follow(), order.follow());
        let obey = async {
            let number = one.given().await;
            one.obeyed(number);
            tokio::task::yield_now().await;
            let number = other.given().await;
            other.obeyed(number);
        };
        let (count, ()) = tokio::join!(order.rotate(), obey);
        assert_eq!(count, 2);
    }
}
