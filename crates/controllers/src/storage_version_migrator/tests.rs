use expect_test::{Expect, expect};
use jiff::Timestamp;
use knarr_client::storagemigration::StorageVersionMigration;
use serde_json::{Value, json};

use super::definition::{Step, status};
use super::plan::{message, plan};

/// `name created conditions`
fn migration(text: &str) -> std::sync::Arc<StorageVersionMigration> {
    let mut words = text.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let (name, second) = (next(), next());
    let conditions: Vec<Value> = next()
        .split(',')
        .filter(|kind| !kind.is_empty())
        .map(|kind| {
            let since = "2026-01-01T00:00:00Z";
            json!({"type": kind, "status": "True", "reason": "A", "message": "", "lastTransitionTime": since})
        })
        .collect();
    let tree = json!({
        "metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:00:0{second}Z")},
        "spec": {"resource": {"resource": "foos", "group": "a.b"}},
        "status": {"conditions": conditions},
    });
    std::sync::Arc::new(serde_json::from_value(tree).expect("a migration"))
}

#[test]
fn one_runs_at_a_time_and_the_oldest_first() {
    for (migrations, wanted) in [
        (&[][..], "ended [] next [] running []"),
        (&["b 1", "a 1", "c 0"], "ended [] next [c] running []"),
        (&["b 1", "a 1"], "ended [] next [a] running []"),
        (&["a 0", "b 1 Running"], "ended [] next [] running [b]"),
        (
            &[
                "a 0",
                "b 1 Running,Succeeded",
                "c 2 Running,Failed",
                "d 0 Succeeded",
            ],
            "ended [b c] next [a] running []",
        ),
    ] {
        let plan = plan(migrations.iter().map(|text| migration(text)).collect());
        let names = |list: &[std::sync::Arc<StorageVersionMigration>]| {
            let names = list
                .iter()
                .map(|one| one.metadata.name.clone().unwrap_or_default());
            names.collect::<Vec<_>>().join(" ")
        };
        let (ended, running) = (names(&plan.ended), names(&plan.running));
        let next = names(plan.next.as_slice());
        assert_eq!(
            format!("ended [{ended}] next [{next}] running [{running}]"),
            wanted
        );
    }
}

#[test]
fn conditions_tell_how_far_it_is() {
    for (left, total, error, wanted) in [
        (0, 0, None, "The migration is running"),
        (
            2,
            5,
            None,
            "The migration is running, 2/5 objects not yet migrated",
        ),
        (
            0,
            5,
            None,
            "The migration is running, 5 objects verified migrated",
        ),
        (
            1,
            5,
            Some("busy"),
            "The migration is running, 1/5 objects not yet migrated; transient error: busy",
        ),
    ] {
        assert_eq!(message(left, total, error), wanted);
    }
}

fn check(generation: i64, condition: Value, step: Step<'_>, wanted: Expect) {
    let tree = json!({
        "metadata": {"generation": generation},
        "spec": {"versions": [{"name": "v1", "storage": false}, {"name": "v2", "storage": true}]},
        "status": {"conditions": [{"type": "Established"}, condition], "storedVersions": ["v1", "v2"]},
    });
    let now: Timestamp = "2026-02-01T00:00:00Z".parse().expect("a time");
    let mut status = status(&tree, step, now);
    let conditions = status["conditions"].as_array_mut().expect("conditions");
    assert_eq!(conditions.remove(0), json!({"type": "Established"}));
    wanted.assert_eq(&status.to_string());
}

#[test]
fn definitions_forget_versions_that_nothing_is_stored_in() {
    let running = json!({
        "type": "StorageMigrating", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 2,
    });
    check(
        2,
        json!({"type": "Other"}),
        Step::Begin("m"),
        expect![[
            r#"{"conditions":[{"type":"Other"},{"lastTransitionTime":"2026-02-01T00:00:00Z","message":"Migration m is running","observedGeneration":2,"reason":"MigrationRunning","status":"True","type":"StorageMigrating"}]}"#
        ]],
    );
    check(
        2,
        running.clone(),
        Step::Begin("m"),
        expect![[
            r#"{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"Migration m is running","observedGeneration":2,"reason":"MigrationRunning","status":"True","type":"StorageMigrating"}]}"#
        ]],
    );
    check(
        2,
        running.clone(),
        Step::End(true),
        expect![[
            r#"{"conditions":[{"lastTransitionTime":"2026-02-01T00:00:00Z","message":"The migration has succeeded and the stored versions have been updated","observedGeneration":2,"reason":"MigrationSucceeded","status":"False","type":"StorageMigrating"}],"storedVersions":["v2"]}"#
        ]],
    );
    check(
        3,
        running.clone(),
        Step::End(true),
        expect![[
            r#"{"conditions":[{"lastTransitionTime":"2026-02-01T00:00:00Z","message":"The migration has succeeded but the stored versions have not been updated due to a generation mismatch","observedGeneration":3,"reason":"MigrationSucceeded","status":"False","type":"StorageMigrating"}]}"#
        ]],
    );
    check(
        2,
        running,
        Step::End(false),
        expect![[
            r#"{"conditions":[{"lastTransitionTime":"2026-02-01T00:00:00Z","message":"The migration has failed","observedGeneration":2,"reason":"MigrationFailed","status":"False","type":"StorageMigrating"}]}"#
        ]],
    );
}
