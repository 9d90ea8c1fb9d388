//! What is measured: the APIs of resource metrics, custom metrics and external metrics, which other servers serve.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use knarr_client::errors;
use knarr_meta::labels::Selector;
use kube::core::GroupVersionKind;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::replicas::{Sample, Samples, milli};

const RESOURCE_GROUP: &str = "metrics.k8s.io";
const CUSTOM_GROUP: &str = "custom.metrics.k8s.io";
const EXTERNAL_GROUP: &str = "external.metrics.k8s.io";
/// Of custom metrics that say none.
const WINDOW: SignedDuration = SignedDuration::from_mins(1);

/// Reads metrics as the controller's account.
pub(super) struct Metrics {
    client: kube::Client,
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: Named,
    timestamp: Timestamp,
    /// As Go prints durations: `30s`, `1m0s`.
    #[serde(default)]
    window: String,
    #[serde(default)]
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    name: String,
    #[serde(default)]
    usage: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricValue {
    described_object: Named,
    timestamp: Timestamp,
    window_seconds: Option<i64>,
    /// `window` in the first version of the API.
    window: Option<i64>,
    value: String,
}

#[derive(Deserialize)]
struct ExternalValue {
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    preferred_version: Option<Version>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    group_version: String,
}

impl Metrics {
    pub(super) fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// The use of a resource by the pods of a selector: all their containers, or one of them.
    ///
    /// # Errors
    /// Why there are no metrics, in upstream's words.
    pub(super) async fn resource(
        &self,
        namespace: &str,
        selector: &str,
        resource: &str,
        container: &str,
    ) -> Result<Samples, String> {
        let path = format!("/apis/{RESOURCE_GROUP}/v1beta1/namespaces/{namespace}/pods");
        let path = format!("{path}?labelSelector={}", escape(selector));
        let list: List<PodMetrics> = self.get(&path).await.map_err(|error| {
            let error = told(&error, &format!("get pods.{RESOURCE_GROUP}"));
            format!("unable to fetch metrics from resource metrics API: {error}")
        })?;
        if list.items.is_empty() {
            return Err("no metrics returned from resource metrics API".to_owned());
        }
        Ok(of_pods(list.items, resource, container))
    }

    /// A metric of each pod of a selector.
    ///
    /// # Errors
    /// See [`Metrics::resource`].
    pub(super) async fn pods(
        &self,
        namespace: &str,
        selector: &str,
        metric: &str,
        metric_selector: &Selector,
    ) -> Result<Samples, String> {
        let what = format!("namespaces/{namespace}/pods/*/{}", escape(metric));
        let select = format!("labelSelector={}", escape(selector));
        let values = self.custom(&what, &select, metric_selector).await?;
        if values.is_empty() {
            return Err("no metrics returned from custom metrics API".to_owned());
        }
        let sample = |value: MetricValue| {
            let window = value.window_seconds.or(value.window);
            let sample = Sample {
                at: value.timestamp,
                window: window.map_or(WINDOW, SignedDuration::from_secs),
                value: milli(&value.value),
            };
            (value.described_object.name, sample)
        };
        Ok(values.into_iter().map(sample).collect())
    }

    /// A metric of one object.
    ///
    /// # Errors
    /// See [`Metrics::resource`].
    pub(super) async fn object(
        &self,
        namespace: &str,
        object: &CrossVersionObjectReference,
        metric: &str,
        metric_selector: &Selector,
    ) -> Result<i64, String> {
        let api_version = object.api_version.as_deref().unwrap_or_default();
        let metric = escape(metric);
        let what = match (api_version, &*object.kind) {
            // One's own namespace, whatever the reference says.
            ("v1" | "", "Namespace") => format!("namespaces/{namespace}/metrics/{metric}"),
            (api_version, kind) => {
                let resource = self.resource_of(api_version, kind).await?;
                let name = escape(&object.name);
                format!("namespaces/{namespace}/{resource}/{name}/{metric}")
            }
        };
        let values = self.custom(&what, "", metric_selector).await?;
        match &values[..] {
            [value] => Ok(milli(&value.value)),
            values => Err(format!(
                "unable to fetch metrics from custom metrics API: the custom metrics API server returned {} results when we asked for exactly one",
                values.len()
            )),
        }
    }

    async fn resource_of(&self, api_version: &str, kind: &str) -> Result<String, String> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = GroupVersionKind::gvk(group, version, kind);
        let served = kube::discovery::pinned_kind(&self.client, &kind).await;
        let (resource, _) = served.map_err(|_| {
            let kind = &kind.kind;
            format!(
                "unable to fetch metrics from custom metrics API: no matches for kind {kind:?} in group {group:?}"
            )
        })?;
        Ok(match &*resource.group {
            "" => resource.plural,
            group => format!("{}.{group}", resource.plural),
        })
    }

    async fn custom(
        &self,
        what: &str,
        select: &str,
        metric_selector: &Selector,
    ) -> Result<Vec<MetricValue>, String> {
        const WHERE: &str = "unable to fetch metrics from custom metrics API";
        let group = self.get::<Group>(&format!("/apis/{CUSTOM_GROUP}")).await;
        let version = group.ok().and_then(|group| group.preferred_version);
        let Some(version) = version else {
            return Err(format!(
                "{WHERE}: no custom metrics API ({CUSTOM_GROUP}) registered"
            ));
        };
        let mut path = format!("/apis/{}/{what}?{select}", version.group_version);
        if !metric_selector.is_empty() {
            let selector = metric_selector.to_string();
            path.push_str(&format!("&metricLabelSelector={}", escape(&selector)));
        }
        let list: Result<List<MetricValue>, _> = self.get(&path).await;
        let list = list.map_err(|error| format!("{WHERE}: {}", told(&error, "get metrics")))?;
        Ok(list.items)
    }

    /// The values of a metric of nothing in the cluster, summed.
    ///
    /// # Errors
    /// See [`Metrics::resource`].
    pub(super) async fn external(
        &self,
        namespace: &str,
        metric: &str,
        selector: &Selector,
    ) -> Result<i64, String> {
        let path = format!(
            "/apis/{EXTERNAL_GROUP}/v1beta1/namespaces/{namespace}/{}?labelSelector={}",
            escape(metric),
            escape(&selector.to_string())
        );
        let list: List<ExternalValue> = self.get(&path).await.map_err(|error| {
            let error = told(&error, &format!("get {metric}.{EXTERNAL_GROUP}"));
            format!("unable to fetch metrics from external metrics API: {error}")
        })?;
        if list.items.is_empty() {
            return Err("no metrics returned from external metrics API".to_owned());
        }
        let values = list.items.iter().map(|item| milli(&item.value));
        Ok(values.fold(0, i64::saturating_add))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, kube::Error> {
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }
}

/// What an error says; of a page that nobody serves, which has no Status, also what was asked for, as upstream's client does.
fn told(error: &kube::Error, asked: &str) -> String {
    let message = errors::message(error);
    match errors::is_missing_page(error) {
        true => format!("{message} ({asked})"),
        false => message,
    }
}

/// Pods of which the resource is known, of all containers or of the one.
fn of_pods(items: Vec<PodMetrics>, resource: &str, container: &str) -> Samples {
    let sample = |pod: PodMetrics| {
        let wanted = |one: &&ContainerMetrics| container.is_empty() || one.name == container;
        let mut values = pod.containers.iter().filter(wanted).peekable();
        values.peek()?;
        let mut sum: i64 = 0;
        for one in values {
            sum = sum.saturating_add(milli(one.usage.get(resource)?));
        }
        let sample = Sample {
            at: pod.timestamp,
            window: pod.window.parse().unwrap_or_default(),
            value: sum,
        };
        Some((pod.metadata.name, sample))
    };
    items.into_iter().filter_map(sample).collect()
}

/// A text as part of a path or a query.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match plain(byte) {
            true => out.push(byte.into()),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_summed_where_all_is_known() {
        let list: List<PodMetrics> = serde_json::from_value(json!({"items": [
            {"metadata": {"name": "a"}, "timestamp": "2026-01-01T00:00:00Z", "window": "30s", "containers": [
                {"name": "x", "usage": {"cpu": "100m", "memory": "1Mi"}},
                {"name": "y", "usage": {"cpu": "5n"}},
            ]},
            {"metadata": {"name": "b"}, "timestamp": "2026-01-01T00:00:00Z", "window": "1m0s", "containers": []},
        ]}))
        .expect("metrics");
        let values = |resource, container| {
            let items = serde_json::from_value::<List<PodMetrics>>(json!({"items": []}));
            assert!(items.is_ok());
            let of = |pod: &PodMetrics| PodMetrics {
                metadata: Named {
                    name: pod.metadata.name.clone(),
                },
                timestamp: pod.timestamp,
                window: pod.window.clone(),
                containers: pod
                    .containers
                    .iter()
                    .map(|c| ContainerMetrics {
                        name: c.name.clone(),
                        usage: c.usage.clone(),
                    })
                    .collect(),
            };
            let items = list.items.iter().map(of).collect();
            of_pods(items, resource, container)
                .into_iter()
                .map(|(name, sample)| (name, sample.value, sample.window.as_secs()))
                .collect::<Vec<_>>()
        };
        assert_eq!(values("cpu", ""), [("a".to_owned(), 101, 30)]);
        assert_eq!(values("memory", ""), []);
        assert_eq!(values("memory", "x"), [("a".to_owned(), 1_048_576_000, 30)]);
        assert_eq!(values("cpu", "z"), []);
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(escape("a=b,c in (d)"), "a%3Db%2Cc%20in%20%28d%29");
    }
}
