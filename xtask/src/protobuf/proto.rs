//! Reads the messages of the `.proto` files beside upstream's types.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, bail, ensure};

use crate::schema::source::Package;

/// A field of a message.
pub struct Field {
    pub number: u32,
    /// In upstream's spelling: `hostIP`.
    pub name: String,
    pub cardinality: Cardinality,
    /// The letter of a scalar.
    pub scalar: &'static str,
    /// The type, where it is a message.
    pub message: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cardinality {
    One,
    Repeated,
    Map,
}

/// Adds the package's messages, by name as in `core.v1.Pod` and `meta.ObjectMeta`.
pub fn read(package: &Package, messages: &mut BTreeMap<String, Vec<Field>>) -> Result<()> {
    let path = package.folder.join("generated.proto");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let before = messages.len();
    read_messages(&text, &package.messages, messages)
        .with_context(|| format!("reading {}", path.display()))?;
    ensure!(messages.len() > before, "no messages in {}", path.display());
    Ok(())
}

fn read_messages(
    text: &str,
    module: &str,
    messages: &mut BTreeMap<String, Vec<Field>>,
) -> Result<()> {
    // The files are generated: a message's name, each of its fields and its end have a line of their own.
    let mut fields: Option<(&str, Vec<Field>)> = None;
    for line in text.lines().map(str::trim) {
        let opened = line
            .strip_prefix("message ")
            .and_then(|rest| rest.strip_suffix(" {"));
        match (opened, &mut fields) {
            (Some(name), _) => fields = Some((name, Vec::new())),
            _ if line.starts_with("//") => {}
            (None, Some((_, read))) if line.ends_with(';') => {
                let field = read_field(line.trim_end_matches(';'), module);
                read.push(field.with_context(|| line.to_owned())?);
            }
            (None, Some(_)) if line == "}" => {
                if let Some((name, mut fields)) = fields.take() {
                    fields.sort_by_key(|field| field.number);
                    messages.insert(format!("{module}.{name}"), fields);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// `optional string name = 1`, `repeated .k8s.io.api.core.v1.Pod items = 2`, `map<string, string> labels = 3`
fn read_field(text: &str, module: &str) -> Result<Field> {
    let (declaration, number) = text.split_once(" = ").context("no number")?;
    let (kind, name) = declaration.rsplit_once(' ').context("no name")?;
    let (cardinality, kind) = match kind.split_once(' ') {
        Some(("optional", kind)) => (Cardinality::One, kind),
        Some(("repeated", kind)) => (Cardinality::Repeated, kind),
        Some(("map<string,", kind)) => (Cardinality::Map, kind.trim_end_matches('>')),
        _ => bail!("a field this table has no flag for"),
    };
    let scalar = match kind {
        "string" => "s",
        "bool" => "t",
        "int32" | "int64" => "i",
        "double" => "f",
        "bytes" => "b",
        _ => "",
    };
    let segments: Vec<&str> = kind.trim_start_matches('.').split('.').collect();
    Ok(Field {
        number: number.trim().parse().context("no number")?,
        name: name.to_owned(),
        cardinality,
        scalar,
        message: scalar.is_empty().then(|| qualified(&segments, module)),
    })
}

/// The name as in `core.v1.Pod` and `meta.ObjectMeta` of a type with this path; one that has no path is of `module`.
fn qualified(path: &[&str], module: &str) -> String {
    match path {
        [.., "meta", "v1", name] => format!("meta.{name}"),
        [.., group, version, name] if version.starts_with('v') => {
            format!("{group}.{version}.{name}")
        }
        [.., package, name] => format!("{package}.{name}"),
        [name] => format!("{module}.{name}"),
        [] => module.to_owned(),
    }
}
