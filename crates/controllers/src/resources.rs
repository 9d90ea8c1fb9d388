//! What the API server serves, as discovery tells it: for controllers that work on every kind of object.

use std::collections::HashSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::discovery::{ApiResource, Discovery, Scope, verbs};

use crate::runner::Error;

/// One served resource, in its group's preferred version where that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServedResource {
    pub api: ApiResource,
    pub namespaced: bool,
    pub verbs: Vec<String>,
}

impl ServedResource {
    pub(crate) fn supports(&self, verb: &str) -> bool {
        self.verbs.iter().any(|supported| supported == verb)
    }

    /// `pods.` or `deployments.apps`, as namespace conditions name resources.
    pub(crate) fn dotted(&self) -> String {
        format!("{}.{}", self.api.plural, self.api.group)
    }

    /// The path of its collection of all namespaces.
    pub(crate) fn path(&self) -> String {
        let root = if self.api.group.is_empty() {
            "api"
        } else {
            "apis"
        };
        format!("/{root}/{}/{}", self.api.api_version, self.api.plural)
    }
}

/// Asks the server for everything that can be deleted. Two requests, or one for each group of servers that cannot aggregate.
pub(crate) async fn discover(client: &kube::Client) -> Result<Vec<ServedResource>, Error> {
    let discovery = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        Err(error) => {
            tracing::debug!(%error, "no aggregated discovery");
            Discovery::new(client.clone()).run().await?
        }
    };
    let mut resources = Vec::new();
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
                resources.push(ServedResource {
                    api,
                    namespaced,
                    verbs: capabilities.operations,
                });
            }
        }
    }
    Ok(resources)
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
