//! What the v2 documents of other servers say of the group-versions that they serve.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    Document,
    check::{self, Fault, Target},
    messages::{Message, PATH_ITEM, SCHEMA},
    try_seal,
};

/// The part of another server's v2 document that is of one group-version: its paths, and what they refer to.
#[derive(Clone, Debug)]
pub struct Part(Document);

/// Why a document is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    #[error("it is no JSON that is understood: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it is no OpenAPI document of version 2.0")]
    Version,
    #[error("{0}")]
    Fault(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The pieces of a document, as text that nobody has looked at.
#[derive(Deserialize)]
struct Raw<'t> {
    swagger: Option<Cow<'t, str>>,
    #[serde(borrow)]
    paths: Option<RawPieces<'t>>,
    #[serde(borrow)]
    definitions: Option<RawPieces<'t>>,
    #[serde(borrow)]
    parameters: Option<RawPieces<'t>>,
}

type RawPieces<'t> = BTreeMap<String, &'t RawValue>;

/// JSON by name: no trees, which take several times as much memory.
pub(super) type Pieces = BTreeMap<String, String>;

/// Paths and what they refer to, which has been checked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selected {
    pub paths: Pieces,
    pub definitions: Pieces,
    pub parameters: Pieces,
}

impl Part {
    /// Takes what a document (JSON) says of paths below `/apis/GROUP/VERSION/`.
    ///
    /// # Errors
    /// Where the document is something else, or clients could not read it: a reference that leads nowhere, a type that does not exist.
    pub fn read(json: &[u8], group: &str, version: &str) -> Result<Part, PartError> {
        let prefix = format!("/apis/{group}/{version}/");
        let selected = select(json, |path| path.starts_with(&prefix))?;
        Ok(Part(try_seal(|out| selected.write(out))?))
    }

    /// The hash of what it says.
    pub fn hash(&self) -> &str {
        &self.0.hash
    }

    /// Those of its paths that are kept, and what they refer to.
    pub(super) fn select(&self, keep: impl Fn(&str) -> bool) -> Result<Selected, PartError> {
        select(&self.0.inflate()?, keep)
    }
}

impl Selected {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(br#"{"swagger":"2.0""#)?;
        for (name, pieces) in [
            ("paths", &self.paths),
            ("definitions", &self.definitions),
            ("parameters", &self.parameters),
        ] {
            write!(out, r#","{name}":{{"#)?;
            for (place, (name, text)) in pieces.iter().enumerate() {
                let comma = if place == 0 { "" } else { "," };
                write!(out, "{comma}{}:{text}", Value::from(name.as_str()))?;
            }
            out.write_all(b"}")?;
        }
        out.write_all(b"}")
    }
}

fn select(json: &[u8], keep: impl Fn(&str) -> bool) -> Result<Selected, PartError> {
    let raw: Raw<'_> = serde_json::from_slice(json)?;
    if raw.swagger.as_deref() != Some("2.0") {
        return Err(PartError::Version);
    }
    let definitions = raw.definitions.unwrap_or_default();
    let parameters = raw.parameters.unwrap_or_default();
    let mut selected = Selected::default();
    let mut open: Vec<(Target, String)> = Vec::new();
    for (path, text) in raw.paths.unwrap_or_default() {
        if keep(&path) {
            let item = checked(&path, text, |value| check::known(&PATH_ITEM, value))?;
            let item = noted(item, &mut open, |value, show| {
                check::references(&PATH_ITEM, value, show);
            });
            selected.paths.insert(path, item);
        }
    }
    while let Some((target, name)) = open.pop() {
        let (from, to) = match target {
            Target::Definition => (&definitions, &mut selected.definitions),
            Target::Parameter => (&parameters, &mut selected.parameters),
        };
        if to.contains_key(&name) {
            continue;
        }
        let text = from.get(&name).ok_or_else(|| {
            PartError::Fault(format!("it has no {target:?} {name:?}, which it refers to"))
        })?;
        let piece = match target {
            Target::Definition => {
                let schema = checked(&name, text, |value| {
                    let schema = check::known(&SCHEMA, value)?;
                    check::readable(&schema).map(|()| schema)
                })?;
                noted(schema, &mut open, |value, show| {
                    check::references(&SCHEMA, value, show);
                })
            }
            Target::Parameter => {
                let parameter = checked(&name, text, check::known_parameter)?;
                noted(parameter, &mut open, check::parameter_references)
            }
        };
        to.insert(name, piece);
    }
    Ok(selected)
}

fn checked(
    name: &str,
    text: &RawValue,
    check: impl FnOnce(Value) -> Result<Value, Fault>,
) -> Result<Value, PartError> {
    let value = serde_json::from_str(text.get())?;
    check(value).map_err(|fault| PartError::Fault(format!("{name}: {}", fault.trim_start())))
}

/// The piece as text; what it refers to is looked at later.
fn noted(
    mut value: Value,
    open: &mut Vec<(Target, String)>,
    references: impl FnOnce(&mut Value, &mut dyn FnMut(Target, &mut String)),
) -> String {
    references(&mut value, &mut |target, name| {
        open.push((target, name.clone()));
    });
    value.to_string()
}

/// A piece whose references have other names. `of`: `None` for a parameter.
pub(super) fn renamed(
    text: &str,
    of: Option<&'static Message>,
    rename: &mut dyn FnMut(Target, &mut String),
) -> Result<String, serde_json::Error> {
    let mut value: Value = serde_json::from_str(text)?;
    match of {
        Some(of) => check::references(of, &mut value, rename),
        None => check::parameter_references(&mut value, rename),
    }
    Ok(value.to_string())
}
