//! What is told of a request, from its beginning to its end.

use std::{fs, path::PathBuf, sync::Arc};

use http::HeaderMap;
use jiff::Timestamp;
use knarr_auth::{UserInfo, request::RequestInfo};
use knarr_meta::status::Status;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{Annotations, Auditor, LogOptions, Mode, Options, Received, Record};

const HEAD: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";

struct Audited {
    auditor: Arc<Auditor>,
    annotations: Annotations,
    log: PathBuf,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Audited {
    fn new(rules: &str) -> Audited {
        let directory = tempfile::tempdir().expect("a directory");
        let policy = directory.path().join("policy.yaml");
        fs::write(&policy, format!("{HEAD}{rules}")).expect("a file");
        let log = directory.path().join("audit.log");
        let options = Options {
            policy_file: Some(policy),
            log: Some(LogOptions {
                path: log.clone(),
                max_size_megabytes: 1,
                max_age_days: 0,
                max_backups: 0,
                mode: Mode::Blocking,
                compress: false,
                buffer: 100,
                truncation: None,
            }),
            webhook: None,
        };
        let auditor = Auditor::open(&options).expect("an auditor");
        let auditor = Arc::new(auditor.expect("there is a policy"));
        let (stop, running) = (CancellationToken::new(), auditor.clone());
        let token = stop.clone();
        Audited {
            auditor,
            annotations: Annotations::default(),
            log,
            stop,
            running: tokio::spawn(async move { running.run(token).await }),
            _directory: directory,
        }
    }

    fn begin(&self, verb: &str) -> Option<Record> {
        let user = UserInfo {
            name: "jane".to_owned(),
            ..UserInfo::default()
        };
        let info = RequestInfo {
            is_resource: true,
            verb,
            version: "v1",
            resource: "configmaps",
            namespace: "default",
            ..RequestInfo::default()
        };
        let received = Received {
            audit_id: "id",
            at: Timestamp::UNIX_EPOCH,
            uri: "/api/v1/namespaces/default/configmaps",
            headers: &HeaderMap::new(),
            peer: "10.0.0.1".parse().ok(),
            user_agent: "kubectl",
            user: Some(&user),
            info: &info,
        };
        self.auditor.begin(&received, &self.annotations)
    }

    /// All events, without the time of their stage.
    async fn events(self) -> Vec<Value> {
        self.stop.cancel();
        self.running.await.expect("it ends");
        let text = fs::read_to_string(&self.log).expect("a log");
        let events = text.lines().map(|line| {
            let mut event: Value = serde_json::from_str(line).expect("JSON");
            event
                .as_object_mut()
                .expect("an event")
                .remove("stageTimestamp");
            event
        });
        events.collect()
    }

    async fn stages(self) -> Vec<(String, u64)> {
        let events = self.events().await;
        let stage = |event: &Value| {
            let code = event["responseStatus"]["code"].as_u64();
            let stage = event["stage"].as_str().unwrap_or_default();
            (stage.to_owned(), code.unwrap_or_default())
        };
        events.iter().map(stage).collect()
    }
}

fn stages(wanted: &[(&str, u64)]) -> Vec<(String, u64)> {
    let wanted = wanted.iter();
    wanted
        .map(|(stage, code)| ((*stage).to_owned(), *code))
        .collect()
}

#[tokio::test]
async fn an_event_says_who_acts_as_whom_and_by_which_constraint() {
    for (constraint, metadata) in [
        ("", Value::Null),
        (
            "impersonate:user-info",
            json!({"impersonationConstraint": "impersonate:user-info"}),
        ),
    ] {
        let audited = Audited::new("rules: [{level: Metadata}]");
        let record = audited.begin("get").expect("a record");
        let ann = UserInfo {
            name: "ann".to_owned(),
            ..UserInfo::default()
        };
        record.impersonated(&ann, constraint);
        record.complete(&audited.annotations).await;
        drop(record);
        let events = audited.events().await;
        let event = events.last().expect("an event");
        assert_eq!(event["impersonatedUser"], json!({"username": "ann"}));
        assert_eq!(event["authenticationMetadata"], metadata);
    }
}

#[tokio::test]
async fn a_request_has_an_event_a_stage() {
    let audited = Audited::new("omitManagedFields: true\nrules: [{level: RequestResponse}]");
    let record = audited.begin("create").expect("a record");
    record.received().await.expect("it is told");
    let object = json!({"metadata": {"name": "a", "managedFields": [{}]}, "data": {"a": "b"}});
    record.request_object(&object);
    audited.annotations.add("a.io/b", "c");
    record.answered(201, Some(&object));
    record.complete(&audited.annotations).await;
    drop(record);
    let shown = json!({"metadata": {"name": "a"}, "data": {"a": "b"}});
    let common = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": "id",
        "requestURI": "/api/v1/namespaces/default/configmaps", "verb": "create",
        "user": {"username": "jane"}, "sourceIPs": ["10.0.0.1"], "userAgent": "kubectl",
        "requestReceivedTimestamp": "1970-01-01T00:00:00.000000Z",
    });
    let with = |more: Value| {
        let mut event = common.clone();
        for (field, value) in more.as_object().into_iter().flatten() {
            event[field] = value.clone();
        }
        event
    };
    let reference = json!({"resource": "configmaps", "namespace": "default", "apiVersion": "v1"});
    let mut named = reference.clone();
    named["name"] = json!("a");
    let wanted = [
        with(json!({"stage": "RequestReceived", "objectRef": reference})),
        with(json!({
            "stage": "ResponseComplete", "objectRef": named,
            "responseStatus": {"metadata": {}, "code": 201},
            "requestObject": shown, "responseObject": shown, "annotations": {"a.io/b": "c"},
        })),
    ];
    assert_eq!(audited.events().await, wanted);
}

#[tokio::test]
async fn metadata_have_no_objects() {
    let audited = Audited::new("rules: [{level: Metadata}]");
    let record = audited.begin("create").expect("a record");
    let secret = json!({"metadata": {"name": "a"}, "data": {"word": "xyzzy"}});
    record.request_object(&secret);
    record.request_patch(|| Some(secret.clone()));
    record.answered(200, Some(&secret));
    record.complete(&audited.annotations).await;
    let events = audited.events().await;
    assert_eq!(events[0]["objectRef"]["name"], "a");
    assert!(!events[0].to_string().contains("xyzzy"));
}

#[tokio::test]
async fn what_no_rule_wants_is_not_told() {
    let audited = Audited::new("rules: [{level: None, verbs: [get]}, {level: Metadata}]");
    assert!(audited.begin("get").is_none());
    let counts = audited.auditor.counts();
    assert_eq!((counts.levels[0], counts.events), (("None", 1), 0));
}

#[tokio::test]
async fn a_long_answer_ends_with_its_last_part() {
    let audited = Audited::new("rules: [{level: Metadata}]");
    let record = audited.begin("watch").expect("a record");
    let (one, other) = (record.ending(), record.ending());
    record.answered(200, None);
    drop(one);
    record.started(&audited.annotations).await;
    drop(record);
    assert_eq!(audited.auditor.counts().events, 1);
    drop(other);
    let wanted = stages(&[("ResponseStarted", 200), ("ResponseComplete", 200)]);
    assert_eq!(audited.stages().await, wanted);
}

#[tokio::test]
async fn a_client_that_goes_away_is_told() {
    let audited = Audited::new("rules: [{level: Metadata}]");
    let record = audited.begin("get").expect("a record");
    record.received().await.expect("it is told");
    drop(record);
    let wanted = stages(&[("RequestReceived", 0), ("ResponseComplete", 200)]);
    assert_eq!(audited.stages().await, wanted);
}

#[tokio::test]
async fn nothing_comes_after_a_panic() {
    let audited = Audited::new("rules: [{level: Metadata}]");
    let record = audited.begin("get").expect("a record");
    record.answered(500, Some(&Status::internal("oh").to_value()));
    record.panicked(&audited.annotations).await;
    record.answered(500, None);
    record.complete(&audited.annotations).await;
    drop(record);
    assert_eq!(audited.stages().await, stages(&[("Panic", 500)]));
}

#[tokio::test]
async fn stages_may_be_left_out() {
    let rules =
        "omitStages: [RequestReceived]\nrules: [{level: Metadata, omitStages: [ResponseComplete]}]";
    let audited = Audited::new(rules);
    let record = audited.begin("get").expect("a record");
    record.received().await.expect("it is told");
    record.complete(&audited.annotations).await;
    assert!(audited.stages().await.is_empty());
}
