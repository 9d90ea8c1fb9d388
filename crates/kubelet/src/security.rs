//! Security contexts of pods and containers as the runtime wants them.

use std::path::{Component, Path};

use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile, SecurityContext};
use knarr_cri::v1::{self, NamespaceMode, SupplementalGroupsPolicy, security_profile::ProfileType};
use knarr_host::paths;

use crate::image;

/// The seccomp profile cannot be looked up; reason CreateContainerConfigError.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProfileError {
    #[error("localhostProfile must be set if seccompProfile type is Localhost.")]
    Absent,
    #[error("localhostProfile {0:?} is not below the kubelet's seccomp directory")]
    Outside(String),
}

/// The container must not run as root, and would; reason CreateContainerConfigError.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RootError {
    #[error(
        "container's runAsUser breaks non-root policy (pod: \"{pod}\", container: {container})"
    )]
    User { pod: String, container: String },
    #[error(
        "container has runAsNonRoot and image will run as root (pod: \"{pod}\", container: {container})"
    )]
    Image { pod: String, container: String },
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root (pod: \"{pod}\", container: {container})"
    )]
    Name {
        pod: String,
        container: String,
        user: String,
    },
}

/// Namespaces of the pod's sandbox, which its containers join.
pub(crate) fn namespaces(pod: &Pod) -> v1::NamespaceOption {
    let spec = pod.spec.as_ref();
    let mode = |host: Option<bool>, own: NamespaceMode| {
        let mode = if host.unwrap_or(false) {
            NamespaceMode::Node
        } else {
            own
        };
        mode as i32
    };
    let shared = spec
        .and_then(|s| s.share_process_namespace)
        .unwrap_or(false);
    let own_pid = if shared {
        NamespaceMode::Pod
    } else {
        NamespaceMode::Container
    };
    v1::NamespaceOption {
        network: mode(spec.and_then(|s| s.host_network), NamespaceMode::Pod),
        ipc: mode(spec.and_then(|s| s.host_ipc), NamespaceMode::Pod),
        pid: mode(spec.and_then(|s| s.host_pid), own_pid),
        ..Default::default()
    }
}

/// Security context of the sandbox.
pub(crate) fn sandbox(pod: &Pod) -> v1::LinuxSandboxSecurityContext {
    let context = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let containers = pod.spec.iter().flat_map(|s| {
        s.containers
            .iter()
            .chain(s.init_containers.iter().flatten())
    });
    let privileged = containers
        .filter_map(|c| c.security_context.as_ref())
        .any(|c| c.privileged.unwrap_or(false));
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        run_as_user: context.and_then(|c| c.run_as_user).map(int),
        run_as_group: context.and_then(|c| c.run_as_group).map(int),
        supplemental_groups: groups(pod),
        supplemental_groups_policy: groups_policy(pod),
        privileged,
        // Whatever the containers run under: what holds the sandbox needs no more.
        seccomp: Some(v1::SecurityProfile {
            profile_type: ProfileType::RuntimeDefault as i32,
            localhost_ref: String::new(),
        }),
        selinux_options: context
            .and_then(|c| c.se_linux_options.as_ref())
            .map(selinux),
        ..Default::default()
    }
}

/// Seccomp profiles of the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profiles<'a> {
    /// Those that pods name are below it.
    pub directory: &'a Path,
    /// Who names none has the runtime's own (`seccompDefault`).
    pub default: bool,
}

/// Security context of a container.
pub(crate) fn container(
    pod: &Pod,
    container: &Container,
    profiles: Profiles<'_>,
) -> Result<v1::LinuxContainerSecurityContext, ProfileError> {
    let of_pod = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let default = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&default);
    let privileged = own.privileged.unwrap_or(false);
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked") || privileged;
    let seccomp = own
        .seccomp_profile
        .as_ref()
        .or_else(|| of_pod.and_then(|c| c.seccomp_profile.as_ref()));
    let linux = own
        .se_linux_options
        .as_ref()
        .or_else(|| of_pod.and_then(|c| c.se_linux_options.as_ref()));
    let (masked, read_only) = if unmasked {
        Default::default()
    } else {
        (paths::masked(), paths::READ_ONLY.map(str::to_owned).into())
    };
    Ok(v1::LinuxContainerSecurityContext {
        capabilities: own.capabilities.as_ref().map(|c| v1::Capability {
            add_capabilities: c.add.clone().unwrap_or_default(),
            drop_capabilities: c.drop.clone().unwrap_or_default(),
            ..Default::default()
        }),
        privileged,
        namespace_options: Some(namespaces(pod)),
        selinux_options: linux.map(selinux),
        run_as_user: own
            .run_as_user
            .or_else(|| of_pod.and_then(|c| c.run_as_user))
            .map(int),
        run_as_group: own
            .run_as_group
            .or_else(|| of_pod.and_then(|c| c.run_as_group))
            .map(int),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: groups(pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        supplemental_groups_policy: groups_policy(pod),
        masked_paths: masked,
        readonly_paths: read_only,
        seccomp: Some(profile(seccomp, profiles)?),
        ..Default::default()
    })
}

/// Has a container see the processes of another one, where each has its own.
pub(crate) fn share_processes(context: &mut v1::LinuxContainerSecurityContext, target: &str) {
    if let Some(options) = &mut context.namespace_options
        && options.pid() == NamespaceMode::Container
    {
        options.set_pid(NamespaceMode::Target);
        target.clone_into(&mut options.target_id);
    }
}

/// Adds the image's user where the pod names none, and refuses root where the pod forbids it.
pub(crate) fn apply_user(
    pod: &Pod,
    container: &Container,
    image: &image::Ready,
    context: &mut v1::LinuxContainerSecurityContext,
) -> Result<(), RootError> {
    let of_pod = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let own = container
        .security_context
        .as_ref()
        .and_then(|c| c.run_as_non_root);
    let non_root = own
        .or_else(|| of_pod.and_then(|c| c.run_as_non_root))
        .unwrap_or(false);
    let names = || (crate::context::display(pod), container.name.clone());
    if non_root {
        let (pod, container) = names();
        match (&context.run_as_user, image.uid, image.username.as_str()) {
            (Some(user), _, _) if user.value == 0 => {
                return Err(RootError::User { pod, container });
            }
            (Some(_), _, _) => {}
            (None, Some(0), _) | (None, None, "") => {
                return Err(RootError::Image { pod, container });
            }
            (None, Some(_), _) => {}
            (None, None, user) => {
                return Err(RootError::Name {
                    pod,
                    container,
                    user: user.to_owned(),
                });
            }
        }
    }
    if context.run_as_user.is_none() {
        match image.uid {
            Some(uid) => context.run_as_user = Some(int(uid)),
            // The image names nobody: root, by number, since CRI takes no group without a user.
            None if image.username.is_empty() => context.run_as_user = Some(int(0)),
            None => image.username.clone_into(&mut context.run_as_username),
        }
    }
    Ok(())
}

fn int(value: i64) -> v1::Int64Value {
    v1::Int64Value { value }
}

fn groups(pod: &Pod) -> Vec<i64> {
    let context = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let mut groups = context
        .and_then(|c| c.supplemental_groups.clone())
        .unwrap_or_default();
    groups.extend(context.and_then(|c| c.fs_group));
    groups
}

fn groups_policy(pod: &Pod) -> i32 {
    let context = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    match context.and_then(|c| c.supplemental_groups_policy.as_deref()) {
        Some("Strict") => SupplementalGroupsPolicy::Strict as i32,
        _ => SupplementalGroupsPolicy::Merge as i32,
    }
}

fn profile(
    given: Option<&SeccompProfile>,
    profiles: Profiles<'_>,
) -> Result<v1::SecurityProfile, ProfileError> {
    let kind = given.map(|p| p.type_.as_str());
    let (kind, localhost_ref) = match kind {
        Some("RuntimeDefault") => (ProfileType::RuntimeDefault, String::new()),
        None if profiles.default => (ProfileType::RuntimeDefault, String::new()),
        Some("Localhost") => {
            let name = given.and_then(|p| p.localhost_profile.as_deref());
            let name = name.filter(|n| !n.is_empty()).ok_or(ProfileError::Absent)?;
            let inside = Path::new(name)
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            if !inside {
                return Err(ProfileError::Outside(name.to_owned()));
            }
            let path = profiles.directory.join(name).display().to_string();
            (ProfileType::Localhost, path)
        }
        _ => (ProfileType::Unconfined, String::new()),
    };
    Ok(v1::SecurityProfile {
        profile_type: kind as i32,
        localhost_ref,
    })
}

fn selinux(options: &k8s_openapi::api::core::v1::SELinuxOptions) -> v1::SeLinuxOption {
    v1::SeLinuxOption {
        user: options.user.clone().unwrap_or_default(),
        role: options.role.clone().unwrap_or_default(),
        r#type: options.type_.clone().unwrap_or_default(),
        level: options.level.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
