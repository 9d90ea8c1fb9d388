use expect_test::expect;
use serde_json::{Value, json};

use super::{flow_schema, priority_level, standard};
use crate::{
    kind::Part,
    testing::{create_errors, created, row, update_errors, updated},
};

fn schema(more: Value) -> Value {
    let mut object =
        json!({"metadata": {"name": "s"}, "spec": {"priorityLevelConfiguration": {"name": "l"}}});
    if let (Some(spec), Value::Object(more)) = (object["spec"].as_object_mut(), more) {
        spec.extend(more);
    }
    object
}

fn level(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

fn queued(queuing: Value) -> Value {
    json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}})
}

/// Who writes a status writes no labels.
#[test]
fn a_status_leaves_metadata_alone() {
    for kind in [&flow_schema::KIND, &priority_level::KIND] {
        let old = json!({"metadata": {"name": "a", "labels": {"a": "b"}}});
        let new = json!({"metadata": {"name": "a", "labels": {"a": "c"}, "finalizers": ["d"]}, "status": {}});
        let after = updated(kind, new.clone(), &old, Part::Status);
        assert_eq!(after["metadata"], old["metadata"]);
        let after = updated(kind, new.clone(), &old, Part::Main);
        assert_eq!(after["metadata"], new["metadata"]);
    }
}

#[test]
fn the_standard_ones_are_valid() {
    let mut rows = Vec::new();
    for object in standard::levels() {
        assert_eq!(
            create_errors(&priority_level::KIND, object.clone()),
            "",
            "{object}"
        );
        assert_eq!(
            created(&priority_level::KIND, object.clone())["spec"],
            object["spec"],
            "complete"
        );
        rows.push(row(&priority_level::KIND, &object, 0));
    }
    for object in standard::schemas() {
        assert_eq!(
            create_errors(&flow_schema::KIND, object.clone()),
            "",
            "{object}"
        );
        rows.push(row(&flow_schema::KIND, &object, 0));
    }
    expect![[r#"
        exempt | Exempt | <none> | <none> | <none> | <none> | <unknown>
        catch-all | Limited | 5 | <none> | <none> | <none> | <unknown>
        system | Limited | 30 | 64 | 6 | 50 | <unknown>
        node-high | Limited | 40 | 64 | 6 | 50 | <unknown>
        leader-election | Limited | 10 | 16 | 4 | 50 | <unknown>
        workload-high | Limited | 40 | 128 | 6 | 50 | <unknown>
        workload-low | Limited | 100 | 128 | 6 | 50 | <unknown>
        global-default | Limited | 20 | 128 | 6 | 50 | <unknown>
        exempt | exempt | 1 | <none> | <unknown> | ?
        catch-all | catch-all | 10000 | ByUser | <unknown> | ?
        system-nodes | system | 500 | ByUser | <unknown> | ?
        system-node-high | node-high | 400 | ByUser | <unknown> | ?
        probes | exempt | 2 | <none> | <unknown> | ?
        system-leader-election | leader-election | 100 | ByUser | <unknown> | ?
        kube-controller-manager | workload-high | 800 | ByNamespace | <unknown> | ?
        kube-scheduler | workload-high | 800 | ByNamespace | <unknown> | ?
        kube-system-service-accounts | workload-high | 900 | ByNamespace | <unknown> | ?
        service-accounts | workload-low | 9000 | ByUser | <unknown> | ?
        global-default | global-default | 9900 | ByUser | <unknown> | ?"#]]
    .assert_eq(&rows.join("\n"));
}

#[test]
fn schemas() {
    let rules = |rule: Value| {
        let mut all = json!({"subjects": [{"kind": "User", "user": {"name": "ann"}}]});
        if let (Some(all), Value::Object(rule)) = (all.as_object_mut(), rule) {
            all.extend(rule);
        }
        schema(json!({"rules": [all]}))
    };
    let urls = |urls: Value| {
        rules(json!({"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": urls}]}))
    };
    let mut exempt = standard::mandatory_schema("exempt").expect("a schema");
    exempt["spec"]["matchingPrecedence"] = json!(2);
    let errors = [
        schema(json!({"matchingPrecedence": 1, "priorityLevelConfiguration": {}})),
        schema(json!({"matchingPrecedence": 10001, "distinguisherMethod": {"type": "ByMood"}})),
        schema(json!({"matchingPrecedence": -1, "priorityLevelConfiguration": {"name": "A"}})),
        rules(json!({"subjects": []})),
        rules(json!({"subjects": [{"kind": "Thing"}, {"kind": "User", "group": {"name": "g"}},
            {"kind": "ServiceAccount", "serviceAccount": {"name": "a b"}, "user": {"name": "u"}}], "nonResourceRules": [{}]})),
        rules(json!({"resourceRules": [{"verbs": ["*", "get"], "apiGroups": ["*", "a"], "resources": [], "namespaces": []}]})),
        rules(json!({"resourceRules": [{"verbs": ["ask"], "apiGroups": [""], "resources": ["*"], "namespaces": ["A"]}]})),
        rules(json!({"resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["*"], "clusterScope": true}]})),
        urls(json!(["", "/", "a", "/a b", "/a//b", "/a*", "/*/*", "/a/*"])),
        urls(json!(["*", "/a"])),
        exempt,
    ]
    .map(|object| create_errors(&flow_schema::KIND, object))
    .join("\n");
    expect![[r#"
        spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1
        spec.priorityLevelConfiguration.name: Required value: must reference a priority level
        spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000
        spec.distinguisherMethod.type: Unsupported value: {"type":"ByMood"}: supported values: "ByNamespace", "ByUser"
        spec.matchingPrecedence: Invalid value: -1: must be a positive value
        spec.priorityLevelConfiguration.name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.rules[0].subjects: Required value: subjects must contain at least one value
        spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty
        spec.rules[0].subjects[0].kind: Unsupported value: "Thing": supported values: "Group", "ServiceAccount", "User"
        spec.rules[0].subjects[1].user: Required value: user is required when subject kind is 'User'
        spec.rules[0].subjects[1].group: Forbidden: group is forbidden when subject kind is not 'Group'
        spec.rules[0].subjects[2].serviceAccount.name: Invalid value: "a b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.rules[0].subjects[2].serviceAccount.namespace: Required value: must specify namespace for service account
        spec.rules[0].subjects[2].user: Forbidden: user is forbidden when subject kind is not 'User'
        spec.rules[0].nonResourceRules[0].verbs: Required value: verbs must contain at least one value
        spec.rules[0].nonResourceRules[0].nonResourceURLs: Required value: nonResourceURLs must contain at least one value
        spec.rules[0].resourceRules[0].verbs: Invalid value: ["*","get"]: if '*' is present, must not specify other verbs
        spec.rules[0].resourceRules[0].apiGroups: Invalid value: ["*","a"]: if '*' is present, must not specify other api groups
        spec.rules[0].resourceRules[0].resources: Required value: resource rules must supply at least one resource
        spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace
        spec.rules[0].resourceRules[0].verbs: Unsupported value: ["ask"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"
        spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: "A": each member of this list must be '*' or a DNS-1123 label; a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')

        spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "": must not be empty
        spec.rules[0].nonResourceRules[0].nonResourceURLs[2]: Invalid value: "a": must start with slash
        spec.rules[0].nonResourceRules[0].nonResourceURLs[3]: Invalid value: "/a b": must not contain white-space
        spec.rules[0].nonResourceRules[0].nonResourceURLs[4]: Invalid value: "/a//b": must not contain double slash
        spec.rules[0].nonResourceRules[0].nonResourceURLs[5]: Invalid value: "/a*": wildcard can only do suffix matching
        spec.rules[0].nonResourceRules[0].nonResourceURLs[6]: Invalid value: "/*/*": wildcard can only do suffix matching
        spec.rules[0].nonResourceRules[0].nonResourceURLs: Invalid value: ["*","/a"]: if '*' is present, must not specify other non-resource URLs
        spec: Invalid value: {"matchingPrecedence":2,"priorityLevelConfiguration":{"name":"exempt"},"rules":[{"nonResourceRules":[{"nonResourceURLs":["*"],"verbs":["*"]}],"resourceRules":[{"apiGroups":["*"],"clusterScope":true,"namespaces":["*"],"resources":["*"],"verbs":["*"]}],"subjects":[{"group":{"name":"system:masters"},"kind":"Group"}]}]}: spec of 'exempt' must equal the fixed value"#]].assert_eq(&errors);
    let old = created(&flow_schema::KIND, schema(json!({})));
    assert_eq!(old["spec"]["matchingPrecedence"], 1000);
    let mut status = old.clone();
    status["status"] =
        json!({"conditions": [{"type": "Dangling", "status": "True"}, {"type": "Dangling"}, {}]});
    expect![[r#"
        status.conditions[1].type: Duplicate value: "Dangling"
        status.conditions[2].type: Required value"#]]
    .assert_eq(&update_errors(
        &flow_schema::KIND,
        status,
        &old,
        Part::Status,
    ));
}

#[test]
fn levels() {
    let mut annotated = level(
        "l",
        json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}),
    );
    annotated["metadata"]["annotations"] =
        json!({"flowcontrol.k8s.io/preserve-zero-concurrency-shares": ""});
    let mut exempt = standard::mandatory_level("exempt").expect("a level");
    exempt["spec"]["exempt"]["lendablePercent"] = json!(50);
    let mut catch_all = standard::mandatory_level("catch-all").expect("a level");
    catch_all["spec"]["limited"]["lendablePercent"] = json!(50);
    let errors = [
        level("l", json!({})),
        level("l", json!({"type": "Exempt", "limited": {}, "exempt": {"nominalConcurrencyShares": -1, "lendablePercent": 101}})),
        level("l", json!({"type": "Limited", "exempt": {}})),
        level("l", json!({"type": "Limited", "limited": {"nominalConcurrencyShares": -1, "lendablePercent": -1,
            "borrowingLimitPercent": -1, "limitResponse": {"type": "Reject", "queuing": {}}}})),
        level("l", json!({"type": "Unlimited"})),
        level("l", json!({"type": "Unlimited", "limited": {"limitResponse": {"type": "Odd", "queuing": {}}}})),
        level("l", json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue"}}})),
        level("l", queued(json!({"queues": -1, "handSize": -1, "queueLengthLimit": -1}))),
        level("l", queued(json!({"queues": 10_000_001, "handSize": 9}))),
        level("l", queued(json!({"queues": 4, "handSize": 5}))),
        annotated,
        exempt,
        catch_all,
    ]
    .map(|object| create_errors(&priority_level::KIND, object))
    .join("\n");
    expect![[r#"
        spec.type: Required value
        spec.type: Invalid value: "Exempt": must be 'Exempt' if and only if `name` is 'exempt'
        spec.limited: Forbidden
        spec.exempt.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer
        spec.exempt.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive
        spec.exempt: Forbidden
        spec.limited: Required value
        spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer
        spec.limited.limitResponse.queuing: Forbidden
        spec.limited.lendablePercent: Invalid value: -1: must be between 0 and 100, inclusive
        spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer
        spec.type: Unsupported value: "Unlimited": supported values: "Exempt", "Limited"
        spec.type: Unsupported value: "Unlimited": supported values: "Exempt", "Limited"
        spec.limited: Forbidden
        spec.limited.limitResponse.queuing: Forbidden
        spec.limited.limitResponse.queuing: Required value
        spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive
        spec.limited.limitResponse.queuing.queues: Invalid value: -1: must be positive
        spec.limited.limitResponse.queuing.handSize: Invalid value: -1: must be positive
        spec.limited.limitResponse.queuing.queues: Invalid value: 10000001: must not be greater than 10000000
        spec.limited.limitResponse.queuing.handSize: Invalid value: 9: required entropy bits of deckSize 10000001 and handSize 9 should not be greater than 60
        spec.limited.limitResponse.queuing.handSize: Invalid value: 5: should not be greater than queues (4)
        metadata.annotations: Forbidden: annotation 'flowcontrol.k8s.io/preserve-zero-concurrency-shares' is forbidden

        spec: Invalid value: {"limited":{"lendablePercent":50,"limitResponse":{"type":"Reject"},"nominalConcurrencyShares":5},"type":"Limited"}: spec of 'catch-all' must equal the fixed value"#]].assert_eq(&errors);
    let stored = created(&priority_level::KIND, level("l", queued(json!({}))));
    assert_eq!(
        stored["spec"]["limited"],
        json!({"nominalConcurrencyShares": 30, "lendablePercent": 0,
            "limitResponse": {"type": "Queue", "queuing": {"handSize": 8, "queues": 64, "queueLengthLimit": 50}}})
    );
}
