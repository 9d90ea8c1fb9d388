use serde_json::json;

use super::*;

fn causes(kind: &'static str, source: &Value, owner: Owner) -> Vec<String> {
    let mut errors = ErrorList::new();
    validate(kind, source, owner, &Path::new("v"), &mut errors);
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn sources_are_refused_with_upstreams_words() {
    let cases = [
        (
            "nfs",
            json!({"server": "a", "path": "b"}),
            vec![r#"v.KIND.path: Invalid value: "b": must be an absolute path"#],
        ),
        (
            "gcePersistentDisk",
            json!({"pdName": "a", "partition": 256}),
            vec![
                "v.persistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive",
            ],
        ),
        (
            "iscsi",
            json!({"targetPortal": "a", "iqn": "abc", "lun": 0}),
            vec![
                r#"v.KIND.iqn: Invalid value: "abc": must be valid format starting with iqn, eui, or naa"#,
            ],
        ),
        (
            "iscsi",
            json!({"targetPortal": "a", "iqn": "iqn.2001-04.com.example:storage", "lun": 300, "chapAuthSession": true}),
            vec![
                "v.KIND.lun: Invalid value: 300: must be between 0 and 255, inclusive",
                "v.KIND.secretRef: Required value",
            ],
        ),
        (
            "flocker",
            json!({}),
            vec!["v.KIND: Required value: one of datasetName and datasetUUID is required"],
        ),
        (
            "rbd",
            json!({"image": "a"}),
            vec!["v.KIND.monitors: Required value"],
        ),
        (
            "cephfs",
            json!({"monitors": []}),
            vec!["v.KIND.monitors: Required value"],
        ),
        (
            "quobyte",
            json!({"registry": "a", "volume": "b"}),
            vec![
                r#"v.KIND.registry: Invalid value: "a": must be a host:port pair or multiple pairs separated by commas"#,
            ],
        ),
        (
            "fc",
            json!({"targetWWNs": ["a"]}),
            vec!["v.KIND.lun: Required value: lun is required if targetWWNs is specified"],
        ),
        (
            "flexVolume",
            json!({"driver": "a", "options": {"x.k8s.io/a": "b"}}),
            vec![
                r#"v.KIND.options[x.k8s.io/a]: Invalid value: "x.k8s.io/a": kubernetes.io and k8s.io namespaces are reserved"#,
            ],
        ),
        (
            "storageos",
            json!({"volumeName": "a", "secretRef": {}}),
            vec!["v.KIND.secretRef.name: Required value"],
        ),
        (
            "cinder",
            json!({"volumeID": "a", "secretRef": {"name": "b"}}),
            vec![],
        ),
    ];
    for (kind, source, wanted) in cases {
        let wanted: Vec<String> = wanted.iter().map(|w| w.replace("KIND", kind)).collect();
        assert_eq!(causes(kind, &source, Owner::Pod), wanted, "{kind}");
    }
    let secret = json!({"volumeID": "a", "secretRef": {"name": "b"}});
    let wanted = ["v.cinder.secretRef.namespace: Required value"];
    assert_eq!(causes("cinder", &secret, Owner::PersistentVolume), wanted);
}

#[test]
fn names_of_initiators_have_three_forms() {
    let cases = [
        ("iqn.2001-04.com.example:storage.disk1", Some(true)),
        ("iqn.2001-04.com.example", Some(false)),
        ("iqn.2001-4.com.example:a", Some(false)),
        ("iqn.2001-04.com.example:a b", Some(false)),
        ("eui.0123456789abcdef", Some(true)),
        ("eui.0123", Some(false)),
        ("naa.0123456789abcdef0123456789abcdef", Some(true)),
        ("naa", Some(false)),
        ("ü", None),
        ("", None),
    ];
    for (name, wanted) in cases {
        assert_eq!(is_iscsi_name(name), wanted, "{name}");
    }
}
