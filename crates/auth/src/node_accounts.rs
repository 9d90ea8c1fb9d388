//! The service accounts under which parts of a node act beside its kubelet.
//!
//! Upstream runs these parts as pods of DaemonSets, and a kubelet may ask for tokens of its pods' accounts. Here they are parts of the
//! node's own process: the node may ask for tokens of these accounts and no others, bound to its Node object, so that they end when
//! that is deleted. RBAC says so too (`system:knarr:node-accounts`); admission holds a node to itself.

/// Namespace of all of them.
pub const NAMESPACE: &str = "kube-system";

pub const CLUSTER_DNS: &str = "kube-dns";
pub const SERVICE_PROXY: &str = "kube-proxy";
pub const LOCAL_PATH: &str = "local-path-provisioner";
pub const NETWORK_POLICY: &str = "network-policy";
pub const POD_NETWORK: &str = "pod-network";

/// Every account of a node.
pub const ALL: [&str; 5] = [
    CLUSTER_DNS,
    SERVICE_PROXY,
    LOCAL_PATH,
    NETWORK_POLICY,
    POD_NETWORK,
];

/// Whether this account is one of a node's.
#[must_use]
pub fn contains(namespace: &str, name: &str) -> bool {
    namespace == NAMESPACE && ALL.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rbac_allows_tokens_of_these_accounts_only() {
        let roles = crate::policy::policy().roles;
        let role = roles
            .iter()
            .find(|role| role.name == "system:knarr:node-accounts")
            .expect("the role");
        assert_eq!(role.namespace, NAMESPACE);
        let [rule] = role.rules.as_slice() else {
            panic!("one rule is expected: {:?}", role.rules);
        };
        assert_eq!(rule.verbs, ["create"]);
        assert_eq!(rule.resources, ["serviceaccounts/token"]);
        assert_eq!(rule.resource_names, ALL);
    }
}
