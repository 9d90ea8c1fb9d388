use std::sync::Arc;

use knarr_auth::{
    authz::{Authz, MASTERS, rbac::GROUP},
    testing::{
        kind,
        rbac::{binding, cluster, role},
        user,
    },
};
use serde_json::json;

use super::RbacEscalation;
use crate::testing::Write;

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() {
    let fake = cluster();
    fake.put(
        GROUP,
        "clusterroles",
        role(
            "",
            "escalator",
            &["escalate rbac.authorization.k8s.io roles"],
        ),
    );
    fake.put(
        GROUP,
        "clusterroles",
        role(
            "",
            "binder",
            &["bind rbac.authorization.k8s.io clusterroles reader"],
        ),
    );
    fake.put(GROUP, "clusterroles", role("", "powerful", &["* * *"]));
    fake.put(
        GROUP,
        "rolebindings",
        binding("blue", "eve-escalates", "ClusterRole/escalator", "User:eve"),
    );
    fake.put(
        GROUP,
        "rolebindings",
        binding("blue", "eve-binds", "ClusterRole/binder", "User:eve"),
    );
    let authz = Arc::new(Authz::new(fake));
    let plugin = RbacEscalation::new(authz.rbac().clone(), authz);
    let (roles, bindings) = (
        kind(GROUP, "roles", "Role"),
        kind(GROUP, "rolebindings", "RoleBinding"),
    );
    let (ann, eve, root) = (
        user("ann", &["devs"]),
        user("eve", &[]),
        user("root", &[MASTERS]),
    );

    for (who, kind, object, expected) in [
        (&ann, roles, role("blue", "r", &["get core pods"]), Ok(())),
        (
            &ann,
            roles,
            role("blue", "r", &["get,delete core pods"]),
            Err(
                "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"ann\" (groups=[\"devs\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}",
            ),
        ),
        (&eve, roles, role("blue", "r", &["* * *"]), Ok(())),
        (&root, roles, role("blue", "r", &["* * *"]), Ok(())),
        (
            &ann,
            bindings,
            binding("blue", "b", "ClusterRole/reader", "User:x"),
            Ok(()),
        ),
        (
            &eve,
            bindings,
            binding("blue", "b", "ClusterRole/reader", "User:x"),
            Ok(()),
        ),
        (
            &eve,
            bindings,
            binding("blue", "b", "ClusterRole/powerful", "User:x"),
            Err(
                "rolebindings.rbac.authorization.k8s.io \"b\" is forbidden: user \"eve\" (groups=[]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}",
            ),
        ),
        (
            &eve,
            bindings,
            binding("blue", "b", "Role/nope", "User:x"),
            Err("role.rbac.authorization.k8s.io \"nope\" not found"),
        ),
    ] {
        let answer = Write::create(kind, who.clone(), object.clone())
            .run(&plugin)
            .await;
        assert_eq!(
            answer.map(drop).map_err(|s| s.message),
            expected.map_err(String::from),
            "{} {object}",
            who.name
        );
    }

    // The garbage collector may drop owners of what it does not hold.
    let old = role("blue", "r", &["* * *"]);
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!(["x"]);
    assert!(
        Write::update(roles, ann, old, new)
            .run(&plugin)
            .await
            .is_ok()
    );
}
