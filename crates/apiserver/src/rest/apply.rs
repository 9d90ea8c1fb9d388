//! Server-side apply: a PATCH whose body is what its sender wants of the object, and nothing else.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use knarr_api::kind::Part;
use knarr_meta::{
    object,
    status::{Reason, Status},
};
use knarr_registry::{
    cache::entry::Entry,
    managed::{Managed, Manager},
    write::{ATTEMPTS, Write, repeat::Repeat, update::check_name},
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    ask::{Ask, FieldValidation, WriteOptions},
    decode::{self, Expected},
    modify::{managed_write_of, may_create},
    shape,
};
use crate::{negotiate::Shapes, respond::Answer, yaml};

/// The content type of an apply.
pub const CONTENT_TYPE: &str = "application/apply-patch+yaml";

/// What is to be applied.
pub struct Configuration {
    pub tree: Value,
    /// With strict validation: what is said of keys that it has twice.
    twice: Option<String>,
}

impl Configuration {
    /// Refuses keys that are there twice. Upstream looks once the configuration could be applied, and tells warnings of them to
    /// nobody, as they are of two lines.
    ///
    /// # Errors
    /// 400, with strict validation.
    pub fn check_keys(&self) -> Result<(), Status> {
        match &self.twice {
            Some(why) => Err(Status::bad_request(format!(
                "error strict decoding patch: error converting YAML to JSON: {why}"
            ))),
            None => Ok(()),
        }
    }
}

/// Reads a configuration.
pub fn configuration(
    ask: &Ask<'_>,
    body: &Bytes,
    validation: FieldValidation,
) -> Result<Configuration, Status> {
    knarr_meta::patch::check_size(body.len())?;
    let undecodable = |why: &str| Status::bad_request(format!("error decoding patch: {why}"));
    let look = validation == FieldValidation::Strict;
    let (tree, twice) = yaml::document(body, look).map_err(|why| match looks_like_json(body) {
        true => undecodable(&format!("error converting YAML to JSON: yaml: {why}")),
        false => Status::bad_request(format!("error encoding patch: yaml: {why}")),
    })?;
    let found = match &tree {
        Value::Object(_) => None,
        // Nothing at all is a configuration without a type.
        Value::Null => {
            let tree = Value::Object(serde_json::Map::new());
            return Ok(Configuration { tree, twice });
        }
        Value::Array(_) => Some("array"),
        Value::String(_) => Some("string"),
        Value::Number(_) => Some("number"),
        Value::Bool(_) => Some("bool"),
    };
    if let Some(found) = found {
        return Err(undecodable(&format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
        )));
    }
    ask.audit.request_patch(|| Some(tree.clone()));
    Ok(Configuration { tree, twice })
}

/// What upstream does not read as YAML at first.
fn looks_like_json(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

/// Answers an apply of the object or of one of its parts.
pub async fn apply(ask: &Ask<'_>, body: Bytes, part: Part) -> Answer {
    let accepted = ask.accepted(Shapes::Object)?;
    let options = WriteOptions::of_patch(ask.request, true)?;
    let quiet = ask.warnings.is_empty();
    if let Some(entry) = repeated(ask, &options, &body).await? {
        return shape::object(ask, StatusCode::OK, &entry, accepted).await;
    }
    let config = configuration(ask, &body, options.validation)?;
    let wish = Wish {
        ask,
        options: &options,
        config: &config,
        part,
    };
    let write = Write {
        managed: Managed::Given,
        ..managed_write_of(ask, &options)
    };
    let mut compute = |current: &Value| wish.made_of(Some(current));
    for _ in 0..ATTEMPTS {
        let updated = ask
            .core
            .registry
            .update(&write, ask.request.info.name, part, &mut compute)
            .await;
        match updated {
            Ok(updated) => {
                if updated.unchanged && !options.dry_run && quiet && ask.warnings.is_empty() {
                    let registry = &ask.core.registry;
                    registry.remember(repeat(ask, &options, &body), &updated.entry);
                }
                return shape::object(ask, StatusCode::OK, &updated.entry, accepted).await;
            }
            Err(status) if status.is_not_found() && part == Part::Main => {}
            Err(status) => return Err(status),
        }
        match wish.create(&write).await {
            Ok(entry) => return shape::object(ask, StatusCode::CREATED, &entry, accepted).await,
            // Somebody else was faster: it is there now.
            Err(status) if status.is_already_exists() && !options.dry_run => {}
            Err(status) => return Err(status),
        }
    }
    Err(Status::modified(
        ask.group_resource(),
        ask.request.info.name,
    ))
}

/// What the outcome of an apply follows from, beside the live object.
fn repeat(ask: &Ask<'_>, options: &WriteOptions, body: &Bytes) -> Repeat {
    let info = &ask.request.info;
    let mut digest = Sha256::new();
    let version = ask.served.api_version();
    let texts = [
        &version,
        &*ask.kind().resource,
        info.subresource,
        ask.namespace(),
        info.name,
        &options.manager,
    ];
    for text in texts {
        digest.update(text.len().to_le_bytes());
        digest.update(text);
    }
    let validation = match options.validation {
        FieldValidation::Ignore => 0,
        FieldValidation::Warn => 1,
        FieldValidation::Strict => 2,
    };
    digest.update([u8::from(options.force), validation]);
    digest.update(body);
    Repeat {
        digest: digest.finalize().into(),
        kind: Arc::downgrade(&ask.served.kind),
    }
}

/// The live object, where this apply is known to change nothing of it.
async fn repeated(
    ask: &Ask<'_>,
    options: &WriteOptions,
    body: &Bytes,
) -> Result<Option<Arc<Entry>>, Status> {
    if options.dry_run {
        return Ok(None);
    }
    let write = Write {
        managed: Managed::Given,
        ..managed_write_of(ask, options)
    };
    let repeat = repeat(ask, options, body);
    let name = ask.request.info.name;
    let found = ask.core.registry.repeated(&write, name, &repeat).await?;
    if found.is_some() {
        let config = || yaml::document(body, false).ok().map(|(config, _)| config);
        ask.audit.request_patch(config);
    }
    Ok(found)
}

/// What an apply wants.
struct Wish<'w, 'r> {
    ask: &'w Ask<'r>,
    options: &'w WriteOptions,
    config: &'w Configuration,
    part: Part,
}

impl Wish<'_, '_> {
    /// The object of the stored version that comes of the live one, or of nothing.
    fn made_of(&self, live: Option<&Value>) -> Result<Value, Status> {
        let (ask, alias) = (self.ask, self.ask.served.alias());
        let manager = Manager {
            name: &self.options.manager,
            alias,
            siblings: ask.siblings.as_ref(),
        };
        let converted = alias
            .zip(live)
            .map(|(alias, live)| (alias.decode)(live.clone()));
        let live = converted.as_ref().or(live);
        let force = self.options.force;
        let mut tree = manager.apply(ask.kind(), self.part, live, &self.config.tree, force)?;
        // The configuration is of its type already: what goes now are nulls, and what was never valid.
        let expected = Expected::of(ask);
        let converted = decode::convert(&mut tree, &expected)?;
        converted.map_err(|why| self.not_converted(&expected, &why))?;
        self.config.check_keys()?;
        Ok(decode::to_stored(ask, tree))
    }

    /// An error that upstream gives no reason.
    fn not_converted(&self, expected: &Expected<'_>, why: &dyn std::fmt::Display) -> Status {
        let (namespace, name) = (
            object::namespace(&self.config.tree),
            object::name(&self.config.tree),
        );
        let kind = format!(
            "{}/{}, Kind={}",
            expected.group, expected.version, expected.kind
        );
        Status::new(
            500,
            Reason::Unknown,
            format!(
                "failed to convert new object ({namespace}/{name}; {kind}) to proper version: unable to convert unstructured object to {kind}: {why}"
            ),
        )
    }

    async fn create(&self, write: &Write<'_>) -> Result<Arc<Entry>, Status> {
        let (ask, name) = (self.ask, self.ask.request.info.name);
        may_create(ask)?;
        let mut tree = self.made_of(None)?;
        let uid = object::uid(&tree);
        if !uid.is_empty() {
            return Err(Status::conflict(
                ask.group_resource(),
                name,
                format_args!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                ),
            ));
        }
        check_name(name, &tree)?;
        // Of what is not there yet no version is looked at.
        if let Some(metadata) = object::metadata_mut(&mut tree) {
            metadata.remove("resourceVersion");
        }
        ask.core.registry.create(write, tree).await
    }
}
