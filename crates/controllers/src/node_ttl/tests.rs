use knarr_client::fake;

use super::*;
use crate::exchange::{accepted, reconcile};
use crate::fixtures::object;

#[test]
fn nodes_are_told_more_in_larger_clusters() {
    let mut current = Current::default();
    let told = [
        (1, "0"),
        (100, "0"),
        (101, "15"),
        // A few less change nothing.
        (95, "15"),
        (89, "0"),
        (5000, "300"),
        (1800, "300"),
        (1799, "60"),
        (0, "0"),
    ];
    for (nodes, seconds) in told {
        let before = current.seconds();
        let changed = current.resize(nodes);
        assert_eq!(current.seconds(), seconds, "{nodes} nodes");
        assert_eq!(changed, before != seconds, "{nodes} nodes");
    }
}

#[tokio::test]
async fn a_node_is_told_where_it_says_otherwise() {
    for (nodes, told, expected) in [
        (1, None, Some("0")),
        (1, Some("0"), None),
        (1, Some("15"), Some("0")),
        (1, Some("soon"), Some("0")),
        (101, Some("0"), Some("15")),
        (101, Some("15"), None),
        (2001, None, Some("300")),
    ] {
        let (client, mut server) = fake::client();
        let controller = NodeTtl {
            client,
            nodes: Informer::new(),
            current: Mutex::default(),
            queue: WorkQueue::new(),
        };
        controller.current.lock().resize(nodes);
        let annotations = told.map(|told| json!({ANNOTATION: told}));
        controller.nodes.apply(object(
            json!({"metadata": {"name": "n", "uid": "u", "annotations": annotations}}),
        ));
        let key = Key::new("", "n");
        let (result, asked) = reconcile(&controller, &key, &mut server, accepted).await;
        assert!(result.is_ok(), "{result:?}");
        let written = asked.first().map(|asked| {
            assert_eq!(asked.shown(), "PATCH /api/v1/nodes/n");
            assert_eq!(asked.body["metadata"]["uid"], "u");
            asked.body["metadata"]["annotations"][ANNOTATION].clone()
        });
        assert_eq!(
            written,
            expected.map(|text| json!(text)),
            "{nodes} {told:?}"
        );
    }
}

#[tokio::test]
async fn all_nodes_are_looked_at_when_the_step_changes() {
    let (client, _server) = fake::client();
    let controller = NodeTtl {
        client,
        nodes: Informer::new(),
        current: Mutex::default(),
        queue: WorkQueue::new(),
    };
    let node =
        |number: usize| -> Node { object(json!({"metadata": {"name": format!("n{number}")}})) };
    for number in 0..100 {
        controller.nodes.apply(node(number));
    }
    controller.node_changed(&Event::Added(Arc::new(node(99))));
    assert_eq!(controller.queue.len(), 1, "the new one alone");
    controller.nodes.apply(node(100));
    controller.node_changed(&Event::Added(Arc::new(node(100))));
    assert_eq!(controller.queue.len(), 101, "all of them");
    assert_eq!(controller.current.lock().seconds(), "15");
}
