use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::fixtures::object;

fn slice(labels: Value) -> Arc<EndpointSlice> {
    Arc::new(object(json!({
        "metadata": {"namespace": "x", "name": "s", "labels": labels},
        "addressType": "IPv4", "endpoints": [],
    })))
}

#[test]
fn slices_wake_the_services_they_name() {
    let of = |service: &str, manager: &str| {
        slice(json!({SERVICE_NAME_LABEL: service, MANAGED_BY_LABEL: manager}))
    };
    let (web, db) = (of("web", "me"), of("db", "me"));
    let rows = [
        (Event::Added(web.clone()), vec!["x/web"]),
        (Event::Deleted(web.clone()), vec!["x/web"]),
        (
            Event::Updated {
                old: web.clone(),
                new: db,
            },
            vec!["x/db", "x/web"],
        ),
        (
            Event::Updated {
                old: of("web", "other"),
                new: web,
            },
            vec!["x/web"],
        ),
        (Event::Added(of("web", "other")), vec![]),
        (Event::Added(of("", "me")), vec![]),
        (Event::Added(slice(json!({}))), vec![]),
    ];
    for (event, expected) in rows {
        let keys: Vec<_> = affected(&event, "me").iter().map(Key::to_string).collect();
        assert_eq!(keys, expected);
    }
}
