//! Who may name objects of another namespace.

use std::sync::Arc;

use super::types::{GROUP, ReferenceGrant};

/// An object that is named.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Empty of the core group.
    pub group: &'a str,
    pub kind: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

/// Whether an object of this kind and namespace may name it.
pub fn may_name(
    grants: &[Arc<ReferenceGrant>],
    kind: &str,
    namespace: &str,
    to: Named<'_>,
) -> bool {
    if namespace == to.namespace {
        return true;
    }
    grants.iter().any(|grant| {
        let there = grant.metadata.namespace.as_deref() == Some(to.namespace);
        let mut from = grant.spec.from.iter();
        let mut wanted = grant.spec.to.iter();
        there
            && from
                .any(|from| from.group == GROUP && from.kind == kind && from.namespace == namespace)
            && wanted.any(|one| {
                one.group == to.group
                    && one.kind == to.kind
                    && one.name.as_deref().is_none_or(|name| name == to.name)
            })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leave_of_the_other_namespace() {
        let grant = |from: &str, name: Option<&str>| {
            let grant = json!({
                "metadata": {"namespace": "b", "name": "g"},
                "spec": {
                    "from": [{"group": GROUP, "kind": "HTTPRoute", "namespace": from}],
                    "to": [{"group": "", "kind": "Service", "name": name}],
                },
            });
            vec![Arc::new(
                serde_json::from_value::<ReferenceGrant>(grant).expect("a grant"),
            )]
        };
        let service = Named {
            group: "",
            kind: "Service",
            namespace: "b",
            name: "web",
        };
        let may = |grants: &[_], kind, namespace| may_name(grants, kind, namespace, service);
        assert!(may(&[], "HTTPRoute", "b"));
        assert!(!may(&[], "HTTPRoute", "a"));
        assert!(may(&grant("a", None), "HTTPRoute", "a"));
        assert!(may(&grant("a", Some("web")), "HTTPRoute", "a"));
        assert!(!may(&grant("a", Some("other")), "HTTPRoute", "a"));
        assert!(!may(&grant("a", None), "GRPCRoute", "a"));
        assert!(!may(&grant("c", None), "HTTPRoute", "a"));
        let secret = Named {
            kind: "Secret",
            ..service
        };
        assert!(!may_name(&grant("a", None), "HTTPRoute", "a", secret));
    }
}
