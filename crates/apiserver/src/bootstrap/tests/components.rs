use super::*;

/// The identities that the components run under can do their work.
#[tokio::test]
async fn components_are_authorized() {
    let fake = Fake::new();
    bootstrap(&fake).run().await.unwrap();
    let authz = Authz::new(fake);
    let controller = |name: &str| format!("system:serviceaccount:kube-system:{name}");
    let ask = |who: &str, verb: &str, group: &str, resource: &str, subresource: &str| {
        let asked = RequestInfo {
            is_resource: true,
            verb,
            group,
            namespace: "ns",
            resource,
            subresource,
            ..RequestInfo::default()
        };
        matches!(
            authz.authorize(&user(who, &["system:authenticated"]), &asked),
            Decision::Allow { .. }
        )
    };
    for (who, verb, group, resource, subresource) in [
        (
            "system:kube-controller-manager".to_owned(),
            "watch",
            "apps",
            "deployments",
            "",
        ),
        (
            "system:kube-scheduler".into(),
            "create",
            "",
            "pods",
            "binding",
        ),
        (
            "system:kube-scheduler".into(),
            "patch",
            "",
            "pods",
            "status",
        ),
        (
            "system:kube-scheduler".into(),
            "create",
            "events.k8s.io",
            "events",
            "",
        ),
        (
            "system:kube-proxy".into(),
            "watch",
            "discovery.k8s.io",
            "endpointslices",
            "",
        ),
        (controller("kube-proxy"), "watch", "", "services", ""),
        (controller("pod-network"), "watch", "", "nodes", ""),
        (
            controller("network-policy"),
            "watch",
            "networking.k8s.io",
            "networkpolicies",
            "",
        ),
        (
            controller("kube-dns"),
            "watch",
            "discovery.k8s.io",
            "endpointslices",
            "",
        ),
        (
            controller("deployment-controller"),
            "create",
            "apps",
            "replicasets",
            "",
        ),
        (
            controller("replicaset-controller"),
            "create",
            "",
            "pods",
            "",
        ),
        (
            controller("endpointslice-controller"),
            "create",
            "discovery.k8s.io",
            "endpointslices",
            "",
        ),
        (
            controller("endpoint-controller"),
            "update",
            "",
            "endpoints",
            "",
        ),
        (
            controller("namespace-controller"),
            "update",
            "",
            "namespaces",
            "finalize",
        ),
        (
            controller("namespace-controller"),
            "deletecollection",
            "apps",
            "deployments",
            "",
        ),
        (
            controller("generic-garbage-collector"),
            "delete",
            "",
            "pods",
            "",
        ),
        (
            controller("pod-garbage-collector"),
            "delete",
            "",
            "pods",
            "",
        ),
        (controller("node-controller"), "patch", "", "nodes", ""),
        (
            controller("root-ca-cert-publisher"),
            "create",
            "",
            "configmaps",
            "",
        ),
        (
            controller("service-account-controller"),
            "create",
            "",
            "serviceaccounts",
            "",
        ),
        (
            controller("clusterrole-aggregation-controller"),
            "escalate",
            GROUP,
            "clusterroles",
            "",
        ),
        (
            controller("cronjob-controller"),
            "create",
            "batch",
            "jobs",
            "",
        ),
        (
            controller("cronjob-controller"),
            "update",
            "batch",
            "cronjobs",
            "status",
        ),
        (
            controller("disruption-controller"),
            "update",
            "policy",
            "poddisruptionbudgets",
            "status",
        ),
        (
            controller("disruption-controller"),
            "get",
            "example.com",
            "widgets",
            "scale",
        ),
        (
            controller("disruption-controller"),
            "patch",
            "",
            "pods",
            "status",
        ),
        (
            controller("resourcequota-controller"),
            "update",
            "",
            "resourcequotas",
            "status",
        ),
        (
            controller("resourcequota-controller"),
            "list",
            "example.com",
            "widgets",
            "",
        ),
        (
            "anyone".into(),
            "create",
            "authorization.k8s.io",
            "selfsubjectaccessreviews",
            "",
        ),
    ] {
        assert!(
            ask(&who, verb, group, resource, subresource),
            "{who} {verb} {resource}/{subresource}"
        );
    }
    assert!(!ask("anyone", "get", "", "secrets", ""));
    assert!(!ask("system:kube-scheduler", "get", "", "secrets", ""));
}
