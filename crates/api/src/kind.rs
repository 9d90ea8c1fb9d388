//! What the API server knows of a kind: its names, its verbs and the strategy of its objects.
//!
//! A kind is a value, so that the REST layer has no `match` on kinds, and that kinds can come and go while it runs. Those of the
//! program are declared as tables ([`BuiltIn`]): adding one is adding a file.

use std::{borrow::Cow, collections::BTreeMap, fmt, ops::Deref, sync::Arc};

use knarr_meta::{Gvk, field::ErrorList, names, status::Status};
use serde_json::Value;

use crate::conversion::Conversion;
use crate::now::Now;
use crate::shown::{self, Shown};
use crate::table::Listing;
pub use crate::{
    alias::{Alias, as_stored},
    column::{Column, Text, text},
    deletion::Deletion,
    tree::{fields_differ, metadata_differs},
    verb::{CREATE, GET_PATCH_UPDATE, PROXY, Verb, WITHOUT_CREATE, WITHOUT_DELETE_COLLECTION},
};

/// Where objects of a kind live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// Which part of an object a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The main resource: everything but status.
    Main,
    /// The `/status` subresource: status and, where the kind allows it, metadata.
    Status,
    /// A write through another subresource (binding, scale, finalize): it changes what [`Subresource::changes`] lists, and
    /// nothing else whatever the request says.
    Subresource(&'static str),
}

/// A subresource as discovery lists it. How it behaves is code in the API server, chosen by `name`.
#[derive(Clone, Copy, Debug)]
pub struct Subresource {
    /// `status`, `scale`, `binding`, `eviction`, `log`, `exec`, `token`, `finalize`, …
    pub name: &'static str,
    /// The kind of its request and response body, where it differs from the parent's.
    pub kind: Option<(&'static str, &'static str, &'static str)>,
    pub verbs: &'static [Verb],
    /// Paths of the fields of the parent that a write through this subresource may change; the strategy may keep more of them.
    pub changes: &'static [&'static [&'static str]],
}

/// For subresources that act, or only show: the parent stays as it is.
pub const NOTHING: &[&[&str]] = &[];

/// A kind as the program declares it. The fields are those of [`Kind`].
pub struct BuiltIn {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub resource: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub scope: Scope,
    pub verbs: &'static [Verb],
    pub subresources: &'static [Subresource],
    pub storage: Option<&'static str>,
    pub definition: &'static str,
    pub strategy: &'static dyn Strategy,
    pub aliases: &'static [Alias],
}

/// A kind that is served.
#[derive(Clone)]
pub struct Kind {
    /// Empty for the core group.
    pub group: Text,
    pub version: Text,
    pub kind: Text,
    /// Where lists are of another kind than this one's name with `List`.
    pub list_kind: Option<Text>,
    /// Plural resource name.
    pub resource: Text,
    pub singular: Text,
    pub short_names: Vec<Text>,
    pub categories: Vec<Text>,
    pub scope: Scope,
    pub verbs: &'static [Verb],
    pub subresources: Cow<'static, [Subresource]>,
    /// Key prefix in the store without trailing slash, as upstream's (`/registry/pods`, `/registry/services/specs`).
    /// `None`: objects are never stored (reviews).
    pub storage: Option<Text>,
    /// The version in which objects are stored, where it is another: such a kind shares the place of the one that is stored.
    pub stored: Option<Text>,
    /// Name in the schema table, as `io.k8s.api.core.v1.Pod`.
    pub definition: Text,
    pub strategy: Behaviour,
    pub aliases: Cow<'static, [Alias]>,
}

/// The strategy of a kind: the program's own, or one that was made at run time.
#[derive(Clone)]
pub enum Behaviour {
    BuiltIn(&'static dyn Strategy),
    Made(Arc<dyn Strategy>),
}

impl Deref for Behaviour {
    type Target = dyn Strategy;

    fn deref(&self) -> &Self::Target {
        match self {
            Behaviour::BuiltIn(strategy) => *strategy,
            Behaviour::Made(strategy) => &**strategy,
        }
    }
}

impl From<&'static BuiltIn> for Kind {
    fn from(declared: &'static BuiltIn) -> Kind {
        let texts = |words: &'static [&'static str]| words.iter().map(|word| text(word)).collect();
        Kind {
            group: text(declared.group),
            version: text(declared.version),
            kind: text(declared.kind),
            list_kind: None,
            resource: text(declared.resource),
            singular: text(declared.singular),
            short_names: texts(declared.short_names),
            categories: texts(declared.categories),
            scope: declared.scope,
            verbs: declared.verbs,
            subresources: Cow::Borrowed(declared.subresources),
            storage: declared.storage.map(text),
            stored: None,
            definition: text(declared.definition),
            strategy: Behaviour::BuiltIn(declared.strategy),
            aliases: Cow::Borrowed(declared.aliases),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.api_version(), self.kind)
    }
}

/// The `/status` subresource of most kinds.
pub const STATUS: Subresource = Subresource {
    name: "status",
    kind: None,
    verbs: GET_PATCH_UPDATE,
    changes: &[&["metadata"], &["status"]],
};

/// The replicas of a `Scale` whose object says none, as upstream has them (customresource `invalidSpecReplicas`).
pub const UNSET_REPLICAS: i64 = i32::MIN as i64;

/// The `/scale` subresource.
pub const SCALE: Subresource = Subresource {
    name: "scale",
    kind: Some(("autoscaling", "v1", "Scale")),
    verbs: GET_PATCH_UPDATE,
    changes: &[&["spec", "replicas"]],
};

impl Kind {
    /// Group, version and kind of the stored version.
    pub fn gvk(&self) -> Gvk {
        Gvk::new(self.group.clone(), self.version.clone(), self.kind.clone())
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> Text {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            Cow::Owned(format!("{}/{}", self.group, self.version))
        }
    }

    /// Whether finalizers without a domain are those that everybody knows alone: upstream asks it of the groups whose validation
    /// stands on that of core.
    pub fn has_standard_finalizers(&self) -> bool {
        let apart = [
            "admissionregistration.k8s.io",
            "apiextensions.k8s.io",
            "apiregistration.k8s.io",
            "coordination.k8s.io",
            "node.k8s.io",
        ];
        self.is_built_in() && self.validates_metadata() && !apart.contains(&&*self.group)
    }

    /// Whether the kind's own validation looks at the metadata of a new object. That of few kinds does not: their metadata is looked
    /// at where nothing else is wrong.
    pub fn validates_metadata(&self) -> bool {
        let apart = [("", "events"), ("policy", "poddisruptionbudgets")];
        !(self.is_built_in() && apart.contains(&(&*self.group, &*self.resource)))
    }

    /// One of the program's own.
    pub fn is_built_in(&self) -> bool {
        matches!(self.strategy, Behaviour::BuiltIn(_))
    }

    /// The kind of lists of these objects.
    pub fn list_kind(&self) -> Text {
        match &self.list_kind {
            Some(name) => name.clone(),
            None => Cow::Owned(format!("{}List", self.kind)),
        }
    }

    /// `apiVersion` of the objects in the store.
    pub fn stored_api_version(&self) -> Text {
        match &self.stored {
            Some(version) => Cow::Owned(format!("{}/{version}", self.group)),
            None => self.api_version(),
        }
    }

    /// Makes an object of this version what is stored, as far as its type goes.
    pub fn to_stored(&self, object: &mut Value) {
        if self.stored.is_some() {
            set_api_version(object, &self.stored_api_version());
        }
    }

    /// Makes an object of another version of this resource one of this.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub fn from_other(&self, object: &mut Value) -> Result<(), String> {
        set_api_version(object, &self.api_version());
        match self.strategy.reads() {
            true => self.strategy.read(object),
            false => Ok(()),
        }
    }

    /// Makes a stored object one of this version. What a webhook converts must be one already.
    pub fn from_stored(&self, object: &mut Value) {
        if self.stored.is_some() {
            set_api_version(object, &self.api_version());
            // It is of the version that is stored: that was readable.
            let _ = self.strategy.read(object);
        }
    }

    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }
}

fn set_api_version(object: &mut Value, api_version: &str) {
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".to_owned(), Value::from(api_version));
    }
}

/// Who makes an object, for kinds that keep it.
#[derive(Clone, Copy, Debug)]
pub struct Requester<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub groups: &'a [String],
    pub extra: &'a BTreeMap<String, Vec<String>>,
}

/// The behaviour of one kind, as upstream's `rest.RESTCreateStrategy` and kin. All methods are pure.
///
/// Order on create: `default`, admission, `prepare_create`, `validate_create`. On update: `default`, admission,
/// `prepare_update`, `validate_update`. The REST layer itself owns uid, creationTimestamp, deletion fields, generation at
/// creation (1 where [`Strategy::has_generation`]), immutable metadata and ObjectMeta validation.
pub trait Strategy: Send + Sync {
    /// Fills the versioned defaults into an object as it was decoded.
    fn default(&self, _object: &mut Value) {}

    /// Decodes an object whose type is not in the schema table: what is not known goes, and is told as `unknown field "spec.x"`.
    /// `None`: the table has it.
    fn decode(&self, _object: &mut Value) -> Option<Result<Vec<String>, Status>> {
        None
    }

    /// Why an object of this type cannot be one of upstream's internal type, in its words.
    fn unconvertible(&self, _object: &Value) -> Option<String> {
        None
    }

    /// Whether stored objects are made what [`Strategy::read`] makes of them before anybody sees them.
    fn reads(&self) -> bool {
        false
    }

    /// Makes a stored object what the kind is now: it may have changed since. An error says why that cannot be done.
    fn read(&self, _object: &mut Value) -> Result<(), String> {
        Ok(())
    }

    /// The webhook that converts between the versions of the kind, where there is one: stored objects are then in whatever
    /// version they were written in.
    fn conversion(&self) -> Option<&Conversion> {
        None
    }

    /// Whether a version of the kind's group, as `example.com/v1`, is one that its definition has, served or not.
    fn has_version(&self, _api_version: &str) -> bool {
        true
    }

    /// The JSONSchemaProps that OpenAPI publishes, where the schema table does not have the type, and whether all that is unknown is
    /// kept.
    fn published(&self) -> Option<(Value, bool)> {
        None
    }

    /// A warning for everybody who uses this version.
    fn deprecation(&self) -> Option<&str> {
        None
    }

    /// A new object as managed fields see it, where it gets something only when it is prepared that upstream has among the defaults.
    fn foresee(&self, _object: &Value) -> Option<Value> {
        None
    }

    /// Clears what a client may not set on create (status) and normalizes.
    fn prepare_create(&self, _object: &mut Value) {}

    /// Writes into a new object who makes it, after [`Strategy::prepare_create`] and all that may change the object.
    fn stamp(&self, _object: &mut Value, _requester: &Requester<'_>) {}

    /// Carries over from `old` what this part may not change.
    fn prepare_update(&self, _new: &mut Value, _old: &Value, _part: Part) {}

    fn validate_create(&self, _object: &Value) -> ErrorList {
        ErrorList::new()
    }

    fn validate_update(&self, _new: &Value, _old: &Value, _part: Part) -> ErrorList {
        ErrorList::new()
    }

    /// What depends on all that is wrong already, also with metadata: adds to it.
    fn validate_rest(&self, _new: &Value, _old: Option<&Value>, _errors: &mut ErrorList) {}

    /// What becomes of an object that was found valid when upstream reads it from its store again.
    fn settle(&self, _object: &mut Value) {}

    /// Messages of a new object that is not prepared yet, right or not, where preparing it hides what they are about.
    fn early_warnings(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }
    /// Messages for `Warning: 299` headers, of an object that is right, complete and about to be stored; `old`: what it replaces.
    fn warnings(&self, _object: &Value, _old: Option<&Value>, _part: Part) -> Vec<String> {
        Vec::new()
    }

    /// True where metadata.generation counts changes: see [`Strategy::changes_generation`].
    fn has_generation(&self) -> bool {
        false
    }

    /// Whether a new object is of the first generation; otherwise it has none before its first change.
    fn has_first_generation(&self) -> bool {
        self.has_generation()
    }

    /// Whether this update raises metadata.generation, for kinds where [`Strategy::has_generation`]. Both objects are complete.
    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        fields_differ(new, old)
    }

    /// Whether what cannot be written (of features that are off, or taken by [`Strategy::prepare_update`]) counts as a change before.
    fn counts_dropped(&self) -> bool {
        false
    }

    /// Whether an empty list or map in an update is a change, as none is stored: upstream compares some kinds by `reflect.DeepEqual`.
    fn counts_empty(&self) -> bool {
        false
    }

    /// PUT of a name that does not exist creates it.
    fn create_on_update(&self) -> bool {
        false
    }

    /// PUT without a resourceVersion is allowed.
    fn unconditional_update(&self) -> bool {
        true
    }

    /// A name that begins with an object's `generateName`.
    fn generate_name(&self, base: &str) -> String {
        names::generate(base)
    }

    /// Validates a name beyond path-segment safety; upstream's messages.
    fn validate_name(&self, name: &str, generate_prefix: bool) -> Vec<String> {
        names::name_or_prefix(name, generate_prefix, names::dns1123_subdomain)
    }

    /// Selectable fields beside `metadata.name` and `metadata.namespace`: names, then values in the same order.
    fn selectable_fields(&self) -> &[Text] {
        &[]
    }

    /// Value of each of [`Strategy::selectable_fields`] for an object.
    fn field_values(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }

    /// Columns of the Table; the default is Name and Created At.
    fn columns(&self) -> &[Column] {
        crate::table::DEFAULT_COLUMNS
    }

    /// What finds out what a Table of a list shows that one of a single object does not, where it does.
    fn listing(&self) -> Option<fn(&[Value]) -> Listing> {
        None
    }

    /// What of an object the cells are made of, and the conditions of its row.
    fn shown(&self) -> &'static Shown {
        &shown::BUT_MANAGED_FIELDS
    }

    /// Cells in the order of [`Strategy::columns`]. `now` is in unix seconds, for ages.
    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        crate::table::default_cells(object, now)
    }

    /// Annotations that whole objects have and metadata alone has not: upstream keeps them in fields of its own.
    fn hidden_annotations(&self) -> &'static [&'static str] {
        &[]
    }

    /// The `conditions` of an object's row, where it is at its end.
    fn row_conditions(&self, _object: &Value) -> Option<Value> {
        None
    }

    /// Why the object of this name is never deleted by a request of its own; `None`: it may be.
    fn undeletable(&self, _name: &str) -> Option<&'static str> {
        None
    }

    /// How a DELETE with `grace` (from DeleteOptions, seconds) proceeds.
    fn deletion(&self, _object: &Value, _grace: Option<i64>) -> Deletion {
        Deletion::Immediate
    }

    /// Changes an object whose deletion is asked for, the first time: what a finalizer of the kind's own holds.
    fn begin_deletion(&self, _object: &mut Value) {}

    /// Whether a DELETE that says nothing of dependents leaves them, as kinds from before the garbage collector do.
    fn orphans_dependents(&self) -> bool {
        false
    }

    /// The type as server-side apply merges by it, where the schema table does not have it.
    fn apply_schema(&self) -> Option<&dyn knarr_apply::Schema> {
        None
    }

    /// The type as expressions see it, where the schema table does not have it.
    fn expression_type(&self) -> Option<knarr_cel::Type> {
        None
    }

    /// Names of the fields that lead to what a `Scale` shows as `spec.replicas`; none where there is no `Scale`.
    fn replicas_path(&self) -> Vec<&str> {
        vec!["spec", "replicas"]
    }

    /// The `Scale` view of the object: (spec.replicas or [`UNSET_REPLICAS`], status.replicas, status selector as a string).
    fn scale(&self, _object: &Value) -> Option<(i64, i64, String)> {
        None
    }

    /// Writes spec.replicas.
    fn set_scale(&self, _object: &mut Value, _replicas: i64) -> Result<(), Status> {
        Err(Status::method_not_supported(
            knarr_meta::GroupResource::new("", ""),
            "scale",
        ))
    }
}
