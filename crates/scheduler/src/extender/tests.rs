//! Extenders that are servers of this process.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::plugins::default_preemption::Candidate;

/// Reads a request; its path and body.
async fn request(stream: &mut TcpStream) -> (String, Value) {
    let mut text = Vec::new();
    let mut part = [0; 4096];
    loop {
        let read = stream.read(&mut part).await.expect("a request");
        text.extend_from_slice(&part[..read]);
        let whole = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = whole.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.parse::<usize>().expect("a length"))
        });
        if body.len() >= length.expect("requests say their length") {
            let path = head.split(' ').nth(1).expect("a path");
            return (path.to_owned(), serde_json::from_str(body).expect("JSON"));
        }
    }
}

/// A server that answers each request with `answer`: a status and a body.
async fn server(
    answer: impl Fn(&str, &Value) -> (u16, String) + Send + 'static,
) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let (path, body) = request(&mut stream).await;
            let (status, body) = answer(&path, &body);
            let length = body.len();
            let wait = if status == 429 {
                "retry-after: 1\r\n"
            } else {
                ""
            };
            let text = format!(
                "HTTP/1.1 {status} x\r\n{wait}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(text.as_bytes()).await.expect("an answer");
        }
    });
    (url, task)
}

fn settings(url: &str) -> Settings {
    Settings {
        url: url.to_owned(),
        filter: "filter".to_owned(),
        prioritize: "prioritize".to_owned(),
        preempt: "preempt".to_owned(),
        bind: "bind".to_owned(),
        weight: 2,
        timeout: Duration::from_secs(5),
        node_cache_capable: true,
        managed: std::collections::BTreeSet::new(),
        ignorable: false,
        tls: extenders::Tls::default(),
    }
}

fn pod(name: &str) -> Arc<PodInfo> {
    let pod = json!({
        "metadata": {"name": name, "namespace": "x", "uid": name},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"example.com/gpu": "1"}}}]},
    });
    let pod = serde_json::from_value(pod).expect("a pod");
    Arc::new(PodInfo::new(&Arc::new(pod)))
}

fn nodes(names: &[&str]) -> Vec<Arc<Node>> {
    let node = |name: &&str| {
        let node = json!({"metadata": {"name": name}});
        Arc::new(serde_json::from_value(node).expect("a node"))
    };
    names.iter().map(node).collect()
}

fn names(nodes: &[Arc<Node>]) -> Vec<&str> {
    let names = nodes
        .iter()
        .filter_map(|node| node.metadata.name.as_deref());
    names.collect()
}

#[tokio::test]
async fn nodes_are_filtered_and_ranked() {
    let (url, _task) = server(|path, question| {
        assert_eq!(question["Pod"]["metadata"]["name"], "p");
        assert_eq!(question["Nodes"], Value::Null);
        let answer = match path {
            "/filter" => {
                assert_eq!(question["NodeNames"], json!(["a", "b", "c"]));
                json!({"NodeNames": ["b", "c"], "FailedNodes": {"a": "too hot", "z": "unknown"}})
            }
            "/prioritize" => json!([{"Host": "b", "Score": 10}, {"Host": "c", "Score": 3}]),
            other => panic!("{other}"),
        };
        (200, answer.to_string())
    })
    .await;
    let extenders = Extenders::new(vec![settings(&url)]);
    let pod = pod("p");
    let filtered = extenders.filter(&pod, nodes(&["a", "b", "c"])).await;
    let filtered = filtered.expect("it answers");
    assert_eq!(names(&filtered.nodes), ["b", "c"]);
    let refused = HashMap::from([("a".to_owned(), ("too hot".into(), true))]);
    assert_eq!(
        filtered.refused, refused,
        "other nodes are nobody's business"
    );
    let scores = extenders.prioritize(&pod, &filtered.nodes).await;
    // Tens become hundreds, times the weight.
    assert_eq!((scores["b"], scores["c"]), (200, 60));
}

#[tokio::test]
async fn whole_nodes_are_sent_to_who_does_not_know_them() {
    let (url, _task) = server(|_, question| {
        let items = question["Nodes"]["items"].as_array().expect("nodes");
        assert_eq!(items[0]["metadata"]["name"], "a");
        let left = json!({"Nodes": {"items": [items[0]]}});
        (200, left.to_string())
    })
    .await;
    let extenders = Extenders::new(vec![Settings {
        node_cache_capable: false,
        ..settings(&url)
    }]);
    let filtered = extenders.filter(&pod("p"), nodes(&["a", "b"])).await;
    assert_eq!(names(&filtered.expect("it answers").nodes), ["a"]);
}

#[tokio::test]
async fn answers_that_are_none() {
    let long = "x".repeat(1 << 20);
    let cases = [
        (500, String::new(), "failed filter with extender at URL"),
        (200, "nothing".to_owned(), "cannot be read"),
        (200, json!({"Error": "no"}).to_string(), "no"),
        (
            200,
            json!({"NodeNames": ["z"]}).to_string(),
            "claims a filtered node \"z\"",
        ),
        (200, format!("[\"{long}"), "cannot be read"),
    ];
    for (status, body, wanted) in cases {
        let (url, task) = server(move |_, _| (status, body.clone())).await;
        let filter = |ignorable| {
            let settings = Settings {
                ignorable,
                ..settings(&url)
            };
            let extenders = Extenders::new(vec![settings]);
            async move { extenders.filter(&pod("p"), nodes(&["a"])).await }
        };
        let error = filter(false).await.err().expect("an error").to_string();
        assert!(error.contains(wanted), "{error}");
        let filtered = filter(true).await.expect("one can do without it");
        assert_eq!(names(&filtered.nodes), ["a"]);
        task.abort();
    }
}

#[tokio::test]
async fn who_hangs_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let extenders = Extenders::new(vec![Settings {
        timeout: Duration::from_millis(100),
        ..settings(&url)
    }]);
    let error = extenders.filter(&pod("p"), nodes(&["a"])).await.err();
    let error = error.expect("an error").to_string();
    assert_eq!(
        error,
        format!("Post \"{url}/filter\": context deadline exceeded")
    );
}

#[tokio::test]
async fn only_pods_that_ask_for_what_it_manages_concern_an_extender() {
    let managing = |resource: &str| {
        Extenders::new(vec![Settings {
            managed: [resource.to_owned()].into(),
            ..settings("http://127.0.0.1:1")
        }])
    };
    assert!(managing("example.com/gpu").concern(&pod("p")));
    assert!(!managing("example.com/other").concern(&pod("p")));
    assert!(!Extenders::default().concern(&pod("p")));
}

#[tokio::test]
async fn who_ends_has_to_be_agreed_to() {
    let (url, _task) = server(|_, question| {
        let asked = &question["NodeNameToMetaVictims"]["a"];
        assert_eq!(asked["Pods"], json!([{"UID": "low"}, {"UID": "mid"}]));
        let agreed = json!({"NodeNameToMetaVictims": {"a": {"Pods": [{"UID": "low"}]}}});
        (200, agreed.to_string())
    })
    .await;
    let candidates = || {
        let candidate = |node: &str, pods: &[&str]| {
            let pods = pods.iter().map(|name| pod(name)).collect();
            Candidate::of(node, pods)
        };
        vec![candidate("a", &["low", "mid"]), candidate("b", &["other"])]
    };
    let extenders = Extenders::new(vec![settings(&url)]);
    let left = extenders.preempt(&pod("p"), candidates(), |_| None).await;
    let left = left.expect("it answers");
    let left: Vec<_> = left
        .iter()
        .map(|candidate| (candidate.node.as_str(), candidate.victims.pods.len()))
        .collect();
    assert_eq!(left, [("a", 1)]);
}

#[tokio::test]
async fn an_extender_binds() {
    let (url, _task) = server(|path, question| {
        assert_eq!(path, "/bind");
        let wanted = json!({"PodName": "p", "PodNamespace": "x", "PodUID": "p", "Node": "a"});
        assert_eq!(*question, wanted);
        (200, json!({"Error": "the node is gone"}).to_string())
    })
    .await;
    let extenders = Extenders::new(vec![settings(&url)]);
    let bound = extenders.bind(&pod("p"), "a").await.expect("it binds");
    assert_eq!(bound.expect_err("an error").to_string(), "the node is gone");
    assert!(Extenders::default().bind(&pod("p"), "a").await.is_none());
}

#[tokio::test]
async fn one_that_asks_to_wait_is_asked_again() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let (url, _task) =
        server(
            move |_, _| match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => (429, String::new()),
                _ => (200, json!({"NodeNames": ["a"]}).to_string()),
            },
        )
        .await;
    let extenders = Extenders::new(vec![settings(&url)]);
    let filtered = extenders.filter(&pod("p"), nodes(&["a"])).await;
    assert_eq!(names(&filtered.expect("an answer").nodes), ["a"]);
}
