//! How much of a quota's resources is used.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use knarr_api::core::amounts::Amounts;
use knarr_api::core::pod::amounts::add;
use knarr_api::core::resource_quota::usage::{self, Counted};
use knarr_meta::Quantity;
use knarr_meta::clock;
use knarr_meta::quantity::Format;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use serde::Serialize;
use serde_json::Value;

use super::ResourceQuotaController;
use crate::resources::{self, ServedResource};
use crate::runner::Error;

pub(super) const PODS: Counted<'static> = core("pods");
pub(super) const SERVICES: Counted<'static> = core("services");
const CLAIMS: Counted<'static> = core("persistentvolumeclaims");

const fn core(resource: &'static str) -> Counted<'static> {
    Counted {
        group: "",
        resource,
    }
}

/// Kinds that have a plain name in quotas.
const PLAIN: [&str; 4] = [
    "configmaps",
    "resourcequotas",
    "replicationcontrollers",
    "secrets",
];

/// Whether a pod uses less than before, or counts to other scopes.
pub(super) fn frees(old: &Pod, new: &Pod) -> bool {
    let now = clock::now();
    let (old, new) = (tree(old), tree(new));
    let charged = |pod: &Value| usage::is_charged(pod, now);
    charged(&old) && !charged(&new) || usage::is_terminating(&old) != usage::is_terminating(&new)
}

pub(super) fn tree<T: Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// The kind whose objects a resource's name counts.
pub(super) fn counted_by(name: &str) -> Option<(&str, &str)> {
    if PLAIN.contains(&name) {
        return Some(("", name));
    }
    let counted = name.strip_prefix("count/")?;
    Some(match counted.split_once('.') {
        Some((resource, group)) => (group, resource),
        None => ("", counted),
    })
}

/// What objects of one kind use together of a quota's resources: each that they can use is there, if only with nothing.
pub(super) fn sum(
    counted: Counted<'_>,
    quota: &Value,
    hard: &Amounts,
    objects: impl Iterator<Item = Value>,
    now: Timestamp,
) -> Amounts {
    let names = hard.keys().filter(|name| counted.uses(name));
    let mut used: Amounts = names.map(|name| (name.clone(), zero())).collect();
    for object in objects.filter(|object| counted.in_scopes(quota, object)) {
        let mut usage = counted.usage(&object, now);
        usage.retain(|name, _| used.contains_key(name));
        add(&mut used, &usage);
    }
    used
}

fn zero() -> Quantity {
    Quantity::new(0, Format::DecimalSi)
}

fn uses_any(counted: Counted<'_>, hard: &Amounts) -> bool {
    hard.keys().any(|name| counted.uses(name))
}

impl ResourceQuotaController {
    /// Counts what a quota limits. On an error also what could be counted.
    pub(super) async fn count(
        &self,
        quota: &ResourceQuota,
        hard: &Amounts,
    ) -> Result<Amounts, (Amounts, Error)> {
        let namespace = quota.metadata.namespace.as_deref().unwrap_or_default();
        let (now, scopes) = (clock::now(), tree(quota));
        let mut used = Amounts::new();
        if uses_any(PODS, hard) {
            let pods = self.pods.list_in(namespace);
            let pods = pods.iter().map(|pod| tree(&**pod));
            used.extend(sum(PODS, &scopes, hard, pods, now));
        }
        if uses_any(SERVICES, hard) {
            let services = self.services.list_in(namespace);
            let services = services.iter().map(|service| tree(&**service));
            used.extend(sum(SERVICES, &scopes, hard, services, now));
        }
        if uses_any(CLAIMS, hard) {
            match self.claims(namespace).await {
                Ok(claims) => used.extend(sum(CLAIMS, &scopes, hard, claims.into_iter(), now)),
                Err(error) => return Err((used, error)),
            }
        }
        let scoped = !PODS_ONLY
            .iter()
            .all(|field| scopes["spec"][field].is_null());
        for name in hard.keys() {
            if used.contains_key(name) {
                continue;
            }
            let Some((group, resource)) = counted_by(name) else {
                continue;
            };
            let count = match scoped {
                // Only pods are in scopes.
                true => Ok(Some(0)),
                false => self.objects(namespace, group, resource).await,
            };
            match count {
                Ok(Some(count)) => {
                    used.insert(name.clone(), Quantity::new(count, Format::DecimalSi));
                }
                Ok(None) => {}
                Err(error) => return Err((used, error)),
            }
        }
        Ok(used)
    }

    /// The claims of a namespace, whole. None where they are not served.
    async fn claims(&self, namespace: &str) -> Result<Vec<Value>, Error> {
        let Some(resource) = self.resource("", CLAIMS.resource).await? else {
            return Ok(Vec::new());
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource.api);
        let claims = api.list(&ListParams::default()).await?;
        Ok(claims.items.iter().map(tree).collect())
    }

    /// How many objects there are of a kind; `None` where it is not served. The server counts them.
    async fn objects(
        &self,
        namespace: &str,
        group: &str,
        resource: &str,
    ) -> Result<Option<i64>, Error> {
        let Some(served) = self.resource(group, resource).await? else {
            return Ok(None);
        };
        if !served.namespaced {
            return Ok(Some(0));
        }
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &served.api);
        let list = api.list_metadata(&ListParams::default().limit(1)).await?;
        let shown = i64::try_from(list.items.len()).unwrap_or(i64::MAX);
        let left = list.metadata.remaining_item_count.unwrap_or(0);
        Ok(Some(shown.saturating_add(left)))
    }

    /// A served resource. Discovery is asked again for one that was not there when it was last asked.
    async fn resource(&self, group: &str, plural: &str) -> Result<Option<ServedResource>, Error> {
        let find = |served: &[ServedResource]| {
            let mut served = served.iter();
            let found = served.find(|r| r.api.group == group && r.api.plural == plural);
            found.cloned()
        };
        let known = self.served.lock().clone();
        if let Some(found) = find(&known) {
            return Ok(Some(found));
        }
        let served = Arc::new(resources::discover(&self.client).await?.resources);
        *self.served.lock() = served.clone();
        Ok(find(&served))
    }
}

/// Fields of a quota by which it is about some pods only.
const PODS_ONLY: [&str; 2] = ["scopes", "scopeSelector"];
