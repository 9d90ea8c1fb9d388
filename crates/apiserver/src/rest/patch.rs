//! PATCH: JSON patch, merge patch and strategic merge patch, applied inside the guaranteed update.

use bytes::Bytes;
use http::StatusCode;
use knarr_api::{kind::Part, schema};
use knarr_meta::{
    GroupKind,
    field::{Error, Path},
    patch as meta_patch,
    status::Status,
};
use serde_json::Value;

use super::{
    ask::{Ask, FieldValidation, WriteOptions},
    decode::{self, Expected},
    modify::write_of,
    shape,
};
use crate::{negotiate::Shapes, respond::Answer};

const APPLY: &str = "application/apply-patch+yaml";
const KNOWN: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";

/// A patch that was read.
pub enum Patch {
    Json(Bytes),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    /// Reads the body by its content type.
    pub fn parse(content_type: &str, body: Bytes) -> Result<Patch, Status> {
        meta_patch::check_size(body.len())?;
        let tree = |body: &Bytes| {
            serde_json::from_slice::<Value>(body)
                .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))
        };
        match content_type.split(';').next().unwrap_or("").trim() {
            "application/json-patch+json" => Ok(Patch::Json(body)),
            "application/merge-patch+json" => Ok(Patch::Merge(tree(&body)?)),
            "application/strategic-merge-patch+json" => Ok(Patch::Strategic(tree(&body)?)),
            APPLY => Err(Status::unsupported_media_type(format!(
                "{APPLY} (server-side apply) is not supported by this server yet - \
                 accepted media types include: {KNOWN}"
            ))),
            _ => Err(Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types include: {KNOWN}"
            ))),
        }
    }

    /// Applies to a tree of the type that `definition` describes.
    pub fn apply(&self, tree: &Value, definition: &str) -> Result<Value, Status> {
        match self {
            Patch::Json(operations) => {
                let mut tree = tree.clone();
                meta_patch::json(&mut tree, operations)?;
                Ok(tree)
            }
            Patch::Merge(patch) => {
                let mut tree = tree.clone();
                meta_patch::merge(&mut tree, patch)?;
                Ok(tree)
            }
            Patch::Strategic(patch) => {
                let schema = schema::definition(definition)
                    .ok_or_else(|| Status::internal(format!("no schema for {definition}")))?;
                meta_patch::strategic(tree, patch, schema)
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Patch::Json(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Patch::Merge(tree) | Patch::Strategic(tree) => tree.to_string(),
        }
    }
}

/// Answers a PATCH of the object or of one of its parts.
pub async fn patch(ask: &Ask<'_>, body: Bytes, part: Part) -> Answer {
    let accepted = ask.accepted(Shapes::Object)?;
    let options = WriteOptions::parse(ask.request.query, "PatchOptions")?;
    let patch = Patch::parse(ask.request.headers.content_type, body)?;
    let expected = Expected::of(ask);
    let mut compute = |current: &Value| {
        let served = match ask.served.alias() {
            Some(alias) => (alias.decode)(current.clone()),
            None => current.clone(),
        };
        let mut tree = patch.apply(&served, expected.definition)?;
        let problems = decode::conform(&mut tree, &expected)?;
        report(ask, options.validation, &patch, problems)?;
        Ok(decode::to_stored(ask, tree))
    };
    let write = write_of(ask, options.dry_run);
    let updated = ask
        .core
        .update(&write, ask.request.info.name, part, &mut compute)
        .await?;
    shape::object(ask, StatusCode::OK, &updated.entry, accepted)
}

/// Unknown fields of a patched object.
pub fn report(
    ask: &Ask<'_>,
    validation: FieldValidation,
    patch: &Patch,
    problems: Vec<String>,
) -> Result<(), Status> {
    match validation {
        FieldValidation::Strict if !problems.is_empty() => {
            let why = format!("strict decoding error: {}", problems.join(", "));
            let error = Error::invalid(&Path::new("patch"), patch.text(), why);
            Err(Status::invalid(GroupKind::new("", ""), "", vec![error]))
        }
        FieldValidation::Warn => {
            problems.into_iter().for_each(|p| ask.warnings.add(p));
            Ok(())
        }
        _ => Ok(()),
    }
}
