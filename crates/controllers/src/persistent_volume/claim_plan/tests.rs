use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{merge, object};

fn claim(more: Value) -> PersistentVolumeClaim {
    let mut claim = json!({
        "metadata": {"namespace": "x", "name": "c", "uid": "uid-c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}},
    });
    merge(&mut claim, more);
    object(claim)
}

fn volume(more: Value) -> Arc<PersistentVolume> {
    let mut volume = json!({
        "metadata": {"name": "v"},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "5Gi"}},
        "status": {"phase": "Available"},
    });
    merge(&mut volume, more);
    Arc::new(object(volume))
}

fn class(provisioner: &str, mode: &str) -> StorageClass {
    object(
        json!({"metadata": {"name": "slow"}, "provisioner": provisioner, "volumeBindingMode": mode}),
    )
}

/// What there is besides the claim.
#[derive(Default)]
struct World {
    class: Option<StorageClass>,
    default_class: Option<&'static str>,
    named: Option<Arc<PersistentVolume>>,
    candidates: Vec<Arc<PersistentVolume>>,
    pods: Vec<String>,
}

fn step(claim: &PersistentVolumeClaim, world: &World) -> Step {
    plan(&Observed {
        claim,
        class: world.class.as_ref(),
        default_class: world.default_class,
        named: world.named.clone(),
        candidates: &world.candidates,
        waiting_pods: &world.pods,
    })
}

fn check(claim: Value, world: &World, expected: Expect) {
    let shown = match step(&self::claim(claim), world) {
        Step::Bind(volume) => format!("bind {}", volume::name(&volume)),
        Step::Pending(None) => "pending".to_owned(),
        Step::Pending(Some(note)) => {
            format!("pending: {} {}: {}", note.kind, note.reason, note.message)
        }
        Step::Lost(note) => format!("lost: {} {}: {}", note.kind, note.reason, note.message),
        Step::Provision { provisioner, note } => format!(
            "{provisioner} provisions: {}: {}",
            note.reason, note.message
        ),
        other => format!("{other:?}"),
    };
    expected.assert_eq(&shown);
}

#[test]
fn unbound() {
    let none = World::default();
    check(
        json!({}),
        &none,
        expect![
            "pending: Normal FailedBinding: no persistent volumes available for this claim and no storage class is set"
        ],
    );
    let free = World {
        candidates: vec![volume(json!({}))],
        ..World::default()
    };
    check(json!({}), &free, expect!["bind v"]);
    let going = json!({"metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z"}});
    check(going, &free, expect!["Nothing"]);
    let default = World {
        default_class: Some("fast"),
        ..World::default()
    };
    check(json!({}), &default, expect![[r#"SetClass("fast")"#]]);
    let no_class = json!({"spec": {"storageClassName": ""}});
    check(
        no_class,
        &default,
        expect![
            "pending: Normal FailedBinding: no persistent volumes available for this claim and no storage class is set"
        ],
    );
}

#[test]
fn classes() {
    let slow = json!({"spec": {"storageClassName": "slow"}});
    check(
        slow.clone(),
        &World::default(),
        expect![[
            r#"pending: Warning ProvisioningFailed: storageclass.storage.k8s.io "slow" not found"#
        ]],
    );
    let of = |class: StorageClass| World {
        class: Some(class),
        ..World::default()
    };
    check(
        slow.clone(),
        &of(class("x.io/p", "Immediate")),
        expect![
            "x.io/p provisions: ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'x.io/p' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        ],
    );
    check(
        slow.clone(),
        &of(class("kubernetes.io/no-provisioner", "Immediate")),
        expect![
            "pending: Warning ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner"
        ],
    );
    let waiting = || of(class("x.io/p", "WaitForFirstConsumer"));
    check(
        slow.clone(),
        &waiting(),
        expect![
            "pending: Normal WaitForFirstConsumer: waiting for first consumer to be created before binding"
        ],
    );
    let mut used = waiting();
    used.pods = vec!["a".to_owned()];
    check(
        slow.clone(),
        &used,
        expect!["pending: Normal WaitForPodScheduled: waiting for pod a to be scheduled"],
    );
    used.pods.push("b".to_owned());
    check(
        slow.clone(),
        &used,
        expect!["pending: Normal WaitForPodScheduled: waiting for pods a,b to be scheduled"],
    );
    let mut selected = slow.clone();
    merge(
        &mut selected,
        json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n"}}}),
    );
    check(
        selected,
        &waiting(),
        expect![
            "x.io/p provisions: ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'x.io/p' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        ],
    );
    // While it waits it gets no volume but one that is reserved for it.
    let mut free = waiting();
    free.candidates = vec![volume(json!({"spec": {"storageClassName": "slow"}}))];
    check(
        slow.clone(),
        &free,
        expect![
            "pending: Normal WaitForFirstConsumer: waiting for first consumer to be created before binding"
        ],
    );
    free.candidates = vec![volume(
        json!({"spec": {"storageClassName": "slow", "claimRef": {"namespace": "x", "name": "c"}}}),
    )];
    check(slow, &free, expect!["bind v"]);
}

#[test]
fn asked_for_by_name() {
    let named = || json!({"spec": {"volumeName": "v", "storageClassName": ""}});
    let with = |volume: Value| World {
        named: Some(self::volume(volume)),
        ..World::default()
    };
    check(named(), &World::default(), expect!["pending"]);
    check(named(), &with(json!({})), expect!["bind v"]);
    check(
        named(),
        &with(json!({"spec": {"capacity": {"storage": "1Gi"}}})),
        expect![[
            r#"pending: Warning VolumeMismatch: Cannot bind to requested volume "v": requested PV is too small"#
        ]],
    );
    check(
        named(),
        &with(json!({"spec": {"claimRef": {"namespace": "x", "name": "c", "uid": "uid-c"}}})),
        expect!["bind v"],
    );
    let others =
        || with(json!({"spec": {"claimRef": {"namespace": "x", "name": "other", "uid": "o"}}}));
    check(
        named(),
        &others(),
        expect![[
            r#"pending: Warning FailedBinding: volume "v" already bound to a different claim."#
        ]],
    );
    let mut ours = named();
    merge(
        &mut ours,
        json!({"metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}}}),
    );
    let step = step(&claim(ours), &others());
    assert!(matches!(step, Step::Conflict(..)), "{step:?}");
}

#[test]
fn bound_once() {
    let bound = |volume: &str| {
        json!({
            "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": volume},
        })
    };
    let with = |volume: Value| World {
        named: Some(self::volume(volume)),
        ..World::default()
    };
    check(
        bound(""),
        &World::default(),
        expect![
            "lost: Warning ClaimLost: Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
        ],
    );
    check(
        bound("v"),
        &World::default(),
        expect![
            "lost: Warning ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        ],
    );
    check(bound("v"), &with(json!({})), expect!["bind v"]);
    check(
        bound("v"),
        &with(json!({"spec": {"claimRef": {"uid": "uid-c"}}})),
        expect!["bind v"],
    );
    check(
        bound("v"),
        &with(json!({"spec": {"claimRef": {"uid": "other"}}})),
        expect![
            "lost: Warning ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly"
        ],
    );
}
