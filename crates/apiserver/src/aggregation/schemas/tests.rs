use std::net::TcpListener;

use knarr_api::Kinds;
use knarr_webhook::{
    Target, Trust,
    testing::api::{ApiServer, Behaviour, GROUP},
};
use serde_json::{Value, json};
use tokio::time::{advance, pause, resume};

use super::*;
use crate::aggregation::{
    ask::TIMEOUT,
    tests::{Nobody, api_service},
};

/// Longer than any document takes that is not waited for.
const SOON: Duration = Duration::from_secs(10);

fn server() -> ApiServer {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    ApiServer::on(listener, &[], "").expect("a server")
}

/// Routes to servers; each is said to serve the group-version with its number.
fn routes(servers: &[&ApiServer]) -> Routes {
    let objects: Vec<Value> = (1..=servers.len())
        .map(|number| api_service(GROUP, &format!("v{number}"), &format!("s{number}")))
        .collect();
    Routes::new(objects.iter(), &Routes::default(), |way| {
        let Target::Service { name, .. } = &way.target else {
            panic!("a Service");
        };
        let number: usize = name.trim_start_matches('s').parse().expect("a number");
        let server = servers[number - 1];
        Backend::new(
            &Target::Url(format!("https://{}/", server.address)),
            &Trust::Bundle(server.authority.clone().into_bytes()),
            Arc::new(Nobody),
            Arc::new(knarr_auth::testing::Fake::default()),
        )
    })
}

/// A document of one path, whose answer has this property.
fn document(version: &str, property: &str) -> String {
    let path = format!("/apis/{GROUP}/{version}/gadgets");
    let schema = json!({"$ref": "#/definitions/Gadget"});
    json!({
        "swagger": "2.0",
        "paths": {path: {"get": {"responses": {"200": {"description": "OK", "schema": schema}}}}},
        "definitions": {"Gadget": {"type": "object", "properties": {property: {"type": "string"}}}},
    })
    .to_string()
}

/// The document that clients get: its hash, and the properties of what the servers define.
async fn merged(schemas: &Arc<Schemas>, routes: &Routes) -> Option<(String, Vec<String>)> {
    static SNAPSHOT: OnceLock<Arc<Snapshot>> = OnceLock::new();
    let snapshot = SNAPSHOT.get_or_init(|| Arc::new(Snapshot::new(Kinds::built_in(), None)));
    let parts = schemas.parts(routes).await;
    let merged = schemas.merged(snapshot, parts)?;
    let document = merged.json(snapshot);
    let tree: Value = serde_json::from_slice(&document.inflate().expect("bytes")).expect("JSON");
    assert!(tree["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    let properties = ["Gadget", "Gadget_v2"].map(|name| &tree["definitions"][name]["properties"]);
    let properties = properties.iter().filter_map(|all| all.as_object());
    let names = properties.flat_map(|all| all.keys().cloned());
    Some((document.hash.clone(), names.collect()))
}

async fn properties(schemas: &Arc<Schemas>, routes: &Routes) -> Vec<String> {
    let found = merged(schemas, routes).await;
    found.map(|(_, names)| names).unwrap_or_default()
}

/// Time passes, in which nobody asks.
async fn later(age: Duration) {
    pause();
    advance(age + Duration::from_secs(1)).await;
    resume();
}

/// Waits until nobody is being asked.
async fn settled(schemas: &Schemas) {
    let until = Instant::now() + SOON;
    let busy = || {
        let servers = schemas.servers.lock();
        let mut servers = servers.values();
        servers.any(|server| server.known.lock().under_way.is_some())
    };
    while busy() {
        assert!(Instant::now() < until, "a question has no end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asks until it is so.
async fn eventually(schemas: &Arc<Schemas>, routes: &Routes, wanted: &[&str]) {
    let until = Instant::now() + SOON;
    loop {
        let found = properties(schemas, routes).await;
        if found == wanted {
            return;
        }
        assert!(Instant::now() < until, "{found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn servers_are_asked_when_somebody_wants_to_know() {
    let (one, two) = (server(), server());
    let schemas: Arc<Schemas> = Arc::default();
    assert!(merged(&schemas, &Routes::default()).await.is_none());
    assert!(
        schemas.merged.lock().is_none(),
        "nothing is kept for nobody"
    );
    let routes = routes(&[&one, &two]);
    assert_eq!(one.calls(), 0);
    assert!(merged(&schemas, &routes).await.is_none(), "404 is none");
    settled(&schemas).await;
    later(REFRESH).await;
    one.describe("\"1\"", document("v1", "first"));
    two.describe("", document("v2", "other"));
    eventually(&schemas, &routes, &["first", "other"]).await;
    let calls = one.calls();
    let (hash, _) = merged(&schemas, &routes).await.expect("a document");
    assert_eq!(one.calls(), calls, "it is not asked every time");
    let kept = schemas.merged.lock().clone().expect("a document");
    later(REFRESH).await;
    merged(&schemas, &routes).await.expect("a document");
    settled(&schemas).await;
    assert_eq!((one.documents(), two.documents()), (1, 2), "it has an ETag");
    assert_eq!(one.calls(), calls + 1);
    let (same, _) = merged(&schemas, &routes).await.expect("a document");
    assert_eq!(hash, same);
    let now = schemas.merged.lock().clone().expect("a document");
    assert!(Arc::ptr_eq(&kept, &now), "it is not made anew");
    later(REFRESH).await;
    one.describe("\"2\"", document("v1", "second"));
    eventually(&schemas, &routes, &["second", "other"]).await;
    let one_less = super::tests::routes(&[&one]);
    assert_eq!(properties(&schemas, &one_less).await, ["second"]);
    assert_eq!(schemas.servers.lock().len(), 1);
    assert!(merged(&schemas, &Routes::default()).await.is_none());
    assert!(schemas.merged.lock().is_none());
}

#[tokio::test]
async fn what_a_server_says_of_other_group_versions_is_left_out() {
    let one = server();
    let routes = routes(&[&one]);
    let schemas: Arc<Schemas> = Arc::default();
    one.describe("", document("v9", "lie"));
    assert_eq!(properties(&schemas, &routes).await, [""; 0]);
    settled(&schemas).await;
    let known = schemas.servers.lock()[&format!("v1.{GROUP}")].clone();
    assert!(known.known.lock().part.is_some(), "it was asked");
    assert_eq!(properties(&schemas, &routes).await, [""; 0]);
}

#[tokio::test]
async fn a_server_that_hangs_is_not_waited_for_twice() {
    let (good, bad) = (server(), server());
    good.describe("", document("v1", "good"));
    bad.describe("", document("v2", "bad"));
    bad.behave(Behaviour::Hang);
    let routes = routes(&[&good, &bad]);
    let schemas: Arc<Schemas> = Arc::default();
    let began = Instant::now();
    schemas.parts(&routes).await;
    assert!(began.elapsed() < TIMEOUT, "{:?}", began.elapsed());
    eventually(&schemas, &routes, &["good"]).await;
    settled(&schemas).await;
    later(RETRY).await;
    let began = Instant::now();
    assert_eq!(schemas.parts(&routes).await.len(), 1);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    settled(&schemas).await;
    bad.behave(Behaviour::Good);
    later(RETRY).await;
    eventually(&schemas, &routes, &["good", "bad"]).await;
}

#[tokio::test]
async fn what_is_known_stays_when_a_server_sends_something_else() {
    let one = server();
    let routes = routes(&[&one]);
    let schemas: Arc<Schemas> = Arc::default();
    one.describe("\"1\"", document("v1", "first"));
    eventually(&schemas, &routes, &["first"]).await;
    let mut large = document("v1", "large");
    large.push_str(&" ".repeat(MAX_BYTES));
    let void = document("v1", "void").replace("\"string\"", "\"void\"");
    for bad in [large, "<html>".to_owned(), "{}".to_owned(), void] {
        later(REFRESH).await;
        one.describe("\"2\"", bad);
        let calls = one.calls();
        assert_eq!(properties(&schemas, &routes).await, ["first"]);
        settled(&schemas).await;
        assert_eq!(properties(&schemas, &routes).await, ["first"]);
        assert_eq!(one.calls(), calls + 1);
    }
    later(RETRY).await;
    one.behave(Behaviour::Fail(500));
    assert_eq!(properties(&schemas, &routes).await, ["first"]);
    settled(&schemas).await;
    assert_eq!(properties(&schemas, &routes).await, ["first"]);
    one.behave(Behaviour::Good);
    let mut large = document("v1", "second");
    large.push_str(&" ".repeat(10 << 20));
    one.describe("\"3\"", large);
    later(RETRY).await;
    eventually(&schemas, &routes, &["second"]).await;
}

#[test]
fn they_are_merged_in_upstreams_order() {
    let of = |group: &str, version: &str, priority: i32| {
        let mut object = api_service(group, version, "s");
        object["spec"]["groupPriorityMinimum"] = priority.into();
        object
    };
    let objects = [
        of("a.example.com", "v2", 10),
        of("a.example.com", "v1", 5),
        of("b.example.com", "v1", 20),
        of("c.example.com", "v1", 10),
    ];
    let routes = Routes::new(
        objects.iter(),
        &Routes::default(),
        crate::aggregation::tests::none,
    );
    let names: Vec<&str> = sorted(&routes)
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "v1.b.example.com",
            "v1.a.example.com",
            "v1.c.example.com",
            "v2.a.example.com"
        ]
    );
}
