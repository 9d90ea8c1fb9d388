//! What a pod asks of its node's security that the node does not have. Running the pod without would be less than it was
//! promised, so it does not run.

use k8s_openapi::api::core::v1::{AppArmorProfile, Pod, PodSpec, SELinuxOptions, SecurityContext};
use knarr_host::sysctl::{Allowlist, Shared};

use super::Rejection;
use crate::runtime::Features;

/// What this node runs.
const OS: &str = "linux";
/// Reasons are upstream's.
const SYSCTL_FORBIDDEN: &str = "SysctlForbidden";
const APP_ARMOR: &str = "AppArmor";
const OS_LABEL: &str = "PodOSSelectorNodeLabelDoesNotMatch";
const OS_FIELD: &str = "PodOSNotSupported";
const GROUPS_POLICY: &str = "SupplementalGroupsPolicyNotSupported";
const UNSUPPORTED: &str = "PodFeatureUnsupported";
/// Annotations of AppArmor profiles, from before there were fields for them.
const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

pub(super) fn check(pod: &Pod, sysctls: &Allowlist, features: Features) -> Result<(), Rejection> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    check_os(pod, spec)?;
    check_sysctls(spec, sysctls)?;
    if spec.host_users == Some(false) && !features.user_namespaces {
        let why = "can't set `spec.hostUsers: false`, runtime does not support user namespaces";
        return Err(Rejection::new(UNSUPPORTED, why));
    }
    if wants_app_armor(pod, spec) {
        let why = "Cannot enforce AppArmor: AppArmor is not enabled on the host";
        return Err(Rejection::new(APP_ARMOR, why));
    }
    // A host without SELinux has nothing that a label could be missing from; upstream runs such pods too.
    if features.selinux && wants_selinux(spec) {
        let why = "seLinuxOptions cannot be applied: this node does not label containers";
        return Err(Rejection::new(UNSUPPORTED, why));
    }
    let policy = spec
        .security_context
        .as_ref()
        .and_then(|c| c.supplemental_groups_policy.as_deref());
    if policy == Some("Strict") && !features.supplemental_groups_policy {
        let why = "SupplementalGroupsPolicy=Strict is not supported in this node";
        return Err(Rejection::new(GROUPS_POLICY, why));
    }
    Ok(())
}

/// The system that the pod says it is made for, by its field or by a label of its own.
fn check_os(pod: &Pod, spec: &PodSpec) -> Result<(), Rejection> {
    let labels = pod.metadata.labels.as_ref();
    if labels
        .and_then(|labels| labels.get("kubernetes.io/os"))
        .is_some_and(|os| os != OS)
    {
        let why = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return Err(Rejection::new(OS_LABEL, why));
    }
    if spec.os.as_ref().is_some_and(|os| os.name != OS) {
        let why = "Failed to admit pod as the OS field doesn't match node OS";
        return Err(Rejection::new(OS_FIELD, why));
    }
    Ok(())
}

fn check_sysctls(spec: &PodSpec, allowed: &Allowlist) -> Result<(), Rejection> {
    let context = spec.security_context.as_ref();
    let host_network = spec.host_network.unwrap_or(false);
    let shared = Shared {
        net: host_network,
        ipc: spec.host_ipc.unwrap_or(false),
        // A pod on the host's network has the host's name as well.
        uts: host_network,
        user: spec.host_users.unwrap_or(true),
    };
    for sysctl in context
        .and_then(|c| c.sysctls.as_ref())
        .into_iter()
        .flatten()
    {
        allowed
            .check(&sysctl.name, shared)
            .map_err(|why| Rejection::new(SYSCTL_FORBIDDEN, format!("forbidden sysctl: {why}")))?;
    }
    Ok(())
}

/// Contexts of all containers, whichever list they are in.
fn contexts(spec: &PodSpec) -> impl Iterator<Item = &SecurityContext> {
    let init = spec.init_containers.iter().flatten();
    let main = spec.containers.iter();
    let of_containers = init.chain(main).map(|c| &c.security_context);
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    of_containers
        .chain(ephemeral.map(|c| &c.security_context))
        .flatten()
}

fn wants_app_armor(pod: &Pod, spec: &PodSpec) -> bool {
    let confines = |profile: &AppArmorProfile| profile.type_ != "Unconfined";
    let of_pod = spec
        .security_context
        .as_ref()
        .and_then(|c| c.app_armor_profile.as_ref());
    let of_containers = contexts(spec).filter_map(|c| c.app_armor_profile.as_ref());
    let annotations = pod.metadata.annotations.iter().flatten();
    of_pod.into_iter().chain(of_containers).any(confines)
        || annotations
            .into_iter()
            .any(|(key, value)| key.starts_with(APP_ARMOR_ANNOTATION) && value != "unconfined")
}

fn wants_selinux(spec: &PodSpec) -> bool {
    let of_pod = spec
        .security_context
        .as_ref()
        .and_then(|c| c.se_linux_options.as_ref());
    let of_containers = contexts(spec).filter_map(|c| c.se_linux_options.as_ref());
    let says = |options: &SELinuxOptions| *options != SELinuxOptions::default();
    of_pod.into_iter().chain(of_containers).any(says)
}

#[cfg(test)]
mod tests;
