use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::*;

/// Every wait of a test ends after this.
const DEADLINE: Duration = Duration::from_secs(20);

fn schema(name: &str, level: &str, precedence: i64, subject: &str) -> Value {
    json!({"metadata": {"name": name, "uid": format!("{name}-uid")}, "spec": {
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence,
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [{"kind": "Group", "group": {"name": subject}}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}})
}

fn level(name: &str, queues: u32, length: u32) -> Value {
    json!({"metadata": {"name": name, "uid": format!("{name}-uid")}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Queue",
        "queuing": {"queues": queues, "handSize": 1, "queueLengthLimit": length}}}}})
}

fn mandatory(name: &str) -> Option<Value> {
    let (precedence, subject) = match name {
        config::EXEMPT => (1, "system:masters"),
        _ => (10_000, "*"),
    };
    Some(schema(name, name, precedence, subject))
}

fn user(name: &str, group: &str) -> UserInfo {
    UserInfo {
        name: name.into(),
        groups: vec![group.into()],
        ..UserInfo::default()
    }
}

fn page() -> RequestInfo<'static> {
    RequestInfo {
        path: "/version",
        verb: "get",
        ..RequestInfo::default()
    }
}

fn wanted(wait: Duration) -> Wanted {
    Wanted {
        work: Work::ONE,
        mutating: false,
        watch: false,
        wait,
        description: Description {
            user: Arc::new(user("ann", "dev")),
            method: http::Method::GET,
            uri: http::Uri::from_static("/apis/apps/v1/namespaces/a/deployments/b/scale?x=y"),
        },
    }
}

/// Two seats for `dev`, in queues of that length; as many for the rest.
fn fairness(length: u32) -> Arc<Fairness> {
    let fairness = Arc::new(Fairness::new(4, mandatory));
    configure(&fairness, &[level("devs", 8, length)]);
    fairness
}

fn configure(fairness: &Fairness, levels: &[Value]) {
    let schemas = [schema("dev", "devs", 100, "dev")];
    fairness.configure(&Config::new(levels, &schemas, mandatory));
}

fn class(fairness: &Fairness, name: &str) -> Classified {
    fairness
        .classify(&user(name, "dev"), &page())
        .expect("a schema")
}

#[tokio::test]
async fn requests_are_of_the_first_schema_that_matches() {
    let fairness = fairness(5);
    for (group, names) in [
        ("system:masters", ("exempt", "exempt")),
        ("dev", ("dev", "devs")),
        ("other", ("catch-all", "catch-all")),
    ] {
        let class = fairness
            .classify(&user("u", group), &page())
            .expect("a schema");
        assert_eq!(class.names(), names);
    }
    let (schema, level) = class(&fairness, "ann").0.flow.uids.clone();
    assert_eq!(
        (schema, level),
        (
            HeaderValue::from_static("dev-uid"),
            HeaderValue::from_static("devs-uid")
        )
    );
}

#[tokio::test]
async fn who_finds_no_seat_waits_for_one_but_not_for_ever() {
    let fairness = fairness(1);
    let (ann, ben) = (class(&fairness, "ann"), class(&fairness, "ben"));
    let first = fairness
        .enter(&ann, wanted(DEADLINE))
        .await
        .expect("a seat");
    let second = fairness
        .enter(&ben, wanted(DEADLINE))
        .await
        .expect("a seat");
    let short = fairness.enter(&ann, wanted(Duration::from_millis(5))).await;
    assert_eq!(
        short.err().map(|refused| refused.why),
        Some(Refusal::TimeOut)
    );
    let waiting = {
        let (fairness, ann) = (fairness.clone(), ann.clone());
        tokio::spawn(async move { fairness.enter(&ann, wanted(DEADLINE)).await.is_ok() })
    };
    let began = Instant::now();
    while waiting_at(&fairness, "devs") < 1 {
        assert!(began.elapsed() < DEADLINE, "nobody waits");
        tokio::task::yield_now().await;
    }
    let full = fairness
        .enter(&ann, wanted(DEADLINE))
        .await
        .err()
        .expect("no place");
    assert_eq!((full.why, full.retry_after), (Refusal::QueueFull, 1));
    drop(second);
    assert!(waiting.await.expect("no panic"));
    drop(first);
    assert!(class_is_idle(&fairness));
    let mut metrics = String::new();
    fairness.render(&mut metrics);
    for line in [
        "apiserver_flowcontrol_dispatched_requests_total{priority_level=\"devs\",flow_schema=\"dev\"} 3",
        "apiserver_flowcontrol_rejected_requests_total{priority_level=\"devs\",flow_schema=\"dev\",reason=\"time-out\"} 1",
        "apiserver_flowcontrol_rejected_requests_total{priority_level=\"devs\",flow_schema=\"dev\",reason=\"queue-full\"} 1",
        "apiserver_flowcontrol_current_executing_requests{priority_level=\"devs\",flow_schema=\"dev\"} 0",
        "apiserver_flowcontrol_current_executing_seats{priority_level=\"devs\",flow_schema=\"dev\"} 0",
        "apiserver_flowcontrol_current_inqueue_requests{priority_level=\"devs\",flow_schema=\"dev\"} 0",
        "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"devs\"} 2",
    ] {
        assert!(
            metrics.contains(&format!("{line}\n")),
            "{line} not in\n{metrics}"
        );
    }
}

fn waiting_at(fairness: &Fairness, level: &str) -> usize {
    let plan = fairness.plan.load();
    plan.levels[level].level.state.lock().set.waiting()
}

fn class_is_idle(fairness: &Fairness) -> bool {
    fairness
        .plan
        .load()
        .levels
        .values()
        .all(|planned| planned.level.is_idle())
}

#[tokio::test]
async fn whoever_goes_away_leaves_nothing_behind() {
    let fairness = fairness(5);
    let ann = class(&fairness, "ann");
    let held = fairness.enter(&ann, wanted(DEADLINE)).await;
    let other = fairness
        .enter(&class(&fairness, "ben"), wanted(DEADLINE))
        .await;
    {
        let waiting = std::pin::pin!(fairness.enter(&ann, wanted(DEADLINE)));
        let soon = tokio::time::timeout(Duration::from_millis(5), waiting).await;
        assert!(soon.is_err(), "it waits");
    }
    drop((held, other));
    assert!(class_is_idle(&fairness));
}

#[tokio::test]
async fn exempt_requests_never_wait() {
    let fairness = fairness(5);
    let admin = fairness
        .classify(&user("root", "system:masters"), &page())
        .expect("a schema");
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(
            fairness
                .enter(&admin, wanted(Duration::ZERO))
                .await
                .expect("a seat"),
        );
    }
    assert!(fairness.dump().priority_levels().contains("100,"));
}

#[tokio::test]
async fn a_level_that_is_gone_lasts_until_its_requests_have_ended() {
    let fairness = fairness(5);
    let held = fairness
        .enter(&class(&fairness, "ann"), wanted(DEADLINE))
        .await;
    configure(&fairness, &[]);
    assert_eq!(class(&fairness, "ann").names(), ("catch-all", "catch-all"));
    assert!(!fairness.adjust());
    let quiescing = |dump: &str| {
        dump.lines()
            .any(|line| line.starts_with("devs,") && line.contains("true,"))
    };
    assert!(quiescing(&fairness.dump().priority_levels()));
    drop(held);
    assert!(fairness.adjust(), "it can go");
    configure(&fairness, &[]);
    assert!(!fairness.dump().priority_levels().contains("devs"));
}

#[tokio::test]
async fn tables_tell_who_is_there() {
    let fairness = fairness(5);
    let _held = fairness
        .enter(&class(&fairness, "ann"), wanted(DEADLINE))
        .await;
    let requests = fairness.dump().requests(true);
    let line = requests.lines().nth(1).expect("a request");
    for part in [
        "devs, ",
        "dev, ",
        "-1, ",
        "ann, ",
        "get, ",
        "apps/v1, ",
        "deployments, ",
        "scale",
    ] {
        assert!(line.contains(part), "{part} not in {line}");
    }
    assert!(!fairness.dump().requests(false).contains("apps/v1"));
    assert_eq!(fairness.dump().queues().lines().count(), 9);
}
