//! Kinds whose update looks at names as a create does: upstream validates all of their metadata again.

use knarr_api::Kind;
use knarr_meta::{
    field::{Error, ErrorList, Path},
    object,
};
use serde_json::Value;

/// Groups in which each kind does.
const GROUPS: &[&str] = &[
    "admissionregistration.k8s.io",
    "discovery.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "storagemigration.k8s.io",
];

/// Resources of other groups that do.
const RESOURCES: &[(&str, &str)] = &[
    ("", "configmaps"),
    ("", "endpoints"),
    ("", "limitranges"),
    ("", "namespaces"),
    ("", "nodes"),
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "secrets"),
    ("", "serviceaccounts"),
    ("apiregistration.k8s.io", "apiservices"),
    ("apps", "controllerrevisions"),
    ("certificates.k8s.io", "clustertrustbundles"),
    ("networking.k8s.io", "ingressclasses"),
    ("networking.k8s.io", "ingresses"),
    ("networking.k8s.io", "ipaddresses"),
    ("networking.k8s.io", "networkpolicies"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourceclaimtemplates"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "csistoragecapacities"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
    ("storage.k8s.io", "volumeattributesclasses"),
];

/// The prefix of generated names, which alone of a stored object's names can change. Few objects have one.
pub(super) fn validate(kind: &Kind, tree: &Value, errors: &mut ErrorList) {
    let prefix = object::generate_name(tree);
    let again = || {
        kind.is_built_in()
            && (GROUPS.contains(&&*kind.group)
                || RESOURCES.contains(&(&*kind.group, &*kind.resource)))
    };
    if prefix.is_empty() || !again() {
        return;
    }
    let path = Path::new("metadata").child("generateName");
    let messages = kind.strategy.validate_name(prefix, true).into_iter();
    errors.extend(messages.map(|message| Error::invalid(&path, prefix, message)));
}

#[cfg(test)]
mod tests {
    use knarr_api::built_in;
    use serde_json::json;

    use super::*;

    #[test]
    fn prefixes_are_looked_at_again_where_upstream_does() {
        let object = json!({"metadata": {"name": "a", "generateName": "Upper"}});
        for (group, version, resource, errors) in [
            ("", "v1", "secrets", 1),
            ("storage.k8s.io", "v1", "csinodes", 1),
            ("rbac.authorization.k8s.io", "v1", "roles", 0),
            ("apps", "v1", "deployments", 0),
        ] {
            let kind = built_in(group, version, resource).expect("a kind");
            let mut found = ErrorList::new();
            validate(kind, &object, &mut found);
            assert_eq!(found.len(), errors, "{resource}: {found:?}");
        }
    }
}
