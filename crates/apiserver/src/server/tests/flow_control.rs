//! Who is served when there are many requests.

use std::time::Instant;

use super::{
    refusals::{Out, Running, Sender, running_with},
    *,
};

const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
/// It waits for a revision that does not come, for some seconds.
const SLOW: &str = "/api/v1/namespaces/default/configmaps?resourceVersion=999999999";
/// More than there are seats and places in queues for.
const FLOOD: usize = 450;
/// Nobody in a queue of the flood would be served within this.
const SOON: Duration = Duration::from_secs(1);

/// A server whose users may do anything.
pub(super) async fn crowded(seats: u32) -> Running {
    let cluster = Cluster::with_seats(seats).await;
    let binding = json!({"metadata": {"name": "all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    cluster.create(bindings, binding).await;
    running_with(cluster)
}

/// The administrator acts for somebody.
pub(super) fn asks(user: &str, path: &str) -> Request<Out> {
    let request = Request::get(format!("https://localhost{path}")).header("host", "localhost");
    let request = match user {
        "" => request,
        user => request.header("impersonate-user", user),
    };
    request
        .body(Full::new(Bytes::new()).boxed())
        .expect("a request")
}

pub(super) async fn answer(sender: &Sender, user: &str, path: &str) -> (u16, HeaderMap, String) {
    let Sender::Two(sender) = sender else {
        panic!("HTTP/2 is expected");
    };
    let mut sender = sender.clone();
    let answer = async {
        let response = sender
            .send_request(asks(user, path))
            .await
            .expect("an answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("its body").to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        (parts.status.as_u16(), parts.headers, text)
    };
    tokio::time::timeout(DEADLINE, answer)
        .await
        .expect("an answer in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_does_not_hold_up_who_is_quiet() {
    let running = crowded(60).await;
    let (flood, quiet) = (running.connect(b"h2").await, running.connect(b"h2").await);
    let flood = Arc::new(flood);
    let sent: Vec<_> = (0..FLOOD)
        .map(|_| {
            let flood = flood.clone();
            tokio::spawn(async move { answer(&flood, "flood", SLOW).await })
        })
        .collect();
    let dump = "/debug/api_priority_and_fairness/dump_priority_levels";
    let waits = |table: &str| {
        let line = table
            .lines()
            .find(|line| line.starts_with("global-default,"));
        let waiting = line.and_then(|line| line.split(',').nth(4)).map(str::trim);
        waiting
            .and_then(|waiting| waiting.parse().ok())
            .unwrap_or(0usize)
    };
    let mut waiting = 0;
    let began = Instant::now();
    while waiting < 100 {
        assert!(began.elapsed() < DEADLINE, "nobody waits");
        waiting = waits(&answer(&quiet, "", dump).await.2);
    }
    for _ in 0..10 {
        let began = Instant::now();
        let (code, headers, _) = answer(&quiet, "quiet", CONFIGMAPS).await;
        assert_eq!(code, 200);
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert!(headers.contains_key("x-kubernetes-pf-flowschema-uid"));
    }
    // Nobody had to go through all of the flood meanwhile.
    assert!(
        waits(&answer(&quiet, "", dump).await.2) > 0,
        "the flood is over"
    );
    let (_, _, metrics) = answer(&quiet, "", "/metrics").await;
    let flow = "{priority_level=\"global-default\",flow_schema=\"global-default\"";
    for line in [
        format!("apiserver_flowcontrol_current_inqueue_requests{flow}}} "),
        format!("apiserver_flowcontrol_dispatched_requests_total{flow}}} "),
    ] {
        assert!(metrics.contains(&line), "{line}");
    }
    sent.iter().for_each(tokio::task::JoinHandle::abort);
    running.stop().await;
}

/// A level without a seat of its own, in whose queue nothing waits, since there is none; and a schema that has `poor` use it.
pub(super) async fn narrow(running: &Running) -> (Reply, Reply) {
    let level = json!({"metadata": {"name": "narrow"}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}}});
    let schema = json!({"metadata": {"name": "narrow"}, "spec": {
        "priorityLevelConfiguration": {"name": "narrow"}, "matchingPrecedence": 10,
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "poor"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}});
    let level = running.admin(Method::POST, LEVELS, level).await;
    assert_eq!(level.code, 201, "{}", level.body);
    let schema = running.admin(Method::POST, SCHEMAS, schema).await;
    assert_eq!(schema.code, 201, "{}", schema.body);
    (level, schema)
}

/// Whoever reads slowly has what the server holds for it at the price of a seat.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_has_its_seat_until_it_is_read() {
    const OBJECTS: usize = 8;
    let running = crowded(2).await;
    for n in 0..OBJECTS {
        // More together than a connection holds.
        let map =
            json!({"metadata": {"name": format!("m{n}")}, "data": {"a": "x".repeat(700 << 10)}});
        let created = running.admin(Method::POST, CONFIGMAPS, map).await;
        assert_eq!(created.code, 201);
    }
    let sender = running.connect(b"h2").await;
    let (_, schema) = narrow(&running).await;
    let uid = schema.body["metadata"]["uid"].as_str().unwrap_or("?");
    let began = Instant::now();
    // Whether another one finds a seat.
    let is_free = async || {
        loop {
            let (code, headers, _) = answer(&sender, "poor", "/version").await;
            if headers["x-kubernetes-pf-flowschema-uid"] == uid {
                return code == 200;
            }
            assert!(began.elapsed() < DEADLINE, "the schema is not acted upon");
        }
    };
    assert!(is_free().await);
    let Sender::Two(list) = &sender else {
        panic!("HTTP/2 is expected");
    };
    let response = list.clone().send_request(asks("poor", CONFIGMAPS)).await;
    let response = response.expect("an answer");
    assert_eq!(response.status(), 200);
    for _ in 0..3 {
        assert!(!is_free().await, "nobody has read the answer");
    }
    let read = response.into_body().collect().await.expect("its body");
    assert!(read.to_bytes().len() > OBJECTS * (700 << 10));
    while !is_free().await {
        assert!(began.elapsed() < DEADLINE, "the seat is not given back");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_place_is_told_when_to_come_again() {
    let running = crowded(2).await;
    let sender = Arc::new(running.connect(b"h2").await);
    let (level, schema) = narrow(&running).await;
    let began = Instant::now();
    // What is wider than a level runs alone there: the next one finds no place.
    let slow = || {
        let sender = sender.clone();
        tokio::spawn(async move { answer(&sender, "poor", SLOW).await })
    };
    let mut first = slow();
    let (headers, text) = loop {
        assert!(began.elapsed() < DEADLINE, "the schema is not acted upon");
        if first.is_finished() {
            first = slow();
        }
        let (code, headers, text) = answer(&sender, "poor", "/version").await;
        if code == 429 {
            break (headers, text);
        }
    };
    first.abort();
    assert_eq!(headers["retry-after"], "1");
    let uid = |reply: &Reply| {
        reply.body["metadata"]["uid"]
            .as_str()
            .unwrap_or("?")
            .to_owned()
    };
    assert_eq!(headers["x-kubernetes-pf-flowschema-uid"], uid(&schema));
    assert_eq!(headers["x-kubernetes-pf-prioritylevel-uid"], uid(&level));
    assert!(
        text.contains("Too many requests, please try again later."),
        "{text}"
    );
    // Others, and what is exempt.
    assert_eq!(answer(&sender, "rich", "/version").await.0, 200);
    assert_eq!(answer(&sender, "poor", "/healthz").await.0, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_says_whether_its_level_exists() {
    let cluster = Cluster::new().await;
    let says = async |name: &str, wanted: &str| {
        let began = Instant::now();
        loop {
            let schema = cluster.get(&format!("{SCHEMAS}/{name}")).await.body;
            let condition = &schema["status"]["conditions"][0];
            let told = format!(
                "{} {} {}",
                condition["type"], condition["status"], condition["reason"]
            );
            if told == wanted {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "{schema}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    says("catch-all", "\"Dangling\" \"False\" \"Found\"").await;
    let standard = cluster.get(&format!("{SCHEMAS}/catch-all")).await.body;
    let managers = standard["metadata"]["managedFields"].as_array();
    let mut made = managers.expect("managers").iter();
    let made = made.find(|m| m["operation"] == "Update");
    assert_eq!(
        made.expect("it is made")["manager"],
        "api-priority-and-fairness-config-producer-v1"
    );
    let schema = json!({"metadata": {"name": "mine"}, "spec": {"priorityLevelConfiguration": {"name": "l"}}});
    cluster.create(SCHEMAS, schema).await;
    says("mine", "\"Dangling\" \"True\" \"NotFound\"").await;
    let mine = cluster.get(&format!("{SCHEMAS}/mine")).await.body;
    let managers = mine["metadata"]["managedFields"].as_array();
    let applied = managers
        .expect("managers")
        .iter()
        .find(|m| m["operation"] == "Apply");
    let applied = applied.expect("the condition is applied");
    assert_eq!(
        applied["manager"],
        "api-priority-and-fairness-config-consumer-v1"
    );
    assert_eq!(applied["subresource"], "status");
    let fields = &applied["fieldsV1"]["f:status"]["f:conditions"];
    assert!(
        fields.get(r#"k:{"type":"Dangling"}"#).is_some(),
        "{applied}"
    );
    let level = json!({"metadata": {"name": "l"}, "spec": {"type": "Limited", "limited": {
        "limitResponse": {"type": "Reject"}}}});
    cluster.create(LEVELS, level).await;
    says("mine", "\"Dangling\" \"False\" \"Found\"").await;
}
