use knarr_api::{Kinds, apiregistration::priorities::Priority};
use knarr_webhook::{Backend, Error};
use serde_json::{Value, json};

use super::{routes::Way, *};

/// Nobody is dialed here.
pub fn none(_: &Way) -> Result<Backend, Error> {
    Backend::new(
        &knarr_webhook::Target::Url("ftp://example.com".to_owned()),
        &knarr_webhook::Trust::Unverified,
        Arc::new(Nobody),
        Arc::new(knarr_auth::testing::Fake::default()),
    )
}

#[derive(Debug)]
pub struct Nobody;

impl rustls::client::ResolvesClientCert for Nobody {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

pub fn api_service(group: &str, version: &str, service: &str) -> Value {
    json!({
        "metadata": {"name": format!("{version}.{group}")},
        "spec": {
            "group": group, "version": version, "groupPriorityMinimum": 2000, "versionPriority": 20,
            "service": {"namespace": "n", "name": service}, "insecureSkipTLSVerify": true,
        },
        "status": {"conditions": [{"type": "Available", "status": "True"}]},
    })
}

fn aggregation(objects: &[Value]) -> Aggregation {
    let aggregation = Aggregation::default();
    let routes = Routes::new(objects.iter(), &Routes::default(), none);
    aggregation.routes.store(Arc::new(routes));
    aggregation
}

#[test]
fn requests_go_to_who_serves_their_group_version() {
    let mut local = api_service("batch", "v1", "s");
    local["spec"]["service"] = Value::Null;
    let all = aggregation(&[
        api_service("a.example.com", "v1", "s"),
        api_service("apiregistration.k8s.io", "v1", "s"),
        local,
    ]);
    let found = all.find("a.example.com", "v1").expect("a route");
    assert!(found.available && found.backend.is_err());
    assert_eq!(found.root(), "/apis/a.example.com/v1");
    for (group, version) in [
        ("a.example.com", "v2"),
        ("", "v1"),
        ("batch", "v1"),
        ("apiregistration.k8s.io", "v1"),
    ] {
        assert!(all.find(group, version).is_none(), "{group}/{version}");
    }
    for (path, wanted) in [
        ("/apis/a.example.com/v1", true),
        ("/apis/a.example.com/v1/", true),
        ("/openapi/v3/apis/a.example.com/v1", true),
        ("/apis/a.example.com", false),
        ("/apis/a.example.com/v1/things", false),
        ("/apis", false),
        ("/apis/batch/v1", false),
        ("/openapi/v3", false),
        ("/openapi/v2", false),
        ("/api/v1", false),
        ("/", false),
    ] {
        assert_eq!(all.of_path(path).is_some(), wanted, "{path}");
    }
    let core = aggregation(&[api_service("", "v1", "s")]);
    assert!(core.of_path("/api/v1").is_some() && core.find("", "v1").is_some());
}

#[test]
fn connections_are_kept_while_they_lead_to_the_same_server() {
    let objects = [
        api_service("a.example.com", "v1", "s"),
        api_service("b.example.com", "v1", "s"),
    ];
    let made = std::cell::Cell::new(0);
    let count = |way: &Way| {
        made.set(made.get() + 1);
        none(way)
    };
    let first = Routes::new(objects.iter(), &Routes::default(), count);
    assert_eq!(made.get(), 1, "both are behind one Service");
    let mut changed = objects.clone();
    changed[0]["status"] = json!({});
    let second = Routes::new(changed.iter(), &first, count);
    assert_eq!(made.get(), 1);
    let before = first.find("a.example.com", "v1").expect("a route");
    let after = second.find("a.example.com", "v1").expect("a route");
    assert!(before.same_server(after) && !after.available);
    changed[0]["spec"]["service"]["port"] = json!(8443);
    let third = Routes::new(changed.iter(), &second, count);
    assert_eq!(made.get(), 2);
    let moved = third.find("a.example.com", "v1").expect("a route");
    assert!(!after.same_server(moved));
}

fn learned(group: &str) -> Learned {
    Learned {
        serves: Arc::new(Remote {
            group: group.to_owned(),
            version: "v1".to_owned(),
            priority: Priority {
                group: 2000,
                version: 20,
            },
            resources: Vec::new(),
            stale: false,
        }),
        schema: Some("AB".to_owned()),
    }
}

#[test]
fn documents_are_made_anew_only_when_something_changed() {
    let all = Aggregation::default();
    let snapshot = Arc::new(Snapshot::new(Kinds::built_in(), None));
    assert!(matches!(all.view(&snapshot), View::Own(_)));
    let token = CancellationToken::new();
    all.learn("v1.a.example.com", learned("a.example.com"), &token);
    let View::Merged(first) = all.view(&snapshot) else {
        panic!("a server is known");
    };
    assert!(
        first
            .groups
            .iter()
            .any(|group| group.name == "a.example.com")
    );
    all.learn("v1.a.example.com", learned("a.example.com"), &token);
    let View::Merged(second) = all.view(&snapshot) else {
        panic!("a server is known");
    };
    assert!(Arc::ptr_eq(&first, &second), "nothing changed");
    assert_eq!(
        all.schemas(),
        [("apis/a.example.com/v1".to_owned(), "AB".to_owned())]
    );
    token.cancel();
    all.learn("v1.b.example.com", learned("b.example.com"), &token);
    all.forget("v1.a.example.com");
    assert!(
        matches!(all.view(&snapshot), View::Own(_)),
        "what was forgotten stays so"
    );
}
