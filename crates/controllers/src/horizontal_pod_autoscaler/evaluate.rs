//! One metric of an autoscaler: what is measured, what it asks for, and what the status says of it.

use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricSource, ContainerResourceMetricStatus, ExternalMetricSource,
    ExternalMetricStatus, MetricIdentifier, MetricSpec, MetricStatus, MetricTarget,
    MetricValueStatus, ObjectMetricSource, ObjectMetricStatus, PodsMetricSource, PodsMetricStatus,
    ResourceMetricSource, ResourceMetricStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use knarr_meta::Quantity;
use knarr_meta::labels::Selector;
use knarr_meta::quantity::Format;

use super::metrics::Metrics;
use super::replicas::{Proposal, Target, milli};

/// What an autoscaler's metrics are of.
pub(super) struct Subject<'a> {
    pub metrics: &'a Metrics,
    pub target: Target<'a>,
    pub namespace: &'a str,
    /// Of the pods, as the target's scale says it.
    pub selector: &'a str,
    pub status_replicas: i32,
}

/// What one metric asks for.
struct Evaluated {
    asked: Asked,
    status: MetricStatus,
}

/// A number of replicas, and the metric that asks for it.
pub(super) struct Asked {
    pub replicas: i32,
    pub metric: String,
}

/// What all metrics ask for.
pub(super) struct Proposals {
    /// `None`: every metric failed.
    pub most: Option<Asked>,
    pub failures: Vec<Failure>,
}

/// Why a metric is of no use: a reason for conditions and events, what that says, and what is said of all metrics.
pub(super) struct Failure {
    pub reason: &'static str,
    pub message: String,
    pub context: String,
}

/// A metric as it asks and as it is: `(proposal, name, status)`.
type Outcome = Result<(Proposal, String, MetricStatus), Cause>;

/// Why a metric cannot be told. Conditions and events have the message alone, what is said of all metrics has `what` before it.
struct Cause {
    /// What failed, with a colon and a space behind it, or empty.
    what: String,
    message: String,
}

impl Cause {
    fn of(what: String) -> impl FnOnce(String) -> Self {
        move |message| Self {
            what: format!("{what}: "),
            message,
        }
    }
}

impl From<String> for Cause {
    fn from(message: String) -> Self {
        Self {
            what: String::new(),
            message,
        }
    }
}

impl From<&str> for Cause {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

/// Evaluates each metric, and says in `statuses` how it is.
pub(super) async fn evaluate_all(
    metrics: &[MetricSpec],
    subject: &Subject<'_>,
    statuses: &mut Vec<MetricStatus>,
) -> Proposals {
    let (mut most, mut failures) = (None::<Asked>, Vec::new());
    for metric in metrics {
        match evaluate(metric, subject).await {
            Ok(one) => {
                // Of several that ask for none the last one is named, as upstream does.
                let is_more =
                    |most: &Asked| most.replicas == 0 || one.asked.replicas > most.replicas;
                if most.as_ref().is_none_or(is_more) {
                    most = Some(one.asked);
                }
                statuses.push(one.status);
            }
            Err(failure) => {
                failures.push(failure);
                // Nothing is known of it, but it has its place.
                statuses.push(MetricStatus::default());
            }
        }
    }
    Proposals { most, failures }
}

async fn evaluate(spec: &MetricSpec, subject: &Subject<'_>) -> Result<Evaluated, Failure> {
    let (reason, context, outcome) = if let Some(source) = &spec.resource {
        let context = format!("failed to get {} resource metric value", source.name);
        (
            "FailedGetResourceMetric",
            context,
            subject.resource(source).await,
        )
    } else if let Some(source) = &spec.container_resource {
        let context = format!("failed to get {} container metric value", source.container);
        let outcome = subject.container_resource(source).await;
        ("FailedGetContainerResourceMetric", context, outcome)
    } else if let Some(source) = &spec.pods {
        let context = "failed to get pods metric value".to_owned();
        ("FailedGetPodsMetric", context, subject.pods(source).await)
    } else if let Some(source) = &spec.object {
        let context = "failed to get object metric value".to_owned();
        (
            "FailedGetObjectMetric",
            context,
            subject.object(source).await,
        )
    } else if let Some(source) = &spec.external {
        let context = format!("failed to get {} external metric value", source.metric.name);
        (
            "FailedGetExternalMetric",
            context,
            subject.external(source).await,
        )
    } else {
        let message = format!("unknown metric source type {:?}", spec.type_);
        (
            "InvalidMetricSourceType",
            message.clone(),
            Err(message.into()),
        )
    };
    match outcome {
        Ok((proposal, metric, status)) => Ok(Evaluated {
            asked: Asked {
                replicas: proposal.replicas,
                metric,
            },
            status: MetricStatus {
                type_: spec.type_.clone(),
                ..status
            },
        }),
        Err(Cause { what, message }) => Err(Failure {
            reason,
            context: format!("{context}: {what}{message}"),
            message,
        }),
    }
}

impl Subject<'_> {
    async fn resource(&self, source: &ResourceMetricSource) -> Outcome {
        let (proposal, name, current) = self.usage(&source.name, "", &source.target).await?;
        let status = ResourceMetricStatus {
            name: source.name.clone(),
            current,
        };
        let status = MetricStatus {
            resource: Some(status),
            ..MetricStatus::default()
        };
        Ok((proposal, name, status))
    }

    async fn container_resource(&self, source: &ContainerResourceMetricSource) -> Outcome {
        let container = &source.container;
        let used = self.usage(&source.name, container, &source.target).await?;
        let (proposal, name, current) = used;
        let status = ContainerResourceMetricStatus {
            name: source.name.clone(),
            container: container.clone(),
            current,
        };
        let status = MetricStatus {
            container_resource: Some(status),
            ..MetricStatus::default()
        };
        Ok((proposal, name, status))
    }

    async fn usage(
        &self,
        resource: &str,
        container: &str,
        wanted: &MetricTarget,
    ) -> Result<(Proposal, String, MetricValueStatus), String> {
        let by_value = wanted.average_value.as_ref();
        let what = if by_value.is_some() {
            "usage"
        } else {
            "utilization"
        };
        let failed = |error: String| format!("failed to get {resource} {what}: {error}");
        if by_value.is_none() && wanted.average_utilization.is_none() {
            return Err("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set".to_owned());
        }
        let samples = self
            .metrics
            .resource(self.namespace, self.selector, resource, container)
            .await
            .map_err(|e| {
                failed(format!(
                    "unable to get metrics for resource {resource}: {e}"
                ))
            })?;
        let (proposal, name) = match (by_value, wanted.average_utilization) {
            (Some(amount), _) => {
                let wanted = milli(&amount.0);
                let proposal = self.target.by_average(samples, resource, wanted);
                (proposal, format!("{resource} resource"))
            }
            (None, percent) => {
                let percent = percent.unwrap_or_default();
                let proposal = self
                    .target
                    .by_utilization(samples, resource, container, percent);
                let of = if container.is_empty() {
                    ""
                } else {
                    "container "
                };
                let name = format!("{resource} {of}resource utilization (percentage of request)");
                (proposal, name)
            }
        };
        let proposal = proposal.map_err(failed)?;
        let format = match resource {
            "memory" => Format::BinarySi,
            _ => Format::DecimalSi,
        };
        let current = MetricValueStatus {
            average_utilization: proposal.utilization,
            average_value: Some(amount(proposal.value, format)),
            value: None,
        };
        Ok((proposal, name, current))
    }

    async fn pods(&self, source: &PodsMetricSource) -> Outcome {
        let metric = &source.metric;
        let selector = selector(metric)?;
        let samples = self
            .metrics
            .pods(self.namespace, self.selector, &metric.name, &selector);
        let samples = samples.await;
        let samples = samples.map_err(|e| format!("unable to get metric {}: {e}", metric.name))?;
        let wanted = source.target.average_value.as_ref();
        let wanted = milli(wanted.map_or("", |amount| &amount.0));
        let proposal = self.target.by_average(samples, "", wanted)?;
        let status = PodsMetricStatus {
            metric: metric.clone(),
            current: average(proposal.value),
        };
        let status = MetricStatus {
            pods: Some(status),
            ..MetricStatus::default()
        };
        Ok((proposal, format!("pods metric {}", metric.name), status))
    }

    async fn object(&self, source: &ObjectMetricSource) -> Outcome {
        let (metric, object) = (&source.metric, &source.described_object);
        let selector = selector(metric)?;
        let value = self
            .metrics
            .object(self.namespace, object, &metric.name, &selector);
        let value = value.await.map_err(|error| {
            let (namespace, kind, name) = (self.namespace, &object.kind, &object.name);
            format!(
                "unable to get metric {} on {kind} {namespace}/{name}: {error}",
                metric.name
            )
        });
        let target = &source.target;
        let (proposal, current, name) = match (&*target.type_, &target.value, &target.average_value) {
            ("Value", Some(wanted), _) => {
                let proposal = self.target.by_ratio(value?, milli(&wanted.0))?;
                let name = format!("{} metric {}", object.kind, metric.name);
                (proposal, whole(proposal.value), name)
            }
            ("AverageValue", _, Some(wanted)) => {
                let what = format!("failed to get {} object metric", metric.name);
                let value = value.map_err(Cause::of(what))?;
                let proposal = self.target.by_share(value, milli(&wanted.0), self.status_replicas);
                let name = format!("external metric {}", shown(metric));
                (proposal, average(proposal.value), name)
            }
            _ => return Err("invalid object metric source: neither a value target nor an average value target was set".into()),
        };
        let status = ObjectMetricStatus {
            described_object: object.clone(),
            metric: metric.clone(),
            current,
        };
        let status = MetricStatus {
            object: Some(status),
            ..MetricStatus::default()
        };
        Ok((proposal, name, status))
    }

    async fn external(&self, source: &ExternalMetricSource) -> Outcome {
        let (metric, target) = (&source.metric, &source.target);
        let selector = selector(metric)?;
        let value = self
            .metrics
            .external(self.namespace, &metric.name, &selector);
        let value = value.await.map_err(|error| {
            let (namespace, name) = (self.namespace, &metric.name);
            let selector = printed(metric.selector.as_ref());
            format!("unable to get external metric {namespace}/{name}/{selector}: {error}")
        });
        let (proposal, current) = match (&target.average_value, &target.value) {
            (Some(wanted), _) => {
                let what = format!("failed to get {} external metric", metric.name);
                let value = value.map_err(Cause::of(what))?;
                let proposal = self.target.by_share(value, milli(&wanted.0), self.status_replicas);
                (proposal, average(proposal.value))
            }
            (None, Some(wanted)) => {
                let what = format!("failed to get external metric {}", metric.name);
                let proposal = value.and_then(|value| self.target.by_ratio(value, milli(&wanted.0)));
                let proposal = proposal.map_err(Cause::of(what))?;
                (proposal, whole(proposal.value))
            }
            (None, None) => return Err("invalid external metric source: neither a value target nor an average value target was set".into()),
        };
        let status = ExternalMetricStatus {
            metric: metric.clone(),
            current,
        };
        let status = MetricStatus {
            external: Some(status),
            ..MetricStatus::default()
        };
        Ok((
            proposal,
            format!("external metric {}", shown(metric)),
            status,
        ))
    }
}

fn selector(metric: &MetricIdentifier) -> Result<Selector, String> {
    match &metric.selector {
        None => Ok(Selector::everything()),
        Some(selector) => Selector::from_label_selector(selector).map_err(|e| e.to_string()),
    }
}

/// A metric's name and what selects it.
fn shown(metric: &MetricIdentifier) -> String {
    format!("{}({})", metric.name, printed(metric.selector.as_ref()))
}

/// A selector as upstream's generated code prints it; operators' dashboards and alerts match these texts.
fn printed(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else {
        return "nil".to_owned();
    };
    let labels = selector.match_labels.iter().flatten();
    let labels: String = labels
        .map(|(key, value)| format!("{key}: {value},"))
        .collect();
    let requirements = selector.match_expressions.iter().flatten();
    let requirements: String = requirements
        .map(|one| {
            let values = one.values.as_deref().unwrap_or_default().join(" ");
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},",
                one.key, one.operator
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{requirements}}},}}"
    )
}

fn amount(milli: i64, format: Format) -> Amount {
    Amount(Quantity::from_milli(milli, format).to_string())
}

fn whole(value: i64) -> MetricValueStatus {
    MetricValueStatus {
        value: Some(amount(value, Format::DecimalSi)),
        ..MetricValueStatus::default()
    }
}

fn average(value: i64) -> MetricValueStatus {
    MetricValueStatus {
        average_value: Some(amount(value, Format::DecimalSi)),
        ..MetricValueStatus::default()
    }
}

#[cfg(test)]
mod tests;
