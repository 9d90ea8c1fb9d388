use serde_json::json;

use super::*;

#[test]
fn names_are_those_of_upstream() {
    let name = unique_name("hostpath.csi.k8s.io", "a^b");
    assert_eq!(name, "kubernetes.io/csi/hostpath.csi.k8s.io^a^b");
    let parts = split_unique_name(&name);
    assert_eq!(parts, Some(("hostpath.csi.k8s.io", "a^b")));
    assert_eq!(split_unique_name("kubernetes.io/nfs/x^y"), None);
    assert_eq!(split_unique_name("kubernetes.io/csi/x"), None);
}

/// The digest is that of `printf vol-1drivernode-1 | sha256sum`.
#[test]
fn attachments_are_named_by_what_they_attach() {
    let name = attachment_name("driver", "vol-1", "node-1");
    assert_eq!(
        name,
        "csi-b962a947cca4eb4712024b86cc7a7c055c4478d753c1cacb78560d5e4419c913"
    );
    assert!(is_attachment_name(&name));
    for other in [
        "csi-",
        "csi-abc",
        "pvc-abc",
        &name[4..],
        &name.to_uppercase(),
    ] {
        assert!(!is_attachment_name(other), "{other}");
    }
}

#[test]
fn drivers_say_whether_they_attach() {
    let driver = |spec| {
        let driver = json!({"metadata": {"name": "d"}, "spec": spec});
        serde_json::from_value::<CSIDriver>(driver).expect("a driver")
    };
    let cases = [
        (None, true),
        (Some(driver(json!({}))), true),
        (Some(driver(json!({"attachRequired": true}))), true),
        (Some(driver(json!({"attachRequired": false}))), false),
    ];
    for (driver, wanted) in cases {
        assert_eq!(needs_attachment(driver.as_ref()), wanted, "{driver:?}");
    }
}
