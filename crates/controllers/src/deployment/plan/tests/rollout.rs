//! Rollouts, plan after plan, as the server and the other controllers carry them out.

use super::*;

/// Carries out a plan on `sets` as the server and the replicaset controller would.
fn apply(deployment: &mut Deployment, sets: &mut Vec<Arc<ReplicaSet>>, plan: Plan, step: usize) {
    for op in plan.ops {
        match op {
            Op::Create(set) => {
                let mut set = *set;
                set.metadata.uid = set.metadata.name.clone();
                set.metadata.creation_timestamp =
                    Some(Time(now() + SignedDuration::from_secs(step as i64)));
                sets.push(Arc::new(set));
            }
            Op::Patch { name, patch } => {
                let set = sets
                    .iter_mut()
                    .find(|set| set.metadata.name.as_ref() == Some(&name))
                    .expect("it exists");
                let mut json = serde_json::to_value(&**set).expect("json");
                merge(&mut json, patch);
                *set = Arc::new(object(json));
            }
            Op::Delete { set: gone } => sets.retain(|set| set.metadata.name != gone.metadata.name),
            Op::Scaled { .. } => {}
            Op::Status { status, revision } => {
                deployment.status = Some(*status);
                if let Some(revision) = revision {
                    deployment
                        .metadata
                        .annotations
                        .get_or_insert_default()
                        .insert(REVISION.to_owned(), revision);
                }
            }
        }
    }
}

/// Pods appear at once; one more of all becomes available in each step.
fn run_pods(sets: &mut [Arc<ReplicaSet>]) {
    let mut ready_one = true;
    for set in sets.iter_mut() {
        let wanted = observed_replicas(set);
        let mut new = ReplicaSet::clone(set);
        let available = new
            .status
            .as_ref()
            .and_then(|s| s.available_replicas)
            .unwrap_or(0)
            .min(wanted);
        let grown = available + i32::from(ready_one && available < wanted);
        ready_one &= grown == available;
        new.status = Some(ReplicaSetStatus {
            replicas: wanted,
            ready_replicas: Some(grown),
            available_replicas: Some(grown),
            observed_generation: new.metadata.generation,
            ..ReplicaSetStatus::default()
        });
        *set = Arc::new(new);
    }
}

#[test]
fn rollouts_keep_their_bounds_and_end() {
    let strategies = [
        ("25%", "25%"),
        ("0", "1"),
        ("1", "0"),
        ("100%", "0"),
        ("0%", "100%"),
        ("0", "0"),
        ("50%", "10%"),
    ];
    for replicas in [1, 2, 3, 7, 10] {
        for (surge, unavailable) in strategies {
            let value = |text: &str| text.parse::<i32>().map_or(json!(text), |n| json!(n));
            let mut more = image("v2");
            let update = json!({"maxSurge": value(surge), "maxUnavailable": value(unavailable)});
            merge(
                &mut more,
                json!({"spec": {"replicas": replicas, "strategy": {"rollingUpdate": update}}}),
            );
            let mut deployment = deployment(more);
            let bounds = Rollout::new(&deployment, &[]).bounds;
            let mut sets = vec![sized(
                "old",
                "v1",
                replicas,
                replicas,
                1,
                replicas,
                bounds.max_total(),
            )];
            let mut steps = 0;
            loop {
                let plan = plan(&deployment, &sets, HashMap::new, now());
                let idle = plan.ops.is_empty();
                apply(&mut deployment, &mut sets, plan, steps);
                run_pods(&mut sets);
                let total: i32 = sets.iter().map(|set| observed_replicas(set)).sum();
                let available: i32 = sets
                    .iter()
                    .map(|set| {
                        set.status
                            .as_ref()
                            .and_then(|s| s.available_replicas)
                            .unwrap_or(0)
                    })
                    .sum();
                let context = format!(
                    "{replicas} replicas, surge {surge}, unavailable {unavailable}, step {steps}"
                );
                assert!(total <= bounds.max_total(), "{context}: {total} in total");
                assert!(
                    available >= bounds.min_available(),
                    "{context}: {available} available"
                );
                steps += 1;
                assert!(steps < 200, "{context}: does not end");
                if idle
                    && status::is_complete(
                        &deployment,
                        deployment.status.as_ref().expect("a status"),
                    )
                {
                    break;
                }
            }
            assert_eq!(
                (
                    sets.len(),
                    observed_replicas(&sets[0]),
                    observed_replicas(&sets[1])
                ),
                (2, 0, replicas)
            );
        }
    }
}

#[test]
fn a_rollback_with_a_new_size_reports_its_progress() {
    let mut more = complete_status(50, "b");
    merge(
        &mut more,
        json!({"spec": {"replicas": 5}, "metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}}),
    );
    let mut deployment = deployment(more);
    let mut sets = vec![
        sized("a", "v1", 0, 0, 1, 50, 63),
        sized("b", "v2", 50, 50, 2, 50, 63),
    ];
    let mut reasons = Vec::new();
    for step in 0..30 {
        let plan = plan(&deployment, &sets, HashMap::new, now());
        if plan.ops.is_empty() {
            break;
        }
        apply(&mut deployment, &mut sets, plan, step);
        run_pods(&mut sets);
        let progressing = deployment
            .status
            .as_ref()
            .and_then(|s| status::condition(s, PROGRESSING));
        reasons.push(
            progressing
                .and_then(|c| c.reason.clone())
                .unwrap_or_default(),
        );
    }
    reasons.dedup();
    assert_eq!(
        reasons,
        [
            "NewReplicaSetAvailable",
            "ReplicaSetUpdated",
            "NewReplicaSetAvailable"
        ]
    );
    let progressing = deployment
        .status
        .as_ref()
        .and_then(|s| status::condition(s, PROGRESSING));
    let message = progressing
        .and_then(|c| c.message.clone())
        .unwrap_or_default();
    assert_eq!(message, r#"ReplicaSet "a" has successfully progressed."#);
}

#[test]
fn a_rollout_too_quick_for_its_steps_is_reported_all_the_same() {
    let mut stale = complete_status(3, "old");
    merge(
        &mut stale,
        json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}}),
    );
    let sets = [set("old", "v0", 0, 0, 1), set("new", "v1", 3, 3, 2)];
    let plan = plan(&deployment(stale), &sets, HashMap::new, now());
    let [Op::Status { status, .. }] = plan.ops.as_slice() else {
        panic!("{plan:?}")
    };
    let message = status::condition(status, PROGRESSING).and_then(|c| c.message.as_deref());
    assert_eq!(
        message,
        Some(r#"ReplicaSet "new" has successfully progressed."#)
    );
}

/// Whoever may write a status may write any time, and any revision into an annotation.
#[test]
fn the_largest_times_and_numbers_end_nothing() {
    for time in ["9999-12-30T21:59:59Z", "-009999-01-02T01:59:59Z"] {
        let progressing = json!({"status": {"conditions": [{"type": "Progressing", "status": "True",
            "reason": "ReplicaSetUpdated", "lastUpdateTime": time, "lastTransitionTime": time}]}});
        let mut update = image("v2");
        merge(&mut update, progressing);
        merge(
            &mut update,
            json!({"spec": {"progressDeadlineSeconds": i32::MAX - 1}}),
        );
        plan(
            &deployment(update),
            &[set("old", "v1", 3, 3, 1)],
            HashMap::new,
            now(),
        );
    }
    let mut old = ReplicaSet::clone(&set("old", "v1", i32::MAX, i32::MAX, 1));
    let annotations = old.metadata.annotations.get_or_insert_default();
    for name in ["revision", "desired-replicas", "max-replicas"] {
        let most = if name == "revision" {
            i64::MAX
        } else {
            i32::MAX.into()
        };
        annotations.insert(format!("deployment.kubernetes.io/{name}"), most.to_string());
    }
    for (surge, replicas) in [
        (json!("100%"), i32::MAX),
        (json!(i32::MAX), i32::MAX),
        (json!(1), 0),
    ] {
        let mut large = image("v2");
        merge(
            &mut large,
            json!({"spec": {"replicas": replicas, "strategy": {"rollingUpdate": {"maxSurge": surge}}},
            "status": {"collisionCount": i32::MAX}}),
        );
        plan(
            &deployment(large),
            &[Arc::new(old.clone())],
            HashMap::new,
            now(),
        );
    }
}
