use std::io::Write;

use expect_test::{Expect, expect};

use super::*;

fn text(kubeconfig: &FilePath) -> String {
    format!(
        "
apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- {{type: Node, name: node}}
- type: Webhook
  name: hook
  webhook:
    timeout: 3s
    unauthorizedTTL: 1m0s
    cacheAuthorizedRequests: false
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: Deny
    connectionInfo: {{type: KubeConfigFile, kubeConfigFile: {}}}
    matchConditions:
    - expression: has(request.resourceAttributes) && !('system:masters' in request.groups)
- {{type: RBAC, name: rbac}}
",
        kubeconfig.display()
    )
}

fn refused(from: &str, to: &str, wanted: Expect) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let good = text(file.path());
    let bad = good.replace(from, to);
    assert_ne!(good, bad, "{from}");
    let error = parse(bad.as_bytes()).map(drop).expect_err(to);
    wanted.assert_eq(&error.replace(&file.path().display().to_string(), "FILE"));
}

#[test]
fn a_file_orders_authorizers() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"x").expect("it is written");
    let found = parse(text(file.path()).as_bytes()).expect("a configuration");
    let names: Vec<&str> = found.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["node", "hook", "rbac"]);
    let Kind::Webhook(settings) = &found[1].kind else {
        panic!("it is a webhook");
    };
    assert_eq!(settings.timeout, Duration::from_secs(3));
    assert_eq!(settings.authorized_ttl, Duration::ZERO);
    assert_eq!(settings.unauthorized_ttl, Duration::from_secs(60));
    assert_eq!(settings.failure_policy, FailurePolicy::Deny);
    assert_eq!(settings.conditions.len(), 1);
}

#[test]
fn what_means_nothing_is_refused() {
    refused(
        "type: RBAC",
        "type: ABAC",
        expect![[
            r#"authorizers[2].type: Unsupported value: "ABAC": supported values: "Node", "RBAC", "Webhook""#
        ]],
    );
    refused(
        "type: RBAC",
        "type: Node",
        expect![[r#"authorizers[2].type: Duplicate value: "Node""#]],
    );
    refused(
        "name: rbac",
        "name: hook",
        expect![[r#"authorizers[2].name: Duplicate value: "hook""#]],
    );
    refused(
        "    timeout: 3s",
        "    timeout: 31s",
        expect![[r#"authorizers[1].timeout: Invalid value: "31s": must be > 0s and <= 30s"#]],
    );
    refused(
        "failurePolicy: Deny",
        "failurePolicy: Allow",
        expect![[
            r#"authorizers[1].failurePolicy: Unsupported value: "Allow": supported values: "NoOpinion", "Deny""#
        ]],
    );
    refused(
        "type: KubeConfigFile",
        "type: InClusterConfig",
        expect![[
            r#"authorizers[1].connectionInfo.type: Unsupported value: "InClusterConfig": supported values: "KubeConfigFile""#
        ]],
    );
    refused(
        "kubeConfigFile: /",
        "kubeConfigFile: ./",
        expect![[
            r#"authorizers[1].connectionInfo.kubeConfigFile: Invalid value: ".FILE": must be an absolute path"#
        ]],
    );
    refused(
        "has(request.resourceAttributes)",
        "has(request.verb)",
        expect![[r#"
            authorizers[1].matchConditions[0].expression: Invalid value: "has(request.verb) && !('system:masters' in request.groups)": compilation failed: ERROR: <input>:1:4: undefined field 'verb'
             | has(request.verb) && !('system:masters' in request.groups)
             | ...^"#]],
    );
    refused(
        "    matchConditionSubjectAccessReviewVersion: v1\n",
        "",
        expect![[
            r#"authorizers[1].matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified"#
        ]],
    );
    refused(
        "name: node",
        "nam: node",
        expect![
            "strict decoding error: unknown field `nam`, expected one of `type`, `name`, `webhook`"
        ],
    );
}

#[test]
fn flags_order_authorizers() {
    let options = |modes: &[&str]| Options {
        modes: modes.iter().map(|mode| (*mode).to_owned()).collect(),
        ..Options::default()
    };
    let found = of_flags(&options(&["RBAC", "Node"])).expect("authorizers");
    let names: Vec<&str> = found.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["rbac", "node"]);
    for modes in [&["RBAC", "RBAC"][..], &["Webhook"], &["AlwaysAllow"]] {
        assert!(of_flags(&options(modes)).is_err(), "{modes:?}");
    }
}
