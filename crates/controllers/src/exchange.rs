//! Reconciliations in tests: what a controller asks the server for, and what it does with the answers.

use std::hash::Hash;
use std::time::Duration;

use knarr_client::WorkQueue;
use knarr_client::fake::Server;
use serde_json::{Value, json};

use crate::runner::{Error, Reconciler};

/// A request that a controller sent.
pub(crate) struct Asked {
    pub method: String,
    /// Path, without its query.
    pub path: String,
    pub body: Value,
}

impl Asked {
    /// `METHOD path`
    pub(crate) fn shown(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// Reconciles a key; `answer` gives each request a status code and a body.
pub(crate) async fn reconcile<R: Reconciler>(
    controller: &R,
    key: &R::Key,
    server: &mut Server,
    mut answer: impl FnMut(&Asked) -> (u16, Value),
) -> (Result<(), Error>, Vec<Asked>) {
    let reconciling = controller.reconcile(key);
    tokio::pin!(reconciling);
    let mut asked = Vec::new();
    let result = loop {
        tokio::select! {
            biased;
            result = &mut reconciling => break result,
            request = server.next() => {
                let path = request.uri.split('?').next().unwrap_or_default().to_owned();
                let one = Asked { method: request.method.clone(), path, body: request.body.clone() };
                let (code, body) = answer(&one);
                request.answer(code, &body);
                asked.push(one);
            }
        }
    };
    (result, asked)
}

/// Nothing in a test waits longer; with paused time it does not take long.
const LONG: Duration = Duration::from_secs(7 * 24 * 3600);

/// Whether a controller looks at something again by itself. On paused time.
pub(crate) async fn looks_again<K: Clone + Eq + Hash>(queue: &WorkQueue<K>) -> bool {
    tokio::time::timeout(LONG, queue.next()).await.is_ok()
}

/// Writes come back as they were sent, deletions succeed.
pub(crate) fn accepted(asked: &Asked) -> (u16, Value) {
    match &*asked.method {
        "DELETE" => (200, json!({"kind": "Status", "status": "Success"})),
        _ => (200, asked.body.clone()),
    }
}

/// A failure of this code and reason.
pub(crate) fn failed(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code,
    });
    (code, status)
}
