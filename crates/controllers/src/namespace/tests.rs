use expect_test::{Expect, expect};

use super::*;
use crate::fixtures::now;

fn check(remains: &Remains, before: &[NamespaceCondition], expected: Expect) {
    let lines: Vec<String> = conditions(remains, before, now())
        .iter()
        .map(|c| {
            let text = |t: &Option<String>| t.clone().unwrap_or_default();
            let since = c
                .last_transition_time
                .as_ref()
                .map(|t| t.0.to_string())
                .unwrap_or_default();
            format!(
                "{}={} {}: {} ({since})",
                c.type_,
                c.status,
                text(&c.reason),
                text(&c.message)
            )
        })
        .collect();
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn nothing_is_left() {
    check(
        &Remains::default(),
        &[],
        expect![[r#"
            NamespaceDeletionDiscoveryFailure=False ResourcesDiscovered: All resources successfully discovered (2030-01-01T12:00:00Z)
            NamespaceDeletionGroupVersionParsingFailure=False ParsedGroupVersions: All legacy kube types successfully parsed (2030-01-01T12:00:00Z)
            NamespaceDeletionContentFailure=False ContentDeleted: All content successfully deleted, may be waiting on finalization (2030-01-01T12:00:00Z)
            NamespaceContentRemaining=False ContentRemoved: All content successfully removed (2030-01-01T12:00:00Z)
            NamespaceFinalizersRemaining=False ContentHasNoFinalizers: All content-preserving finalizers finished (2030-01-01T12:00:00Z)"#]],
    );
}

#[test]
fn remaining_objects_finalizers_and_errors() {
    let remains = Remains {
        discovery_error: None,
        errors: vec!["secrets.: no".to_owned()],
        objects: [("pods.".to_owned(), 2), ("deployments.apps".to_owned(), 1)].into(),
        finalizers: [("x/y".to_owned(), 1)].into(),
    };
    let before: Vec<NamespaceCondition> = conditions(
        &remains,
        &[],
        "2030-01-01T11:00:00Z".parse().expect("a time"),
    );
    check(
        &remains,
        &before,
        expect![[r#"
            NamespaceDeletionDiscoveryFailure=False ResourcesDiscovered: All resources successfully discovered (2030-01-01T11:00:00Z)
            NamespaceDeletionGroupVersionParsingFailure=False ParsedGroupVersions: All legacy kube types successfully parsed (2030-01-01T11:00:00Z)
            NamespaceDeletionContentFailure=True ContentDeletionFailed: Failed to delete all resource types, 1 remaining: secrets.: no (2030-01-01T11:00:00Z)
            NamespaceContentRemaining=True SomeResourcesRemain: Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 resource instances (2030-01-01T11:00:00Z)
            NamespaceFinalizersRemaining=True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: x/y in 1 resource instances (2030-01-01T11:00:00Z)"#]],
    );
    assert_eq!(
        conditions(&remains, &before, now()),
        before,
        "nothing has changed, nothing is written"
    );
}
