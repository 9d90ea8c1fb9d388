mod nodes;

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
