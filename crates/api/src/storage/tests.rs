use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{
    csi_driver, csi_node, csi_storage_capacity, storage_class, volume_attachment,
    volume_attributes_class,
};
use crate::{
    BuiltIn,
    kind::Part,
    testing::{create_errors, created, pretty, row, update_errors, updated},
};

const NOW: i64 = 1_767_225_600;

fn check(kind: &BuiltIn, object: Value, expected: Expect) {
    expected.assert_eq(&create_errors(kind, object));
}

#[test]
fn the_youngest_default_storage_class_is_called_so_in_lists() {
    let class = |name: &str, made: &str, default: &str| {
        json!({"metadata": {
            "name": name, "creationTimestamp": made,
            "annotations": {"storageclass.kubernetes.io/is-default-class": default},
        }})
    };
    let listing = storage_class::KIND.strategy.listing().unwrap();
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let cases = [
        (vec![class("a", new, "false")], None),
        (
            vec![class("a", old, "true"), class("b", new, "true")],
            Some(1),
        ),
        (
            vec![class("a", new, "true"), class("b", new, "true")],
            Some(0),
        ),
    ];
    for (classes, default) in cases {
        let listing = listing(&classes);
        assert_eq!(listing.default, default, "{classes:?}");
        assert!(listing.order.iter().copied().eq(0..classes.len()));
    }
}

#[test]
fn storage_classes() {
    let kind = &storage_class::KIND;
    let class = created(
        kind,
        json!({
            "metadata": {"name": "c", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "x.io/p",
        }),
    );
    assert_eq!(create_errors(kind, class.clone()), "");
    assert!(storage_class::is_default(&class));
    expect!["c | x.io/p | Delete | Immediate | false | <unknown>"]
        .assert_eq(&row(kind, &class, NOW));
    check(
        kind,
        json!({
            "provisioner": "", "parameters": {"": "x"}, "reclaimPolicy": "Recycle",
            "volumeBindingMode": "Never",
            "allowedTopologies": [
                {"matchLabelExpressions": [{"key": "a/b/c", "values": ["x", "x"]}, {"key": "z", "values": []}]},
                {"matchLabelExpressions": [{"key": "k", "values": ["x"]}, {"key": "k", "values": ["x"]}]},
                {"matchLabelExpressions": [{"key": "k", "values": ["x"]}]},
            ],
        }),
        expect![[r#"
            provisioner: Required value
            parameters: Invalid value: "": field can not be empty.
            reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"
            volumeBindingMode: Unsupported value: "Never": supported values: "Immediate", "WaitForFirstConsumer"
            allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: "x"
            allowedTopologies[0].matchLabelExpressions[0].key: Invalid value: "a/b/c": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')
            allowedTopologies[0].matchLabelExpressions[1].values: Required value
            allowedTopologies[1].matchLabelExpressions[1].key: Duplicate value: "k"
            allowedTopologies[2].matchLabelExpressions: Duplicate value: """#]],
    );
    let mut new = class.clone();
    new["provisioner"] = json!("x.io/q");
    new["parameters"] = json!({"a": "b"});
    new["reclaimPolicy"] = json!("Retain");
    new["volumeBindingMode"] = json!("WaitForFirstConsumer");
    new["allowVolumeExpansion"] = json!(true);
    expect![[r#"
        parameters: Invalid value: null: field is immutable
        provisioner: Invalid value: null: field is immutable
        reclaimPolicy: Invalid value: null: field is immutable
        volumeBindingMode: Invalid value: null: field is immutable"#]]
    .assert_eq(&update_errors(kind, new, &class, Part::Main));
}

#[test]
fn volume_attributes_classes() {
    let kind = &volume_attributes_class::KIND;
    let class = created(
        kind,
        json!({"metadata": {"name": "v"}, "driverName": "x.io", "parameters": {"iops": "1"}}),
    );
    assert_eq!(create_errors(kind, class.clone()), "");
    assert_eq!(row(kind, &class, NOW), "v | x.io | <unknown>");
    check(
        kind,
        json!({"driverName": "a b"}),
        expect![[r#"
        driverName: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        parameters: Required value: must contain at least one key/value pair"#]],
    );
    let new = json!({"driverName": "y.io", "parameters": {"iops": "2"}});
    expect![[r#"
        driverName: Forbidden: updates to driverName are forbidden.
        parameters: Forbidden: updates to parameters are forbidden."#]]
    .assert_eq(&update_errors(kind, new, &class, Part::Main));
}

#[test]
fn csi_drivers() {
    let kind = &csi_driver::KIND;
    let driver = created(kind, json!({"metadata": {"name": "d.io"}, "spec": {}}));
    expect![[r#"
        {
          "attachRequired": true,
          "fsGroupPolicy": "ReadWriteOnceWithFSType",
          "podInfoOnMount": false,
          "preventPodSchedulingIfMissing": false,
          "requiresRepublish": false,
          "seLinuxMount": false,
          "storageCapacity": false,
          "volumeLifecycleModes": [
            "Persistent"
          ]
        }"#]]
    .assert_eq(&pretty(&driver["spec"]));
    expect!["d.io | true | false | false | <unset> | false | Persistent | <unknown>"]
        .assert_eq(&row(kind, &driver, NOW));
    check(
        kind,
        json!({"spec": {
            "fsGroupPolicy": "Some", "volumeLifecycleModes": ["Eternal"],
            "tokenRequests": [
                {"audience": "a", "expirationSeconds": 1}, {"audience": "a"},
                {"audience": "b", "expirationSeconds": 5_000_000_000_i64},
            ],
            "nodeAllocatableUpdatePeriodSeconds": 9,
        }}),
        expect![[r#"
            spec.fsGroupPolicy: Unsupported value: "Some": supported values: "File", "None", "ReadWriteOnceWithFSType"
            spec.tokenRequests[0].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes
            spec.tokenRequests[1].audience: Duplicate value: "a"
            spec.tokenRequests[2].expirationSeconds: Invalid value: 5000000000: may not specify a duration larger than 2^32 seconds
            spec.volumeLifecycleModes: Unsupported value: "Eternal": supported values: "Persistent", "Ephemeral"
            spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds"#]],
    );
    let mut new = driver.clone();
    new["spec"]["attachRequired"] = json!(false);
    new["spec"]["volumeLifecycleModes"] = json!(["Ephemeral"]);
    new["spec"]["storageCapacity"] = json!(true);
    expect![[r#"
        spec.attachedRequired: Invalid value: false: field is immutable
        spec.volumeLifecycleModes: Invalid value: ["Ephemeral"]: field is immutable"#]]
    .assert_eq(&update_errors(kind, new, &driver, Part::Main));
}

#[test]
fn csi_nodes() {
    let kind = &csi_node::KIND;
    let driver = json!({"name": "d.io", "nodeID": "n", "topologyKeys": ["zone"], "allocatable": {"count": 1}});
    let node = json!({"metadata": {"name": "n"}, "spec": {"drivers": [driver]}});
    assert_eq!(create_errors(kind, node.clone()), "");
    let full = json!({"metadata": {"name": "n"}, "spec": {"drivers": []}, "status": {"x": 1}});
    let stored = created(kind, full);
    assert_eq!(stored["status"], json!({}), "nobody creates a status");
    let changed = json!({"metadata": {"name": "n", "labels": {"a": "b"}}, "spec": {"drivers": [{}]}, "status": {"x": 1}});
    let main = updated(kind, changed.clone(), &stored, Part::Main);
    assert_eq!(
        (&main["status"], &main["spec"]),
        (&stored["status"], &changed["spec"])
    );
    let status = updated(kind, changed.clone(), &stored, Part::Status);
    assert_eq!(
        (&status["status"], &status["spec"]),
        (&changed["status"], &stored["spec"])
    );
    assert!(status["metadata"].get("labels").is_none());
    assert_eq!(row(kind, &node, NOW), "n | 1 | <unknown>");
    check(
        kind,
        json!({"spec": {"drivers": [
            {"name": "d.io", "nodeID": "", "topologyKeys": ["a", "a", ""], "allocatable": {"count": -1}},
            {"name": "d.io", "nodeID": "n".repeat(257)},
        ]}}),
        expect![[r#"
            spec.drivers[0].nodeID: Required value
            spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0
            spec.drivers[0]: Duplicate value: "a"
            spec.drivers[0]: Required value
            spec.drivers[0]: Invalid value: "": name part must be non-empty
            spec.drivers[0]: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.drivers[1].nodeID: Invalid value: "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn": must be 256 characters or less
            spec.drivers[1].name: Duplicate value: "d.io""#]],
    );
    let mut new = node.clone();
    new["spec"]["drivers"][0]["allocatable"]["count"] = json!(7);
    assert_eq!(update_errors(kind, new.clone(), &node, Part::Main), "");
    new["spec"]["drivers"][0]["nodeID"] = json!("other");
    expect![[r#"spec.drivers: Invalid value: {"allocatable":{"count":7},"name":"d.io","nodeID":"other","topologyKeys":["zone"]}: field is immutable"#]].assert_eq(&update_errors(kind, new, &node, Part::Main));
}

#[test]
fn csi_storage_capacities() {
    let kind = &csi_storage_capacity::KIND;
    let capacity = json!({
        "metadata": {"name": "c"}, "storageClassName": "slow", "capacity": "1Gi",
        "nodeTopology": {"matchLabels": {"zone": "a"}},
    });
    assert_eq!(create_errors(kind, capacity.clone()), "");
    assert_eq!(row(kind, &capacity, NOW), "c | ");
    check(
        kind,
        json!({"storageClassName": "", "capacity": "-1", "nodeTopology": {"matchLabels": {"a b": "c"}}}),
        expect![[r#"
            nodeTopology.matchLabels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            storageClassName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            capacity: Invalid value: "-1": must be greater than or equal to 0"#]],
    );
    let mut new = capacity.clone();
    new["storageClassName"] = json!("fast");
    new["nodeTopology"] = json!({});
    new["capacity"] = json!("2Gi");
    expect![[r#"
        nodeTopology: Invalid value: {}: field is immutable
        storageClassName: Invalid value: "fast": field is immutable"#]]
    .assert_eq(&update_errors(kind, new, &capacity, Part::Main));
}

#[test]
fn volume_attachments() {
    let kind = &volume_attachment::KIND;
    let attachment = created(
        kind,
        json!({"metadata": {"name": "a"}, "spec": {
            "attacher": "d.io", "nodeName": "n", "source": {"persistentVolumeName": "pv"},
        }}),
    );
    assert_eq!(create_errors(kind, attachment.clone()), "");
    assert_eq!(
        row(kind, &attachment, NOW),
        "a | d.io | pv | n | false | <unknown>"
    );
    check(
        kind,
        json!({"spec": {}}),
        expect![[r#"
            spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName
            spec.nodeName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.attacher: Required value"#]],
    );
    check(
        kind,
        json!({"spec": {"attacher": "d.io", "nodeName": "n", "source": {
            "inlineVolumeSpec": {
                "hostPath": {"path": "/"}, "capacity": {"storage": "1"}, "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Delete", "volumeMode": "Block", "storageClassName": "c",
                "claimRef": {"name": "c"},
                // Of a volume alone it is looked at.
                "volumeAttributesClassName": "Not A Name",
            },
        }}}),
        expect![[r#"
            spec.source.inlineVolumeSpec.claimRef: Forbidden: may not be specified in the context of inline volumes
            spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes
            spec.source.inlineVolumeSpec.storageClassName: Forbidden: may not be specified in the context of inline volumes
            spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes
            spec.source.inlineVolumeSpec.persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes
            spec.source.inlineVolumeSpec.volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes"#]],
    );
    let mut new = attachment.clone();
    new["spec"]["nodeName"] = json!("other");
    expect![[r#"spec: Invalid value: null: field is immutable"#]].assert_eq(&update_errors(
        kind,
        new,
        &attachment,
        Part::Main,
    ));
    check(
        kind,
        json!({"spec": {"attacher": "d".repeat(64), "nodeName": "n", "source": {"persistentVolumeName": ""}}}),
        expect![[r#"
            spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName
            spec.source.persistentVolumeName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.attacher: Too long: may not be more than 63 characters"#]],
    );
    let mut new = attachment.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    new["status"] = json!({"attached": true, "attachError": {"message": "x".repeat(1025)}});
    let after = updated(kind, new.clone(), &attachment, Part::Status);
    assert_eq!(after["metadata"].get("labels"), None);
    expect!["status.attachError.message: Too long: may not be more than 1024 bytes"]
        .assert_eq(&update_errors(kind, new, &attachment, Part::Status));
}

#[test]
fn equal_topologies_cost_what_they_are_long() {
    let class = |terms: usize| {
        let empty = vec![json!({}); terms];
        json!({"metadata": {"name": "c"}, "provisioner": "x.io/p", "allowedTopologies": empty})
    };
    // Two terms, each equal to both that upstream begins with; the second to the first as well.
    let few = create_errors(&storage_class::KIND, class(2));
    assert_eq!(few.matches("Duplicate value").count(), 5, "{few}");
    let many = create_errors(&storage_class::KIND, class(50_000));
    assert_eq!(many.matches("Duplicate value").count(), 256);
}
