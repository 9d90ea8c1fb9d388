use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{
    device_class, device_taint_rule, resource_claim, resource_claim_template, resource_slice,
};
use crate::{
    kind::{BuiltIn, Part},
    testing::{create_errors, created, row, update_errors, updated},
};

fn check(kind: &BuiltIn, object: Value, errors: Expect) {
    errors.assert_eq(&create_errors(kind, object));
}

fn request(exactly: Value) -> Value {
    json!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}})
}

fn claim() -> Value {
    request(json!({"deviceClassName": "gpu.example.com"}))
}

fn slice(spec: Value) -> Value {
    let mut whole = json!({
        "driver": "dra.example.com",
        "pool": {"name": "cluster", "generation": 1, "resourceSliceCount": 1},
        "nodeName": "n",
    });
    if let (Some(whole), Some(spec)) = (whole.as_object_mut(), spec.as_object()) {
        whole.extend(spec.clone());
    }
    json!({"metadata": {"name": "s"}, "spec": whole})
}

#[test]
fn classes() {
    let class = |spec| json!({"metadata": {"name": "c"}, "spec": spec});
    let selectors = |source: &str| class(json!({"selectors": [{"cel": {"expression": source}}]}));
    for source in [
        "false",
        "1 == 0",
        "device.driver == 'gpu.example.com' && device.allowMultipleAllocations",
        "device.attributes['gpu.example.com'].model == 'a'",
        "device.attributes['gpu.example.com'].shared",
        "device.capacity['gpu.example.com'].memory.compareTo(quantity('1Gi')) >= 0",
    ] {
        assert_eq!(
            create_errors(&device_class::KIND, selectors(source)),
            "",
            "{source}"
        );
    }
    check(
        &device_class::KIND,
        class(json!({
            "selectors": [{}, {"cel": {"expression": "'a'"}}, {"cel": {"expression": "device.x"}}],
            "config": [{}, {"opaque": {"driver": "-", "parameters": []}}],
            "extendedResourceName": "cpu",
        })),
        expect![[r#"
            spec.selectors[0].cel: Required value
            spec.selectors[1].cel.expression: Invalid value: "'a'": must evaluate to bool or the unknown type, not string
            spec.selectors[2].cel.expression: Invalid value: "device.x": compilation failed: ERROR: <input>:1:7: undefined field 'x'
             | device.x
             | ......^
            spec.config[0].opaque: Required value
            spec.config[1].opaque.driver: Invalid value: "-": an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'Example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.config[1].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object
            spec.extendedResourceName: Invalid value: "cpu": a name must be a domain-prefixed path, such as 'example.com/my-prop'"#]],
    );
    // What may cost too much, in upstream's words.
    let mut source = "device.driver == 'a'".to_owned();
    for name in ["a", "b", "c", "d", "e", "f"] {
        source = format!("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10].all({name}, {source})");
    }
    check(
        &device_class::KIND,
        selectors(&source),
        expect!["spec.selectors[0].cel.expression: Forbidden: too complex, exceeds cost limit"],
    );
    // What was stored is not judged again.
    let old = created(&device_class::KIND, selectors("device.x"));
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(
        update_errors(&device_class::KIND, new, &old, Part::Main),
        ""
    );
}

#[test]
fn taint_rules() {
    let rule = |effect: &str| json!({"metadata": {"name": "r"}, "spec": {"taint": {"key": "a", "effect": effect}}});
    let old = created(&device_taint_rule::KIND, rule("None"));
    assert!(old["spec"]["taint"]["timeAdded"].is_string());
    let mut old = old;
    old["spec"]["taint"]["timeAdded"] = json!("2020-01-01T00:00:00Z");
    let mut new = old.clone();
    new["spec"]["taint"]["effect"] = json!("NoExecute");
    let new = updated(&device_taint_rule::KIND, new, &old, Part::Main);
    assert_ne!(
        new["spec"]["taint"]["timeAdded"],
        old["spec"]["taint"]["timeAdded"]
    );
    check(
        &device_taint_rule::KIND,
        json!({"spec": {
            "deviceSelector": {"driver": "", "pool": "a//b", "device": "A"},
            "taint": {"value": "a b", "effect": "x"},
        }}),
        expect![[r#"
            spec.deviceSelector.driver: Required value
            spec.deviceSelector.pool: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.deviceSelector.device: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.taint.key: Invalid value: "": name part must be non-empty
            spec.taint.key: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.taint.value: Invalid value: "a b": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            spec.taint.effect: Unsupported value: "x": supported values: "NoExecute", "NoSchedule", "None""#]],
    );
    let mut bad = old.clone();
    bad["status"] = json!({"conditions": [{"type": "A", "status": "x"}]});
    expect![[r#"
        status.conditions[0].status: Unsupported value: "x": supported values: "False", "True", "Unknown"
        status.conditions[0].lastTransitionTime: Required value
        status.conditions[0].reason: Required value"#]].assert_eq(&update_errors(&device_taint_rule::KIND, bad, &old, Part::Status));
}

#[test]
fn claims() {
    let stored = created(&resource_claim::KIND, claim());
    let exactly = &stored["spec"]["devices"]["requests"][0]["exactly"];
    assert_eq!(
        *exactly,
        json!({"deviceClassName": "gpu.example.com", "allocationMode": "ExactCount", "count": 1})
    );
    assert_eq!(create_errors(&resource_claim::KIND, claim()), "");
    let template = json!({"metadata": {"name": "t"}, "spec": {"spec": claim()["spec"]}});
    assert_eq!(create_errors(&resource_claim_template::KIND, template), "");
    check(
        &resource_claim::KIND,
        json!({"spec": {"devices": {
            "requests": [
                {"name": "A"},
                {"name": "b", "exactly": {}, "firstAvailable": [{"name": "c"}, {"name": "c"}]},
                {"name": "b", "exactly": {
                    "allocationMode": "All",
                    "count": 2,
                    "tolerations": [{"operator": "Exists", "value": "a", "effect": "x"}, {"operator": "x"}],
                }},
                {"name": "d", "firstAvailable": [
                    {"name": "e", "deviceClassName": "-", "allocationMode": "x", "selectors": [{"cel": {"expression": "1"}}]},
                    {"name": "e", "deviceClassName": "f", "count": -1},
                ]},
            ],
            "constraints": [
                {"requests": ["z", "d/e", "d/x", "a/b/c", "d/e"]},
                {"matchAttribute": "a"},
                {"distinctAttribute": "/b"},
                {"matchAttribute": "a.b/"},
                {"matchAttribute": "../a"},
            ],
            "config": [{"requests": ["b"], "opaque": {"driver": "a", "parameters": {"x": "y".repeat(11_000)}}}],
        }}}),
        expect![[r#"
            spec.devices.requests[0].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required
            spec.devices.requests[1]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set
            spec.devices.requests[1].firstAvailable[0].deviceClassName: Required value
            spec.devices.requests[1].firstAvailable[1].deviceClassName: Required value
            spec.devices.requests[1].firstAvailable[1]: Duplicate value: {"allocationMode":"ExactCount","count":1,"name":"c"}
            spec.devices.requests[2].exactly.deviceClassName: Required value
            spec.devices.requests[2].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'
            spec.devices.requests[2].exactly.tolerations[0].value: Invalid value: "a": must be empty for operator `Exists`
            spec.devices.requests[2].exactly.tolerations[0].effect: Unsupported value: "x": supported values: "NoExecute", "NoSchedule", "None"
            spec.devices.requests[2].exactly.tolerations[1].operator: Unsupported value: "x": supported values: "Equal", "Exists"
            spec.devices.requests[3].firstAvailable[0].deviceClassName: Invalid value: "-": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.devices.requests[3].firstAvailable[0].allocationMode: Unsupported value: "x": supported values: "All", "ExactCount"
            spec.devices.requests[3].firstAvailable[0].selectors[0].cel.expression: Invalid value: "1": must evaluate to bool or the unknown type, not int
            spec.devices.requests[3].firstAvailable[1].count: Invalid value: -1: must be greater than zero
            spec.devices.requests[3].firstAvailable[1]: Duplicate value: {"allocationMode":"ExactCount","count":-1,"deviceClassName":"f","name":"e"}
            spec.devices.requests[2]: Duplicate value: {"exactly":{"allocationMode":"All","count":2,"tolerations":[{"effect":"x","operator":"Exists","value":"a"},{"operator":"x"}]},"name":"b"}
            spec.devices.constraints[0].requests[0]: Invalid value: "z": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
            spec.devices.constraints[0].requests[2]: Invalid value: "d/x": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
            spec.devices.constraints[0].requests[3]: Invalid value: "a/b/c": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
            spec.devices.constraints[0].requests[4]: Duplicate value: "d/e"
            spec.devices.constraints[0]: Required value: exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set
            spec.devices.constraints[1].matchAttribute: Invalid value: "a": a fully qualified name must be a domain and a name separated by a slash
            spec.devices.constraints[2].distinctAttribute: Invalid value: "": prefix must not be empty
            spec.devices.constraints[3].matchAttribute: Invalid value: "": name must not be empty
            spec.devices.constraints[4].matchAttribute: Invalid value: "..": prefix: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.devices.config[0].opaque.parameters: Too long: may not be more than 10240 bytes"#]],
    );
    let long = "a".repeat(300);
    let named = json!({"spec": {"devices": {"requests": [
        {"name": "a", "exactly": {"deviceClassName": long}},
        {"name": "b", "firstAvailable": [{"name": "c", "deviceClassName": long}]},
    ]}}});
    let wanted = format!(
        "spec.devices.requests[0].exactly.deviceClassName: Invalid value: \"{long}\": must be no more than 253 characters\n\
         spec.devices.requests[1].firstAvailable[0].deviceClassName: Invalid value: \"{long}\": must be no more than 253 bytes"
    );
    assert_eq!(create_errors(&resource_claim::KIND, named), wanted);
    let mut named = json!({"metadata": {"name": "t"}, "spec": {"spec": claim()["spec"]}});
    named["spec"]["metadata"] = json!({"name": "a", "labels": {"b": "c"}});
    let forbidden = expect!["spec.metadata.name: Forbidden: cannot be set"];
    check(&resource_claim_template::KIND, named, forbidden);
    let mut new = stored.clone();
    new["spec"]["devices"]["requests"][0]["exactly"]["count"] = json!(2);
    let errors = update_errors(&resource_claim::KIND, new, &stored, Part::Main);
    assert!(errors.ends_with("field is immutable"), "{errors}");
}

#[test]
fn allocations() {
    let old = created(&resource_claim::KIND, claim());
    let with = |old: &Value, status: Value| {
        let mut new = old.clone();
        new["status"] = status;
        new
    };
    let update = |new, old: &Value| update_errors(&resource_claim::KIND, new, old, Part::Status);
    assert_eq!(update(with(&old, json!({"allocation": {}})), &old), "");
    assert_eq!(
        row(&resource_claim::KIND, &old, 0),
        "c | pending | <unknown>"
    );
    let result = json!({"request": "r", "driver": "d", "pool": "p", "device": "x"});
    let allocated = with(
        &old,
        json!({
            "allocation": {"devices": {"results": [result]}},
            "reservedFor": [{"resource": "pods", "name": "a", "uid": "1"}],
            "devices": [{"driver": "d", "pool": "p", "device": "x", "networkData": {"ips": ["10.0.0.1/8"]}}],
        }),
    );
    assert_eq!(update(allocated.clone(), &old), "");
    let state = row(&resource_claim::KIND, &allocated, 0);
    assert_eq!(state, "c | allocated,reserved | <unknown>");
    let mut other = allocated.clone();
    other["status"]["allocation"]["allocationTimestamp"] = json!("2026-01-01T00:00:00Z");
    expect!["status.allocation: Invalid value: null: field cannot be modified once set"]
        .assert_eq(&update(other, &allocated));
    // What was said of devices goes with them.
    let freed = with(&old, json!({"devices": allocated["status"]["devices"]}));
    let freed = updated(&resource_claim::KIND, freed, &allocated, Part::Status);
    assert_eq!(freed["status"], json!({}));
    expect![[r#"
        status.reservedFor[0].name: Required value
        status.reservedFor[0].uid: Required value
        status.reservedFor[1].resource: Required value
        status.reservedFor[1].name: Required value
        status.reservedFor[1].uid: Required value
        status.reservedFor[1]: Duplicate value: {"uid":""}
        status.devices[0].pool: Required value
        status.devices[0].shareID: Invalid value: "1": uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters
        status.devices[0]: Invalid value: {"Device":"x","Driver":"d","Pool":"","ShareID":"1"}: must be an allocated device in the claim
        status.devices[0].data: Invalid value: "<value omitted>": must be a valid JSON object
        status.devices[0].networkData.ips[0]: Invalid value: "10.0.0.1": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)
        status.devices[0].networkData.ips[1]: Invalid value: "::ffff:10.0.0.1/104": must be in canonical form ("10.0.0.1/8")
        status.reservedFor: Forbidden: may not be specified when `allocated` is not set"#]].assert_eq(&update(
        with(&old, json!({
            "reservedFor": [{"resource": "pods"}, {"uid": ""}],
            "devices": [{"driver": "d", "pool": "", "device": "x", "shareID": "1", "data": 5,
                "networkData": {"ips": ["10.0.0.1", "::ffff:10.0.0.1/104", "fe80::1/64"]}}],
        })),
        &old,
    ));
    expect![[r#"
        status.allocation.devices.results[0].request: Invalid value: "x": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
        status.allocation.devices.results[0].driver: Required value
        status.allocation.devices.results[0].pool: Invalid value: "B": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        status.allocation.devices.results[0].device: Invalid value: "": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        status.allocation.devices.results[0].bindingConditions[1]: Duplicate value: "a"
        status.allocation.devices.results[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions
        status.allocation.devices.config[0].source: Unsupported value: "x": supported values: "FromClaim", "FromClass"
        status.allocation.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term"#]].assert_eq(&update(
        with(&old, json!({"allocation": {
            "nodeSelector": {},
            "devices": {
                "results": [{"request": "x", "driver": "", "pool": "a/B", "device": "", "bindingConditions": ["a", "a"]}],
                "config": [{"source": "x", "opaque": {"driver": "d", "parameters": {}}}],
            },
        }})),
        &old,
    ));
    let moved = with(
        &allocated,
        json!({"allocation": {"devices": {"results": []}}}),
    );
    let errors = update(moved, &allocated);
    assert!(
        errors.contains("status.allocation: Invalid value"),
        "{errors}"
    );
}

#[test]
fn slices() {
    let bare = slice(json!({}));
    assert_eq!(create_errors(&resource_slice::KIND, bare.clone()), "");
    assert_eq!(
        row(&resource_slice::KIND, &bare, 0),
        "s | n | dra.example.com | cluster | <unknown>"
    );
    let devices = json!({"devices": [{
        "name": "a",
        "attributes": {"model": {"string": "x"}, "b.example.com/v": {"version": "1.2.3-rc.1+x"}, "n": {"int": 5}},
        "capacity": {"memory": {"value": "1Gi"}},
        "taints": [{"key": "a", "effect": "NoSchedule"}],
    }]});
    let whole = created(&resource_slice::KIND, slice(devices.clone()));
    assert!(whole["spec"]["devices"][0]["taints"][0]["timeAdded"].is_string());
    assert_eq!(create_errors(&resource_slice::KIND, slice(devices)), "");
    check(
        &resource_slice::KIND,
        json!({"spec": {"allNodes": false, "nodeName": "a", "perDeviceNodeSelection": true, "devices": [], "sharedCounters": [
            {}, {"name": "c", "counters": {"A": {"value": "1"}}}, {"name": "c", "counters": {"a": {"value": "1"}}},
        ]}}),
        expect![[r#"
            spec.driver: Required value
            spec.pool.name: Required value
            spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero
            spec.allNodes: Invalid value: false: must be either unset or set to true
            spec: Invalid value: "{`nodeName`, `perDeviceNodeSelection`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set
            spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed
            spec.sharedCounters[0].name: Required value
            spec.sharedCounters[0].counters: Required value
            spec.sharedCounters[1].counters: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.sharedCounters[2]: Duplicate value: {"counters":{"a":{"value":"1"}},"name":"c"}"#]],
    );
    check(
        &resource_slice::KIND,
        slice(json!({"devices": [
            {
                "name": "A",
                "nodeName": "n",
                "attributes": {
                    "a": {}, "b/": {"bool": true, "int": 1}, "1": {"version": "1.02.3"},
                    "c": {"string": "x".repeat(65)}, "d": {"ints": [1]},
                },
                "capacity": {"m": {"value": "1", "requestPolicy": {"default": "1"}}},
                "taints": [{}],
                "consumesCounters": [{}, {"counterSet": "a", "counters": {"a": {"value": "1"}}}, {}],
                "bindingConditions": ["a"],
            },
            {"name": "b"},
            {"name": "b"},
        ]})),
        expect![[r#"
            spec.devices[0].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.devices[0].attributes: Invalid value: "1": a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')
            spec.devices[0].attributes[1].version: Invalid value: "1.02.3": must be a string compatible with semver.org spec 2.0.0
            spec.devices[0].attributes[a]: Invalid value: "": must specify one of: `int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`
            spec.devices[0].attributes: Invalid value: "": the name must not be empty
            spec.devices[0].attributes[b/]: Invalid value: "{int, bool}": must specify exactly one of: `int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`
            spec.devices[0].attributes[c].string: Too long: may not be more than 64 bytes
            spec.devices[0].attributes[d]: Invalid value: "": must specify one of: `int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`
            spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true
            spec.devices[0].taints[0].key: Invalid value: "": name part must be non-empty
            spec.devices[0].taints[0].key: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.devices[0].taints[0].effect: Required value
            spec.devices[0].consumesCounters: Too many: 3: must have at most 2 items
            spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec
            spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions
            spec.devices[2]: Duplicate value: "b""#]],
    );
    let mut moved = bare.clone();
    moved["spec"]["nodeName"] = json!("m");
    moved["spec"]["driver"] = json!("other");
    expect![[r#"
        spec.driver: Invalid value: "other": field is immutable
        spec.nodeName: Invalid value: "m": field is immutable"#]]
    .assert_eq(&update_errors(
        &resource_slice::KIND,
        moved,
        &bare,
        Part::Main,
    ));
}

#[test]
fn capacities() {
    let of = |value: &str, policy: Value| {
        slice(json!({"devices": [{
            "name": "a",
            "allowMultipleAllocations": true,
            "capacity": {"m": {"value": value, "requestPolicy": policy}},
        }]}))
    };
    for (value, policy) in [
        ("10", json!({"default": "1", "validValues": ["1", "2"]})),
        (
            "10Gi",
            json!({"default": "2Gi", "validRange": {"min": "1Gi", "step": "1Gi", "max": "4Gi"}}),
        ),
        (
            "1",
            json!({"default": "200m", "validRange": {"min": "100m", "step": "50m"}}),
        ),
    ] {
        assert_eq!(create_errors(&resource_slice::KIND, of(value, policy)), "");
    }
    let bad = [
        json!({"validValues": ["1"]}),
        json!({"default": "3", "validValues": ["2", "1", "1000m", "20"]}),
        json!({"default": "1", "validValues": ["1"], "validRange": {"min": "1"}}),
        json!({"default": "1", "validRange": {}}),
        json!({"default": "7", "validRange": {"min": "2", "max": "6", "step": "3"}}),
        json!({"default": "1", "validRange": {"min": "11", "max": "12", "step": "0"}}),
        json!({"default": "1", "validRange": {"min": "-1", "step": "1"}}),
        json!({"default": "1", "validRange": {"min": "1n", "step": "1"}}),
    ];
    let errors = bad.map(|policy| create_errors(&resource_slice::KIND, of("10", policy)));
    expect![[r#"
        spec.devices[0].capacity[m].requestPolicy.default: Required value: required when validValues is defined
        spec.devices[0].capacity[m].requestPolicy.validValues[1]: Invalid value: "1": values must be sorted in ascending order
        spec.devices[0].capacity[m].requestPolicy.validValues[3]: Invalid value: "20": option is larger than capacity value: 10
        spec.devices[0].capacity[m].requestPolicy.validValues[2]: Duplicate value: "1"
        spec.devices[0].capacity[m].requestPolicy.validValues: Invalid value: "3": default value is not valid according to the requestPolicy
        spec.devices[0].capacity[m].requestPolicy: Forbidden: exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time
        spec.devices[0].capacity[m].requestPolicy.validRange.min: Required value: required when validRange is defined
        spec.devices[0].capacity[m].requestPolicy.validRange.default: Invalid value: "7": default is more than max: 6
        spec.devices[0].capacity[m].requestPolicy.validRange.step: Invalid value: "7": value is not a multiple of a given step (3) from (2)
        spec.devices[0].capacity[m].requestPolicy.validRange.step: Invalid value: "6": value is not a multiple of a given step (3) from (2)
        spec.devices[0].capacity[m].requestPolicy.validRange.min: Invalid value: "11": min is larger than capacity value: 10
        spec.devices[0].capacity[m].requestPolicy.validRange.default: Invalid value: "1": default is less than min: 11
        spec.devices[0].capacity[m].requestPolicy.validRange.max: Invalid value: "12": max is larger than capacity value: 10
        spec.devices[0].capacity[m].requestPolicy.validRange.step: Invalid value: "0": must be greater than zero
        spec.devices[0].capacity[m].requestPolicy.validRange.min: Invalid value: "-1": must be greater than or equal to 0
        spec.devices[0].capacity[m].requestPolicy.validRange.min: Invalid value: "1n": value cannot be represented as a milli value"#]].assert_eq(&errors.join("\n"));
}

#[test]
fn expressions_have_a_size_together() {
    let claim = |source: &dyn Fn(usize) -> String| {
        let requests = (0..8).map(|n| {
            let selectors = json!([{"cel": {"expression": source(n)}}]);
            json!({"name": format!("r{n}"), "exactly": {"deviceClassName": "gpu", "selectors": selectors}})
        });
        let requests: Vec<Value> = requests.collect();
        json!({"metadata": {"name": "c", "namespace": "x"}, "spec": {"devices": {"requests": requests}}})
    };
    let long = |n: usize| format!("device.driver != '{}{n}'", "x".repeat(10_000));
    // The same one costs once.
    assert_eq!(
        create_errors(&resource_claim::KIND, claim(&|_| long(0))),
        ""
    );
    check(
        &resource_claim::KIND,
        claim(&long),
        expect![[r#"
            spec.devices.requests[6].exactly.selectors[0].cel.expression: Forbidden: the different expressions of an object may have 65536 bytes together
            spec.devices.requests[7].exactly.selectors[0].cel.expression: Forbidden: the different expressions of an object may have 65536 bytes together"#]],
    );
}
