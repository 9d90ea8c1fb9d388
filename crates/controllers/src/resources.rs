//! What the API server serves, as discovery tells it: for controllers that work on every kind of object.

use std::collections::HashSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::discovery::v2::APIGroupDiscovery;
use kube::discovery::{ApiResource, Discovery, Scope, verbs};

use crate::runner::Error;
pub(crate) use crate::served::ServedResource;

/// The freshness of what could not be asked for.
const STALE: &str = "Stale";

/// What the server says that it serves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Discovered {
    pub resources: Vec<ServedResource>,
    /// Group-versions of other servers that could not be asked: what they serve is not known.
    pub failed: Vec<String>,
}

impl Discovered {
    /// What is wrong with it, in client-go's words.
    pub(crate) fn failure(&self) -> Option<String> {
        let mut failed: Vec<String> = (self.failed.iter())
            .map(|name| format!("{name}: stale GroupVersion discovery: {name}"))
            .collect();
        failed.sort();
        (!failed.is_empty()).then(|| {
            format!(
                "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
                failed.len(),
                failed.join(", ")
            )
        })
    }
}

/// Asks the server for everything that can be deleted. Two requests, or one for each group of servers that cannot aggregate.
pub(crate) async fn discover(client: &kube::Client) -> Result<Discovered, Error> {
    let lists = futures::future::try_join(
        client.list_core_api_versions_aggregated(),
        client.list_api_groups_aggregated(),
    );
    match lists.await {
        Ok((core, groups)) => Ok(of_lists(core.items.into_iter().chain(groups.items))),
        Err(error) => {
            tracing::debug!(%error, "no aggregated discovery");
            let discovery = Discovery::new(client.clone()).run().await?;
            Ok(of_groups(&discovery))
        }
    }
}

/// Versions stand in the order of preference.
fn of_lists(groups: impl Iterator<Item = APIGroupDiscovery>) -> Discovered {
    let mut found = Discovered::default();
    for group in groups {
        let name = group.metadata.and_then(|m| m.name).unwrap_or_default();
        let mut seen = HashSet::new();
        for one in group.versions {
            let version = one.version.unwrap_or_default();
            let api_version = match name.as_str() {
                "" => version.clone(),
                name => format!("{name}/{version}"),
            };
            if one.freshness.as_deref() == Some(STALE) {
                found.failed.push(api_version.clone());
            }
            for resource in one.resources {
                let plural = resource.resource.unwrap_or_default();
                let deletable = resource.verbs.iter().any(|verb| verb == verbs::DELETE);
                if !deletable || !seen.insert(plural.clone()) {
                    continue;
                }
                let kind = resource.response_kind.and_then(|kind| kind.kind);
                found.resources.push(ServedResource {
                    api: ApiResource {
                        group: name.clone(),
                        version: version.clone(),
                        api_version: api_version.clone(),
                        kind: kind.unwrap_or_default(),
                        plural,
                    },
                    namespaced: resource.scope.as_deref() == Some("Namespaced"),
                    verbs: resource.verbs,
                });
            }
        }
    }
    found
}

/// Of servers that cannot aggregate: those that do not answer are errors.
fn of_groups(discovery: &Discovery) -> Discovered {
    let mut found = Discovered::default();
    for group in discovery.groups_alphabetical() {
        let preferred = group.preferred_version_or_latest();
        let others = group.versions().filter(|version| *version != preferred);
        let mut seen = HashSet::new();
        let served = std::iter::once(preferred)
            .chain(others)
            .flat_map(|version| group.versioned_resources(version));
        for (api, capabilities) in served {
            let deletable =
                capabilities.supports_operation(verbs::DELETE) && !api.plural.contains('/');
            if deletable && seen.insert(api.plural.clone()) {
                let namespaced = capabilities.scope == Scope::Namespaced;
                found.resources.push(ServedResource {
                    api,
                    namespaced,
                    verbs: capabilities.operations,
                });
            }
        }
    }
    found
}

/// The resource an owner reference points to, by group and kind (its version may be another one).
pub(crate) fn of_owner<'a>(
    resources: &'a [ServedResource],
    owner: &OwnerReference,
) -> Option<&'a ServedResource> {
    let group = owner
        .api_version
        .split_once('/')
        .map_or("", |(group, _)| group);
    resources
        .iter()
        .find(|resource| resource.api.group == group && resource.api.kind == owner.kind)
}

#[cfg(test)]
mod tests;
