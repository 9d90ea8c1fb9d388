//! What checks of health look at, and how they have gone.

use std::{collections::BTreeMap, sync::atomic::AtomicBool};

use parking_lot::Mutex;

use super::metrics;

/// What the checks look at.
#[derive(Debug, Default)]
pub struct Health {
    /// The watch cache is fed.
    pub feeding: AtomicBool,
    /// Bootstrap objects exist.
    pub bootstrapped: AtomicBool,
    /// The server is on its way out: it answers, but wants no new clients.
    pub stopping: AtomicBool,
    /// How checks have gone, by name and endpoint: of both there are few.
    seen: Mutex<BTreeMap<(&'static str, &'static str), Seen>>,
}

/// How a check has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// The last time.
    good: bool,
    successes: u64,
    errors: u64,
}

impl Health {
    pub(super) fn note(&self, check: &'static str, endpoint: &'static str, good: bool) {
        let mut all = self.seen.lock();
        let seen = all.entry((check, endpoint)).or_default();
        seen.good = good;
        let count = match good {
            true => &mut seen.successes,
            false => &mut seen.errors,
        };
        *count = count.saturating_add(1);
    }

    /// Appends upstream's metrics of checks in Prometheus' text form.
    pub fn render(&self, out: &mut String) {
        let all = self.seen.lock().clone();
        let name = "kubernetes_healthcheck";
        metrics::help(
            out,
            name,
            "gauge",
            "1 where a check was good the last time.",
        );
        for ((check, endpoint), seen) in &all {
            let labels = format!("name=\"{check}\",type=\"{endpoint}\"");
            metrics::line(out, name, &labels, u8::from(seen.good));
        }
        let name = "kubernetes_healthchecks_total";
        metrics::help(out, name, "counter", "Checks by how they went.");
        for ((check, endpoint), seen) in &all {
            for (status, count) in [("error", seen.errors), ("success", seen.successes)] {
                if count > 0 {
                    let labels =
                        format!("name=\"{check}\",status=\"{status}\",type=\"{endpoint}\"");
                    metrics::line(out, name, &labels, count);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_counted() {
        let health = Health::default();
        for good in [true, false, false] {
            health.note("etcd", "livez", good);
        }
        let mut out = String::new();
        health.render(&mut out);
        for line in [
            "kubernetes_healthcheck{name=\"etcd\",type=\"livez\"} 0\n",
            "kubernetes_healthchecks_total{name=\"etcd\",status=\"error\",type=\"livez\"} 2\n",
            "kubernetes_healthchecks_total{name=\"etcd\",status=\"success\",type=\"livez\"} 1\n",
        ] {
            assert!(out.contains(line), "{line} not in {out}");
        }
    }
}
