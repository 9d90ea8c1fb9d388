//! Definitions of custom resources at work: their names are accepted, their kinds served, their objects deleted before they go.
//!
//! ```text
//! watch cache --> what each definition is now --> names --> kinds of the registry --> status
//! ```
//!
//! One task does what are controllers upstream (naming, establishing, approval, finalizing): what one decides the next depends
//! on. After each change it looks at the definitions that differ from when they were last settled, so that hundreds which are
//! installed one after the other cost what each costs alone, and remembers of a definition only what it decides by. A kind is
//! served before its definition says `Established`: who waits for that can use it.

mod names;
mod removal;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::future::{BoxFuture, select_all};
use knarr_admission::writer::Writer;
use knarr_api::{
    Kind,
    apiextensions::{
        custom_resource::{self, Kinds},
        custom_resource_definition::{Condition, FINALIZER, approval, is_true, set_condition},
    },
    kind::{Part, WITHOUT_CREATE},
};
use knarr_meta::{
    object::{self, str_at},
    status::Status,
};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::{
    Registry,
    cache::{
        entry::Entry,
        filter::Filter,
        resource::{Page, ResourceCache},
    },
};

const GROUP: &str = "apiextensions.k8s.io";
const RESOURCE: &str = "customresourcedefinitions";
/// After a failure everything is looked at again, at the latest after this.
const RETRY: Duration = Duration::from_secs(1);

/// What is served of a definition, and what it was made of.
struct Served {
    kinds: Kinds,
    of: Fingerprint,
}

/// What the kinds of a definition depend on: they are made anew when it changes.
#[derive(Clone, Debug, PartialEq)]
struct Fingerprint {
    uid: String,
    /// Counts changes of the spec.
    generation: i64,
    accepted: Value,
    terminating: bool,
}

impl Fingerprint {
    fn of(definition: &Value) -> Fingerprint {
        let accepted = object::at(definition, &["status", "acceptedNames"]);
        Fingerprint {
            uid: object::uid(definition).to_owned(),
            generation: object::generation(definition),
            accepted: accepted.cloned().unwrap_or_default(),
            terminating: object::deletion_timestamp(definition).is_some(),
        }
    }

    /// The same after its deletion, which is no change of the spec.
    fn deleted(self) -> Fingerprint {
        Fingerprint {
            terminating: true,
            ..self
        }
    }
}

/// Looks after all definitions.
pub struct Definitions {
    registry: Arc<Registry>,
    /// By name of the definition.
    served: HashMap<String, Served>,
    /// By name of the definition.
    known: HashMap<String, Known>,
}

/// What was last seen of a definition.
struct Known {
    revision: u64,
    facts: Arc<Value>,
    /// There is nothing to do for it until it changes.
    settled: bool,
}

/// What decisions are made by, by name: definitions without their schemas and managed fields, which are most of them.
type Facts = BTreeMap<String, Arc<Value>>;

/// What a look at everything came to.
struct Outcome {
    /// Something failed: look again.
    failed: bool,
}

impl Definitions {
    pub fn new(registry: Arc<Registry>) -> Definitions {
        Definitions {
            registry,
            served: HashMap::new(),
            known: HashMap::new(),
        }
    }

    /// Looks after definitions until the token is cancelled.
    pub async fn run(&mut self, stop: CancellationToken) {
        let Some(resource) = self.registry.cache.resource(GROUP, RESOURCE) else {
            return;
        };
        loop {
            let seen = resource.last_change();
            let leaving = self.leaving();
            let outcome = self.look().await;
            let retry = async {
                match outcome.failed {
                    true => tokio::time::sleep(RETRY).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                () = resource.changed(seen) => {}
                () = objects_changed(leaving) => {}
                () = retry => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Serves what is defined now.
    pub async fn sync(&mut self) {
        self.look().await;
    }

    /// The objects of definitions that wait for them to go, and when they last changed.
    fn leaving(&self) -> Vec<(Arc<ResourceCache>, u64)> {
        let waiting = self.served.values().filter(|served| served.of.terminating);
        waiting
            .filter_map(|served| self.registry.cache.of(&served.kinds.stored).ok())
            .map(|resource| {
                let seen = resource.last_change();
                (resource, seen)
            })
            .collect()
    }

    async fn look(&mut self) -> Outcome {
        let entries = self.entries();
        let mut all: Facts = (entries.iter())
            .map(|entry| (entry.key.to_string(), self.facts(entry)))
            .collect();
        self.known.retain(|name, _| all.contains_key(name));
        let mut failed = self.forget(&all).await.is_err();
        for entry in &entries {
            let name = &*entry.key;
            if (self.known.get(name)).is_some_and(|known| known.settled) {
                continue;
            }
            let Some(before) = all.get(name).cloned() else {
                continue;
            };
            let mut wanted = (*before).clone();
            decide(&mut wanted, &all);
            let served = self.serve(entry, &mut wanted).await;
            if let Err(error) = &served {
                tracing::warn!(%error, definition = name, "cannot serve custom resources");
            }
            let written = match object::deletion_timestamp(&wanted).is_some() {
                true => self.remove(&before, &mut wanted).await,
                false => self.write_status(&before, &wanted).await,
            };
            if let Err(status) = &written {
                tracing::warn!(error = %status.message, definition = name, "cannot write a definition's status");
            }
            let done = served.is_ok() && written.is_ok();
            failed |= !done;
            if let Some(known) = self.known.get_mut(name) {
                known.settled = done && is_settled(&wanted);
            }
            // Names that were accepted now are taken for those that follow.
            all.insert(name.to_owned(), Arc::new(wanted));
        }
        Outcome { failed }
    }

    fn entries(&self) -> Vec<Arc<Entry>> {
        let Some(resource) = self.registry.cache.resource(GROUP, RESOURCE) else {
            return Vec::new();
        };
        let page = Page {
            start: None,
            limit: 0,
        };
        let mut entries = resource.list(&Filter::default(), page).entries;
        // Who came first keeps its names. Revisions grow with each change, but a name that is accepted stays accepted.
        entries.sort_by_key(|entry| entry.revision);
        entries
    }

    fn facts(&mut self, entry: &Entry) -> Arc<Value> {
        if let Some(known) = self.known.get(&*entry.key)
            && known.revision == entry.revision
        {
            return known.facts.clone();
        }
        let mut tree = entry.tree();
        if let Some(metadata) = object::metadata_mut(&mut tree) {
            metadata.remove("managedFields");
        }
        for version in tree["spec"]["versions"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            if let Some(map) = version.as_object_mut() {
                map.remove("schema");
            }
        }
        let known = Known {
            revision: entry.revision,
            facts: Arc::new(tree),
            settled: false,
        };
        let facts = known.facts.clone();
        self.known.insert(entry.key.to_string(), known);
        facts
    }

    /// Serves no longer what is defined no longer.
    async fn forget(&mut self, all: &Facts) -> Result<(), ()> {
        let gone: Vec<String> = (self.served.keys())
            .filter(|name| !all.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(served) = self.served.get(&name) {
                let removed = self
                    .registry
                    .catalog
                    .remove_resource(&served.kinds.stored)
                    .await;
                removed.map_err(|error| {
                    tracing::warn!(%error, definition = name, "cannot stop serving custom resources");
                })?;
                self.served.remove(&name);
            }
        }
        Ok(())
    }

    /// Serves a definition that is, or is about to be, established. Where that fails it is not.
    async fn serve(&mut self, entry: &Entry, wanted: &mut Value) -> Result<(), Error> {
        if !is_true(wanted, Condition::Established) {
            return Ok(());
        }
        let fingerprint = Fingerprint::of(wanted);
        let name = object::name(wanted).to_owned();
        if (self.served.get(&name)).is_some_and(|served| served.of == fingerprint) {
            return Ok(());
        }
        // That nothing new is made is no reason to end watches: they see the objects go.
        let load = (self.served.get(&name))
            .is_none_or(|served| served.of.clone().deleted() != fingerprint);
        let result = match self.make(entry, wanted, fingerprint.terminating) {
            Ok(kinds) => match self.registry.catalog.replace(&kinds, load).await {
                Ok(()) => {
                    let of = fingerprint;
                    self.served.insert(name, Served { kinds, of });
                    return Ok(());
                }
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            let why = error.to_string();
            set_condition(wanted, Condition::Established, "False", "NotServed", &why);
        }
        result
    }

    fn make(&self, entry: &Entry, wanted: &Value, terminating: bool) -> Result<Kinds, Error> {
        let mut tree = entry.tree();
        if let Some(map) = tree.as_object_mut() {
            map.insert("status".into(), wanted["status"].clone());
        }
        let mut kinds = custom_resource::kinds(&tree, &entry.json)?;
        if terminating {
            let without_create = |kind: &Arc<Kind>| {
                Arc::new(Kind {
                    verbs: WITHOUT_CREATE,
                    ..(**kind).clone()
                })
            };
            kinds.served = kinds.served.iter().map(without_create).collect();
        }
        Ok(kinds)
    }

    /// Writes conditions and accepted names, where they changed and the definition did not.
    async fn write_status(&self, before: &Value, wanted: &Value) -> Result<(), Status> {
        if before["status"] == wanted["status"] {
            return Ok(());
        }
        self.write(before, &|object| {
            keep_ours(object, wanted);
            Ok(true)
        })
        .await
    }

    async fn write(
        &self,
        before: &Value,
        change: &(dyn for<'v> Fn(&'v mut Value) -> Result<bool, Status> + Send + Sync),
    ) -> Result<(), Status> {
        let kind = kind()?;
        let unchanged = |object: &mut Value| {
            // Who changed it meanwhile is seen, and decided for, in the next round.
            if object::resource_version(object) != object::resource_version(before) {
                return Ok(false);
            }
            change(object)
        };
        let name = object::name(before);
        match Writer::update(&*self.registry, kind, "", name, Part::Status, &unchanged).await {
            Err(status) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(status) => Err(status),
            Ok(_) => Ok(()),
        }
    }
}

/// Why a definition is not served.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Made(#[from] custom_resource::Error),
    #[error(transparent)]
    Registry(#[from] crate::catalog::Error),
}

fn kind() -> Result<&'static Kind, Status> {
    let kind = knarr_api::built_in(GROUP, "v1", RESOURCE);
    kind.map(|kind| &**kind)
        .ok_or_else(|| Status::internal("definitions have no kind"))
}

/// Ends with the first change of any of these resources; never where there are none.
async fn objects_changed(leaving: Vec<(Arc<ResourceCache>, u64)>) {
    if leaving.is_empty() {
        return std::future::pending().await;
    }
    let mut changes: Vec<BoxFuture<'_, ()>> = Vec::new();
    for (resource, since) in &leaving {
        changes.push(Box::pin(resource.changed(*since)));
    }
    select_all(changes).await;
}

/// Whether only a change of the definition itself makes work: it has its names, and does not wait for its objects to go.
fn is_settled(definition: &Value) -> bool {
    object::deletion_timestamp(definition).is_none()
        && is_true(definition, Condition::NamesAccepted)
}

/// Decides names and conditions of a definition among all: pure.
fn decide(definition: &mut Value, all: &Facts) {
    let group = str_at(definition, &["spec", "group"]).to_owned();
    if approval::is_protected(&group) {
        approve(definition);
    }
    let accepted = names::accept(definition, all.values().map(|one| &**one));
    if !accepted {
        return;
    }
    if is_true(definition, Condition::NamesAccepted) && !is_true(definition, Condition::Established)
    {
        set_condition(
            definition,
            Condition::Established,
            "True",
            "InitialNamesAccepted",
            "the initial names have been accepted",
        );
    }
}

fn approve(definition: &mut Value) {
    let (state, why) = approval::state(definition);
    let (status, reason) = match state {
        approval::State::Approved => ("True", "ApprovedAnnotation"),
        approval::State::Bypassed => ("False", "UnapprovedAnnotation"),
        approval::State::Invalid => ("False", "InvalidAnnotation"),
        approval::State::Missing => ("False", "MissingAnnotation"),
    };
    set_condition(
        definition,
        Condition::ApprovalPolicyConformant,
        status,
        reason,
        &why,
    );
}

/// Puts what this task decides into a definition's status; the rest of it is others'.
fn keep_ours(definition: &mut Value, wanted: &Value) {
    let Some(status) = object::child_mut(definition, "status") else {
        return;
    };
    for field in ["acceptedNames", "conditions"] {
        if let Some(value) = wanted["status"].get(field) {
            status.insert(field.to_owned(), value.clone());
        }
    }
}

/// Removes the finalizer that holds a definition for its objects.
fn release(definition: &mut Value) {
    let metadata: Option<&mut Map<String, Value>> = object::metadata_mut(definition);
    if let Some(list) = metadata
        .and_then(|metadata| metadata.get_mut("finalizers"))
        .and_then(Value::as_array_mut)
    {
        list.retain(|finalizer| finalizer != FINALIZER);
    }
}
