//! What came of checks of health: `kubernetes_healthcheck*`, upstream's names (`component-base/metrics/prometheus/slis`).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use knarr_host::process::Process;

use super::{Text, Type};

/// Upstream's checks of a kubelet, in its order.
const CHECKS: [&str; 4] = ["ping", "log", "syncloop", "device-plugin"];
/// The path that they are made for.
const OF: (&str, &str) = ("type", "healthz");

/// How often all have been made since the start, or the last reset. None fails: what must not end takes the process with it, and
/// nobody answers then.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    made: [AtomicU64; CHECKS.len()],
}

impl Checks {
    /// Makes all but those that are `excluded`: whether each was, by name.
    pub(crate) fn make(&self, excluded: impl Fn(&str) -> bool) -> Vec<(&'static str, bool)> {
        let checks = CHECKS.into_iter().zip(&self.made);
        let make = |(name, made): (&'static str, &AtomicU64)| {
            let left_out = excluded(name);
            made.fetch_add(u64::from(!left_out), Relaxed);
            (name, left_out)
        };
        checks.map(make).collect()
    }

    /// Whether there is a check of that name.
    pub(crate) fn has(name: &str) -> bool {
        CHECKS.contains(&name)
    }

    /// Forgets all.
    pub(crate) fn reset(&self) {
        for made in &self.made {
            made.store(0, Relaxed);
        }
    }

    /// Prometheus' text.
    pub(crate) fn text(&self) -> String {
        let mut text = Text::default();
        let made = CHECKS.iter().zip(&self.made);
        let made = made.map(|(name, made)| (*name, made.load(Relaxed)));
        let mut made: Vec<_> = made.filter(|(_, made)| *made > 0).collect();
        made.sort_unstable();
        if !made.is_empty() {
            let name = "kubernetes_healthcheck";
            let help = "[STABLE] This metric records the result of a single healthcheck.";
            text.family(name, help, Type::Gauge);
            for (check, _) in &made {
                text.sample(name, &[("name", check), OF], 1.0, 0);
            }
            let name = "kubernetes_healthchecks_total";
            let help = "[STABLE] This metric records the results of all healthcheck.";
            text.family(name, help, Type::Counter);
            for (check, made) in &made {
                let labels = [("name", *check), ("status", "success"), OF];
                text.sample(name, &labels, *made as f64, 0);
            }
        }
        if let Ok(own) = Process::own() {
            let name = "process_start_time_seconds";
            let help = "[ALPHA] Start time of the process since unix epoch in seconds.";
            text.family(name, help, Type::Gauge);
            text.sample(name, &[], own.start_seconds, 0);
        }
        text.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_counted_until_a_reset() {
        let checks = Checks::default();
        let begins = |text: &str| !checks.text().contains(text);
        assert!(begins("kubernetes_healthcheck"));
        checks.make(|_| false);
        let made = checks.make(|name| name == "log");
        assert_eq!(made[..2], [("ping", false), ("log", true)]);
        let text = checks.text();
        for wanted in [
            "kubernetes_healthcheck{name=\"log\",type=\"healthz\"} 1\n",
            "kubernetes_healthchecks_total{name=\"log\",status=\"success\",type=\"healthz\"} 1\n",
            "kubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"healthz\"} 2\n",
            "\nprocess_start_time_seconds ",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        checks.reset();
        assert!(begins("kubernetes_healthcheck"));
    }
}
