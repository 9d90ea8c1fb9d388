use expect_test::{Expect, expect};

use super::*;

const HEAD: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";

fn policy(text: &str) -> Policy {
    Policy::parse(format!("{HEAD}{text}").as_bytes()).expect("a policy")
}

fn user() -> UserInfo {
    UserInfo {
        name: "tim".to_owned(),
        groups: vec!["humans".to_owned(), "developers".to_owned()],
        ..UserInfo::default()
    }
}

fn resource<'a>(group: &'a str, resource: &'a str, subresource: &'a str) -> RequestInfo<'a> {
    RequestInfo {
        is_resource: true,
        verb: "get",
        group,
        version: "v1",
        namespace: if group.is_empty() { "default" } else { "" },
        resource,
        subresource,
        name: "one",
        ..RequestInfo::default()
    }
}

fn path(path: &str) -> RequestInfo<'_> {
    RequestInfo {
        verb: "get",
        path,
        ..RequestInfo::default()
    }
}

#[test]
fn a_rule_matches_by_all_that_it_says() {
    let rbac = "rbac.authorization.k8s.io";
    let (pod, log) = (resource("", "pods", ""), resource("", "pods", "log"));
    let (role, logs) = (
        resource(rbac, "clusterroles", ""),
        path("/logs/kubelet.log"),
    );
    for (rule, wanted) in [
        ("", [true, true, true, true]),
        ("users: [tim]", [true, true, true, true]),
        ("users: [tom]", [false; 4]),
        ("userGroups: [developers, x]", [true, true, true, true]),
        ("userGroups: [x]", [false; 4]),
        ("verbs: [create]", [false; 4]),
        ("verbs: [list, get]", [true, true, true, true]),
        ("namespaces: [default]", [true, true, false, false]),
        ("namespaces: ['']", [false, false, true, false]),
        ("resources: [{group: ''}]", [true, true, false, false]),
        ("resources: [{group: '*'}]", [true, true, true, false]),
        (
            "resources: [{resources: [pods]}]",
            [true, false, false, false],
        ),
        (
            "resources: [{resources: [pods/log]}]",
            [false, true, false, false],
        ),
        (
            "resources: [{resources: ['*/log']}]",
            [false, true, false, false],
        ),
        (
            "resources: [{resources: ['pods/*']}]",
            [true, true, false, false],
        ),
        (
            "resources: [{resources: ['*']}]",
            [true, true, false, false],
        ),
        (
            "resources: [{resources: [pods], resourceNames: [two]}, {group: rbac.authorization.k8s.io, resources: [clusterroles], resourceNames: [one]}]",
            [false, false, true, false],
        ),
        ("nonResourceURLs: ['/logs*']", [false, false, false, true]),
        ("nonResourceURLs: ['*']", [false, false, false, true]),
        ("nonResourceURLs: [/logs]", [false; 4]),
    ] {
        let policy = policy(&format!("rules: [{{level: Request, {rule}}}]"));
        let found = [&pod, &log, &role, &logs]
            .map(|info| policy.evaluate(Some(&user()), info).level == Level::Request);
        assert_eq!(found, wanted, "{rule}");
    }
}

#[test]
fn who_is_nobody_has_no_name_and_no_group() {
    let policy = policy(
        "rules: [{level: Request, users: ['']}, {level: Request, userGroups: [x]}, {level: Metadata}]",
    );
    let level = policy.evaluate(None, &path("/")).level;
    assert_eq!(level, Level::Metadata);
}

#[test]
fn the_first_rule_that_matches_counts() {
    let policy = policy(
        "
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, users: [tim], resources: [{resources: [pods]}]}
- {level: Metadata, resources: [{resources: [secrets]}], omitStages: [Panic], omitManagedFields: false}
- {level: RequestResponse, resources: [{group: apps}]}
",
    );
    let found = |resource: RequestInfo<'_>| policy.evaluate(Some(&user()), &resource);
    let pods = found(resource("", "pods", ""));
    assert_eq!(pods.level, Level::None);
    let secrets = found(resource("", "secrets", ""));
    let omitted = [Stage::RequestReceived, Stage::Panic];
    let wanted = Decision {
        level: Level::Metadata,
        omit: omitted.into_iter().collect(),
        omit_managed_fields: false,
    };
    assert_eq!(secrets, wanted);
    let apps = found(resource("apps", "deployments", ""));
    assert_eq!(
        (apps.level, apps.omit_managed_fields),
        (Level::RequestResponse, true)
    );
    let others = found(resource("", "nodes", ""));
    assert_eq!(others.level, Level::None, "what no rule is about");
}

fn refused(text: &str, wanted: Expect) {
    wanted.assert_eq(&Policy::parse(text.as_bytes()).expect_err(text));
}

#[test]
fn a_file_that_is_no_policy_is_refused() {
    refused(
        "rules: []",
        expect!["failed decoding: Object 'Kind' is missing"],
    );
    refused(
        "kind: Policy",
        expect!["failed decoding: Object 'apiVersion' is missing"],
    );
    refused(
        "apiVersion: audit.k8s.io/v1beta1\nkind: Policy",
        expect![[
            r#"failed decoding: no kind "Policy" is registered for version "audit.k8s.io/v1beta1""#
        ]],
    );
    refused(HEAD, expect!["loaded illegal policy with 0 rules"]);
    refused(
        &format!("{HEAD}rules: [{{level: All}}, {{}}]"),
        expect![[
            r#"[rules[0].level: Unsupported value: "All": supported values: "None", "Metadata", "Request", "RequestResponse", rules[1].level: Required value]"#
        ]],
    );
    refused(
        &format!("{HEAD}omitStages: [Never]\nrules: [{{level: None}}]"),
        expect![[
            r#"omitStages[0]: Invalid value: "Never": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic"#
        ]],
    );
    refused(
        &format!("{HEAD}rules: [{{level: None, nonResourceURLs: [a, /*/b], namespaces: [x]}}]"),
        expect![[
            r#"[rules[0].nonResourceURLs[0]: Invalid value: "a": non-resource URL rules must begin with a '/' character, rules[0].nonResourceURLs[1]: Invalid value: "/*/b": non-resource URL wildcards '*' must be the final character of the rule, rules[0].nonResourceURLs: Invalid value: ["a","/*/b"]: rules cannot apply to both regular resources and non-resource URLs]"#
        ]],
    );
    refused(
        &format!(
            "{HEAD}rules: [{{level: None, resources: [{{group: a/v1, resourceNames: [x]}}]}}]"
        ),
        expect![[
            r#"[rules[0].resources.group: Invalid value: "a/v1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), rules[0].resources.resourceNames: Invalid value: ["x"]: using resourceNames requires at least one resource]"#
        ]],
    );
}

#[test]
fn what_nobody_knows_is_ignored() {
    let policy = policy("rules: [{level: Request, user: [tom]}]\nother: 1");
    assert_eq!(policy.evaluate(None, &path("/")).level, Level::Request);
}
