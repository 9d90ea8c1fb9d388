//! The garbage collector: who has an owner stays, who has none any more goes, whatever references say wrongly.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use knarr_client::fake::Rates;
use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::cluster::{Cluster, create, list};
use super::seeds;

const NAMESPACES: [&str; 2] = ["x", "y"];
const OBJECTS: usize = 60;

struct Object {
    namespace: &'static str,
    name: String,
    uid: String,
    /// References: uid, and whether they describe their owner as it is.
    owners: Vec<(String, bool)>,
}

#[test]
fn what_has_an_owner_stays_and_nothing_else() {
    seeds(|cluster, mut random| async move {
        for namespace in NAMESPACES {
            create(
                &cluster.all::<Namespace>(),
                json!({"metadata": {"name": namespace}}),
            )
            .await;
        }
        cluster.control();
        cluster.faults.set(Rates::BAD);
        let mut made: Vec<Object> = Vec::new();
        let mut deleted: BTreeSet<String> = BTreeSet::new();
        for n in 0..OBJECTS {
            made.push(make(&cluster, &mut random, &made, n).await);
            if n > 5 && random.u8(..3) == 0 {
                let victim = &made[random.usize(..made.len())];
                delete(&cluster, &mut random, victim).await;
                deleted.insert(victim.uid.clone());
            }
            sleep(Duration::from_millis(random.u64(..2000))).await;
        }
        let kept = kept(&made, &deleted);
        cluster.settles(|| check(&cluster, &made, &kept)).await;
        cluster.token.cancel();
    });
}

/// An object that is owned by up to three of those that were made before it.
async fn make(cluster: &Cluster, random: &mut fastrand::Rng, made: &[Object], n: usize) -> Object {
    let namespace = NAMESPACES[random.usize(..NAMESPACES.len())];
    let name = format!("c{n}");
    let mut owners = Vec::new();
    let mut references: Vec<Value> = Vec::new();
    for _ in 0..random.usize(..3).min(made.len()) {
        let owner = &made[random.usize(..made.len())];
        if owners.iter().any(|(uid, _)| *uid == owner.uid) {
            continue;
        }
        // Wrong in its name, its kind, or by being in another namespace.
        let (kind, described) = match random.u8(..6) {
            0 => ("ConfigMap", "someone-else".to_owned()),
            1 => ("Secret", owner.name.clone()),
            _ => ("ConfigMap", owner.name.clone()),
        };
        let right = kind == "ConfigMap" && described == owner.name && owner.namespace == namespace;
        references.push(json!({
            "apiVersion": "v1", "kind": kind, "name": described, "uid": owner.uid,
            "blockOwnerDeletion": random.bool(),
        }));
        owners.push((owner.uid.clone(), right));
    }
    let api = cluster.namespaced::<ConfigMap>(namespace);
    let object = json!({"metadata": {"name": name, "ownerReferences": references}});
    let created = create(&api, object).await.expect("the name is new");
    Object {
        namespace,
        name,
        uid: created.metadata.uid.unwrap_or_default(),
        owners,
    }
}

async fn delete(cluster: &Cluster, random: &mut fastrand::Rng, victim: &Object) {
    let policy = match random.bool() {
        true => PropagationPolicy::Background,
        false => PropagationPolicy::Foreground,
    };
    let params = DeleteParams {
        propagation_policy: Some(policy),
        ..DeleteParams::default()
    };
    let api = cluster.namespaced::<ConfigMap>(victim.namespace);
    // The collector may have been faster.
    let _ = api.delete(&victim.name, &params).await;
}

/// Those that nothing may ever take: never deleted, and without owners or with one that nothing may take.
fn kept(made: &[Object], deleted: &BTreeSet<String>) -> BTreeSet<String> {
    let mut kept = BTreeSet::new();
    for object in made {
        let held = (object.owners.iter()).any(|(uid, right)| *right && kept.contains(uid));
        if !deleted.contains(&object.uid) && (object.owners.is_empty() || held) {
            kept.insert(object.uid.clone());
        }
    }
    kept
}

async fn check(cluster: &Cluster, made: &[Object], kept: &BTreeSet<String>) -> Result<(), String> {
    let found = list(&cluster.all::<ConfigMap>()).await;
    let here: BTreeMap<String, &ConfigMap> = (found.iter())
        .filter_map(|map| Some((map.metadata.uid.clone()?, map)))
        .collect();
    for object in made {
        let name = format!("{}/{}", object.namespace, object.name);
        match (here.contains_key(&object.uid), kept.contains(&object.uid)) {
            (true, false) => return Err(format!("{name} is still there")),
            (false, true) => panic!("{name} had an owner, and is gone"),
            _ => {}
        }
    }
    for map in found {
        let meta = &map.metadata;
        if meta.deletion_timestamp.is_some() {
            return Err(format!("{:?} does not end", meta.name));
        }
    }
    Ok(())
}
