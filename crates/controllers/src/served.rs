//! A resource that the server has.

use kube::discovery::ApiResource;

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
