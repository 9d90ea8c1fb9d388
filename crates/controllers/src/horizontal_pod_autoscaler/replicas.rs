//! How many replicas a metric asks for, as upstream's `replica_calculator.go`.
//!
//! Amounts are thousandths, as `Quantity::milli_value`. What is not known of some pods is taken to speak against a change: on the
//! way down they use all that is aimed at, on the way up nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};
use knarr_meta::Quantity;

use crate::pods::{condition, is_ready, phase};

/// How long after its start a pod's use of cpu may be that of its start.
const CPU_INITIALIZATION: SignedDuration = SignedDuration::from_mins(5);
/// How long after its start a pod's first readiness may come.
const INITIAL_READINESS_DELAY: SignedDuration = SignedDuration::from_secs(30);
pub(super) const CPU: &str = "cpu";

const NO_PODS: &str = "no pods returned by selector while calculating replica count";
const NO_METRICS: &str = "did not receive metrics for targeted pods (pods might be unready)";

/// What was measured of one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub at: Timestamp,
    /// Over which time before.
    pub window: SignedDuration,
    pub value: i64,
}

/// By the pods' names.
pub(super) type Samples = BTreeMap<String, Sample>;

/// How far off a metric may be before anything is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerances {
    pub down: f64,
    pub up: f64,
}

impl Tolerances {
    fn within(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// What a metric asks for, and what it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    pub replicas: i32,
    /// Of a pod, on average; of the object, for metrics of one.
    pub value: i64,
    /// In percent of what is requested.
    pub utilization: Option<i32>,
}

/// The pods of a target, and how things are.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub pods: &'a [Arc<Pod>],
    pub replicas: i32,
    pub tolerances: Tolerances,
    pub now: Timestamp,
}

/// The ratio of what is to what is aimed at, with what is.
struct Measured {
    ratio: f64,
    value: i64,
    utilization: Option<i32>,
}

impl Target<'_> {
    /// By the use of a resource in percent of what is requested; of one container, or of all.
    ///
    /// # Errors
    /// Why that cannot be known.
    pub(super) fn by_utilization(
        &self,
        samples: Samples,
        resource: &str,
        container: &str,
        wanted: i32,
    ) -> Result<Proposal, String> {
        let groups = self.group(&samples, resource)?;
        let samples = groups.usable(samples)?;
        let requests = requests(self.pods, container, resource)?;
        let measure = |samples: &Samples| utilization(samples, &requests, wanted);
        // Missing pods use all that they request, or what is aimed at where that is more.
        let full = i64::from(wanted.max(100));
        let missing = |name: &str| {
            requests
                .get(name)
                .map_or(0, |r| r.saturating_mul(full) / 100)
        };
        self.propose(samples, &groups, measure, missing)
    }

    /// By an amount that each pod is to have. `resource` is empty for what is no resource.
    ///
    /// # Errors
    /// Why that cannot be known.
    pub(super) fn by_average(
        &self,
        samples: Samples,
        resource: &str,
        wanted: i64,
    ) -> Result<Proposal, String> {
        let groups = self.group(&samples, resource)?;
        let samples = groups.usable(samples)?;
        let measure = |samples: &Samples| {
            let value = mean(samples.values().map(|sample| sample.value));
            Ok(Measured {
                ratio: value as f64 / wanted as f64,
                value,
                utilization: None,
            })
        };
        self.propose(samples, &groups, measure, |_| wanted)
    }

    fn propose(
        &self,
        mut samples: Samples,
        groups: &Groups,
        measure: impl Fn(&Samples) -> Result<Measured, String>,
        missing: impl Fn(&str) -> i64,
    ) -> Result<Proposal, String> {
        let first = measure(&samples)?;
        let proposal = |replicas| Proposal {
            replicas,
            value: first.value,
            utilization: first.utilization,
        };
        let same = Ok(proposal(self.replicas));
        let up_with_unready = !groups.unready.is_empty() && first.ratio > 1.0;
        if !up_with_unready && groups.missing.is_empty() {
            return match self.tolerances.within(first.ratio) {
                true => same,
                false => Ok(proposal(ceil(first.ratio * groups.ready as f64))),
            };
        }
        let mut assume = |names: &BTreeSet<String>, value: &dyn Fn(&str) -> i64| {
            for name in names {
                let sample = Sample {
                    at: self.now,
                    window: SignedDuration::ZERO,
                    value: value(name),
                };
                samples.insert(name.clone(), sample);
            }
        };
        if first.ratio < 1.0 {
            assume(&groups.missing, &missing);
        } else if first.ratio > 1.0 {
            assume(&groups.missing, &|_| 0);
        }
        if up_with_unready {
            assume(&groups.unready, &|_| 0);
        }
        let ratio = measure(&samples)?.ratio;
        let turned = (first.ratio < 1.0 && ratio > 1.0) || (first.ratio > 1.0 && ratio < 1.0);
        if self.tolerances.within(ratio) || turned {
            return same;
        }
        let replicas = ceil(ratio * samples.len() as f64);
        let against =
            (ratio < 1.0 && replicas > self.replicas) || (ratio > 1.0 && replicas < self.replicas);
        match against {
            true => same,
            false => Ok(proposal(replicas)),
        }
    }

    /// By a ratio that is no pod's: of an object, or of something outside. Without replicas there are no pods to count.
    ///
    /// # Errors
    /// Where there are no pods.
    pub(super) fn by_ratio(&self, value: i64, wanted: i64) -> Result<Proposal, String> {
        let ratio = value as f64 / wanted as f64;
        let replicas = match self.replicas {
            0 => ceil(ratio),
            same if self.tolerances.within(ratio) => same,
            _ if self.pods.is_empty() => {
                return Err(format!("unable to calculate ready pods: {NO_PODS}"));
            }
            _ => {
                let ready = |pod: &&Arc<Pod>| phase(pod) == "Running" && is_ready(pod);
                ceil(ratio * self.pods.iter().filter(ready).count() as f64)
            }
        };
        Ok(Proposal {
            replicas,
            value,
            utilization: None,
        })
    }

    /// By a value that all of `status_replicas` share.
    pub(super) fn by_share(&self, value: i64, wanted: i64, status_replicas: i32) -> Proposal {
        let (total, replicas) = (value as f64, f64::from(status_replicas));
        let within = self.tolerances.within(total / (wanted as f64 * replicas));
        Proposal {
            replicas: match within {
                true => status_replicas,
                false => ceil(total / wanted as f64),
            },
            // Without replicas there is no share: the largest number, as upstream.
            value: (total / replicas).ceil() as i64,
            utilization: None,
        }
    }

    fn group(&self, samples: &Samples, resource: &str) -> Result<Groups, String> {
        if self.pods.is_empty() {
            return Err(NO_PODS.to_owned());
        }
        let mut groups = Groups::default();
        for pod in self.pods {
            let name = pod.metadata.name.clone().unwrap_or_default();
            if pod.metadata.deletion_timestamp.is_some() || phase(pod) == "Failed" {
                groups.ignored.insert(name);
            } else if phase(pod) == "Pending" {
                groups.unready.insert(name);
            } else {
                match samples.get(&name) {
                    None => drop(groups.missing.insert(name)),
                    Some(sample) if resource == CPU && is_starting(pod, sample, self.now) => {
                        groups.unready.insert(name);
                    }
                    Some(_) => groups.ready += 1,
                }
            }
        }
        Ok(groups)
    }
}

/// Pods by what their samples are worth.
#[derive(Default)]
struct Groups {
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

impl Groups {
    fn usable(&self, mut samples: Samples) -> Result<Samples, String> {
        samples.retain(|name, _| !self.ignored.contains(name) && !self.unready.contains(name));
        match samples.is_empty() {
            true => Err(NO_METRICS.to_owned()),
            false => Ok(samples),
        }
    }
}

/// Whether a pod's use of cpu may be that of its start.
fn is_starting(pod: &Pod, sample: &Sample, now: Timestamp) -> bool {
    let started = pod.status.as_ref().and_then(|s| s.start_time.as_ref());
    let (Some(ready), Some(started)) = (condition(pod, "Ready"), started) else {
        return true;
    };
    let after = |at: Timestamp, by| at.saturating_add(by).unwrap_or(Timestamp::MAX);
    let changed = ready.last_transition_time.as_ref();
    let changed = changed.map_or(Timestamp::MIN, |time| time.0);
    let is_not = ready.status == "False";
    match after(started.0, CPU_INITIALIZATION) > now {
        true => is_not || sample.at < after(changed, sample.window),
        false => is_not && after(started.0, INITIAL_READINESS_DELAY) > changed,
    }
}

/// What each pod requests of a resource: its container, the pod itself, or all containers that run with it.
fn requests(
    pods: &[Arc<Pod>],
    container: &str,
    resource: &str,
) -> Result<BTreeMap<String, i64>, String> {
    let mut all = BTreeMap::new();
    for pod in pods {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let request = request(pod, &name, container, resource)?;
        all.insert(name, request);
    }
    Ok(all)
}

fn request(pod: &Pod, name: &str, container: &str, resource: &str) -> Result<i64, String> {
    let Some(spec) = &pod.spec else {
        return Ok(0);
    };
    let of_pod = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
    if let Some(requests) = of_pod.filter(|requests| container.is_empty() && !requests.is_empty())
        && let Some(amount) = requests.get(resource)
    {
        return Ok(milli(&amount.0));
    }
    let always = |c: &&Container| c.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(always);
    let mut sum: i64 = 0;
    for one in spec.containers.iter().chain(sidecars) {
        if !container.is_empty() && container != one.name {
            continue;
        }
        let requests = one.resources.as_ref().and_then(|r| r.requests.as_ref());
        let Some(amount) = requests.and_then(|requests| requests.get(resource)) else {
            let one = &one.name;
            return Err(format!(
                "missing request for {resource} in container {one} of Pod {name}"
            ));
        };
        sum = sum.saturating_add(milli(&amount.0));
        if container == one.name {
            return Ok(sum);
        }
    }
    match container {
        "" => Ok(sum),
        container => Err(format!("container {container} not found in Pod {name}")),
    }
}

/// A quantity in thousandths; what is none is nothing.
pub(super) fn milli(text: &str) -> i64 {
    Quantity::parse(text).unwrap_or_default().milli_value()
}

fn utilization(
    samples: &Samples,
    requests: &BTreeMap<String, i64>,
    wanted: i32,
) -> Result<Measured, String> {
    let known = samples
        .iter()
        .filter_map(|(name, sample)| Some((sample.value, *requests.get(name)?)));
    let (mut used, mut requested, mut count) = (0_i128, 0_i128, 0_i128);
    for (value, request) in known {
        used += i128::from(value);
        requested += i128::from(request);
        count += 1;
    }
    let percent = (used * 100).checked_div(requested);
    let Some(percent) = percent else {
        return Err("no metrics returned matched known pods".to_owned());
    };
    let percent = i32::try_from(percent).unwrap_or(i32::MAX);
    Ok(Measured {
        ratio: f64::from(percent) / f64::from(wanted),
        value: clamp(used / count.max(1)),
        utilization: Some(percent),
    })
}

fn mean(values: impl ExactSizeIterator<Item = i64>) -> i64 {
    let count = i128::try_from(values.len()).unwrap_or(i128::MAX).max(1);
    clamp(values.map(i128::from).sum::<i128>() / count)
}

fn clamp(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// Rounded up, within what replicas can be.
fn ceil(replicas: f64) -> i32 {
    replicas.ceil() as i32
}

#[cfg(test)]
mod tests;
