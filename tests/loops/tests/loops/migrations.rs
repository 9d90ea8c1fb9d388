//! Migrations of what is stored: in the end no object is as it was stored before, and the definition says so.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use knarr_client::fake::Rates;
use knarr_client::storagemigration::StorageVersionMigration;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::cluster::{Cluster, create, list, merge_patch};
use super::seeds;

const NAMESPACE: &str = "x";
const OBJECTS: usize = 150;
const RESTARTS: usize = 4;

#[test]
fn everything_old_is_written_anew() {
    seeds(|cluster, mut random| async move {
        create(
            &cluster.all::<Namespace>(),
            json!({"metadata": {"name": NAMESPACE}}),
        )
        .await;
        let definitions = cluster.all::<CustomResourceDefinition>();
        let widgets = definition("v1");
        create(&definitions, widgets).await;
        let objects = objects(&cluster);
        for n in 0..OBJECTS {
            make(&objects, n).await;
        }
        let stored = json!({"spec": {"versions": versions("v2")}});
        let patched = definitions
            .patch(
                "widgets.example.com",
                &Default::default(),
                &merge_patch(stored),
            )
            .await;
        // What is written after this is in the new version.
        let flipped = version_of(&patched.expect("another version is stored"));
        cluster.faults.set(Rates::BAD);
        for name in ["a", "b"] {
            let resource = json!({"group": "example.com", "resource": "widgets"});
            let migration = json!({"metadata": {"name": name}, "spec": {"resource": resource}});
            create(&cluster.all::<StorageVersionMigration>(), migration).await;
        }
        for _ in 0..RESTARTS {
            let token = cluster.token.child_token();
            cluster.control_until(token.clone());
            sleep(Duration::from_millis(random.u64(..3000))).await;
            // Objects come and go meanwhile.
            let gone = format!("w{}", random.usize(..OBJECTS));
            let _ = objects.delete(&gone, &DeleteParams::default()).await;
            make(&objects, OBJECTS + random.usize(..OBJECTS)).await;
            token.cancel();
            sleep(Duration::from_secs(random.u64(..8))).await;
        }
        cluster.control();
        cluster.settles(|| check(&cluster, flipped)).await;
        cluster.token.cancel();
    });
}

fn versions(stored: &str) -> Value {
    let version = |name: &str| {
        json!({"name": name, "served": true, "storage": name == stored, "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    json!([version("v1"), version("v2")])
}

fn definition(stored: &str) -> Value {
    json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": versions(stored),
        },
    })
}

fn objects(cluster: &Cluster) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("example.com", "v1", "Widget");
    let resource = ApiResource::from_gvk(&kind);
    Api::namespaced_with(cluster.admin.clone(), NAMESPACE, &resource)
}

/// Makes an object, once its kind is served.
async fn make(objects: &Api<DynamicObject>, n: usize) {
    let object = json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": format!("w{n}")}, "spec": {"n": n},
    });
    let object: DynamicObject = serde_json::from_value(object).expect("an object");
    for _ in 0..100 {
        match objects.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                sleep(Duration::from_millis(100)).await;
            }
            Ok(_) => return,
            Err(kube::Error::Api(status)) if status.code == 409 => return,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("widgets are not served");
}

fn version_of(object: &impl ResourceExt) -> u64 {
    let version = object.resource_version().unwrap_or_default();
    version.parse().expect("a version")
}

async fn check(cluster: &Cluster, flipped: u64) -> Result<(), String> {
    for migration in list(&cluster.all::<StorageVersionMigration>()).await {
        let status = migration.status;
        let is = |type_: &str, value: &str| {
            let mut all = status.conditions.iter();
            all.any(|one| one.type_ == type_ && one.status == value)
        };
        if !is("Succeeded", "True") || !is("Running", "False") {
            return Err(format!("{status:?}"));
        }
    }
    for object in objects(cluster)
        .list(&Default::default())
        .await
        .expect("a list")
    {
        let version = version_of(&object);
        if version <= flipped {
            let name = object.name_any();
            return Err(format!("{name} is of {version}, stored before {flipped}"));
        }
    }
    let definition = list(&cluster.all::<CustomResourceDefinition>()).await;
    let status = definition.first().and_then(|one| one.status.clone());
    let stored = status.and_then(|status| status.stored_versions);
    match stored.as_deref() {
        Some([only]) if only == "v2" => Ok(()),
        other => Err(format!("stored versions are {other:?}")),
    }
}
