use serde_json::json;

use super::*;
use crate::testing::pod;

fn ready(uid: Option<i64>, username: &str) -> image::Ready {
    image::Ready {
        id: "i".into(),
        uid,
        username: username.into(),
        references: Vec::new(),
        was_there: true,
        preloaded: false,
    }
}

fn context(pod: &Pod) -> Result<v1::LinuxContainerSecurityContext, ProfileError> {
    let first = &pod.spec.as_ref().unwrap().containers[0];
    container(pod, first, profiles(false))
}

fn profiles(default: bool) -> Profiles<'static> {
    Profiles {
        directory: Path::new("/seccomp"),
        default,
    }
}

#[test]
fn who_names_no_profile_may_have_the_runtimes() {
    let none = pod(json!({ "containers": [{ "name": "a" }] }));
    let unconfined = pod(json!({
        "containers": [{ "name": "a", "securityContext": { "seccompProfile": { "type": "Unconfined" } } }],
    }));
    for (pod, default, expected) in [
        (&none, false, ProfileType::Unconfined),
        (&none, true, ProfileType::RuntimeDefault),
        (&unconfined, true, ProfileType::Unconfined),
    ] {
        let first = &pod.spec.as_ref().unwrap().containers[0];
        let made = container(pod, first, profiles(default)).unwrap();
        assert_eq!(made.seccomp.unwrap().profile_type(), expected);
    }
}

#[test]
fn profiles_are_below_the_directory_for_them() {
    let of = |profile: serde_json::Value| {
        let pod = pod(json!({
            "securityContext": { "seccompProfile": { "type": "Localhost", "localhostProfile": profile } },
            "containers": [{ "name": "a" }],
        }));
        context(&pod).map(|made| made.seccomp.unwrap().localhost_ref)
    };
    assert_eq!(of(json!("a/b.json")), Ok("/seccomp/a/b.json".to_owned()));
    assert_eq!(of(json!(null)), Err(ProfileError::Absent));
    for outside in ["/etc/shadow", "../x", "a/../../x"] {
        assert_eq!(
            of(json!(outside)),
            Err(ProfileError::Outside(outside.to_owned()))
        );
    }
}

#[test]
fn groups_are_strict_where_the_pod_says_so() {
    for (policy, wanted) in [
        (json!("Strict"), SupplementalGroupsPolicy::Strict),
        (json!("Merge"), SupplementalGroupsPolicy::Merge),
        (json!(null), SupplementalGroupsPolicy::Merge),
    ] {
        let pod = pod(json!({
            "securityContext": { "supplementalGroupsPolicy": policy }, "containers": [{ "name": "a" }],
        }));
        let made = context(&pod).unwrap();
        assert_eq!(made.supplemental_groups_policy(), wanted);
        assert_eq!(sandbox(&pod).supplemental_groups_policy(), wanted);
    }
}

#[test]
fn the_container_overrides_the_pod() {
    let pod = pod(json!({
        "securityContext": { "runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4] },
        "containers": [{ "name": "a", "securityContext": { "runAsUser": 9, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true } }],
    }));
    let made = context(&pod).unwrap();
    assert_eq!(made.run_as_user.unwrap().value, 9);
    assert_eq!(made.run_as_group.unwrap().value, 2);
    assert_eq!(made.supplemental_groups, [4, 3]);
    assert!(made.no_new_privs && made.readonly_rootfs && !made.privileged);
    assert!(made.masked_paths.contains(&"/proc/kcore".to_owned()));
    assert_eq!(
        made.seccomp.unwrap().profile_type,
        ProfileType::Unconfined as i32
    );
}

#[test]
fn namespaces_of_the_host() {
    let made = namespaces(&pod(
        json!({ "containers": [], "hostNetwork": true, "shareProcessNamespace": true }),
    ));
    assert_eq!(
        (made.network, made.pid, made.ipc),
        (
            NamespaceMode::Node as i32,
            NamespaceMode::Pod as i32,
            NamespaceMode::Pod as i32
        )
    );
}

#[test]
fn root_is_refused_where_it_is_forbidden() {
    let check = |user: Option<i64>, image: image::Ready| {
        let pod = pod(
            json!({ "securityContext": { "runAsNonRoot": true, "runAsUser": user }, "containers": [{ "name": "a" }] }),
        );
        let own = &pod.spec.as_ref().unwrap().containers[0];
        let mut made = context(&pod).unwrap();
        apply_user(&pod, own, &image, &mut made).map_err(|error| error.to_string())
    };
    assert_eq!(check(Some(5), ready(Some(0), "")), Ok(()));
    assert_eq!(check(None, ready(Some(5), "")), Ok(()));
    assert!(
        check(Some(0), ready(Some(5), ""))
            .unwrap_err()
            .contains("breaks non-root policy")
    );
    assert!(
        check(None, ready(None, ""))
            .unwrap_err()
            .contains("image will run as root")
    );
    assert!(
        check(None, ready(None, "nginx"))
            .unwrap_err()
            .contains("non-numeric user (nginx)")
    );
}

#[test]
fn a_container_always_has_a_user() {
    let check = |user: Option<i64>, image: image::Ready| {
        let pod = pod(
            json!({ "securityContext": { "runAsUser": user, "runAsGroup": 7 }, "containers": [{ "name": "a" }] }),
        );
        let own = &pod.spec.as_ref().unwrap().containers[0];
        let mut made = context(&pod).unwrap();
        apply_user(&pod, own, &image, &mut made).unwrap();
        (
            made.run_as_user.map(|user| user.value),
            made.run_as_username,
        )
    };
    assert_eq!(check(Some(5), ready(Some(6), "")), (Some(5), String::new()));
    assert_eq!(check(None, ready(Some(6), "")), (Some(6), String::new()));
    assert_eq!(check(None, ready(None, "web")), (None, "web".to_owned()));
    assert_eq!(check(None, ready(None, "")), (Some(0), String::new()));
}
