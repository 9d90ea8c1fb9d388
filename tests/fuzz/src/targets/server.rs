//! Whole requests to the real server, by its administrator: a line with method and path, one with the content type, one with what
//! is accepted, and the body. So queries, selectors, continue tokens, bodies in JSON, YAML and protobuf, and patches of all kinds
//! are taken as they come.
//!
//! No request may end a task, be answered with 500 (but for [`AS_UPSTREAM`]), or take long. (The server's own tasks are in this process: a panic of
//! theirs is one of ours.)

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use knarr_apiserver::{Config, LocalService, Server};
use knarr_auth::UserInfo;
use knarr_store::Memory;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use crate::shape;

use super::{Target, texts};

/// Longest answer that is waited for; a watch is left earlier.
const ANSWER: Duration = Duration::from_secs(20);
/// What is read of an answer: a watch has no end.
const READ: Duration = Duration::from_millis(2);

/// What upstream answers with 500 too: strategic merge patches whose directives mean nothing, applied objects with unknown fields.
const AS_UPSTREAM: [&str; 6] = [
    "failed to create typed patch object",
    "does not contain declared merge key",
    "unknown patch type",
    "cannot merge lists without merge key",
    "doesn't match $setElementOrder list",
    "resourceVersion: Invalid value: ",
];

pub struct Requests {
    runtime: Runtime,
    service: LocalService,
    _server: Server,
    _dir: tempfile::TempDir,
}

impl Requests {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config::on_loopback(dir.path().join("pki"));
        let server = runtime.block_on(Server::new(config, Arc::new(Memory::default())));
        let server = server.expect("a server");
        let admin = UserInfo {
            name: "admin".to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..UserInfo::default()
        };
        Self {
            service: server.client_service(admin),
            runtime,
            _server: server,
            _dir: dir,
        }
    }
}

fn request(input: &[u8]) -> Option<Request<Full<Bytes>>> {
    let mut parts = input.splitn(4, |byte| *byte == b'\n');
    let first = std::str::from_utf8(parts.next()?).ok()?;
    let (method, uri) = first.split_once(' ')?;
    let (content_type, accept) = (parts.next()?, parts.next()?);
    let body = Bytes::copy_from_slice(parts.next().unwrap_or_default());
    let mut request = Request::builder().method(method).uri(uri);
    if !content_type.is_empty() {
        request = request.header("content-type", content_type);
    }
    if !accept.is_empty() {
        request = request.header("accept", accept);
    }
    request.body(Full::new(body)).ok()
}

impl Target for Requests {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let pod = r#"{"metadata":{"name":"p","labels":{"a":"b"}},"spec":{"terminationGracePeriodSeconds":1,"serviceAccountName":"default","containers":[{"name":"c","image":"i","resources":{"requests":{"cpu":"100m"}},"ports":[{"containerPort":80}]}]}}"#;
        let post = |path: &str, body: &str| format!("POST {path}\napplication/json\n\n{body}");
        let patch = |path: &str, kind: &str, body: &str| {
            format!("PATCH {path}\napplication/{kind}-patch+json\n\n{body}")
        };
        let get = |path: &str, accept: &str| format!("GET {path}\n\n{accept}\n");
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let requests = [
            post("/api/v1/namespaces/default/serviceaccounts", r#"{"metadata":{"name":"default"}}"#),
            post("/api/v1/namespaces/default/pods", pod),
            post("/api/v1/namespaces/default/configmaps?fieldValidation=Strict", r#"{"metadata":{"name":"c","annotations":{"x":"y"}},"data":{"k":"v"}}"#),
            post("/api/v1/namespaces/default/services", r#"{"metadata":{"name":"s"},"spec":{"type":"NodePort","selector":{"a":"b"},"ports":[{"port":80,"targetPort":"http","nodePort":30080}]}}"#),
            post("/apis/apps/v1/namespaces/default/deployments", r#"{"metadata":{"name":"d"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#),
            post("/apis/rbac.authorization.k8s.io/v1/clusterroles", r#"{"metadata":{"name":"r"},"rules":[{"apiGroups":["","apps"],"resources":["pods","*"],"verbs":["get","list"],"resourceNames":["a"]}]}"#),
            post("/apis/authentication.k8s.io/v1/tokenreviews", r#"{"spec":{"token":"eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.eyJpc3MiOiJrIiwiZXhwIjo5OTk5OTk5OTk5fQ.c2ln","audiences":["k"]}}"#),
            post("/apis/authorization.k8s.io/v1/subjectaccessreviews", r#"{"spec":{"user":"u","groups":["g"],"resourceAttributes":{"verb":"get","resource":"pods","namespace":"default"}}}"#),
            post("/api/v1/namespaces/default/pods/p/binding", r#"{"metadata":{"name":"p"},"target":{"kind":"Node","name":"n"}}"#),
            post("/api/v1/namespaces/default/pods/p/eviction", r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"},"deleteOptions":{"gracePeriodSeconds":5}}"#),
            patch("/api/v1/namespaces/default/pods/p", "strategic-merge", r#"{"metadata":{"labels":{"a":null},"finalizers":["x/y"]},"spec":{"containers":[{"name":"c","image":"j"}],"$setElementOrder/containers":[{"name":"c"}]}}"#),
            patch("/api/v1/namespaces/default/pods/p/status", "strategic-merge", r#"{"status":{"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#),
            patch("/api/v1/namespaces/default/configmaps/c", "merge", r#"{"data":{"k":"w"}}"#),
            patch("/api/v1/namespaces/default/configmaps/c", "json", r#"[{"op":"replace","path":"/data/k","value":"x"}]"#),
            "PATCH /api/v1/namespaces/default/configmaps/c?fieldManager=m&force=true\napplication/apply-patch+yaml\n\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  k: z\n".to_owned(),
            "PUT /apis/apps/v1/namespaces/default/deployments/d/scale\napplication/json\n\n{\"metadata\":{\"name\":\"d\",\"namespace\":\"default\"},\"spec\":{\"replicas\":3}}".to_owned(),
            "DELETE /api/v1/namespaces/default/pods/p?gracePeriodSeconds=3&propagationPolicy=Foreground\napplication/json\n\n{\"preconditions\":{\"uid\":\"a\"}}".to_owned(),
            "DELETE /api/v1/namespaces/default/configmaps?labelSelector=a%3Db\n\n\n".to_owned(),
            get("/api/v1/pods?limit=1&labelSelector=a%20in%20(b,c)&fieldSelector=spec.nodeName!%3Dn", ""),
            get("/api/v1/namespaces/default/configmaps?limit=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MTAsInN0YXJ0IjoiZGVmYXVsdC9jXHUwMDAwIn0", ""),
            get("/api/v1/pods?watch=true&resourceVersion=1&allowWatchBookmarks=true&timeoutSeconds=1", ""),
            get("/api/v1/services?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "application/vnd.kubernetes.protobuf"),
            get("/api/v1/namespaces/default/services/s", "application/vnd.kubernetes.protobuf"),
            get("/apis/apps/v1/deployments?resourceVersion=0", table),
            get("/api/v1/nodes?includeObject=None", table),
            get("/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
            get("/readyz?verbose&exclude=etcd", ""),
        ];
        texts(&requests.each_ref().map(String::as_str))
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let Some(request) = request(input) else {
            return Ok(0);
        };
        let line = format!("{} {}", request.method(), request.uri());
        let service = self.service.clone();
        let answered = self.runtime.block_on(async move {
            let answering = async {
                let Ok(response) = service.oneshot(request).await;
                let (parts, mut body) = response.into_parts();
                let mut text = Vec::new();
                while let Ok(Some(Ok(frame))) = tokio::time::timeout(READ, body.frame()).await {
                    if let Ok(data) = frame.into_data() {
                        text.extend_from_slice(&data);
                    }
                }
                (parts.status, String::from_utf8_lossy(&text).into_owned())
            };
            tokio::time::timeout(ANSWER, answering).await
        });
        match answered {
            Err(_) => Err(format!("{line}: no answer within {ANSWER:?}")),
            Ok((status, text))
                if status == 500 && !AS_UPSTREAM.iter().any(|m| text.contains(m)) =>
            {
                Err(format!("{line}: {text}"))
            }
            Ok((status, text)) if status.is_success() => Ok(shape::of(&format!(
                "{status} {}",
                text.get(..64).unwrap_or(&text)
            ))),
            Ok((status, text)) => {
                let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                let message = answer["message"].as_str().unwrap_or(&text);
                Ok(shape::of(&format!("{status} {message}")))
            }
        }
    }
}
