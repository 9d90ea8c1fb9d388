use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use knarr_webhook::testing::{Reaction, Server};

use super::*;

/// A webhook that lets jane do everything, refuses jim, and knows nobody else.
async fn server(fails: Arc<AtomicBool>) -> Server {
    Server::start(&[], move |_, review| {
        if fails.load(Ordering::Relaxed) {
            return Reaction::Bytes(http_error(), Vec::new());
        }
        let user = review["spec"]["user"].as_str().unwrap_or_default();
        let status = match user {
            "jane" => json!({"allowed": true, "reason": "she may"}),
            "jim" => json!({"allowed": false, "denied": true, "reason": "he may not"}),
            _ => json!({"allowed": false}),
        };
        Reaction::Answer(json!({"status": status}))
    })
    .await
}

fn http_error() -> http::StatusCode {
    http::StatusCode::INTERNAL_SERVER_ERROR
}

fn webhook(server: &Server, policy: FailurePolicy, condition: &str) -> Webhook {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config");
    let config = json!({
        "current-context": "a",
        "clusters": [{"name": "a", "cluster": {
            "server": format!("https://{}/", server.address),
            "certificate-authority-data": server.ca_bundle(),
        }}],
        "contexts": [{"name": "a", "context": {"cluster": "a"}}],
    });
    fs::write(&path, config.to_string()).expect("a file");
    let env = knarr_cel::Env::default().with("request", review::spec_type().clone());
    let conditions = match condition {
        "" => Vec::new(),
        source => vec![Program::compile(source, &env).expect("it compiles")],
    };
    let settings = Settings {
        kubeconfig: path,
        version: "v1".to_owned(),
        timeout: Duration::from_secs(20),
        authorized_ttl: Duration::from_secs(60),
        unauthorized_ttl: Duration::ZERO,
        failure_policy: policy,
        conditions,
    };
    let caller = Arc::new(Caller::start().expect("a thread"));
    Webhook::new("hook", settings, caller).expect("a webhook")
}

fn ask(webhook: &Webhook, user: &str) -> Decision {
    let user = UserInfo {
        name: user.to_owned(),
        ..UserInfo::default()
    };
    let info = RequestInfo {
        verb: "get",
        path: "/x",
        ..RequestInfo::default()
    };
    webhook.authorize(&user, &info)
}

fn reason(text: &str) -> String {
    text.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_decides_and_permissions_are_remembered() {
    let server = server(Arc::default()).await;
    let webhook = webhook(&server, FailurePolicy::NoOpinion, "");
    for (user, wanted) in [
        (
            "jane",
            Decision::Allow {
                reason: reason("she may"),
            },
        ),
        (
            "jane",
            Decision::Allow {
                reason: reason("she may"),
            },
        ),
        (
            "jim",
            Decision::Deny {
                reason: reason("he may not"),
            },
        ),
        (
            "jim",
            Decision::Deny {
                reason: reason("he may not"),
            },
        ),
        ("who", Decision::NoOpinion { reason: reason("") }),
    ] {
        assert_eq!(ask(&webhook, user), wanted);
    }
    assert_eq!(server.calls(), 4, "jane's is remembered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_its_policys() {
    let fails = Arc::new(AtomicBool::new(true));
    let server = server(fails).await;
    for (policy, wanted) in [
        (
            FailurePolicy::NoOpinion,
            Decision::NoOpinion { reason: reason("") },
        ),
        (FailurePolicy::Deny, Decision::Deny { reason: reason("") }),
    ] {
        assert_eq!(ask(&webhook(&server, policy, ""), "jane"), wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_say_who_is_asked_about() {
    let server = server(Arc::default()).await;
    let deny = FailurePolicy::Deny;
    let not_jane = webhook(&server, deny, "request.user != 'jane'");
    assert_eq!(
        ask(&not_jane, "jane"),
        Decision::NoOpinion { reason: reason("") }
    );
    let failing = webhook(&server, deny, "request.resourceAttributes.verb == 'get'");
    assert_eq!(ask(&failing, "jane"), Decision::Deny { reason: reason("") });
    assert_eq!(server.calls(), 0);
}
