use serde_json::{Value, json};

use super::*;
use crate::testing;

const ALL: Features = Features {
    supplemental_groups_policy: true,
    recursive_read_only_mounts: true,
    user_namespaces: true,
    selinux: true,
};

fn rejected(mut spec: Value, features: Features) -> Option<(String, String)> {
    if spec["containers"].is_null() {
        spec["containers"] = json!([{ "name": "main" }]);
    }
    let allowed = Allowlist::new((6, 1), &["kernel.msg*".to_owned()]);
    let outcome = allowed.map(|allowed| check(&testing::pod(spec), &allowed, features));
    match outcome {
        Ok(Err(Rejection {
            reason, message, ..
        })) => Some((reason, message)),
        Ok(Ok(())) => None,
        Err(error) => panic!("{error}"),
    }
}

fn sysctl(name: &str) -> Value {
    json!({ "sysctls": [{ "name": name, "value": "1" }] })
}

#[test]
fn what_a_node_has_is_let_in() {
    for spec in [
        json!({}),
        json!({ "securityContext": sysctl("net.ipv4.tcp_syncookies") }),
        json!({ "securityContext": sysctl("kernel/msgmax") }),
        json!({ "hostUsers": true, "runtimeClassName": "" }),
        json!({ "hostUsers": false }),
        json!({ "os": { "name": "linux" } }),
        json!({ "securityContext": { "appArmorProfile": { "type": "Unconfined" }, "seLinuxOptions": {} } }),
        json!({ "securityContext": { "supplementalGroupsPolicy": "Strict" } }),
    ] {
        assert_eq!(rejected(spec.clone(), ALL), None, "{spec}");
    }
}

#[test]
fn what_would_be_ignored_is_turned_away() {
    let profile = json!({ "appArmorProfile": { "type": "RuntimeDefault" } });
    let label = json!({ "seLinuxOptions": { "level": "s0" } });
    let container = |list: &str, context: &Value| json!({ list: [{ "name": "c", "securityContext": context }] });
    for (spec, reason, message) in [
        (
            json!({ "securityContext": sysctl("kernel.core_pattern") }),
            "SysctlForbidden",
            "forbidden sysctl: \"kernel.core_pattern\" not allowlisted",
        ),
        (
            json!({ "hostNetwork": true, "securityContext": sysctl("net.ipv4.tcp_syncookies") }),
            "SysctlForbidden",
            "forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host Net enabled",
        ),
        (
            json!({ "hostIPC": true, "securityContext": sysctl("kernel.shm_rmid_forced") }),
            "SysctlForbidden",
            "forbidden sysctl: \"kernel.shm_rmid_forced\" not allowed with host IPC enabled",
        ),
        (
            json!({ "os": { "name": "windows" } }),
            "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS",
        ),
        (
            json!({ "securityContext": profile }),
            "AppArmor",
            "Cannot enforce AppArmor: AppArmor is not enabled on the host",
        ),
        (
            container("initContainers", &profile),
            "AppArmor",
            "Cannot enforce AppArmor: AppArmor is not enabled on the host",
        ),
        (
            container("containers", &label),
            "PodFeatureUnsupported",
            "seLinuxOptions cannot be applied: this node does not label containers",
        ),
    ] {
        let wanted = Some((reason.to_owned(), message.to_owned()));
        assert_eq!(rejected(spec.clone(), ALL), wanted, "{spec}");
    }
    let without = Features {
        selinux: false,
        ..ALL
    };
    assert_eq!(rejected(container("containers", &label), without), None);
    let own_users = rejected(json!({ "hostUsers": false }), Features::default());
    let why = "can't set `spec.hostUsers: false`, runtime does not support user namespaces";
    let wanted = Some(("PodFeatureUnsupported".to_owned(), why.to_owned()));
    assert_eq!(own_users, wanted);
    let strict = json!({ "securityContext": { "supplementalGroupsPolicy": "Strict" } });
    let reason = rejected(strict, Features::default()).map(|(reason, _)| reason);
    assert_eq!(
        reason.as_deref(),
        Some("SupplementalGroupsPolicyNotSupported")
    );
}

#[test]
fn a_pod_labelled_for_another_system_is_turned_away() {
    let allowed = Allowlist::new((6, 1), &[]).unwrap();
    let answer = |os: &str| {
        let mut pod = testing::pod(json!({ "containers": [{ "name": "main" }] }));
        let label = ("kubernetes.io/os".to_owned(), os.to_owned());
        pod.metadata.labels.get_or_insert_default().extend([label]);
        check(&pod, &allowed, ALL).err().map(|why| why.reason)
    };
    assert_eq!(answer("linux"), None);
    assert_eq!(
        answer("windows").as_deref(),
        Some("PodOSSelectorNodeLabelDoesNotMatch")
    );
}
