use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::*;
use crate::{
    AUTHENTICATED,
    authz::{Authz, rbac::GROUP},
    testing::{Fake, user},
};

const AUTHENTICATION: &str = "authentication.k8s.io";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// Who asks with `rules`, to list pods of the namespace `ns`.
struct Asker {
    authz: Authz,
    user: UserInfo,
    impersonation: Impersonation,
}

impl Asker {
    fn new(user: UserInfo, rules: Value) -> Asker {
        let fake: Arc<Fake> = Fake::new();
        fake.put(
            GROUP,
            "clusterroles",
            json!({"metadata": {"name": "actor"}, "rules": rules}),
        );
        fake.put(
            GROUP,
            "clusterrolebindings",
            json!({
                "metadata": {"name": "actor"},
                "roleRef": {"kind": "ClusterRole", "name": "actor"},
                "subjects": [{"kind": "User", "name": user.name}],
            }),
        );
        Asker {
            authz: Authz::new(fake),
            user,
            impersonation: Impersonation::default(),
        }
    }

    fn act(
        &self,
        verb: &str,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Option<Acting>, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let request = RequestInfo {
            is_resource: true,
            verb,
            version: "v1",
            resource: "pods",
            namespace: "ns",
            ..RequestInfo::default()
        };
        (self.impersonation)
            .act(&self.authz, &self.user, &map, &request)
            .map_err(|status| status.message)
    }
}

fn rule(verb: &str, group: &str, resource: &str, names: &[&str]) -> Value {
    json!({"verbs": [verb], "apiGroups": [group], "resources": [resource], "resourceNames": names})
}

#[test]
fn the_oldest_mode_needs_rights_to_everything_assumed() {
    let rules = json!([
        rule("impersonate", "", "users", &["ann"]),
        rule("impersonate", "", "groups", &["devs"]),
        rule("impersonate", "", "serviceaccounts", &["bot"]),
        rule(
            "impersonate",
            AUTHENTICATION,
            "userextras/scopes",
            &["view"]
        ),
        rule("impersonate", AUTHENTICATION, "uids", &["7"]),
    ]);
    let boss = Asker::new(user("boss", &[]), rules);
    let act = |headers: &[(&'static str, &'static str)]| boss.act("list", headers);
    assert_eq!(act(&[("accept", "x")]), Ok(None));
    let acting = act(&[
        ("impersonate-user", "ann"),
        ("impersonate-group", "devs"),
        ("impersonate-extra-scopes", "view"),
        ("impersonate-uid", "7"),
    ]);
    let acting = acting.unwrap().unwrap();
    assert_eq!(acting.constraint, "");
    let acting = acting.user;
    assert_eq!((acting.name.as_str(), acting.uid.as_str()), ("ann", "7"));
    assert_eq!(acting.groups, ["devs", AUTHENTICATED]);
    assert_eq!(acting.extra["scopes"], ["view"]);
    let bot = act(&[("impersonate-user", "system:serviceaccount:ns:bot")])
        .unwrap()
        .unwrap();
    assert_eq!(
        bot.user.groups,
        [
            "system:serviceaccounts",
            "system:serviceaccounts:ns",
            AUTHENTICATED
        ]
    );
    for (headers, refused) in [
        (
            &[("impersonate-user", "eve")][..],
            r#"users "eve" is forbidden: User "boss" cannot impersonate resource "users" in API group "" at the cluster scope"#,
        ),
        (
            &[
                ("impersonate-user", "ann"),
                ("impersonate-group", "system:masters"),
            ],
            r#"groups "system:masters" is forbidden: User "boss" cannot impersonate resource "groups" in API group "" at the cluster scope"#,
        ),
        (
            &[
                ("impersonate-user", "ann"),
                ("impersonate-extra-scopes", "all"),
            ],
            r#"userextras.authentication.k8s.io "all" is forbidden: User "boss" cannot impersonate resource "userextras/scopes" in API group "authentication.k8s.io" at the cluster scope"#,
        ),
    ] {
        assert_eq!(act(headers).unwrap_err(), refused);
    }
    assert_eq!(
        act(&[
            ("impersonate-group", "devs"),
            ("impersonate-extra-scopes", "all")
        ])
        .unwrap_err(),
        r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"devs"}, Extra:map[string][]string{"scopes":[]string{"all"}}} without impersonating a user name"#
    );
}

/// Who has never acted as anybody is told what the first mode lacks that is for whom they ask for.
#[test]
fn a_stranger_is_told_of_the_first_mode() {
    let eve = Asker::new(user("eve", &[]), json!([]));
    for (name, mode) in [
        ("ann", "user-info"),
        ("system:serviceaccount:ns:bot", "serviceaccount"),
        ("system:node:n1", "arbitrary-node"),
    ] {
        assert_eq!(
            eve.act("list", &[("impersonate-user", name)]).unwrap_err(),
            format!(
                r#"pods is forbidden: User "eve" cannot impersonate-on:{mode}:list resource "pods" in API group "" in the namespace "ns""#
            )
        );
    }
}

#[test]
fn a_constrained_mode_allows_some_requests_for_some_users() {
    let rules = json!([
        rule("impersonate:user-info", AUTHENTICATION, "users", &["ann"]),
        rule("impersonate:user-info", AUTHENTICATION, "groups", &["devs", ""]),
        rule("impersonate:serviceaccount", AUTHENTICATION, "serviceaccounts", &["bot"]),
        {"verbs": ["impersonate-on:user-info:list", "impersonate-on:serviceaccount:get"],
         "apiGroups": [""], "resources": ["pods"]},
    ]);
    let boss = Asker::new(user("boss", &[]), rules);
    let ann = ("impersonate-user", "ann");
    let acting = boss.act("list", &[ann, ("impersonate-group", "devs")]);
    let acting = acting.unwrap().unwrap();
    assert_eq!(acting.constraint, "impersonate:user-info");
    assert_eq!(acting.user.groups, ["devs", AUTHENTICATED]);
    let bot = boss.act(
        "get",
        &[("impersonate-user", "system:serviceaccount:ns:bot")],
    );
    assert_eq!(
        bot.unwrap().unwrap().constraint,
        "impersonate:serviceaccount"
    );
    for (verb, headers, refused) in [
        (
            "get",
            &[ann][..],
            r#"pods is forbidden: User "boss" cannot impersonate-on:user-info:get resource "pods" in API group "" in the namespace "ns""#,
        ),
        (
            "list",
            &[("impersonate-user", "eve")],
            r#"users.authentication.k8s.io "eve" is forbidden: User "boss" cannot impersonate:user-info resource "users" in API group "authentication.k8s.io" at the cluster scope"#,
        ),
        (
            "list",
            &[ann, ("impersonate-group", "system:masters")],
            r#"groups.authentication.k8s.io "system:masters" is forbidden: User "boss" cannot impersonate:user-info resource "groups" in API group "authentication.k8s.io" at the cluster scope: impersonating the system:masters group is not allowed"#,
        ),
        (
            "list",
            &[ann, ("impersonate-group", "")],
            r#"groups.authentication.k8s.io is forbidden: User "boss" cannot impersonate:user-info resource "groups" in API group "authentication.k8s.io" at the cluster scope: impersonating the empty string group is not allowed"#,
        ),
        (
            "list",
            &[ann, ("impersonate-extra-scopes", "all")],
            r#"userextras.authentication.k8s.io is forbidden: User "boss" cannot impersonate:user-info resource "userextras" in API group "authentication.k8s.io" at the cluster scope: impersonating an invalid key in extra is not allowed: extra.key: Invalid value: "scopes": must be a domain-prefixed path (such as "acme.io/foo")"#,
        ),
        (
            "list",
            &[ann, ("impersonate-extra-acme.io%2fscopes", "all")],
            r#"userextras.authentication.k8s.io "all" is forbidden: User "boss" cannot impersonate:user-info resource "userextras/acme.io/scopes" in API group "authentication.k8s.io" at the cluster scope"#,
        ),
        (
            // A service account is nobody whose groups are the impersonator's to say.
            "get",
            &[
                ("impersonate-user", "system:serviceaccount:ns:bot"),
                ("impersonate-group", "devs"),
            ],
            r#"serviceaccounts "bot" is forbidden: User "boss" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "ns""#,
        ),
    ] {
        // The mode that was used last is asked first, where it is one for whom is asked for.
        boss.act("list", &[ann]).unwrap();
        assert_eq!(boss.act(verb, headers).unwrap_err(), refused);
    }
}

#[test]
fn an_agent_acts_as_the_node_of_its_pod() {
    let rules = json!([
        {"verbs": ["impersonate:associated-node"], "apiGroups": [AUTHENTICATION], "resources": ["nodes"]},
        {"verbs": ["impersonate-on:associated-node:list"], "apiGroups": [""], "resources": ["pods"]},
    ]);
    let mut agent = user("system:serviceaccount:ns:agent", &[]);
    agent.extra.insert(NODE_NAME.into(), vec!["n1".into()]);
    let agent = Asker::new(agent, rules);
    let acting = agent.act("list", &[("impersonate-user", "system:node:n1")]);
    let acting = acting.unwrap().unwrap();
    assert_eq!(acting.constraint, "impersonate:associated-node");
    assert_eq!(acting.user.groups, ["system:nodes", AUTHENTICATED]);
    assert!(acting.user.extra.is_empty());
    assert_eq!(
        agent
            .act("list", &[("impersonate-user", "system:node:n2")])
            .unwrap_err(),
        r#"pods is forbidden: User "system:serviceaccount:ns:agent" cannot impersonate-on:arbitrary-node:list resource "pods" in API group "" in the namespace "ns""#
    );
}

#[test]
fn many_groups_are_asked_for_at_once() {
    let rules = json!([
        {"verbs": ["impersonate:user-info"], "apiGroups": [AUTHENTICATION], "resources": ["users", "groups"]},
        {"verbs": ["impersonate-on:user-info:list"], "apiGroups": [""], "resources": ["pods"]},
    ]);
    let boss = Asker::new(user("boss", &[]), rules);
    let groups = ["a", "b", "c", "d"].map(|group| ("impersonate-group", group));
    let mut headers = vec![("impersonate-user", "system:anonymous")];
    headers.extend(groups);
    let acting = boss.act("list", &headers).unwrap().unwrap();
    assert_eq!(
        acting.user.groups,
        ["a", "b", "c", "d", "system:unauthenticated"]
    );
}
