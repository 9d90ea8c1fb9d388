//! The audit of one request, as its handling sees it.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use bytes::BytesMut;
use http::{Response, header};
use knarr_audit::{Annotations, Auditor, Ending, Level, OBJECT_BYTES, Received, Record};
use knarr_auth::{
    UserInfo,
    authn::impersonation::Acting,
    authz,
    request::{Authorizer, Decision, Remarks, RequestInfo},
};
use knarr_meta::status::Status;
use knarr_registry::write::Warnings;
use knarr_tasks::Failure;
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;

use crate::{
    body::{Body, Chunks},
    protobuf, verbs, yaml,
};

/// Keys of annotations, as upstream's.
const DECISION: &str = "authorization.k8s.io/decision";
const REASON: &str = "authorization.k8s.io/reason";
const DEPRECATED: &str = "k8s.io/deprecated";
const REMOVED_RELEASE: &str = "k8s.io/removed-release";
/// An answer that is no more than a Status has so many bytes at most.
const STATUS_BYTES: usize = 4 << 10;

/// Nothing without an auditor; with one, there is a record once it is known whose request it is.
pub struct Audit<'r> {
    pub auditor: Option<&'r Arc<Auditor>>,
    pub annotations: Annotations,
    record: OnceLock<Record>,
    /// What is known of the credentials before it is known whether the request is audited.
    early: Mutex<Vec<(&'static str, String)>>,
    /// Nobody could be authenticated.
    is_nobodys: AtomicBool,
}

impl<'r> Audit<'r> {
    pub fn new(auditor: Option<&'r Arc<Auditor>>) -> Audit<'r> {
        Audit {
            auditor,
            annotations: Annotations::default(),
            record: OnceLock::new(),
            early: Mutex::default(),
            is_nobodys: AtomicBool::new(false),
        }
    }

    /// Who is told of credentials: the client by `warnings`, and the log.
    pub fn remarks(&'r self, warnings: &'r Warnings) -> Remarked<'r> {
        Remarked {
            warnings,
            early: &self.early,
        }
    }

    /// The request has come, and it is known whose it is.
    ///
    /// # Errors
    /// 500 where it must not go on because it cannot be audited.
    pub async fn begin(&self, received: &Received<'_>) -> Result<(), Status> {
        let Some(auditor) = self.auditor else {
            return Ok(());
        };
        let Some(record) = auditor.begin(received, &self.annotations) else {
            return Ok(());
        };
        for (key, value) in std::mem::take(&mut *self.early.lock()) {
            self.annotations.add(key, value);
        }
        let record = self.record.get_or_init(|| record);
        if received.user.is_none() {
            self.is_nobodys.store(true, Ordering::Relaxed);
            return Ok(());
        }
        record.received().await
    }

    pub fn impersonated(&self, acting: &Acting) {
        if let Some(record) = self.record.get() {
            record.impersonated(&acting.user, acting.constraint);
        }
    }

    /// Authorizes, and says what was decided.
    ///
    /// # Errors
    /// 403 in upstream's words.
    pub fn authorize(
        &self,
        authorizer: &dyn Authorizer,
        user: &UserInfo,
        info: &RequestInfo<'_>,
    ) -> Result<(), Status> {
        let decision = authorizer.authorize(user, info);
        if self.annotations.wants(Level::Metadata) {
            let (decided, reason) = match &decision {
                Decision::Allow { reason } => ("allow", reason),
                Decision::Deny { reason } | Decision::NoOpinion { reason } => ("forbid", reason),
            };
            self.annotations.add(DECISION, decided);
            self.annotations.add(REASON, reason.clone());
        }
        authz::settle(decision, user, info)
    }

    /// The request is for a version of an API that is deprecated, as its warning says.
    pub fn deprecated(&self, warning: &str) {
        if self.annotations.wants(Level::Metadata) {
            self.annotations.add(DEPRECATED, "true");
            if let Some(release) = removed_release(warning) {
                self.annotations.add(REMOVED_RELEASE, release);
            }
        }
    }

    /// The object that is to be written.
    pub fn request_object(&self, tree: &Value) {
        if let Some(record) = self.record.get() {
            record.request_object(tree);
        }
    }

    /// The patch that is to be applied.
    pub fn request_patch(&self, parse: impl FnOnce() -> Option<Value>) {
        if let Some(record) = self.record.get() {
            record.request_patch(parse);
        }
    }

    /// Whether the answer's object is told.
    pub fn wants_answer(&self) -> bool {
        self.record.get().is_some_and(wants_answer)
    }

    /// For a part of a long answer that goes on after its head.
    pub fn ending(&self) -> Option<Ending> {
        self.record.get().map(Record::ending)
    }

    /// The request's handler failed.
    pub async fn panicked(&self, failure: &Failure) {
        if let Some(record) = self.record.get() {
            let status = Status::internal(format_args!("APIServer panic'd: {}", failure.what));
            record.answered(status.code, Some(&status.to_value()));
            record.panicked(&self.annotations).await;
        }
    }

    /// The request is answered, by a failure or otherwise.
    pub async fn answered(
        self,
        info: &RequestInfo<'_>,
        response: &mut Response<Body>,
        failure: Option<&Status>,
    ) {
        let Some(record) = self.record.into_inner() else {
            return;
        };
        let is_long = info.is_resource && verbs::long_running(info.verb, info.subresource);
        let object = match failure {
            Some(status) => Some(status.to_value()),
            None if is_long || !info.is_resource => None,
            None if wants_answer(&record) => whole(&record, response),
            None => status(info, response),
        };
        record.answered(response.status().as_u16(), object.as_ref());
        match (self.is_nobodys.into_inner(), is_long) {
            (true, _) => record.refused(&self.annotations).await,
            (false, true) => record.started(&self.annotations).await,
            (false, false) => record.complete(&self.annotations).await,
        }
    }
}

/// Tells what is to be known of credentials.
pub struct Remarked<'r> {
    warnings: &'r Warnings,
    early: &'r Mutex<Vec<(&'static str, String)>>,
}

impl Remarks for Remarked<'_> {
    fn warning(&self, text: &'static str) {
        self.warnings.add(text);
    }

    fn annotation(&self, key: &'static str, value: String) {
        self.early.lock().push((key, value));
    }
}

fn wants_answer(record: &Record) -> bool {
    record.level() >= Level::RequestResponse
}

/// The object of an answer, which is whole afterwards.
fn whole(record: &Record, response: &mut Response<Body>) -> Option<Value> {
    if let Body::List(list) = response.body_mut() {
        if list.estimate() > OBJECT_BYTES as u64 {
            record.too_large();
            return None;
        }
        let bytes = collect(&mut **list);
        *response.body_mut() = Body::from(bytes.freeze());
    }
    decoded(response)
}

fn collect(list: &mut dyn Chunks) -> BytesMut {
    let mut all = BytesMut::new();
    while let Some(piece) = list.chunk() {
        all.extend_from_slice(&piece);
    }
    all
}

/// The Status that a write may be answered with.
fn status(info: &RequestInfo<'_>, response: &Response<Body>) -> Option<Value> {
    if !matches!(info.verb, "create" | "delete") {
        return None;
    }
    match response.body() {
        Body::Full(Some(bytes)) if bytes.len() <= STATUS_BYTES => {
            decoded(response).filter(|tree| {
                (&tree["kind"], &tree["apiVersion"]) == (&"Status".into(), &"v1".into())
            })
        }
        _ => None,
    }
}

fn decoded(response: &Response<Body>) -> Option<Value> {
    let Body::Full(Some(bytes)) = response.body() else {
        return None;
    };
    let kind = response.headers().get(header::CONTENT_TYPE)?;
    match kind.to_str().ok()?.split(';').next()?.trim() {
        "application/json" => serde_json::from_slice(bytes).ok(),
        "application/yaml" => yaml::parse(bytes).ok(),
        protobuf::CONTENT_TYPE => protobuf::decode_answer(bytes).ok(),
        _ => None,
    }
}

/// `1.37` of a warning that ends with `unavailable in v1.37+`.
pub fn removed_release(warning: &str) -> Option<&str> {
    let (_, rest) = warning.split_once("unavailable in v")?;
    let end = rest.find('+')?;
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_names_the_release() {
        for (warning, wanted) in [
            ("v1 ComponentStatus is deprecated in v1.19+", None),
            (
                "a/v1 B is deprecated in v1.33+, unavailable in v1.37+; use a/v2 B",
                Some("1.37"),
            ),
        ] {
            assert_eq!(removed_release(warning), wanted);
        }
    }
}
