//! PATCH: JSON patch, merge patch and strategic merge patch, applied inside the guaranteed update. Configurations to apply are
//! patches too: see [`apply`].

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use knarr_api::{Kind, Served, kind::Part, schema};
use knarr_meta::{
    GroupKind,
    field::{Error, Path},
    object::str_at,
    patch as meta_patch,
    status::{Reason, Status},
    types::split_api_version,
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

/// Of upstream's router, which knows no such patch.
const NO_ROUTE: &str = "415: Unsupported Media Type";

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
    /// The patch of a request.
    pub fn of(ask: &Ask<'_>, body: Bytes) -> Result<Patch, Status> {
        let content_type = ask.request.headers.content_type;
        let merges = [
            "application/json-patch+json",
            "application/merge-patch+json",
        ];
        if !ask.kind().is_built_in() && !merges.contains(&media_type(content_type)) {
            return Err(Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types include: {OF_CUSTOM_RESOURCES}"
            )));
        }
        Patch::parse(content_type, body)
    }

    /// Reads the body by its content type.
    pub fn parse(content_type: &str, body: Bytes) -> Result<Patch, Status> {
        match media_type(content_type) {
            "application/json-patch+json" => {
                meta_patch::check(&body)?;
                Ok(Patch::Json(body))
            }
            "application/merge-patch+json" => Ok(Patch::Merge(meta_patch::parse(&body)?)),
            "application/strategic-merge-patch+json" => {
                Ok(Patch::Strategic(meta_patch::parse(&body)?))
            }
            _ => Err(Status::unsupported_media_type(NO_ROUTE).with_no_details()),
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

    /// That a result is still of a built-in kind's own type. What a strategic patch says of it is not heard, as upstream; custom
    /// resources have rules of their own.
    fn check_type(&self, ask: &Ask<'_>, tree: &Value) -> Result<(), Status> {
        let kind = ask.kind();
        if matches!(self, Patch::Strategic(_)) || !kind.is_built_in() {
            return Ok(());
        }
        let wanted = ask.served.api_version();
        // What is missing is filled in.
        let given = |field: &str, wanted: &str| match str_at(tree, &[field]) {
            "" => wanted.to_owned(),
            text => text.to_owned(),
        };
        let version = given("apiVersion", &wanted);
        let name = given("kind", &kind.kind);
        if version == wanted && name == kind.kind {
            return Ok(());
        }
        let of_version = |known: &Arc<Kind>| {
            known.kind == name && Served::all(known).any(|served| served.api_version() == version)
        };
        if of_version(&ask.served.kind) {
            return Ok(());
        }
        Err(Status::bad_request(
            match decode::type_of(&version, &name) {
                // It is decoded as what it says that it is before anybody minds.
                Some(schema) => match schema::strict::decode(schema, &mut tree.clone()) {
                    Err(why) => why.to_string(),
                    Ok(_) => decode::not_convertible(
                        (split_api_version(&version).1, &name),
                        (&kind.group, &kind.kind),
                    ),
                },
                None => decode::not_registered(&version, &name, decode::SCHEME),
            },
        ))
    }

    /// Decodes a result.
    fn conform(&self, tree: &mut Value, expected: &Expected<'_>) -> Result<Vec<String>, Status> {
        match self {
            Patch::Json(_) | Patch::Merge(_) => decode::conform(tree, expected),
            Patch::Strategic(_) => {
                decode::convert(tree, expected)?.map_err(|why| Status::bad_request(why.to_string()))
            }
        }
    }

    /// That a result is one of upstream's internal type. Where that is found out last its error has no status of its own.
    fn check_converts(&self, tree: &Value, expected: &Expected<'_>) -> Result<(), Status> {
        match (self, decode::unconvertible(tree, expected)) {
            (Patch::Strategic(_), Some(why)) => Err(Status::new(500, Reason::Unknown, why)),
            _ => Ok(()),
        }
    }

    /// Of a result, of `current`, that cannot be decoded: 422, as upstream's. JSON and merge patches show all of the result.
    pub fn undecodable(&self, why: &Status, current: &Value, definition: &str) -> Status {
        let whole = &why.message;
        let shown = self.shown(current, definition);
        // Of the whole object upstream says nothing here.
        let why = why.message.split_once(" cannot be handled as a ");
        let why = why.and_then(|(_, rest)| rest.split_once(": "));
        let why = why.map_or(whole.as_str(), |(_, why)| why);
        let error = Error::invalid(&Path::new("patch"), shown, why);
        Status::invalid(GroupKind::new("", ""), "", vec![error])
    }

    /// What errors show of it: a strategic patch as Go prints it, of others the object that they make of `current`.
    pub fn shown(&self, current: &Value, definition: &str) -> String {
        match self {
            Patch::Strategic(patch) => meta_patch::shown(patch),
            Patch::Json(_) | Patch::Merge(_) => self
                .apply(current, definition)
                .map_or_else(|_| self.text(), |(result, _)| result.to_string()),
        }
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

/// What a patch has twice, where that is to be told. One that is no JSON has nothing.
pub fn duplicates(ask: &Ask<'_>, body: &[u8], validation: FieldValidation) -> Vec<String> {
    if validation == FieldValidation::Ignore {
        return Vec::new();
    }
    let found = schema::parse::tree(body).map_or_else(|_| Vec::new(), |(_, found)| found);
    match media_type(ask.request.headers.content_type) {
        "application/json-patch+json" => found
            .into_iter()
            .map(|one| format!("json patch {one}"))
            .collect(),
        _ => found,
    }
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or("").trim()
}

/// Whether upstream's router has a route for a patch of this content type, so that what the route tells of itself is heard. Those
/// of custom resources look at it themselves.
pub fn has_route(kind: &Kind, content_type: &str) -> bool {
    const ROUTED: [&str; 4] = [
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        apply::CONTENT_TYPE,
    ];
    !kind.is_built_in() || ROUTED.contains(&media_type(content_type))
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
    let twice = duplicates(ask, &body, options.validation);
    let patch = Patch::of(ask, body)?;
    ask.audit.request_patch(|| patch.tree());
    let expected = Expected::of(ask);
    let mut compute = |current: &Value| {
        let served = match ask.served.alias() {
            Some(alias) => (alias.decode)(current.clone()),
            None => current.clone(),
        };
        let (mut tree, of_patch) = patch.apply(&served, expected.definition)?;
        let mut problems = [twice.clone(), of_patch].concat();
        check_custom_kind(ask, &tree)?;
        let typed = patch.check_type(ask, &tree);
        let conformed = typed.and_then(|()| patch.conform(&mut tree, &expected));
        problems.extend(
            conformed.map_err(|why| patch.undecodable(&why, &served, expected.definition))?,
        );
        patch.check_converts(&tree, &expected)?;
        let shown = || patch.shown(&served, expected.definition);
        report(ask, options.validation, problems, shown)?;
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

/// A custom object stays of its kind, whatever a patch says.
fn check_custom_kind(ask: &Ask<'_>, tree: &Value) -> Result<(), Status> {
    let (kind, name) = (ask.kind(), str_at(tree, &["kind"]));
    if kind.is_built_in() || name.is_empty() || name == kind.kind {
        return Ok(());
    }
    let why = format!("must be {}", kind.kind);
    let error = Error::invalid(&Path::new("kind"), name, why);
    let wrong = GroupKind::new(kind.group.clone(), name.to_owned());
    Err(Status::invalid(wrong, ask.request.info.name, vec![error]))
}

/// Unknown fields of a patched object, and what the patch has twice. `shown`: what the error shows of it.
pub fn report(
    ask: &Ask<'_>,
    validation: FieldValidation,
    problems: Vec<String>,
    shown: impl FnOnce() -> String,
) -> Result<(), Status> {
    match validation {
        FieldValidation::Strict if !problems.is_empty() => {
            let why = format!("strict decoding error: {}", problems.join(", "));
            let error = Error::invalid(&Path::new("patch"), shown(), why);
            Err(Status::invalid(GroupKind::new("", ""), "", vec![error]))
        }
        FieldValidation::Warn => {
            ask.warn(problems);
            Ok(())
        }
        _ => Ok(()),
    }
}
