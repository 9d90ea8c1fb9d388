//! Annotations and finalizers by which the parties tell each other how far they are.

/// Of claims: the binder has once bound the claim.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Of volumes and claims: the binder chose the other, not a user.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Of volumes: who made it, and removes what it holds.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Of claims: who is to make its volume.
pub const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// As above, under its old name. Both are written.
pub const BETA_STORAGE_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";
/// Of claims: the node that the scheduler has chosen for their first pod.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Of volumes and claims: their class, from before there was a field for it.
pub const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// Of classes: claims without a class get this one.
pub const DEFAULT_CLASS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

/// Keeps a claim while a pod uses it.
pub const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
/// Keeps a volume while a claim has it.
pub const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";
/// Keeps a class of attributes while a claim or a volume names it.
pub const ATTRIBUTES_PROTECTION: &str = "kubernetes.io/vac-protection";
/// Keeps a volume until its provisioner has removed what it holds.
pub const PROVISIONER_FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";

/// The provisioner of the class that every cluster has: a directory on the pod's node.
pub const LOCAL_PATH_PROVISIONER: &str = "rancher.io/local-path";
