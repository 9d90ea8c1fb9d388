mod components;

use std::sync::{Arc, atomic::Ordering};

use knarr_auth::{
    authz::{Authz, rbac::GROUP},
    policy::{cluster_role, policy},
    request::{Authorizer, Decision, RequestInfo},
    testing::{Fake, user},
};
use serde_json::{Value, json};

use super::{
    reconcile::{merge_binding, merge_role},
    *,
};

fn config() -> Config {
    Config {
        service_ip: "10.43.0.1".parse().unwrap(),
        service_cidrs: vec!["10.43.0.0/16".parse().unwrap()],
        advertise_ip: "192.0.2.1".parse().unwrap(),
        port: 6443,
        cluster_dns: vec!["10.43.0.10".parse().unwrap()],
        dns_endpoint: Some(("192.0.2.1".parse().unwrap(), 5353)),
        client_ca: "a client authority".into(),
        front_proxy_ca: "a front proxy's authority".into(),
        node_settings: BTreeMap::from([("clusterDomain".into(), "cluster.local".into())]),
    }
}

fn bootstrap(fake: &Arc<Fake>) -> Bootstrap {
    Bootstrap::new(config(), fake.clone(), fake.clone(), None)
}

#[test]
fn the_table_is_whole() {
    let policy = policy();
    assert!(policy.roles.len() > 70, "{}", policy.roles.len());
    assert!(policy.bindings.len() > 50, "{}", policy.bindings.len());
    for binding in &policy.bindings {
        let role = policy
            .roles
            .iter()
            .find(|role| role.namespace == binding.namespace && role.name == binding.role);
        assert!(role.is_some(), "{} binds {}", binding.name, binding.role);
    }
    for role in &policy.roles {
        assert!(!role.rules.is_empty(), "{} grants nothing", role.name);
    }
    let events = cluster_role("system:kube-scheduler").unwrap().rules[0].compact();
    assert_eq!(
        events,
        r#"{APIGroups:["" "events.k8s.io"], Resources:["events"], Verbs:["create" "patch" "update"]}"#
    );
}

#[test]
fn gatherers_hold_what_they_gather() {
    let rules = |name| cluster_role(name).unwrap().rules;
    for part in rules("system:aggregate-to-view") {
        assert!(
            rules("view").contains(&part)
                && rules("edit").contains(&part)
                && rules("admin").contains(&part)
        );
    }
    assert!(
        rules("admin").len() > rules("edit").len() && rules("edit").len() > rules("view").len()
    );
    let admin = cluster_role("admin").unwrap().object();
    assert_eq!(
        admin["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"]["rbac.authorization.k8s.io/aggregate-to-admin"],
        "true"
    );
    assert_eq!(
        cluster_role("view").unwrap().object()["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"],
        "true"
    );
}

#[tokio::test]
async fn the_first_start_makes_everything_and_the_second_nothing() {
    let fake = Fake::new();
    bootstrap(&fake).run().await.unwrap();
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        fake.stored("", "namespaces", "", namespace);
    }
    let service = fake.stored("", "services", "default", "kubernetes");
    assert_eq!(service["spec"]["clusterIP"], "10.43.0.1");
    assert_eq!(service["spec"]["ports"][0]["targetPort"], 6443);
    let endpoints = fake.stored("", "endpoints", "default", "kubernetes");
    assert_eq!(
        endpoints["subsets"][0]["addresses"],
        json!([{"ip": "192.0.2.1"}])
    );
    let slice = fake.stored(
        "discovery.k8s.io",
        "endpointslices",
        "kube-system",
        "kube-dns",
    );
    assert_eq!(
        slice["ports"][0],
        json!({"name": "dns", "port": 5353, "protocol": "UDP"})
    );
    assert_eq!(
        fake.stored(
            "scheduling.k8s.io",
            "priorityclasses",
            "",
            "system-node-critical"
        )["value"],
        2_000_001_000
    );
    let class = fake.stored("storage.k8s.io", "storageclasses", "", "local-path");
    assert_eq!(class["provisioner"], "rancher.io/local-path");
    let api_services = aggregation::api_services().unwrap().len();
    let trust = fake.stored(
        "",
        "configmaps",
        "kube-system",
        "extension-apiserver-authentication",
    );
    assert_eq!(trust["data"]["client-ca-file"], "a client authority");
    assert_eq!(
        trust["data"]["requestheader-client-ca-file"],
        "a front proxy's authority"
    );
    assert_eq!(
        fake.count(),
        4 + 3
            + 2
            + 2
            + 1
            + 1
            + 1
            + 8
            + 11
            // Since when uses of tokens are noted.
            + 1
            // What machines that join must find.
            + 7
            + api_services
            + policy().roles.len()
            + policy().bindings.len()
    );
    let range = fake.stored("networking.k8s.io", "servicecidrs", "", "kubernetes");
    assert_eq!(range["spec"]["cidrs"], json!(["10.43.0.0/16"]));
    assert_eq!(range["status"]["conditions"][0]["type"], "Ready");

    // A user who has another default class keeps it.
    let mut class = class;
    class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] =
        "false".into();
    fake.put("storage.k8s.io", "storageclasses", class);
    let writes = fake.writes.load(Ordering::Relaxed);
    bootstrap(&fake).run().await.unwrap();
    assert_eq!(fake.writes.load(Ordering::Relaxed), writes);
}

#[tokio::test]
async fn what_was_changed_is_repaired_and_what_was_added_stays() {
    let fake = Fake::new();
    bootstrap(&fake).run().await.unwrap();
    let mut endpoints = fake.stored("", "endpoints", "default", "kubernetes");
    endpoints["subsets"] = json!([]);
    fake.put("", "endpoints", endpoints);
    fake.remove(
        "discovery.k8s.io",
        "endpointslices",
        "default",
        "kubernetes",
    );
    let mut view = fake.stored(GROUP, "clusterroles", "", "system:basic-user");
    view["rules"] = json!([{"verbs": ["get"], "apiGroups": ["x"], "resources": ["y"]}]);
    fake.put(GROUP, "clusterroles", view);
    let mut binding = fake.stored(GROUP, "clusterrolebindings", "", "system:basic-user");
    binding["roleRef"]["name"] = "cluster-admin".into();
    fake.put(GROUP, "clusterrolebindings", binding);

    bootstrap(&fake).run().await.unwrap();
    assert_eq!(
        fake.stored("", "endpoints", "default", "kubernetes")["subsets"][0]["ports"][0]["port"],
        6443
    );
    assert_eq!(
        fake.stored(
            "discovery.k8s.io",
            "endpointslices",
            "default",
            "kubernetes"
        )["addressType"],
        "IPv4"
    );
    let rules = fake.stored(GROUP, "clusterroles", "", "system:basic-user")["rules"].clone();
    assert_eq!(rules[0]["resources"], json!(["y"]));
    assert_eq!(rules.as_array().unwrap().len(), 4);
    assert_eq!(
        fake.stored(GROUP, "clusterrolebindings", "", "system:basic-user")["roleRef"]["name"],
        "system:basic-user"
    );
}

#[tokio::test(start_paused = true)]
async fn maintenance_repairs_until_cancelled() {
    let fake = Fake::new();
    let bootstrap = Arc::new(bootstrap(&fake));
    bootstrap.run().await.unwrap();
    let token = CancellationToken::new();
    let task = tokio::spawn({
        let (bootstrap, token) = (bootstrap.clone(), token.clone());
        async move { bootstrap.maintain(token).await }
    });
    tokio::time::sleep(MAINTAIN_PERIOD / 2).await;
    fake.remove("", "services", "default", "kubernetes");
    tokio::time::sleep(MAINTAIN_PERIOD * 2).await;
    assert_eq!(
        fake.stored("", "services", "default", "kubernetes")["spec"]["clusterIP"],
        "10.43.0.1"
    );
    token.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn the_day_since_when_uses_of_tokens_are_noted_stays() {
    let fake = Fake::new();
    let name = "kube-apiserver-legacy-service-account-token-tracking";
    let today = knarr_auth::tokens::legacy::date(jiff::Timestamp::now());
    for (data, kept) in [
        (json!({"since": "2025-02-28", "more": "x"}), true),
        (json!({"since": "a while ago"}), false),
        (json!({}), false),
        (json!(null), false),
    ] {
        let metadata = json!({"namespace": "kube-system", "name": name});
        fake.put(
            "",
            "configmaps",
            json!({"metadata": metadata, "data": data}),
        );
        bootstrap(&fake).run().await.unwrap();
        let stored = fake.stored("", "configmaps", "kube-system", name);
        match kept {
            true => assert_eq!(stored["data"], data),
            false => assert_eq!(stored["data"]["since"], today.as_str(), "{data}"),
        }
    }
}

#[test]
fn administrators_have_the_last_word() {
    let wanted = cluster_role("system:basic-user").unwrap().object();
    let mut protected = json!({"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}, "rules": []});
    assert_eq!(merge_role(&mut protected, &wanted), Merge::Fine);
    let mut empty = json!({"metadata": {"name": "x"}, "rules": null});
    assert_eq!(merge_role(&mut empty, &wanted), Merge::Changed);
    assert_eq!(merge_role(&mut empty, &wanted), Merge::Fine);
    let reference = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": "a"});
    let subject = |name: &str| json!({"apiGroup": GROUP, "kind": "User", "name": name});
    let binding =
        |subjects: Value| json!({"metadata": {}, "roleRef": reference, "subjects": subjects});
    let mut stored = binding(json!([subject("own")]));
    assert_eq!(
        merge_binding(&mut stored, &binding(json!([subject("wanted")]))),
        Merge::Changed
    );
    assert_eq!(
        stored["subjects"],
        json!([subject("own"), subject("wanted")])
    );
}

#[test]
fn no_endpoint_is_made_for_a_link_local_dns() {
    let config = Config {
        dns_endpoint: Some(("169.254.20.10".parse().unwrap(), 53)),
        ..config()
    };
    assert_eq!(objects::dns_service(&config).unwrap().len(), 1);
}

#[tokio::test]
async fn machines_that_join_find_the_cluster() {
    let fake = Fake::new();
    let bootstrap = bootstrap(&fake);
    bootstrap.run().await.unwrap();
    let info = || fake.stored("", "configmaps", "kube-public", "cluster-info");
    let kubeconfig: Value =
        serde_json::from_str(info()["data"]["kubeconfig"].as_str().unwrap()).unwrap();
    let cluster = &kubeconfig["clusters"][0]["cluster"];
    assert_eq!(cluster["server"], "https://192.0.2.1:6443");
    let settings = fake.stored("", "configmaps", "kube-system", "knarr-node-config");
    assert_eq!(settings["data"], json!({"clusterDomain": "cluster.local"}));
    fake.stored("", "serviceaccounts", "kube-system", "kube-proxy");

    // What is changed is put right, and the signer's part stays.
    let mut changed = info();
    changed["data"] = json!({"kubeconfig": "other", "jws-kubeconfig-abc123": "x"});
    fake.put("", "configmaps", changed);
    bootstrap.run().await.unwrap();
    assert_eq!(info()["data"]["kubeconfig"], kubeconfig.to_string());
    assert_eq!(info()["data"]["jws-kubeconfig-abc123"], "x");
}
