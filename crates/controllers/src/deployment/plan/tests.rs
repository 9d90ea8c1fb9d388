mod fixtures;
mod rollout;

use expect_test::{Expect, expect};
use k8s_openapi::api::apps::v1::ReplicaSetStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use self::fixtures::{check, deployment, image, set, sized};
use super::super::template;
use super::*;
use crate::fixtures::{merge, now, object};

#[test]
fn a_new_deployment_gets_its_replica_set() {
    check(
        &deployment(json!({})),
        &[],
        expect![[r#"
            create of revision 1 with 3 replicas
            event Scaled up replica set web-HASH from 0 to 3
            status 0 replicas, 0 updated, 0 ready, 0 available, 3 unavailable; revision 1; Progressing=True(NewReplicaSetCreated) Available=False(MinimumReplicasUnavailable)
            again after 601s"#]],
    );
}

#[test]
fn the_created_replica_set_is_linked_and_labelled() {
    let deployment = deployment(json!({"metadata": {"annotations": {
        "kubernetes.io/change-cause": "because", "kubectl.kubernetes.io/last-applied-configuration": "{}",
    }}}));
    let plan = plan(&deployment, &[], HashMap::new, now());
    let Some(Op::Create(set)) = plan.ops.first() else {
        panic!("{plan:?}")
    };
    let hash = set
        .metadata
        .labels
        .as_ref()
        .and_then(|l| l.get("pod-template-hash"))
        .cloned()
        .unwrap_or_default();
    assert_eq!(
        set.metadata.name.as_deref(),
        Some(format!("web-{hash}").as_str())
    );
    let spec = set.spec.clone().unwrap_or_default();
    assert_eq!(
        spec.selector
            .match_labels
            .and_then(|l| l.get("pod-template-hash").cloned()),
        Some(hash.clone())
    );
    let labels = spec
        .template
        .and_then(|t| t.metadata)
        .and_then(|m| m.labels)
        .unwrap_or_default();
    assert_eq!(
        (
            labels.get("app").map(String::as_str),
            labels.get("pod-template-hash")
        ),
        (Some("web"), Some(&hash))
    );
    let owner = &set.metadata.owner_references.clone().unwrap_or_default()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.uid.as_str(), owner.controller),
        ("Deployment", "d", Some(true))
    );
    let keys: Vec<_> = set
        .metadata
        .annotations
        .iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(
        keys,
        [
            "deployment.kubernetes.io/desired-replicas=3",
            "deployment.kubernetes.io/max-replicas=4",
            "deployment.kubernetes.io/revision=1",
            "kubernetes.io/change-cause=because",
        ]
    );
}

#[test]
fn an_update_begins_within_the_surge() {
    check(
        &deployment(image("v2")),
        &[set("old", "v1", 3, 3, 1)],
        expect![[r#"
            create of revision 2 with 1 replicas
            event Scaled up replica set web-756f99f4f8 from 0 to 1
            status 3 replicas, 0 updated, 3 ready, 3 available, 1 unavailable; revision 2; Available=True(MinimumReplicasAvailable) Progressing=True(ReplicaSetUpdated)
            again after 601s"#]],
    );
}

#[test]
fn old_replicas_go_when_new_ones_are_available() {
    check(
        &deployment(image("v2")),
        &[set("old", "v1", 3, 3, 1), set("new", "v2", 1, 1, 2)],
        expect![[r#"
            patch old {"metadata":{"resourceVersion":"9"},"spec":{"replicas":2}}
            event Scaled down replica set old from 3 to 2
            status 4 replicas, 1 updated, 4 ready, 4 available, 0 unavailable; revision 2; Available=True(MinimumReplicasAvailable) Progressing=True(ReplicaSetUpdated)
            again after 601s"#]],
    );
}

#[test]
fn unhealthy_old_replicas_go_first() {
    check(
        &deployment(
            json!({"spec": {"replicas": 4, "template": {"spec": {"containers": [{"name": "c", "image": "v3"}]}}}}),
        ),
        &[
            sized("a", "v1", 3, 3, 1, 4, 5),
            sized("b", "v2", 2, 0, 2, 4, 5),
            sized("new", "v3", 0, 0, 3, 4, 5),
        ],
        expect![[r#"
            patch b {"metadata":{"resourceVersion":"9"},"spec":{"replicas":0}}
            event Scaled down replica set b from 2 to 0
            status 5 replicas, 0 updated, 3 ready, 3 available, 0 unavailable; revision 3; Available=True(MinimumReplicasAvailable) Progressing=True(ReplicaSetUpdated)
            again after 601s"#]],
    );
}

#[test]
fn a_rollback_reuses_the_replica_set_with_a_new_revision() {
    check(
        &deployment(
            json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}}),
        ),
        &[set("first", "v1", 0, 0, 1), set("second", "v2", 3, 3, 2)],
        expect![[r#"
            patch first {"metadata":{"annotations":{"deployment.kubernetes.io/revision":"3","deployment.kubernetes.io/revision-history":"1"},"resourceVersion":"9"},"spec":{"replicas":1}}
            event Scaled up replica set first from 0 to 1
            status 3 replicas, 0 updated, 3 ready, 3 available, 1 unavailable; revision 3; Available=True(MinimumReplicasAvailable) Progressing=True(ReplicaSetUpdated)
            again after 601s"#]],
    );
}

/// The status of a deployment whose ReplicaSet is `new`.
fn complete_status(replicas: i32, new: &str) -> Value {
    json!({"status": {
        "observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas,
        "availableReplicas": replicas,
        "conditions": [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
             "message": format!("ReplicaSet {new:?} has successfully progressed."), "lastUpdateTime": "2030-01-01T11:00:00Z"},
        ],
    }, "metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}}})
}

#[test]
fn a_complete_deployment_is_left_alone() {
    check(
        &deployment(complete_status(3, "only")),
        &[set("only", "v1", 3, 3, 1)],
        expect![""],
    );
}

#[test]
fn completion_is_reported() {
    check(
        &deployment(
            json!({"status": {"replicas": 3, "updatedReplicas": 3, "conditions": [
                {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"},
            ]}}),
        ),
        &[set("only", "v1", 3, 3, 1)],
        expect![[
            r#"status 3 replicas, 3 updated, 3 ready, 3 available, 0 unavailable; revision 1; Available=True(MinimumReplicasAvailable) Progressing=True(NewReplicaSetAvailable)"#
        ]],
    );
}

#[test]
fn scaling_changes_the_only_replica_set() {
    let mut scaled = complete_status(3, "only");
    merge(&mut scaled, json!({"spec": {"replicas": 5}}));
    check(
        &deployment(scaled),
        &[set("only", "v1", 3, 3, 1)],
        expect![[r#"
            patch only {"metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"5","deployment.kubernetes.io/max-replicas":"7"},"resourceVersion":"9"},"spec":{"replicas":5}}
            event Scaled up replica set only from 3 to 5
            status 3 replicas, 3 updated, 3 ready, 3 available, 2 unavailable; revision unchanged; Progressing=True(NewReplicaSetAvailable) Available=False(MinimumReplicasUnavailable)"#]],
    );
}

#[test]
fn scaling_in_a_rollout_is_in_proportion_with_the_rest_to_the_largest() {
    let more = |replicas: i32| json!({"spec": {"replicas": replicas, "strategy": {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}}});
    let sizes = |replicas: i32| {
        let sets = [
            sized("old", "v0", 8, 8, 1, 10, 13),
            sized("new", "v1", 5, 0, 2, 10, 13),
        ];
        let mut rollout = Rollout::new(&deployment(more(replicas)), &sets);
        assert!(rollout.is_scaling_event());
        rollout.resize();
        (rollout.sets[0].replicas, rollout.sets[1].replicas)
    };
    assert_eq!(sizes(15), (11, 7));
    assert_eq!(sizes(20), (14, 9));
    assert_eq!(sizes(5), (5, 3));
    assert_eq!(sizes(1), (2, 2));
    assert_eq!(sizes(0), (0, 0));
}

/// The status of a set still tells of the pods that it had before it was made smaller.
#[test]
fn pods_that_are_about_to_go_are_not_spare() {
    let more = json!({"spec": {
        "replicas": 5, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}},
        "template": {"spec": {"containers": [{"name": "c", "image": "v2"}]}},
    }});
    let old = sized("old", "v1", 3, 8, 1, 5, 8);
    let new = sized("new", "v2", 5, 0, 2, 5, 8);
    let mut rollout = Rollout::new(&deployment(more), &[old, new]);
    assert!(!rollout.scale_down_old(), "{:?}", rollout.scaled);
}

#[test]
fn a_saturated_rollout_only_drops_old_replica_sets() {
    let deployment = deployment(json!({"spec": {"replicas": 3, "paused": true}}));
    let mut rollout = Rollout::new(
        &deployment,
        &[set("old", "v0", 2, 2, 1), set("new", "v1", 3, 3, 2)],
    );
    rollout.resize();
    assert_eq!((rollout.sets[0].replicas, rollout.sets[1].replicas), (0, 3));
}

#[test]
fn nothing_is_created_while_paused() {
    let mut paused = image("v2");
    merge(&mut paused, json!({"spec": {"paused": true}}));
    check(
        &deployment(paused),
        &[set("old", "v1", 3, 3, 1)],
        expect![[
            r#"status 3 replicas, 0 updated, 3 ready, 3 available, 0 unavailable; revision unchanged; Progressing=Unknown(DeploymentPaused) Available=True(MinimumReplicasAvailable)"#
        ]],
    );
}

#[test]
fn resuming_starts_the_clock_anew() {
    check(
        &deployment(
            json!({"status": {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 1,
                "availableReplicas": 1, "unavailableReplicas": 2, "conditions": [
                {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable"},
                {"type": "Progressing", "status": "Unknown", "reason": "DeploymentPaused", "lastUpdateTime": "2029-01-01T00:00:00Z"},
            ]}}),
        ),
        &[set("only", "v1", 3, 1, 1)],
        expect![[r#"
            status 3 replicas, 3 updated, 1 ready, 1 available, 2 unavailable; revision 1; Available=False(MinimumReplicasUnavailable) Progressing=Unknown(DeploymentResumed)
            again after 601s"#]],
    );
}

#[test]
fn no_progress_within_the_deadline_is_reported_once() {
    let stuck = |updated: &str, reason: &str, state: &str| {
        json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}},
            "status": {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "unavailableReplicas": 3, "conditions": [
            {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable"},
            {"type": "Progressing", "status": state, "reason": reason, "lastUpdateTime": updated},
        ]}})
    };
    let sets = [set("only", "v1", 3, 0, 1)];
    check(
        &deployment(stuck("2030-01-01T11:55:00Z", "ReplicaSetUpdated", "True")),
        &sets,
        expect!["again after 301s"],
    );
    check(
        &deployment(stuck("2030-01-01T11:49:00Z", "ReplicaSetUpdated", "True")),
        &sets,
        expect![[
            r#"status 3 replicas, 3 updated, 0 ready, 0 available, 3 unavailable; revision unchanged; Available=False(MinimumReplicasUnavailable) Progressing=False(ProgressDeadlineExceeded)"#
        ]],
    );
    check(
        &deployment(stuck(
            "2030-01-01T11:00:00Z",
            "ProgressDeadlineExceeded",
            "False",
        )),
        &sets,
        expect![""],
    );
}

#[test]
fn failures_of_replica_sets_are_passed_on() {
    let mut failing = ReplicaSet::clone(&set("only", "v1", 3, 3, 1));
    failing.status.get_or_insert_default().conditions = Some(vec![object(json!({
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota",
    }))]);
    check(
        &deployment(complete_status(3, "only")),
        &[Arc::new(failing)],
        expect![[
            r#"status 3 replicas, 3 updated, 3 ready, 3 available, 0 unavailable; revision unchanged; Available=True(MinimumReplicasAvailable) Progressing=True(NewReplicaSetAvailable) ReplicaFailure=True(FailedCreate)"#
        ]],
    );
}

#[test]
fn history_beyond_the_limit_is_deleted_oldest_first() {
    let mut limited = complete_status(3, "d");
    merge(
        &mut limited,
        json!({"spec": {"revisionHistoryLimit": 1}, "metadata": {"annotations": {"deployment.kubernetes.io/revision": "4"}}}),
    );
    let sets = [
        set("a", "v7", 0, 0, 1),
        set("b", "v8", 0, 0, 2),
        set("c", "v9", 0, 0, 3),
        set("d", "v1", 3, 3, 4),
    ];
    check(
        &deployment(limited),
        &sets,
        expect![[r#"
        delete a
        delete b"#]],
    );
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let recreate = || {
        let mut more = image("v2");
        merge(
            &mut more,
            json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}),
        );
        deployment(more)
    };
    check(
        &recreate(),
        &[set("old", "v1", 3, 3, 1)],
        expect![[r#"
            patch old {"metadata":{"annotations":{"deployment.kubernetes.io/max-replicas":"3"},"resourceVersion":"9"},"spec":{"replicas":0}}
            event Scaled down replica set old from 3 to 0
            status 3 replicas, 0 updated, 3 ready, 3 available, 0 unavailable; revision unchanged; Available=True(MinimumReplicasAvailable) Progressing=True(ReplicaSetUpdated)
            again after 601s"#]],
    );
    let emptied = [set("old", "v1", 0, 0, 1)];
    let waiting = plan(
        &recreate(),
        &emptied,
        || HashMap::from([("uid-old".to_owned(), 1)]),
        now(),
    );
    assert!(
        !waiting.ops.iter().any(|op| matches!(op, Op::Create(_))),
        "{waiting:?}"
    );
    let gone = plan(
        &recreate(),
        &emptied,
        || HashMap::from([("uid-old".to_owned(), 0)]),
        now(),
    );
    let Some(Op::Create(created)) = gone.ops.first() else {
        panic!("{gone:?}")
    };
    assert_eq!(observed_replicas(created), 3);
}

#[test]
fn only_the_status_follows_while_a_deployment_is_deleted() {
    let mut deleting = image("v2");
    merge(
        &mut deleting,
        json!({"metadata": {"deletionTimestamp": "2030-01-01T11:59:00Z"}}),
    );
    let plan = plan(
        &deployment(deleting),
        &[set("old", "v1", 3, 3, 1)],
        HashMap::new,
        now(),
    );
    assert!(
        matches!(plan.ops.as_slice(), [Op::Status { .. }]),
        "{plan:?}"
    );
}

#[test]
fn another_collision_count_is_another_name() {
    let template = deployment(json!({})).spec.unwrap_or_default().template;
    let hashes = [None, Some(0), Some(1)].map(|count| template::hash(&template, count));
    assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2]);
    assert!(
        hashes.iter().all(|hash| hash
            .chars()
            .all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c))),
        "{hashes:?}"
    );
}
