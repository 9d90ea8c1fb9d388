use expect_test::expect;
use serde_json::{Value, json};

use super::{ingress, ingress_class};
use crate::{
    kind::Part,
    testing::{create_errors, created, row, update_errors},
};

const NOW: i64 = 1_767_225_600;

fn backend() -> Value {
    json!({"service": {"name": "web", "port": {"number": 80}}})
}

fn with_path(path: Value) -> Value {
    json!({"metadata": {"name": "i"}, "spec": {"rules": [{"host": "a.example.com", "http": {"paths": [path]}}]}})
}

#[test]
fn ingresses() {
    let kind = &ingress::KIND;
    let good = with_path(json!({"path": "/", "pathType": "Prefix", "backend": backend()}));
    assert_eq!(create_errors(kind, good.clone()), "");
    let mut object = created(kind, good);
    assert_eq!(object["status"], json!({"loadBalancer": {}}));
    expect!["i | <none> | a.example.com |  | 80 | <unknown>"].assert_eq(&row(kind, &object, NOW));
    object["spec"]["ingressClassName"] = json!("nginx");
    object["spec"]["tls"] = json!([{"hosts": ["*.example.com"], "secretName": "s"}]);
    let host = |name: &str| json!({"host": name});
    object["spec"]["rules"] = json!([
        host("a.x"),
        host("b.x"),
        host("c.x"),
        host("d.x"),
        host("e.x")
    ]);
    object["status"] =
        json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.x"}]}});
    expect!["i | nginx | a.x,b.x,c.x + 2 more... | 192.0.2.1,lb.x | 80, 443 | <unknown>"]
        .assert_eq(&row(kind, &object, NOW));
}

#[test]
fn ingress_errors() {
    let kind = &ingress::KIND;
    let check = |object: Value| create_errors(kind, object);
    expect!["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]
        .assert_eq(&check(json!({"spec": {}})));
    expect![[r#"
        spec.rules[0].http.paths[0].path: Invalid value: "a//b/..": must be an absolute path
        spec.rules[0].http.paths[0].path: Invalid value: "a//b/..": must not contain '//'
        spec.rules[0].http.paths[0].path: Invalid value: "a//b/..": cannot end with '/..'"#]]
    .assert_eq(&check(with_path(
        json!({"path": "a//b/..", "pathType": "Exact", "backend": backend()}),
    )));
    expect!["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"]
        .assert_eq(&check(with_path(
            json!({"path": "/", "backend": backend()}),
        )));
    expect![[r#"
        spec.rules[0].http.paths[0].pathType: Unsupported value: "Regex": supported values: "Exact", "ImplementationSpecific", "Prefix"
        spec.rules[0].http.paths[0].backend: Invalid value: "": resource or service backend is required"#]].assert_eq(&check(with_path(
        json!({"path": "x", "pathType": "Regex", "backend": {}}),
    )));
    expect![[r#"
        spec.defaultBackend.service.name: Invalid value: "Web": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        spec.defaultBackend: Invalid value: "": cannot set both port name & port number
        spec.rules[0].host: Invalid value: "192.0.2.1": must be a DNS name, not an IP address
        spec.rules[0].http.paths: Required value
        spec.rules[1].host: Invalid value: "*.*.x": a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.rules[1].http.paths[0].backend.resource.apiGroup: Invalid value: "A_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.rules[1].http.paths[0].backend.resource.kind: Required value
        spec.rules[1].http.paths[0].backend.resource.name: Invalid value: "a/b": may not contain '/'
        spec.rules[2].http.paths[0].backend: Required value: port name or number is required
        spec.tls[0].hosts[0]: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.tls[0].secretName: Invalid value: "S": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.ingressClassName: Invalid value: "B": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        annotations.kubernetes.io/ingress.class: Invalid value: "a": must match `ingressClassName` when both are specified"#]].assert_eq(&check(json!({
        "metadata": {"annotations": {"kubernetes.io/ingress.class": "a"}},
        "spec": {
            "ingressClassName": "B",
            "defaultBackend": {"service": {"name": "Web", "port": {"name": "http", "number": 80}}},
            "rules": [
                {"host": "192.0.2.1", "http": {}},
                {"host": "*.*.x", "http": {"paths": [{"pathType": "ImplementationSpecific", "backend": {
                    "resource": {"apiGroup": "A_", "kind": "", "name": "a/b"}}}]}},
                {"host": "ok.x", "http": {"paths": [{"pathType": "ImplementationSpecific", "backend": {
                    "service": {"name": "web", "port": {}}}}]}},
            ],
            "tls": [{"hosts": ["A"], "secretName": "S"}],
        },
    })));
    let told = |ip: &str| json!({"status": {"loadBalancer": {"ingress": [{"ip": ip, "hostname": "192.0.2.1"}]}}});
    expect![[r#"
        status.loadBalancer.ingress[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
        status.loadBalancer.ingress[0].hostname: Invalid value: "192.0.2.1": must be a DNS name, not an IP address"#]].assert_eq(&update_errors(
        kind,
        told("x"),
        &told("1.2.3.4"),
        Part::Status,
    ));
}

/// What was let in by an older version does not get in the way of updates.
#[test]
fn updates_may_keep_what_is_wrong() {
    let kind = &ingress::KIND;
    let object = |secret: &str| json!({"spec": {"defaultBackend": backend(), "tls": [{"secretName": secret}]}});
    assert_eq!(
        update_errors(kind, object("A"), &object("B"), Part::Main),
        ""
    );
    assert_ne!(
        update_errors(kind, object("A"), &object("b"), Part::Main),
        ""
    );
}

#[test]
fn old_annotations_are_warned_of() {
    let mut object =
        json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "nginx"}}, "spec": {}});
    assert_eq!(
        ingress::KIND
            .strategy
            .warnings(&object, None, crate::kind::Part::Main),
        [
            "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
        ]
    );
    object["spec"]["ingressClassName"] = json!("nginx");
    assert!(
        ingress::KIND
            .strategy
            .warnings(&object, None, crate::kind::Part::Main)
            .is_empty()
    );
}

#[test]
fn ingress_classes() {
    let kind = &ingress_class::KIND;
    let class = json!({
        "metadata": {"name": "nginx", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "k8s.io/ingress-nginx", "parameters": {"apiGroup": "x.io", "kind": "Config", "name": "c"}},
    });
    assert_eq!(create_errors(kind, class.clone()), "");
    let class = created(kind, class);
    assert_eq!(class["spec"]["parameters"]["scope"], "Cluster");
    expect!["nginx (default) | k8s.io/ingress-nginx | Config.x.io/c | <unknown>"]
        .assert_eq(&row(kind, &class, NOW));
    let with = |controller: &str, parameters: Value| json!({"spec": {"controller": controller, "parameters": parameters}});
    let check = |object: Value| create_errors(kind, object);
    expect![[r#"
        spec.controller: Required value
        spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"#]]
    .assert_eq(&check(with(
        "",
        json!({"kind": "K", "name": "n", "scope": "Namespace"}),
    )));
    expect![[r#"
        spec.controller: Invalid value: "plain": must be a domain-prefixed path (such as "acme.io/foo")
        spec.parameters.scope: Unsupported value: "Other": supported values: "Cluster", "Namespace""#]].assert_eq(&check(with(
        "plain",
        json!({"kind": "K", "name": "n", "scope": "Other"}),
    )));
    expect![[r#"
        spec.controller: Invalid value: "A.x": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.controller: Invalid value: "b c": Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')
        spec.parameters.kind: Required value
        spec.parameters.name: Invalid value: "..": may not be '..'
        spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"#]].assert_eq(&check(with(
        "A.x/b c",
        json!({"kind": "", "name": "..", "scope": "Cluster", "namespace": "n"}),
    )));
    let changed = with("a.x/c", Value::Null);
    expect![[r#"spec.controller: Invalid value: "a.x/c": field is immutable"#]].assert_eq(
        &update_errors(kind, changed, &with("a.x/b", Value::Null), Part::Main),
    );
}
