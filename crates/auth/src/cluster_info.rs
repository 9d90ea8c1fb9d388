//! What a cluster publishes for machines that are to join it, and for those that have.
//!
//! `kube-public/cluster-info` is kubeadm's: a kubeconfig with the server and its authority, signed by each bootstrap token that may
//! sign. Anybody may read it. `kube-system/knarr-node-config` is for nodes: what they must agree on.

/// Where the public object is.
pub const NAMESPACE: &str = "kube-public";
pub const NAME: &str = "cluster-info";
/// Key of the kubeconfig.
pub const KUBECONFIG: &str = "kubeconfig";
/// Keys of signatures are this and a token's id.
pub const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

/// Where nodes' settings are.
pub const SETTINGS_NAMESPACE: &str = "kube-system";
pub const SETTINGS_NAME: &str = "knarr-node-config";

/// Reason of the condition by which a request is denied for a node whose name is another one's.
pub const NAME_TAKEN: &str = "NodeNameTaken";
