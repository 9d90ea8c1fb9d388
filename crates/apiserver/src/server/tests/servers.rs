//! Two servers on one store.

use futures::future::join_all;
use knarr_auth::pki::shared::Shared;
use serde_json::{Value, json};

use super::*;

const SERVICES: &str = "/api/v1/namespaces/default/services";

/// With 14 addresses for Services, two of which are the cluster's own.
async fn pair() -> [Cluster; 2] {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let store = Embedded::open(dirs[0].path().join("store"), Default::default());
    let store = Arc::new(store.expect("a store"));
    let keys = Shared::open(&dirs[0].path().join("pki")).expect("keys");
    keys.write(&dirs[1].path().join("pki")).expect("keys");
    let opening = dirs.into_iter().enumerate().map(|(n, dir)| {
        let config = Config {
            node_name: format!("server-{n}"),
            advertise: vec![format!("192.0.2.{}", n + 1).parse().expect("an address")],
            service_cidrs: vec!["10.43.0.0/28".parse().expect("a range")],
            shared_store: true,
            ..Config::on_loopback(dir.path().join("pki"))
        };
        let store = store.clone();
        async move {
            let server = Server::new(config, store).await.expect("a server");
            Cluster { server, dir }
        }
    });
    let mut both = join_all(opening).await.into_iter();
    [(); 2].map(|()| both.next().expect("a server"))
}

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

fn node_port(name: &str) -> Value {
    service(name, json!({"type": "NodePort", "ports": [{"port": 80}]}))
}

/// Addresses and node ports, in order.
fn numbers(service: &Value) -> (String, u64) {
    let ip = service["spec"]["clusterIP"].as_str().unwrap_or_default();
    let port = service["spec"]["ports"][0]["nodePort"].as_u64();
    (ip.to_owned(), port.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_allocate_at_once_without_a_clash() {
    let both = pair().await;
    let names: Vec<String> = (0..12).map(|n| format!("s{n}")).collect();
    let creating = names.iter().enumerate().map(|(n, name)| {
        let server = &both[n % 2];
        server.create(SERVICES, node_port(name))
    });
    let made: Vec<(String, u64)> = join_all(creating).await.iter().map(numbers).collect();
    let distinct = |mut all: Vec<String>| {
        all.sort_unstable();
        all.dedup();
        all.len()
    };
    assert_eq!(
        distinct(made.iter().map(|m| m.0.clone()).collect()),
        12,
        "{made:?}"
    );
    assert_eq!(
        distinct(made.iter().map(|m| m.1.to_string()).collect()),
        12,
        "{made:?}"
    );
    for server in &both {
        let full = server.call(Method::POST, SERVICES, node_port("more")).await;
        assert_eq!(full.code, 500, "{}", full.body);
        let addresses = server.get("/apis/networking.k8s.io/v1/ipaddresses").await;
        let items = addresses.body["items"].as_array().expect("a list");
        assert_eq!(items.len(), 14, "every address has its IPAddress");
    }
    // What one server made, the other can end, and both can have its numbers then.
    let (ip, port) = made[0].clone();
    let first = format!("{SERVICES}/s0");
    let gone = both[1].call(Method::DELETE, &first, Value::Null).await;
    assert_eq!(gone.code, 200);
    let spec = json!({
        "type": "NodePort", "clusterIP": ip, "ports": [{"port": 80, "nodePort": port}],
    });
    let again = both[0].create(SERVICES, service("again", spec)).await;
    assert_eq!(numbers(&again), made[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_two_ask_for_is_given_once() {
    let both = pair().await;
    for spec in [
        json!({"clusterIP": "10.43.0.5", "ports": [{"port": 80}]}),
        json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 31000}]}),
    ] {
        let asking = both.iter().enumerate().map(|(n, server)| {
            let wanted = service(&format!("s{n}"), spec.clone());
            server.call(Method::POST, SERVICES, wanted)
        });
        let mut codes: Vec<u16> = join_all(asking).await.iter().map(|r| r.code).collect();
        codes.sort_unstable();
        assert_eq!(codes, [201, 422], "{spec}");
        let rest = both[0].call(Method::DELETE, SERVICES, Value::Null).await;
        assert_eq!(rest.code, 200, "{}", rest.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_see_each_others_writes() {
    let both = pair().await;
    let map = |name: &str| json!({"metadata": {"name": name}});
    let uri = "/api/v1/namespaces/default/configmaps";
    for (n, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        both[n % 2].create(uri, map(name)).await;
        let there = both[(n + 1) % 2].get(&format!("{uri}/{name}")).await;
        assert_eq!(
            there.code, 200,
            "acknowledged there, read here: {}",
            there.body
        );
    }
    let uri = "/api/v1/namespaces/default/endpoints/kubernetes";
    let endpoints = both[0].get(uri).await.body;
    let addresses = endpoints["subsets"][0]["addresses"].as_array();
    assert!(addresses.is_some_and(|all| !all.is_empty()), "{endpoints}");
}
