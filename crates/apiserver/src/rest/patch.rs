//! PATCH: JSON patch, merge patch and strategic merge patch, applied inside the guaranteed update. Configurations to apply are
//! patches too: see [`apply`].

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
    apply,
    ask::{Ask, FieldValidation, WriteOptions},
    decode::{self, Expected},
    modify::managed_write_of,
    shape,
};
use crate::{negotiate::Shapes, respond::Answer};

const KNOWN: &str = "application/json-patch+json, application/merge-patch+json, \
                     application/strategic-merge-patch+json, application/apply-patch+yaml";

/// Nothing says how lists of custom resources are merged.
const OF_CUSTOM_RESOURCES: &str =
    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

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
        match media_type(content_type) {
            "application/json-patch+json" => Ok(Patch::Json(body)),
            "application/merge-patch+json" => Ok(Patch::Merge(tree(&body)?)),
            "application/strategic-merge-patch+json" => Ok(Patch::Strategic(tree(&body)?)),
            _ => Err(Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types include: {KNOWN}"
            ))),
        }
    }

    /// Applies to a tree of the type that `definition` describes. Beside the result: what is odd about the patch itself.
    pub fn apply(&self, tree: &Value, definition: &str) -> Result<(Value, Vec<String>), Status> {
        match self {
            Patch::Json(operations) => {
                let mut tree = tree.clone();
                let problems = meta_patch::json(&mut tree, operations)?;
                Ok((tree, problems))
            }
            Patch::Merge(patch) => {
                let mut tree = tree.clone();
                meta_patch::merge(&mut tree, patch)?;
                Ok((tree, Vec::new()))
            }
            Patch::Strategic(patch) => {
                let schema = schema::definition(definition)
                    .ok_or_else(|| Status::internal(format!("no schema for {definition}")))?;
                Ok((meta_patch::strategic(tree, patch, schema)?, Vec::new()))
            }
        }
    }

    /// Of a result that cannot be decoded: 422, as upstream's.
    pub fn undecodable(&self, why: &Status) -> Status {
        let error = Error::invalid(&Path::new("patch"), self.text(), why.message.as_str());
        Status::invalid(GroupKind::new("", ""), "", vec![error])
    }

    /// What is asked for, as it was sent.
    pub fn tree(&self) -> Option<Value> {
        match self {
            Patch::Json(operations) => serde_json::from_slice(operations).ok(),
            Patch::Merge(tree) | Patch::Strategic(tree) => Some(tree.clone()),
        }
    }

    fn text(&self) -> String {
        match self {
            Patch::Json(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Patch::Merge(tree) | Patch::Strategic(tree) => tree.to_string(),
        }
    }
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or("").trim()
}

/// Whether the patch is a configuration to apply.
pub fn is_apply(ask: &Ask<'_>) -> bool {
    media_type(ask.request.headers.content_type) == apply::CONTENT_TYPE
}

/// Answers a PATCH of the object or of one of its parts.
pub async fn patch(ask: &Ask<'_>, body: Bytes, part: Part) -> Answer {
    if is_apply(ask) {
        return apply::apply(ask, body, part).await;
    }
    let accepted = ask.accepted(Shapes::Object)?;
    let options = WriteOptions::of_patch(ask.request, false)?;
    let patch = Patch::parse(ask.request.headers.content_type, body)?;
    ask.audit.request_patch(|| patch.tree());
    if matches!(patch, Patch::Strategic(_)) && !ask.kind().is_built_in() {
        return Err(Status::unsupported_media_type(format!(
            "the body of the request was in an unknown format - accepted media types include: {OF_CUSTOM_RESOURCES}"
        )));
    }
    let expected = Expected::of(ask);
    let mut compute = |current: &Value| {
        let served = match ask.served.alias() {
            Some(alias) => (alias.decode)(current.clone()),
            None => current.clone(),
        };
        let (mut tree, mut problems) = patch.apply(&served, expected.definition)?;
        let conformed = decode::conform(&mut tree, &expected);
        problems.extend(conformed.map_err(|why| patch.undecodable(&why))?);
        report(ask, options.validation, &patch, problems)?;
        Ok(decode::to_stored(ask, tree))
    };
    let write = managed_write_of(ask, &options);
    let updated = ask
        .core
        .registry
        .update(&write, ask.request.info.name, part, &mut compute)
        .await?;
    shape::object(ask, StatusCode::OK, &updated.entry, accepted).await
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
