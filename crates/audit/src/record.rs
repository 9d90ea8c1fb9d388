//! What happens to one request, told at each stage.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use knarr_auth::UserInfo;
use knarr_meta::{clock, object, status::Status, time};
use parking_lot::Mutex;
use serde_json::{Value, value::RawValue};

use crate::{
    Annotations, Auditor, Level, Received, Stage,
    event::{AuthenticationMetadata, Event, ObjectRef, ResponseStatus},
    objects,
    policy::Decision,
};

/// Marks an event whose objects are not in it.
const TRUNCATED: (&str, &str) = ("audit.k8s.io/truncated", "true");

/// The audit of a request: from when its user is known until it is answered. One that is dropped before has lost its client.
#[derive(Debug)]
pub struct Record {
    shared: Arc<Shared>,
}

struct Shared {
    auditor: Arc<Auditor>,
    decision: Decision,
    state: Mutex<State>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("decision", &self.decision)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    event: Event,
    truncated: bool,
    /// Parts of a long answer that have not ended.
    endings: usize,
    /// The long answer has begun.
    started: bool,
    /// Its last event was told.
    complete: bool,
}

impl Auditor {
    /// The record of a request, if the policy wants one; annotations are kept from now on.
    pub fn begin(
        self: &Arc<Self>,
        received: &Received<'_>,
        annotations: &Annotations,
    ) -> Option<Record> {
        let decision = self.decide(received);
        if decision.level == Level::None {
            return None;
        }
        annotations.keep(decision.level);
        let event = Event {
            level: decision.level,
            ..received.event()
        };
        Some(Record::new(self.clone(), decision, event))
    }
}

impl Record {
    fn new(auditor: Arc<Auditor>, decision: Decision, event: Event) -> Record {
        let state = State {
            event,
            ..State::default()
        };
        Record {
            shared: Arc::new(Shared {
                auditor,
                decision,
                state: Mutex::new(state),
            }),
        }
    }

    pub fn level(&self) -> Level {
        self.shared.decision.level
    }

    /// Tells that the request has come.
    ///
    /// # Errors
    /// 500 where a backend in mode `blocking-strict` cannot tell it: the request must not go on.
    pub async fn received(&self) -> Result<(), Status> {
        let event = self.shared.event(Stage::RequestReceived);
        match self.shared.send(event).await {
            true => Ok(()),
            false => {
                self.shared.state.lock().complete = true;
                self.shared.auditor.rejected();
                Err(Status::internal("failed to store audit event"))
            }
        }
    }

    /// The request is somebody else's from now on. `constraint`: the verb of the constrained mode that allowed it, empty without one.
    pub fn impersonated(&self, user: &UserInfo, constraint: &str) {
        let mut state = self.shared.state.lock();
        state.event.impersonated_user = Some(user.into());
        state.event.authentication_metadata =
            (!constraint.is_empty()).then(|| AuthenticationMetadata {
                impersonation_constraint: constraint.to_owned(),
            });
    }

    /// The object that is asked to be written. Its name is told at any level, the object from level Request on.
    pub fn request_object(&self, tree: &Value) {
        let encoded = self.encode(Level::Request, tree);
        let mut state = self.shared.state.lock();
        state.truncated |= encoded.is_err();
        state.event.request_object = encoded.unwrap_or_default();
        let reference = state.event.object_ref.get_or_insert_default();
        name(reference, tree);
    }

    /// The patch that is asked to be applied: JSON, or what `parse` makes of another form.
    pub fn request_patch(&self, parse: impl FnOnce() -> Option<Value>) {
        if self.level() >= Level::Request
            && let Some(patch) = parse()
        {
            let encoded = self.encode(Level::Request, &patch);
            let mut state = self.shared.state.lock();
            state.truncated |= encoded.is_err();
            state.event.request_object = encoded.unwrap_or_default();
        }
    }

    /// How the request is answered: by a Status, or by another object, which is told from level RequestResponse on.
    pub fn answered(&self, code: u16, answer: Option<&Value>) {
        let status = answer.filter(|answer| object::kind(answer) == "Status");
        let status = ResponseStatus::of_answer(code, status.unwrap_or(&Value::Null));
        let encoded = answer.map_or(Ok(None), |answer| {
            self.encode(Level::RequestResponse, answer)
        });
        let mut state = self.shared.state.lock();
        state.truncated |= encoded.is_err();
        state.event.response_object = encoded.unwrap_or_default();
        state.event.response_status = Some(status);
    }

    /// The answer's object is larger than an event may hold.
    pub fn too_large(&self) {
        self.shared.state.lock().truncated = true;
    }

    /// Tells that the request is answered.
    pub async fn complete(&self, annotations: &Annotations) {
        self.end(Stage::ResponseComplete, annotations).await;
    }

    /// Tells that nobody could be authenticated: there is no later event of such a request.
    pub async fn refused(&self, annotations: &Annotations) {
        self.end(Stage::ResponseStarted, annotations).await;
    }

    /// Tells that the request's handler failed.
    pub async fn panicked(&self, annotations: &Annotations) {
        self.end(Stage::Panic, annotations).await;
    }

    async fn end(&self, stage: Stage, annotations: &Annotations) {
        let event = {
            let mut state = self.shared.state.lock();
            // Nothing comes after a panic, or after a request that could not be told of.
            if std::mem::replace(&mut state.complete, true) {
                return;
            }
            state.event.annotations = annotations.all();
            drop(state);
            self.shared.event(stage)
        };
        self.shared.send(event).await;
    }

    /// Tells that a long answer has begun; its end is told when the last of its [`Ending`]s is dropped.
    pub async fn started(&self, annotations: &Annotations) {
        {
            let mut state = self.shared.state.lock();
            if state.complete {
                return;
            }
            state.event.annotations = annotations.all();
        }
        let event = self.shared.event(Stage::ResponseStarted);
        self.shared.send(event).await;
        let over = {
            let mut state = self.shared.state.lock();
            state.started = true;
            state.end()
        };
        if over {
            let event = self.shared.event(Stage::ResponseComplete);
            self.shared.send(event).await;
        }
    }

    /// For a part of the answer that goes on after its head.
    pub fn ending(&self) -> Ending {
        let mut state = self.shared.state.lock();
        state.endings = state.endings.saturating_add(1);
        Ending(self.shared.clone())
    }

    /// `Err`: too large.
    fn encode(&self, level: Level, tree: &Value) -> Result<Option<Box<RawValue>>, ()> {
        match self.level() >= level {
            true => objects::encode(tree, self.shared.decision.omit_managed_fields)
                .map(Some)
                .ok_or(()),
            false => Ok(None),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state.lock();
            if state.started || state.complete {
                return;
            }
            state.complete = true;
            let status = ResponseStatus::closed_early();
            state.event.response_status.get_or_insert(status);
        }
        let event = self.shared.event(Stage::ResponseComplete);
        self.shared.offer(event);
    }
}

/// Held by what an answer consists of after its head: a body, an upgraded connection.
#[derive(Debug)]
pub struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        let over = {
            let mut state = self.0.state.lock();
            state.endings = state.endings.saturating_sub(1);
            state.end()
        };
        if over {
            let event = self.0.event(Stage::ResponseComplete);
            self.0.offer(event);
        }
    }
}

impl State {
    /// Whether a long answer is over and nobody has told so; it is told from now on.
    fn end(&mut self) -> bool {
        let over = self.started && self.endings == 0 && !self.complete;
        self.complete |= over;
        over
    }
}

impl Shared {
    /// The event of a stage, unless the policy leaves it out.
    fn event(&self, stage: Stage) -> Option<Bytes> {
        if self.decision.omit.contains(stage) {
            return None;
        }
        let mut state = self.state.lock();
        state.event.stage = stage;
        state.event.stage_timestamp = match stage {
            Stage::RequestReceived => state.event.request_received_timestamp.clone(),
            _ => time::format_micro(clock::now()),
        };
        if state.truncated {
            let (key, value) = TRUNCATED;
            let annotations = &mut state.event.annotations;
            annotations.insert(key.to_owned(), value.to_owned());
        }
        let encoded = state.event.encode();
        if let Err(error) = &encoded {
            tracing::error!(%error, "an audit event cannot be encoded");
        }
        encoded.ok()
    }

    async fn send(&self, event: Option<Bytes>) -> bool {
        match event {
            Some(event) => self.auditor.send(&event).await,
            None => true,
        }
    }

    fn offer(&self, event: Option<Bytes>) {
        if let Some(event) = event {
            self.auditor.offer(&event);
        }
    }
}

/// Fills in what a request's path did not say.
fn name(reference: &mut ObjectRef, tree: &Value) {
    let fill = |field: &mut String, text: &str| {
        if field.is_empty() {
            text.clone_into(field);
        }
    };
    fill(&mut reference.namespace, object::namespace(tree));
    fill(&mut reference.name, object::name(tree));
    fill(&mut reference.uid, object::uid(tree));
    let version = object::resource_version(tree);
    fill(&mut reference.resource_version, version);
}
