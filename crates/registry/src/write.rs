//! The write path: the only code that changes what is stored.
//!
//! Create, update and delete each run the same steps whoever asks: defaults, mutating admission, strategy, validation, validating
//! admission, one encoding, one commit. An update runs all of it again when another writer was faster.

// Numbers here come from outside.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod create;
pub mod delete;
mod hooks;
mod own;
pub mod owners;
mod part;
pub mod repeat;
pub mod reseal;
pub mod update;

pub use delete::{DeleteOptions, Propagation};
pub use knarr_admission::{Warnings, request::Phase};
pub use own::Place;

use std::sync::Arc;

use bytes::Bytes;
use knarr_admission::{
    reinvocation::Reinvocation,
    request::{AdmissionRequest, Operation, Options},
};
use knarr_api::{
    Alias, Kind, Kinds,
    kind::Part,
    schema::{empty, written},
};
use knarr_audit::Annotations;
use knarr_auth::UserInfo;
use knarr_meta::{
    GroupKind, GroupResource,
    field::{Emptied, ErrorList},
    status::Status,
};
use knarr_store::{Change, Expect, Op, Outcome};
use serde_json::{Map, Value};

use crate::{
    Registry,
    cache::entry::{self, Entry},
    managed::{self, Managed, Manager, Siblings},
    object_key, transform,
};

/// How often a write that loses against others is tried before it answers 409.
pub const ATTEMPTS: usize = 64;

/// Who writes what, where.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    pub kind: &'a Kind,
    /// Group of the version the client uses, for errors.
    pub group: &'a str,
    /// The version of the request, where it is not the kind's own.
    pub alias: Option<&'a Alias>,
    /// What the request says beside the object.
    pub options: &'a dyn Options,
    /// Empty for cluster-scoped kinds.
    pub namespace: &'a str,
    pub subresource: &'a str,
    pub user: &'a UserInfo,
    pub dry_run: bool,
    pub warnings: &'a Warnings,
    /// What the request's object has of lists and maps with nothing in them.
    pub emptied: Option<&'a Emptied>,
    /// For the request's audit events.
    pub annotations: &'a Annotations,
    pub managed: Managed<'a>,
    /// The other versions of a custom resource.
    pub siblings: Option<&'a Siblings>,
}

impl Write<'_> {
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.group.to_owned(), self.kind.resource.clone())
    }

    /// The refusal of an object.
    fn invalid(&self, name: &str, mut errors: ErrorList) -> Status {
        if let Some(emptied) = self.emptied {
            emptied.show_in(&mut errors);
        }
        let kind = GroupKind::new(self.kind.group.clone(), self.kind.kind.clone());
        Status::invalid(kind, name, errors)
    }

    /// The object's key in the cache, and in the store.
    fn keys(&self, name: &str) -> (String, String) {
        let short = object_key(self.kind, self.namespace, name);
        let full = format!(
            "{}/{short}",
            self.kind.storage.as_deref().unwrap_or_default()
        );
        (short, full)
    }
}

/// A write, as admission is asked about it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    write: &'a Write<'a>,
    operation: Operation,
    name: &'a str,
    old: Option<&'a Value>,
}

/// An object as it is stored now.
pub struct Current {
    pub entry: Arc<Entry>,
    /// With resourceVersion.
    pub tree: Value,
}

/// Names fields as the version of the request does, where the stored one has other names for them.
fn in_words_of(alias: &Alias, errors: &mut ErrorList) {
    for error in errors {
        let mut labels = alias.field_labels.iter();
        if let Some((own, _)) = labels.find(|(_, stored)| *stored == error.field) {
            error.field = (*own).to_owned();
        }
    }
}

/// Why a commit did not happen.
enum Refused {
    /// Another writer was faster; the store was at this revision.
    Conflict(u64),
    Status(Status),
    /// The store failed: the write may have happened.
    Unknown(Status),
}

impl Registry {
    /// Reads an object so that every acknowledged write is seen.
    pub async fn current(&self, write: &Write<'_>, name: &str) -> Result<Current, Status> {
        self.cache.fresh().await?;
        let (short, _) = write.keys(name);
        let entry = self
            .cache
            .of(write.kind)?
            .find(&short)?
            .ok_or_else(|| Status::not_found(write.group_resource(), name))?;
        let tree = self.in_version(write.kind, entry.tree()).await?;
        Ok(Current { entry, tree })
    }

    /// An object of the write's version as it is stored.
    async fn encode(&self, write: &Write<'_>, tree: &Value) -> Result<Bytes, Refused> {
        if write.kind.stored.is_none() {
            return Ok(entry::encode(tree));
        }
        let stored = self.in_stored_version(write.kind, tree).await;
        Ok(entry::encode(&stored.map_err(Refused::Status)?))
    }

    /// What is stored of an object: one that its managed fields alone make too large goes without them, as upstream. Not after an
    /// apply, which is about them.
    async fn encode_bounded(&self, write: &Write<'_>, tree: &mut Value) -> Result<Bytes, Refused> {
        written::complete(&write.kind.definition, tree);
        let json = self.encode(write, tree).await?;
        if json.len() <= MAX_OBJECT_BYTES || !matches!(write.managed, Managed::Update(_)) {
            return Ok(json);
        }
        managed::put(tree, None);
        self.encode(write, tree).await
    }

    /// Commits what [`Registry::encode`] made; of `tree`, where that is what it was made of.
    async fn commit(
        &self,
        write: &Write<'_>,
        name: &str,
        json: Bytes,
        tree: Option<&Value>,
        expect: Expect,
    ) -> Result<Arc<Entry>, Refused> {
        let (short, full) = write.keys(name);
        if json.len() > MAX_OBJECT_BYTES {
            return Err(Refused::Status(Status::request_too_large(format!(
                "limit is {MAX_OBJECT_BYTES}"
            ))));
        }
        let stored = self
            .transformer
            .encode(write.kind, &full, json.clone())
            .map_err(|e| Refused::Status(not_encrypted(&e)))?;
        // What is encrypted, or stored in another version, is read as any other's.
        let tree = tree.filter(|_| stored.as_ptr() == json.as_ptr() && write.kind.stored.is_none());
        if let Some(tree) = tree {
            self.cache.draft(write.kind, &short, &stored, tree);
        }
        let committed = self.commit_op(full, expect, Change::Put(stored)).await;
        if committed.is_err() && tree.is_some() {
            self.cache.forget_draft(&json);
        }
        let revision = committed?;
        Ok(Arc::new(Entry::bare(write.kind, short, revision, json)))
    }

    async fn commit_op(&self, key: String, expect: Expect, change: Change) -> Result<u64, Refused> {
        match self
            .store
            .commit(Op {
                key,
                expect,
                change,
            })
            .await
        {
            Ok(Outcome::Committed { revision, .. }) => Ok(revision),
            Ok(Outcome::Conflict { revision, .. }) => Err(Refused::Conflict(revision)),
            Err(knarr_store::Error::TooLarge { limit, .. }) => Err(Refused::Status(
                Status::request_too_large(format!("limit is {limit}")),
            )),
            Err(error @ knarr_store::Error::Full) => Err(Refused::Status(Status::internal(error))),
            // Without a time to try again at: it may have been made.
            Err(error @ knarr_store::Error::Unavailable { .. }) => Err(Refused::Unknown(
                Status::service_unavailable(error.to_string()),
            )),
            Err(error) => Err(Refused::Unknown(Status::internal(error))),
        }
    }

    /// What a dry run answers with: the object as it would be stored, at the revision it has (0: none).
    fn pretend(&self, write: &Write<'_>, name: &str, json: Bytes, revision: u64) -> Arc<Entry> {
        let (short, _) = write.keys(name);
        Arc::new(Entry::bare(write.kind, short, revision, json))
    }

    /// Runs a phase of admission.
    pub async fn admit(
        &self,
        write: &Write<'_>,
        operation: Operation,
        name: &str,
        phase: Phase,
        object: Option<&mut Value>,
        old: Option<&Value>,
    ) -> Result<bool, Status> {
        let snapshot = self.catalog.current();
        let mut reinvocation = Reinvocation::default();
        let asked = Asked {
            write,
            operation,
            name,
            old,
        };
        let mut request = self.asked(asked, object, &snapshot.kinds, &mut reinvocation);
        let ran = self.run_plugins(&mut request, phase).await?;
        if request.reinvocation.begin_again() {
            self.run_plugins(&mut request, phase).await?;
        }
        Ok(ran)
    }

    fn asked<'a>(
        &'a self,
        asked: Asked<'a>,
        object: Option<&'a mut Value>,
        kinds: &'a Kinds,
        reinvocation: &'a mut Reinvocation,
    ) -> AdmissionRequest<'a> {
        let Asked {
            write,
            operation,
            name,
            old,
        } = asked;
        AdmissionRequest {
            operation,
            kind: write.kind,
            alias: write.alias,
            kinds,
            converter: self,
            options: write.options,
            subresource: write.subresource,
            namespace: write.namespace,
            name,
            user: write.user,
            own: std::ptr::eq(write.user, &self.own_user),
            dry_run: write.dry_run,
            object,
            old,
            warnings: write.warnings,
            annotations: write.annotations,
            reinvocation,
        }
    }

    /// Whether others, whom each call costs or who may answer differently each time, are asked to change an object.
    fn others_change(&self, asked: Asked<'_>, object: &mut Value) -> bool {
        let snapshot = self.catalog.current();
        let mut reinvocation = Reinvocation::default();
        let request = self.asked(asked, Some(object), &snapshot.kinds, &mut reinvocation);
        let mut others = self.admission.iter().filter(|plugin| plugin.asks_others());
        others.any(|plugin| plugin.runs_in(Phase::Mutate) && plugin.handles(&request))
    }

    /// Whether any plugin ran.
    async fn run_plugins(
        &self,
        request: &mut AdmissionRequest<'_>,
        phase: Phase,
    ) -> Result<bool, Status> {
        let mut ran = false;
        for plugin in self.admission.iter().filter(|plugin| plugin.runs_in(phase)) {
            if !plugin.handles(request) {
                continue;
            }
            ran = true;
            match phase {
                Phase::Mutate => plugin.admit(request).await?,
                Phase::Validate => plugin.validate(request).await?,
            }
        }
        Ok(ran)
    }
}

/// When a client may try again what could not be encrypted.
const ENCRYPTION_RETRY_SECONDS: u32 = 1;

/// Nothing was written.
fn not_encrypted(error: &transform::Error) -> Status {
    match error.is_unavailable() {
        true => Status::service_unavailable(error.to_string())
            .with_retry_after(ENCRYPTION_RETRY_SECONDS),
        false => Status::internal(error),
    }
}

/// Most bytes of a stored object, as etcd's request limit.
const MAX_OBJECT_BYTES: usize = 3 << 19;

/// The metadata map, made where it is missing.
pub fn metadata(tree: &mut Value) -> &mut Map<String, Value> {
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    let map = tree.as_object_mut().expect("was made an object");
    let meta = map
        .entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()));
    if !meta.is_object() {
        *meta = Value::Object(Map::new());
    }
    meta.as_object_mut().expect("was made an object")
}

/// Whether something empty in an object is told from what is not there.
fn says_empty(kind: &Kind, tree: &Value) -> bool {
    empty::is_told(&kind.definition) && empty::is_said(tree)
}

/// Sets the managed fields of what a manager makes of `live`, or of nothing.
fn track(
    write: &Write<'_>,
    manager: Manager<'_>,
    part: Part,
    live: Option<&Value>,
    tree: &mut Value,
) {
    let seen = match part {
        Part::Main | Part::Status => write.kind.strategy.foresee(tree),
        Part::Subresource(_) => None,
    };
    // What is empty is nobody's, but where it is always there.
    let seen = match empty::is_told(&write.kind.definition) {
        true => {
            let mut seen = seen.unwrap_or_else(|| tree.clone());
            written::complete_asked(&write.kind.definition, &mut seen);
            Some(seen)
        }
        false => seen,
    };
    let forms = write.emptied.map(Emptied::forms).unwrap_or_default();
    match seen {
        None => manager.update(write.kind, part, live, tree, &forms),
        Some(mut seen) => {
            manager.update(write.kind, part, live, &mut seen, &forms);
            managed::put(tree, managed::take(&mut seen));
        }
    }
}

/// Stored objects carry the stored version's type, also where the server made them without.
fn set_type(kind: &Kind, tree: &mut Value) {
    if let Some(map) = tree.as_object_mut() {
        map.insert("kind".into(), Value::from(&*kind.kind));
        map.insert("apiVersion".into(), Value::from(kind.api_version()));
    }
}

/// Sets the object's namespace to the request's, or refuses another one.
///
/// # Errors
/// 400 for an object that says another one.
pub fn check_namespace(write: &Write<'_>, tree: &mut Value) -> Result<(), Status> {
    let meta = metadata(tree);
    let given = meta.get("namespace").and_then(Value::as_str).unwrap_or("");
    // Objects of the cluster lose one, as upstream's `EnsureObjectNamespaceMatchesRequestNamespace` has it.
    if given.is_empty() || write.namespace.is_empty() {
        match write.namespace {
            "" => meta.remove("namespace"),
            namespace => meta.insert("namespace".into(), Value::from(namespace)),
        };
        return Ok(());
    }
    if given != write.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Whether something keeps the object although its deletion was asked for.
fn held(kind: &Kind, tree: &Value) -> bool {
    let named = |path: &[&str]| knarr_meta::object::list_at(tree, path).is_empty();
    !named(&["metadata", "finalizers"])
        || (finalized_by_spec(kind) && !named(&["spec", "finalizers"]))
}

/// Kinds (namespaces) with finalizers in their spec, removed through `/finalize`.
fn finalized_by_spec(kind: &Kind) -> bool {
    kind.subresource("finalize").is_some()
}
