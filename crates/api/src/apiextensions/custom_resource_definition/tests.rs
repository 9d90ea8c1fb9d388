use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::testing::{create_errors, created, pretty, row, update_errors, updated};

fn widgets() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}},
            ],
        },
    })
}

fn check(change: impl FnOnce(&mut Value), expected: Expect) {
    let mut object = widgets();
    change(&mut object);
    expected.assert_eq(&create_errors(&KIND, object));
}

#[test]
fn defaults_and_status() {
    let made = created(&KIND, widgets());
    expect![[r#"
        {
          "acceptedNames": {
            "kind": "",
            "plural": ""
          },
          "conditions": [],
          "storedVersions": [
            "v1"
          ]
        }"#]]
    .assert_eq(&pretty(&made["status"]));
    assert_eq!(made["spec"]["names"]["singular"], "widget");
    assert_eq!(made["spec"]["names"]["listKind"], "WidgetList");
    assert_eq!(made["spec"]["conversion"], json!({"strategy": "None"}));
    expect!["widgets.example.com | Namespaced | v1(storage) | 2026-01-01T00:00:00Z | example.com | Widget | wd | false"]
        .assert_eq(&row(&KIND, &made, 0));
    check(|_| {}, expect![""]);
}

#[test]
fn versions_are_stored_as_upstream_counts_them() {
    let mut nameless = widgets();
    nameless["spec"]["versions"][0]["name"] = Value::Null;
    let errors = create_errors(&KIND, nameless);
    assert!(!errors.contains("storedVersions"), "{errors}");
    let mut twice = widgets();
    let version = twice["spec"]["versions"][0].clone();
    twice["spec"]["versions"] = json!([version, version]);
    let errors = create_errors(&KIND, twice);
    let wanted = "status.storedVersions: Invalid value: [\"v1\"]: must have the storage version v1";
    assert!(errors.contains(wanted), "{errors}");
}

#[test]
fn what_is_unknown_in_a_schema_goes() {
    let mut object = widgets();
    object["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({"type": "object", "properties": {
        "list": {"type": "array", "items": {"type": "string", "odd": 1, "pattern": null}},
    }});
    let made = created(&KIND, object);
    let items =
        &made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["list"]["items"];
    assert_eq!(items, &json!({"type": "string"}));
}

#[test]
fn specs() {
    check(
        |object| object["spec"] = json!({}),
        expect![[r#"
            metadata.name: Invalid value: "widgets.example.com": must be spec.names.plural+"."+spec.group
            spec.group: Required value
            spec.scope: Required value
            spec.versions: Invalid value: null: must have exactly one version marked as storage version
            spec.names.plural: Required value
            spec.names.singular: Required value
            spec.names.kind: Required value
            spec.names.listKind: Required value
            status.storedVersions: Invalid value: null: must have at least one stored version"#]],
    );
    check(
        |object| {
            object["spec"]["group"] = json!("Example");
            object["spec"]["scope"] = json!("Global");
            object["spec"]["names"] = json!({"plural": "Widgets", "kind": "1", "listKind": "1", "shortNames": ["W"], "categories": ["A"]});
            object["spec"]["preserveUnknownFields"] = json!(true);
        },
        expect![[r#"
            metadata.name: Invalid value: "widgets.example.com": must be spec.names.plural+"."+spec.group
            spec.group: Invalid value: "Example": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.scope: Unsupported value: "Global": supported values: "Cluster", "Namespaced"
            spec.names.plural: Invalid value: "Widgets": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
            spec.names.singular: Invalid value: "1": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
            spec.names.kind: Invalid value: "1": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
            spec.names.listKind: Invalid value: "1": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
            spec.names.shortNames[0]: Invalid value: "W": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
            spec.names.listKind: Invalid value: "1": kind and listKind may not be the same
            spec.names.categories[0]: Invalid value: "A": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
            spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"#]],
    );
}

#[test]
fn versions_are_told_where_they_differ() {
    check(
        |object| {
            let version = |name: &str, storage: bool, props: Value| json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": props}});
            object["spec"]["versions"] = json!([
                version(
                    "v1",
                    true,
                    json!({"type": "object", "properties": {"a": {}}})
                ),
                version(
                    "v2",
                    true,
                    json!({"type": "object", "properties": {"b": {}}})
                ),
                version("v2", false, json!({"type": "object"})),
            ]);
        },
        expect![[r#"
            spec.versions[0].schema.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified object fields
            spec.versions[1].schema.openAPIV3Schema.properties[b].type: Required value: must not be empty for specified object fields
            spec.versions: Invalid value: [{"name":"v1","schema":{"openAPIV3Schema":{"properties":{"a":{}},"type":"object"}},"served":true,"storage":true},{"name":"v2","schema":{"openAPIV3Schema":{"properties":{"b":{}},"type":"object"}},"served":true,"storage":true},{"name":"v2","schema":{"openAPIV3Schema":{"type":"object"}},"served":true,"storage":false}]: must contain unique version names
            spec.versions: Invalid value: [{"name":"v1","schema":{"openAPIV3Schema":{"properties":{"a":{}},"type":"object"}},"served":true,"storage":true},{"name":"v2","schema":{"openAPIV3Schema":{"properties":{"b":{}},"type":"object"}},"served":true,"storage":true},{"name":"v2","schema":{"openAPIV3Schema":{"type":"object"}},"served":true,"storage":false}]: must have exactly one version marked as storage version
            status.storedVersions: Invalid value: ["v1"]: must have the storage version v2"#]],
    );
    check(
        |object| {
            let version = &mut object["spec"]["versions"][0];
            version["schema"]["openAPIV3Schema"] =
                json!({"type": "object", "properties": {"a": {}}});
            version["subresources"] =
                json!({"scale": {"specReplicasPath": "spec.n", "statusReplicasPath": ".spec.n"}});
            version["additionalPrinterColumns"] =
                json!([{"name": "", "type": "text", "format": "odd", "jsonPath": "a"}]);
            version["selectableFields"] =
                json!([{"jsonPath": ".x"}, {"jsonPath": ".a"}, {"jsonPath": ".a"}]);
            version["deprecationWarning"] = json!("x");
        },
        expect![[r#"
            spec.versions[0].deprecationWarning: Invalid value: "x": can only be set for deprecated versions
            spec.validation.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified object fields
            spec.subresources.scale.specReplicasPath: Invalid value: "spec.n": must be a simple json path starting with .
            spec.subresources.scale.statusReplicasPath: Invalid value: ".spec.n": should be a json path under .status
            spec.additionalPrinterColumns[0].name: Required value
            spec.additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,number,string
            spec.additionalPrinterColumns[0].format: Invalid value: "odd": must be one of byte,date,date-time,double,float,int32,int64,password
            spec.additionalPrinterColumns[0].JSONPath: Invalid value: "a": must be a simple json path starting with .
            spec.selectableFields[0].jsonPath: Invalid value: ".x": is an invalid path: does not refer to a valid field
            spec.selectableFields[1].jsonPath: Invalid value: ".a": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.
            spec.selectableFields[2].jsonPath: Invalid value: ".a": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.
            spec.selectableFields[2].jsonPath: Duplicate value: ".a""#]],
    );
    let odd = json!({"type": "object", "properties": {"a": {"type": "string", "id": "b"}}});
    check(
        |object| {
            let version = &mut object["spec"]["versions"][0];
            version["schema"]["openAPIV3Schema"] = odd.clone();
            version["selectableFields"] = json!([{"jsonPath": ""}]);
        },
        expect![[r#"
            spec.validation.openAPIV3Schema.properties[a].id: Forbidden: id is not supported
            spec.schema.openAPIV3Schema: Invalid value: "": OpenAPIV3Schema 'id' is not supported
            spec.selectableFields[0].jsonPath: Required value"#]],
    );
    // A type that there is none of is no such part.
    let odd =
        json!({"type": "object", "properties": {"a": {"type": "odd"}, "b": {"type": "string"}}});
    check(
        |object| {
            let version = &mut object["spec"]["versions"][0];
            version["schema"]["openAPIV3Schema"] = odd.clone();
            version["selectableFields"] = json!([{"jsonPath": ".b"}]);
        },
        expect![[
            r#"spec.validation.openAPIV3Schema.properties[a].type: Unsupported value: "odd": supported values: "array", "boolean", "integer", "number", "object", "string""#
        ]],
    );
}

#[test]
fn conversions() {
    let convert = |conversion: Value, expected: Expect| {
        check(|object| object["spec"]["conversion"] = conversion, expected);
    };
    convert(
        json!({"strategy": "Webhook"}),
        expect![[r#"
            spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook
            spec.conversion.conversionReviewVersions: Required value"#]],
    );
    convert(
        json!({"strategy": "Webhook", "webhook": {
            "conversionReviewVersions": ["v2", "v2"], "clientConfig": {"service": {"name": "a", "path": "//x"}},
        }}),
        expect![[r#"
            spec.conversion.webhookClientConfig.service.name: Required value
            spec.conversion.webhookClientConfig.service.path: Invalid value: "//x": segment[0] may not be empty
            spec.conversion.conversionReviewVersions[1]: Invalid value: "v2": duplicate version
            spec.conversion.conversionReviewVersions: Invalid value: ["v2","v2"]: must include at least one of v1, v1beta1"#]],
    );
    convert(
        json!({"strategy": "Webhook", "webhook": {
            "conversionReviewVersions": ["v1"], "clientConfig": {"url": "http://u@x/?a#b"},
        }}),
        expect![[r#"
            spec.conversion.webhookClientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]
            spec.conversion.webhookClientConfig.url: Invalid value: "u": user information is not permitted in the URL
            spec.conversion.webhookClientConfig.url: Invalid value: "b": fragments are not permitted in the URL
            spec.conversion.webhookClientConfig.url: Invalid value: "a": query parameters are not permitted in the URL"#]],
    );
    convert(
        json!({"strategy": "None", "webhook": {"conversionReviewVersions": ["v1"]}}),
        expect![
            "spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook"
        ],
    );
}

#[test]
fn protected_groups() {
    let approve = |annotation: Option<&str>, expected: Expect| {
        check(
            |object| {
                object["spec"]["group"] = json!("x.k8s.io");
                object["metadata"]["name"] = json!("widgets.x.k8s.io");
                if let Some(text) = annotation {
                    object["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": text});
                }
            },
            expected,
        );
    };
    approve(
        None,
        expect![[
            r#"metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111"#
        ]],
    );
    approve(
        Some("yes"),
        expect![[
            r#"metadata.annotations[api-approved.kubernetes.io]: Invalid value: "yes": protected groups must have approval annotation "api-approved.kubernetes.io" with either a URL or a reason starting with "unapproved", see https://github.com/kubernetes/enhancements/pull/1111"#
        ]],
    );
    approve(Some("https://example.com/1"), expect![""]);
    approve(Some("unapproved, a test"), expect![""]);
}

#[test]
fn updates() {
    let mut old = created(&KIND, widgets());
    set_condition(
        &mut old,
        Condition::Established,
        "True",
        "InitialNamesAccepted",
        "",
    );
    let mut new = old.clone();
    new["spec"]["scope"] = json!("Cluster");
    new["spec"]["names"]["kind"] = json!("Gadget");
    new["spec"]["versions"][0]["name"] = json!("v2");
    new["status"] = json!({});
    let kept = updated(&KIND, new.clone(), &old, Part::Main);
    assert_eq!(kept["status"]["storedVersions"], json!(["v1", "v2"]));
    expect![[r#"
        spec.scope: Invalid value: "Cluster": field is immutable
        spec.names.kind: Invalid value: "Gadget": field is immutable
        status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions"#]]
    .assert_eq(&update_errors(&KIND, new.clone(), &old, Part::Main));
    assert_eq!(update_errors(&KIND, new, &old, Part::Status), "");
    let mut unjudged = widgets();
    unjudged["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
        json!({"type": "object", "properties": {"a": {}}});
    let unjudged = created(&KIND, unjudged);
    assert_eq!(
        update_errors(&KIND, unjudged.clone(), &unjudged, Part::Main),
        ""
    );
}

#[test]
fn conditions() {
    let mut object = created(&KIND, widgets());
    assert!(set_condition(
        &mut object,
        Condition::NamesAccepted,
        "True",
        "NoConflicts",
        "no conflicts found"
    ));
    assert!(!set_condition(
        &mut object,
        Condition::NamesAccepted,
        "True",
        "NoConflicts",
        "no conflicts found"
    ));
    assert!(
        is_true(&object, Condition::NamesAccepted) && !is_true(&object, Condition::Established)
    );
}

#[test]
fn warnings() {
    let mut object = widgets();
    object["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({"type": "object", "properties": {
        "a": {"type": "string", "format": "odd"}, "b": {"type": "string", "format": "date"},
        "c": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object", "x-kubernetes-map-type": "atomic"}},
    }});
    let warnings = KIND
        .strategy
        .warnings(&object, None, crate::kind::Part::Main);
    assert_eq!(warnings.len(), 2);
    assert_eq!(warnings[0], r#"unrecognized format "odd""#);
}

#[test]
fn a_status_without_stored_versions_gets_the_present_one() {
    for known in [json!([]), Value::Null] {
        let mut object = created(&KIND, widgets());
        object["status"]["storedVersions"] = known;
        KIND.strategy.default(&mut object);
        assert_eq!(object["status"]["storedVersions"], json!(["v1"]));
    }
    let mut object = widgets();
    KIND.strategy.default(&mut object);
    assert_eq!(object.get("status"), None, "a new definition has none yet");
}
