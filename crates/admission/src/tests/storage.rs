//! Claims, volumes and classes.

use super::*;

fn claims() -> &'static Arc<Kind> {
    kind("", "persistentvolumeclaims", "PersistentVolumeClaim")
}

fn storage_class(name: &str, more: Value) -> Value {
    let mut class =
        json!({"metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}});
    if let (Some(class), Some(more)) = (class.as_object_mut(), more.as_object()) {
        class.extend(more.clone());
    }
    class
}

#[tokio::test]
async fn claims_get_the_newest_default_class() {
    let fake = Fake::new();
    let plugin = DefaultStorageClass::new(fake.clone());
    let claim = |object: Value| Write::create(claims(), ann(), object).run(&plugin);
    let plain = json!({"metadata": {"name": "c"}, "spec": {}});
    let none = claim(plain.clone()).await.expect("admitted");
    assert_eq!(none, plain, "no class is the default");
    for (name, created, default) in [
        ("old", "2026-01-01T00:00:00Z", "true"),
        ("b", "2026-01-02T00:00:00Z", "true"),
        ("a", "2026-01-02T00:00:00Z", "true"),
        ("newest", "2026-01-03T00:00:00Z", "false"),
    ] {
        let annotations = json!({"storageclass.kubernetes.io/is-default-class": default});
        let metadata =
            json!({"name": name, "creationTimestamp": created, "annotations": annotations});
        let class = storage_class(name, json!({"metadata": metadata}));
        fake.put("storage.k8s.io", "storageclasses", class);
    }
    let given = claim(plain).await.expect("admitted");
    assert_eq!(given["spec"]["storageClassName"], "a");
    for own in [
        json!({"spec": {"storageClassName": "mine"}}),
        json!({"spec": {"storageClassName": ""}}),
        json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": ""}}, "spec": {}}),
    ] {
        assert_eq!(claim(own.clone()).await.expect("admitted"), own);
    }
}

#[tokio::test]
async fn storage_objects_are_protected_from_the_start() {
    let plugin = StorageObjectInUseProtection;
    for (kind, finalizer) in [
        (claims(), "kubernetes.io/pvc-protection"),
        (
            kind("", "persistentvolumes", "PersistentVolume"),
            "kubernetes.io/pv-protection",
        ),
        (
            kind(
                "storage.k8s.io",
                "volumeattributesclasses",
                "VolumeAttributesClass",
            ),
            "kubernetes.io/vac-protection",
        ),
    ] {
        let write = |finalizers: Value| {
            let object = json!({"metadata": {"name": "x", "finalizers": finalizers}});
            Write::create(kind, ann(), object).run(&plugin)
        };
        let finalizers = |object: Value| object["metadata"]["finalizers"].clone();
        let made = write(Value::Null).await.expect("admitted");
        assert_eq!(finalizers(made), json!([finalizer]));
        let made = write(json!(["other"])).await.expect("admitted");
        assert_eq!(finalizers(made), json!(["other", finalizer]));
        let made = write(json!([finalizer])).await.expect("admitted");
        assert_eq!(finalizers(made), json!([finalizer]));
    }
}

#[tokio::test]
async fn claims_grow_where_their_class_lets_them() {
    let fake = Fake::new();
    let classes = [
        storage_class("fixed", json!({})),
        storage_class("grows", json!({"allowVolumeExpansion": true})),
    ];
    classes
        .into_iter()
        .for_each(|class| fake.put("storage.k8s.io", "storageclasses", class));
    let plugin = PersistentVolumeClaimResize::new(fake);
    let claim = |class: &str, size: &str, phase: &str| {
        json!({
            "metadata": {"name": "c", "namespace": "ns"}, "status": {"phase": phase},
            "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}},
        })
    };
    let resize = |class: &str, size: &str, phase: &str| {
        let (old, new) = (claim(class, "1Gi", phase), claim(class, size, phase));
        Write::update(claims(), ann(), old, new)
    };
    assert!(resize("grows", "2Gi", "Bound").run(&plugin).await.is_ok());
    assert!(resize("fixed", "1Gi", "Bound").run(&plugin).await.is_ok());
    let forbidden = "persistentvolumeclaims \"c\" is forbidden";
    assert_eq!(
        refused(resize("grows", "2Gi", "Pending"), &plugin).await,
        format!("{forbidden}: Only bound persistent volume claims can be expanded")
    );
    for class in ["fixed", "missing", ""] {
        assert_eq!(
            refused(resize(class, "2Gi", "Bound"), &plugin).await,
            format!(
                "{forbidden}: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
            )
        );
    }
}
