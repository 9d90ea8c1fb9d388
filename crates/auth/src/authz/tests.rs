use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
};

use serde_json::{Value, json};

use super::{rbac::GROUP, review::AccessReviews, rules::Rule, *};
use crate::{
    request::Selectors,
    testing::{
        Fake,
        rbac::{binding, cluster, role, rule},
        user,
    },
};

/// `verb [ns:]resource[.group][/sub] [name]` or `verb /path`.
fn request(text: &'static str) -> RequestInfo<'static> {
    let mut words = text.split(' ');
    let (verb, what, name) = (
        words.next().unwrap(),
        words.next().unwrap(),
        words.next().unwrap_or_default(),
    );
    if what.starts_with('/') {
        return RequestInfo {
            path: what,
            verb,
            ..RequestInfo::default()
        };
    }
    let (namespace, what) = what.split_once(':').unwrap_or(("", what));
    let (what, subresource) = what.split_once('/').unwrap_or((what, ""));
    let (resource, group) = what.split_once('.').unwrap_or((what, ""));
    RequestInfo {
        is_resource: true,
        verb,
        namespace,
        group,
        resource,
        subresource,
        name,
        ..RequestInfo::default()
    }
}

fn allowed(decision: &Decision) -> bool {
    matches!(decision, Decision::Allow { .. })
}

#[test]
fn rules_match_as_upstream() {
    for (text, asked, expected) in [
        ("get core pods", "get default:pods a", true),
        ("get core pods", "list default:pods", false),
        ("get core pods", "get default:pods.metrics.k8s.io a", false),
        ("get core pods", "get default:pods/log a", false),
        ("get core pods/log", "get default:pods/log a", true),
        ("get core pods/log", "get default:pods a", false),
        ("* * *", "delete default:pods/log a", true),
        ("* * *", "get /metrics", false),
        (
            "get * */scale",
            "get default:deployments.apps/scale a",
            true,
        ),
        (
            "get * */scale",
            "get default:deployments.apps/status a",
            false,
        ),
        ("get * */scale", "get default:scale a", false),
        ("get core configmaps a,b", "get default:configmaps b", true),
        ("get core configmaps a,b", "get default:configmaps c", false),
        ("list core configmaps a", "list default:configmaps", false),
        // A name with a port is another name, as upstream.
        ("get core nodes/proxy a", "get nodes/proxy a", true),
        ("get core nodes/proxy a", "get nodes/proxy a:9100", false),
        (
            "get core nodes/proxy a:9100",
            "get nodes/proxy a:9100",
            true,
        ),
        ("get url /healthz/*", "get /healthz/etcd", true),
        ("get url /healthz/*", "get /healthz", false),
        ("get url /api*", "get /apis/apps", true),
        ("get url *", "get /anything", true),
        ("get url /metrics", "post /metrics", false),
    ] {
        assert_eq!(
            rule(text).allows(&request(asked)),
            expected,
            "{text} / {asked}"
        );
    }
}

#[test]
fn covering_splits_what_is_wanted() {
    let check = |held: &[&str], wanted: &str, expected: &[&str]| {
        let held: Vec<Rule> = held.iter().map(|text| rule(text)).collect();
        let missing =
            cover::join_verbs(cover::missing(held.iter(), &[rule(wanted)]).unwrap().parts);
        assert_eq!(
            missing.iter().map(Rule::compact).collect::<Vec<_>>(),
            expected,
            "{held:?} / {wanted}"
        );
    };
    check(
        &["get,list core pods", "watch core pods"],
        "get,list,watch core pods",
        &[],
    );
    check(
        &["get core pods"],
        "get,list,watch core pods",
        &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#],
    );
    check(
        &["* * *"],
        "get url /x",
        &[r#"{NonResourceURLs:["/x"], Verbs:["get"]}"#],
    );
    check(&["get url /x/*"], "get url /x/y", &[]);
    check(
        &["get core pods a"],
        "get core pods",
        &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#],
    );
    check(&["get core pods"], "get core pods a", &[]);
    check(&["get * */scale"], "get apps deployments/scale", &[]);
    check(
        &["get core pods"],
        "get core pods/log",
        &[r#"{APIGroups:[""], Resources:["pods/log"], Verbs:["get"]}"#],
    );
}

#[test]
fn rbac_answers_from_bindings_and_gives_upstreams_reasons() {
    let authz = Authz::new(cluster());
    let ann = user("ann", &["devs"]);
    let bot = user("system:serviceaccount:green:bot", &[]);
    for (who, asked, reason) in [
        (
            &ann,
            "get red:pods x",
            Some(
                r#"RBAC: allowed by ClusterRoleBinding "ann-reads" of ClusterRole "reader" to User "ann""#,
            ),
        ),
        (
            &ann,
            "create blue:pods",
            Some(
                r#"RBAC: allowed by RoleBinding "devs-write/blue" of Role "writer" to Group "devs""#,
            ),
        ),
        (&ann, "create red:pods", None),
        (&ann, "create pods", None),
        (
            &ann,
            "get /metrics",
            Some(
                r#"RBAC: allowed by ClusterRoleBinding "ann-reads" of ClusterRole "reader" to User "ann""#,
            ),
        ),
        (
            &bot,
            "list blue:pods",
            Some(
                r#"RBAC: allowed by RoleBinding "bot-reads/blue" of ClusterRole "reader" to ServiceAccount "bot/green""#,
            ),
        ),
        (&bot, "list green:pods", None),
        // A RoleBinding gives no right to paths.
        (&bot, "get /metrics", None),
    ] {
        let expected = match reason {
            Some(reason) => Decision::Allow {
                reason: reason.into(),
            },
            None => Decision::NoOpinion {
                reason: String::new(),
            },
        };
        assert_eq!(
            authz.authorize(who, &request(asked)),
            expected,
            "{} {asked}",
            who.name
        );
    }
    let root = authz.authorize(&user("root", &[MASTERS]), &request("delete nodes x"));
    assert_eq!(
        root,
        Decision::Allow {
            reason: String::new()
        }
    );
}

#[test]
fn the_index_follows_changes_and_reads_nothing_in_between() {
    let fake = cluster();
    let authz = Authz::new(fake.clone());
    let bob = user("bob", &[]);
    assert!(!allowed(&authz.authorize(&bob, &request("get red:pods x"))));
    fake.put(
        GROUP,
        "clusterrolebindings",
        binding("", "bob-reads", "ClusterRole/reader", "User:bob"),
    );
    assert!(allowed(&authz.authorize(&bob, &request("get red:pods x"))));

    let lists = fake.lists.load(Ordering::Relaxed);
    for _ in 0..100 {
        assert!(allowed(&authz.authorize(&bob, &request("get red:pods x"))));
    }
    assert_eq!(fake.lists.load(Ordering::Relaxed), lists);

    fake.put(
        GROUP,
        "clusterroles",
        role("", "reader", &["get core secrets"]),
    );
    assert!(!allowed(&authz.authorize(&bob, &request("get red:pods x"))));
    assert_eq!(
        fake.lists.load(Ordering::Relaxed),
        lists + 1,
        "only the changed kind is listed again"
    );
    fake.remove(GROUP, "clusterroles", "", "reader");
    assert_eq!(
        authz.authorize(&bob, &request("get red:pods x")),
        Decision::NoOpinion {
            reason: r#"RBAC: clusterrole.rbac.authorization.k8s.io "reader" not found"#.into()
        }
    );
}

#[test]
fn denials_have_upstreams_words() {
    for (asked, reason, expected) in [
        (
            "list default:pods",
            "",
            r#"pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "default""#,
        ),
        (
            "get deployments.apps/scale a",
            "because",
            r#"deployments.apps "a" is forbidden: User "x" cannot get resource "deployments/scale" in API group "apps" at the cluster scope: because"#,
        ),
        (
            "get /metrics",
            "",
            r#"forbidden: User "x" cannot get path "/metrics""#,
        ),
    ] {
        let status = forbidden(&user("x", &[]), &request(asked), reason);
        assert_eq!((status.code, status.message.as_str()), (403, expected));
    }
}

fn pod(name: &str, node: &str, spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")}, "spec": spec});
    pod["spec"]["nodeName"] = node.into();
    pod
}

fn two_nodes() -> Arc<Fake> {
    let fake = Fake::new();
    let spec = json!({
        "serviceAccountName": "runner",
        "imagePullSecrets": [{"name": "pull"}],
        "containers": [{
            "name": "c",
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}],
            "envFrom": [{"configMapRef": {"name": "settings"}}],
        }],
        "volumes": [
            {"name": "v", "secret": {"secretName": "volume"}},
            {"name": "p", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "ca"}}]}},
            {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "scratch", "ephemeral": {}},
        ],
        "resourceClaims": [{"name": "x", "resourceClaimName": "gpu"}, {"name": "y", "resourceClaimTemplateName": "t"}],
    });
    let mut mine = pod("a", "one", spec);
    mine["status"] = json!({
        "resourceClaimStatuses": [{"name": "y", "resourceClaimName": "made"}],
        "extendedResourceClaimStatus": {"resourceClaimName": "extended"},
    });
    fake.put("", "pods", mine);
    for node in ["one", "two"] {
        let slice = json!({"metadata": {"name": node}, "spec": {"nodeName": node}});
        fake.put("resource.k8s.io", "resourceslices", slice);
    }
    fake.put("", "pods", pod("b", "two", json!({"serviceAccountName": "other", "volumes": [{"name": "v", "secret": {"secretName": "theirs"}}]})));
    fake.put("", "persistentvolumes", json!({"metadata": {"name": "pv"}, "spec": {
        "claimRef": {"namespace": "default", "name": "data"},
        "csi": {"nodePublishSecretRef": {"namespace": "keys", "name": "publish"}, "controllerPublishSecretRef": {"namespace": "keys", "name": "attach"}},
    }}));
    fake.put(
        "",
        "persistentvolumeclaims",
        json!({"metadata": {"namespace": "default", "name": "data"}, "spec": {"volumeName": "pv"}}),
    );
    // It says that it has a volume, which is another's.
    fake.put(
        "",
        "persistentvolumeclaims",
        json!({"metadata": {"namespace": "default", "name": "liar"}, "spec": {"volumeName": "pv"}}),
    );
    fake.put(
        "",
        "pods",
        pod(
            "l",
            "two",
            json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "liar"}}]}),
        ),
    );
    fake
}

#[test]
fn nodes_reach_what_their_pods_need_and_no_more() {
    let authz = Authz::new(two_nodes());
    let node = user("system:node:one", &[node::NODES_GROUP]);
    for (asked, selector, expected) in [
        ("get default:secrets volume", "", true),
        ("get default:secrets projected", "", true),
        ("get default:secrets env", "", true),
        ("get default:secrets pull", "", true),
        ("watch default:secrets volume", "", true),
        ("watch default:secrets", "metadata.name=volume", true),
        ("get default:secrets theirs", "", false),
        ("get other:secrets volume", "", false),
        ("get keys:secrets publish", "", true),
        ("get keys:secrets attach", "", false),
        ("get other:secrets publish", "", false),
        ("list default:secrets", "", false),
        ("list secrets", "", false),
        ("update default:secrets volume", "", false),
        ("get default:configmaps settings", "", true),
        ("get default:configmaps ca", "", true),
        ("get default:configmaps nope", "", false),
        ("get default:persistentvolumeclaims data", "", true),
        ("get default:persistentvolumeclaims a-scratch", "", true),
        ("list default:persistentvolumeclaims", "", false),
        ("get persistentvolumes pv", "", true),
        ("get persistentvolumes other", "", false),
        ("create default:serviceaccounts/token runner", "", true),
        ("create default:serviceaccounts/token other", "", false),
        ("get default:serviceaccounts runner", "", true),
        ("list default:serviceaccounts", "", false),
        ("get nodes one", "", true),
        ("get nodes two", "", false),
        ("list nodes", "", false),
        ("list nodes", "metadata.name=one", true),
        ("watch nodes", "metadata.name=two", false),
        ("create nodes", "", true),
        ("patch nodes/status one", "", true),
        // Upstream's Node authorizer lets no node through to any kubelet, under whatever name.
        ("get nodes/proxy one", "", false),
        ("get nodes/proxy one:10250", "", false),
        ("get nodes/proxy https:one:10250", "", false),
        ("delete nodes one", "", false),
        ("get default:pods a", "", true),
        ("get default:pods b", "", false),
        ("list pods", "spec.nodeName=one", true),
        ("list pods", "spec.nodeName=two", false),
        ("watch pods", "", false),
        ("update default:pods/status a", "", true),
        ("create default:pods/eviction a", "", true),
        ("delete default:pods a", "", true),
        ("create default:pods/exec a", "", false),
        (
            "create kube-node-lease:leases.coordination.k8s.io",
            "",
            true,
        ),
        (
            "update kube-node-lease:leases.coordination.k8s.io one",
            "",
            true,
        ),
        (
            "update kube-node-lease:leases.coordination.k8s.io two",
            "",
            false,
        ),
        ("update default:leases.coordination.k8s.io one", "", false),
        ("get default:resourceclaims.resource.k8s.io gpu", "", true),
        ("get default:resourceclaims.resource.k8s.io made", "", true),
        (
            "get default:resourceclaims.resource.k8s.io extended",
            "",
            true,
        ),
        (
            "get default:resourceclaims.resource.k8s.io other",
            "",
            false,
        ),
        (
            "update default:resourceclaims.resource.k8s.io gpu",
            "",
            false,
        ),
        ("create resourceslices.resource.k8s.io", "", true),
        ("patch resourceslices.resource.k8s.io one", "", true),
        ("patch resourceslices.resource.k8s.io two", "", false),
        (
            "watch resourceslices.resource.k8s.io",
            "spec.nodeName=one",
            true,
        ),
        (
            "deletecollection resourceslices.resource.k8s.io",
            "spec.nodeName=two",
            false,
        ),
        ("list services", "", true),
        ("create default:events", "", true),
        ("list namespaces", "", false),
        ("create tokenreviews.authentication.k8s.io", "", true),
        ("watch runtimeclasses.node.k8s.io", "", true),
    ] {
        let asked = RequestInfo {
            selectors: Cow::Owned(Selectors::parse("", selector).unwrap()),
            ..request(asked)
        };
        let decision = authz.authorize(&node, &asked);
        assert_eq!(allowed(&decision), expected, "{asked:?}: {decision:?}");
    }
}

#[test]
fn the_node_authorizer_follows_pods_and_ignores_others() {
    let fake = two_nodes();
    let authz = Authz::new(fake.clone());
    let node = user("system:node:two", &[node::NODES_GROUP]);
    let others = request("get keys:secrets publish");
    assert!(!allowed(&authz.authorize(&node, &others)));
    let asked = request("get default:secrets late");
    assert_eq!(
        authz.authorize(&node, &asked),
        Decision::NoOpinion {
            reason: "no relationship found between node 'two' and this object".into()
        }
    );
    fake.put(
        "",
        "pods",
        pod(
            "c",
            "two",
            json!({"volumes": [{"name": "v", "secret": {"secretName": "late"}}]}),
        ),
    );
    assert!(allowed(&authz.authorize(&node, &asked)));
    fake.remove("", "pods", "default", "c");
    assert!(!allowed(&authz.authorize(&node, &asked)));
    // The name alone makes no node.
    assert!(!allowed(&authz.authorize(
        &user("system:node:one", &[]),
        &request("get default:secrets volume")
    )));
}

#[test]
fn access_reviews_answer_in_the_status() {
    let reviews = AccessReviews::new(Arc::new(Authz::new(cluster())));
    let attributes =
        |ns: &str| json!({"namespace": ns, "verb": "get", "resource": "pods", "name": "a"});
    let body = json!({"spec": {"user": "ann", "resourceAttributes": attributes("red")}});
    let answer = reviews.subject(body.clone()).unwrap();
    assert_eq!(answer["status"]["allowed"], true);
    assert!(
        answer["status"]["reason"]
            .as_str()
            .unwrap()
            .starts_with("RBAC: allowed by")
    );
    assert_eq!(
        reviews.local("red", body.clone()).unwrap()["status"]["allowed"],
        true
    );
    let error = reviews.local("blue", body).unwrap_err();
    assert!(error.message.contains("spec.resourceAttributes.namespace: Invalid value: \"red\": must match metadata.namespace"), "{error:?}");

    let own = json!({"spec": {"nonResourceAttributes": {"path": "/metrics", "verb": "get"}}});
    assert_eq!(
        reviews.own(&user("ann", &[]), own.clone()).unwrap()["status"]["allowed"],
        true
    );
    assert_eq!(
        reviews.own(&user("bob", &[]), own).unwrap()["status"],
        json!({"allowed": false})
    );
    assert_eq!(
        reviews
            .subject(json!({"spec": {"user": "ann"}}))
            .unwrap_err()
            .code,
        422
    );
    let nobody = json!({"spec": {"resourceAttributes": attributes("red")}});
    assert!(
        reviews
            .subject(nobody)
            .unwrap_err()
            .message
            .contains("at least one of user or group must be specified")
    );

    let rules = reviews
        .rules(
            &user("x", &["devs"]),
            json!({"spec": {"namespace": "blue"}}),
        )
        .unwrap();
    assert_eq!(
        rules["status"]["resourceRules"],
        json!([{"verbs": ["create"], "apiGroups": [""], "resources": ["pods"]}])
    );
    assert_eq!(rules["status"]["incomplete"], false);
}
