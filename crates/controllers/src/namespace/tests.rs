use expect_test::{Expect, expect};
use knarr_client::fake;
use serde_json::json;

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

/// Its own namespace waits for it, others do not.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_ends_no_round() {
    let (client, mut server) = fake::client();
    let controller = NamespaceController {
        client,
        namespaces: Informer::new(),
        rechecks: Mutex::default(),
        queue: WorkQueue::new(),
    };
    let resource = json!({
        "resource": "tables", "singularResource": "table", "scope": "Namespaced", "verbs": ["delete", "list"],
        "responseKind": {"group": "example.com", "version": "v1", "kind": "Table"},
    });
    let group = json!({
        "metadata": {"name": "example.com"}, "versions": [{"version": "v1", "resources": [resource]}],
    });
    let serving = async {
        let mut waiting = Vec::new();
        loop {
            let request = server.next().await;
            let groups = match &*request.uri {
                "/apis" => json!([group]),
                "/api" => json!([]),
                _ => {
                    waiting.push(request);
                    continue;
                }
            };
            let list = json!({
                "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": groups,
            });
            request.answer(200, &list);
        }
    };
    let remains = tokio::select! {
        remains = controller.delete_content("a") => remains,
        () = serving => unreachable!("it serves for good"),
    };
    assert_eq!(remains.errors, ["tables.example.com: no answer in 10 s"]);
}
