//! Makes the table of the API's facts that `knarr-api` embeds: `crates/api/data/schema.txt.gz` (definitions, fields, types,
//! marks) and `crates/api/data/descriptions.txt.gz` (their documentation).
//!
//! All of it comes from the Go modules that `tests/upstream/suite` pins ([`source`]): definitions with their descriptions and
//! `x-kubernetes-*` marks from OpenAPI v2; which fields are never absent from upstream's objects, because their Go type is no
//! pointer or has no tag `omitempty`, and the defaults of the others, from OpenAPI v3; which fields are absent from them where they are zero, which are null there, and which belong to features that are switched off, from the comments
//! of the Go types and the defaults of the feature gates; the values that fields may have, from [`enums`]. Facts and texts are two files, because the server needs the facts at
//! start-up and the texts only when somebody asks for OpenAPI.
//!
//! The format of both files is described where they are read, in `crates/api/src/schema/table.rs`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Map, Value};

mod enums;
pub mod source;

/// Gates that upstream has switched off, and whose features knarr has all the same.
const SERVED: &[&str] = &["ContainerStopSignals"];
/// Between two descriptions: they contain newlines, but no control characters.
const RECORD_SEPARATOR: char = '\u{1e}';

/// Arguments of `cargo xtask generate-schema`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where the two files are written.
    #[arg(long, default_value = "crates/api/data")]
    out: PathBuf,
}

/// Runs `cargo xtask generate-schema`.
pub fn run(args: &Args) -> Result<()> {
    let mut definitions = source::definitions()?;
    enums::add(&mut definitions)?;
    let generator = Generator::new(
        definitions.iter(),
        Unset::read(&source::documents()?)?,
        declared()?,
        disabled(&definitions)?,
    );
    let (facts, descriptions) = generator.run(&source::release()?)?;
    for (name, text) in [
        ("schema.txt.gz", facts),
        ("descriptions.txt.gz", descriptions),
    ] {
        let path = args.out.join(name);
        let mut gz = GzEncoder::new(Vec::new(), Compression::best());
        gz.write_all(text.as_bytes())?;
        let bytes = gz.finish()?;
        fs::write(&path, &bytes).with_context(|| format!("writing {}", path.display()))?;
        eprintln!(
            "{}: {} bytes of text, {} compressed",
            path.display(),
            text.len(),
            bytes.len()
        );
    }
    Ok(())
}

/// What the v3 documents say of fields, as (definition, field), that nobody sets.
#[derive(Default)]
struct Unset {
    /// Those that are never absent from upstream's objects: embedded structs and what has no `omitempty`. The documents give the
    /// former an empty default, the latter one that is their type's zero, or none at all where that is null.
    present: BTreeSet<(String, String)>,
    /// Defaults that are part of the type.
    defaults: BTreeMap<(String, String), Value>,
}

impl Unset {
    fn read(folder: &Path) -> Result<Unset> {
        let mut unset = Unset::default();
        let entries =
            fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries {
            let document: Value = serde_json::from_slice(&fs::read(entry?.path())?)?;
            let schemas = document["components"]["schemas"].as_object();
            for (name, schema) in schemas.into_iter().flatten() {
                unset.add(name, schema);
            }
        }
        let found = !unset.present.is_empty() && !unset.defaults.is_empty();
        ensure!(found, "no documents in {}", folder.display());
        Ok(unset)
    }

    fn add(&mut self, name: &str, schema: &Value) {
        let required: Vec<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let container = matches!(property["type"].as_str(), Some("array" | "object"));
            let key = (name.to_owned(), field.clone());
            let is_zero = match property.get("default") {
                None => container && required.contains(&field.as_str()),
                Some(Value::Object(default)) => default.is_empty(),
                Some(Value::String(default)) => default.is_empty(),
                Some(default) => *default == 0 || *default == false,
            };
            match property.get("default") {
                _ if is_zero => _ = self.present.insert(key),
                Some(default) => _ = self.defaults.insert(key, default.clone()),
                None => {}
            }
        }
    }
}

/// What Go's declarations say of fields, as (definition, field).
type Declared = BTreeMap<(String, String), source::GoField>;

fn declared() -> Result<Declared> {
    let mut declared = Declared::new();
    let packages = source::packages()?;
    let imported = source::imported(&packages)?;
    for package in packages {
        for ((owner, name), field) in package.fields(&imported)? {
            declared.insert((format!("{}.{owner}", package.definitions), name), field);
        }
    }
    ensure!(!declared.is_empty(), "no field is declared");
    Ok(declared)
}

/// The fields, as (definition, field), of features that are switched off unless told otherwise, and the first such gate of each.
fn disabled(definitions: &Map<String, Value>) -> Result<BTreeMap<(String, String), String>> {
    let gates = source::gates()?;
    let mut disabled = BTreeMap::new();
    let packages = source::packages()?;
    let imported = source::imported(&packages)?;
    for package in packages {
        for ((owner, name), field) in package.fields(&imported)? {
            let off = field
                .gates
                .iter()
                .find(|gate| gates.get(*gate) == Some(&false) && !SERVED.contains(&gate.as_str()));
            let definition = format!("{}.{owner}", package.definitions);
            let known = definitions
                .get(&definition)
                .is_some_and(|definition| definition["properties"].get(&name).is_some());
            if let Some(gate) = off
                && known
            {
                disabled.insert((definition, name), gate.clone());
            }
        }
    }
    ensure!(!disabled.is_empty(), "no field wants a gate");
    Ok(disabled)
}

struct Generator<'a> {
    definitions: BTreeMap<&'a str, &'a Value>,
    /// Number of each definition: its place in name order.
    numbers: HashMap<&'a str, usize>,
    descriptions: Vec<&'a str>,
    /// The texts that were seen already: a third of them are repeated.
    seen: HashMap<&'a str, usize>,
    unset: Unset,
    declared: Declared,
    /// See [`disabled`].
    disabled: BTreeMap<(String, String), String>,
    out: String,
}

impl<'a> Generator<'a> {
    fn new(
        definitions: impl Iterator<Item = (&'a String, &'a Value)>,
        unset: Unset,
        declared: Declared,
        disabled: BTreeMap<(String, String), String>,
    ) -> Self {
        let definitions: BTreeMap<&str, &Value> = definitions
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        let numbers = definitions
            .keys()
            .enumerate()
            .map(|(number, name)| (*name, number))
            .collect();
        Generator {
            definitions,
            numbers,
            descriptions: Vec::new(),
            seen: HashMap::new(),
            unset,
            declared,
            disabled,
            out: String::new(),
        }
    }

    fn run(mut self, release: &str) -> Result<(String, String)> {
        writeln!(self.out, "knarr-schema\t1\t{release}")?;
        let definitions: Vec<(&str, &Value)> = self
            .definitions
            .iter()
            .map(|(name, value)| (*name, *value))
            .collect();
        for (name, definition) in definitions {
            self.definition(name, definition)
                .with_context(|| name.to_owned())?;
        }
        let separator = RECORD_SEPARATOR.to_string();
        ensure!(
            !self
                .descriptions
                .iter()
                .any(|text| text.contains(RECORD_SEPARATOR)),
            "a description has a separator in it"
        );
        Ok((self.out, self.descriptions.join(&separator)))
    }

    fn definition(&mut self, name: &str, definition: &'a Value) -> Result<()> {
        let kind = match name.rsplit('.').next().unwrap_or(name) {
            "Quantity" => "q".to_owned(),
            "IntOrString" => "x".to_owned(),
            "MicroTime" => "u".to_owned(),
            "FieldsV1" | "RawExtension" | "Patch" => "a".to_owned(),
            _ if definition.get("type").is_none() => "*".to_owned(),
            _ => self.kind(definition)?,
        };
        let text = self.description(definition);
        write!(self.out, "{name}\t{kind}\t{text}")?;
        self.marks(definition)?;
        if let Some(list) = definition.get("x-kubernetes-group-version-kind") {
            let list = list.as_array().context("group-version-kind is no list")?;
            let names: Vec<String> = list
                .iter()
                .map(|gvk| {
                    let part = |key: &str| gvk[key].as_str().context("group-version-kind");
                    Ok(format!(
                        "{}/{}/{}",
                        part("group")?,
                        part("version")?,
                        part("kind")?
                    ))
                })
                .collect::<Result<_>>()?;
            write!(self.out, "\tg={}", names.join(","))?;
        }
        if let Some(unions) = definition.get("x-kubernetes-unions") {
            write!(self.out, "\tu={unions}")?;
        }
        self.out.push('\n');
        let required: Vec<&str> = match definition.get("required") {
            Some(list) => list
                .as_array()
                .context("required is no list")?
                .iter()
                .filter_map(Value::as_str)
                .collect(),
            None => Vec::new(),
        };
        for (field, schema) in definition
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            self.field(name, field, schema, required.contains(&field.as_str()))
                .with_context(|| field.clone())?;
        }
        Ok(())
    }

    fn field(
        &mut self,
        definition: &str,
        field: &str,
        schema: &'a Value,
        required: bool,
    ) -> Result<()> {
        let kind = self.kind(schema)?;
        let text = self.description(schema);
        write!(self.out, "\t{field}\t{kind}\t{text}")?;
        if required {
            self.out.push_str("\t!");
        }
        let key = (definition.to_owned(), field.to_owned());
        let go = self.declared.get(&key).cloned();
        let go = go.as_ref();
        let value = go.is_some_and(|go| !go.pointer);
        let shape = self.shape(schema);
        let is_collection = kind.starts_with(['[', '{']);
        // What is required in a request may still be left out where it is empty.
        let left_out = is_collection && go.is_some_and(|go| go.omitempty);
        let present = self.unset.present.contains(&key) && !left_out;
        if present || value && matches!(shape, "Quantity" | "IntOrString") {
            self.out.push_str("\tz");
        }
        let is_scalar = matches!(&*kind, "s" | "y" | "i" | "l" | "n" | "b");
        if is_scalar && go.is_some_and(|go| go.omitempty && !go.pointer) {
            self.out.push_str("\to");
        }
        // Those that are no pointers are structs with a way of their own to be written.
        let is_struct =
            value && matches!(shape, "Time" | "MicroTime" | "RawExtension" | "FieldsV1");
        let written_null = go.is_some_and(|go| match is_struct {
            true => !go.omitzero,
            false => !go.omitempty && (go.pointer || is_collection),
        });
        if written_null {
            self.out.push_str("\tn");
        }
        self.marks(schema)?;
        let items = schema.get("items");
        let values = schema.get("enum").or_else(|| items?.get("enum"));
        if let Some(values) = values.and_then(Value::as_array) {
            let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            write!(self.out, "\te={}", values.join(","))?;
        }
        if let Some(named) = go.and_then(|go| go.named.as_deref()) {
            write!(self.out, "\tt={named}")?;
        }
        if let Some(embedded) = go.map(|go| &go.embedded).filter(|parts| !parts.is_empty()) {
            write!(self.out, "\ti={embedded}")?;
        }
        if let Some(gate) = self.disabled.get(&key) {
            write!(self.out, "\tf={gate}")?;
        }
        if let Some(default) = self.unset.defaults.get(&key) {
            write!(self.out, "\td={default}")?;
        }
        self.out.push('\n');
        Ok(())
    }

    /// The own name of the definition that a field is of; empty where it is of none.
    fn shape<'s>(&self, schema: &'s Value) -> &'s str {
        let reference = schema.get("$ref").and_then(Value::as_str);
        reference
            .and_then(|name| name.rsplit(['.', '/']).next())
            .unwrap_or_default()
    }

    /// The type in the table's notation.
    fn kind(&self, schema: &Value) -> Result<String> {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let name = reference
                .trim_start_matches("#/$defs/")
                .trim_start_matches("#/definitions/");
            let number = self
                .numbers
                .get(name)
                .with_context(|| format!("no definition {name}"))?;
            return Ok(format!("r{number}"));
        }
        let kind = match &schema["type"] {
            Value::String(kind) => kind.as_str(),
            Value::Array(kinds) => kinds
                .iter()
                .filter_map(Value::as_str)
                .find(|kind| *kind != "null")
                .unwrap_or(""),
            _ => "",
        };
        let format = schema.get("format").and_then(Value::as_str);
        Ok(match (kind, format) {
            ("string", None) => "s".to_owned(),
            ("string", Some("byte")) => "y".to_owned(),
            ("string", Some("date-time")) => "t".to_owned(),
            ("integer", Some("int32")) => "i".to_owned(),
            ("integer", Some("int64")) => "l".to_owned(),
            ("number", Some("double")) => "n".to_owned(),
            ("boolean", None) => "b".to_owned(),
            ("array", None) => format!("[{}", self.kind(&schema["items"])?),
            ("object", None) => match schema.get("additionalProperties") {
                Some(element) => format!("{{{}", self.kind(element)?),
                None => "o".to_owned(),
            },
            other => bail!("a type this table has no letter for: {other:?}"),
        })
    }

    fn marks(&mut self, schema: &Value) -> Result<()> {
        let known = [
            ("x-kubernetes-patch-strategy", 'p'),
            ("x-kubernetes-patch-merge-key", 'k'),
            ("x-kubernetes-list-type", 'l'),
            ("x-kubernetes-map-type", 'm'),
        ];
        for (mark, letter) in known {
            if let Some(value) = schema.get(mark) {
                write!(
                    self.out,
                    "\t{letter}={}",
                    value.as_str().with_context(|| mark)?
                )?;
            }
        }
        if let Some(keys) = schema.get("x-kubernetes-list-map-keys") {
            let keys: Vec<&str> = keys
                .as_array()
                .context("list-map-keys")?
                .iter()
                .filter_map(Value::as_str)
                .collect();
            write!(self.out, "\tK={}", keys.join(","))?;
        }
        let unknown = schema
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .filter(|key| key.starts_with("x-") && !known.iter().any(|(mark, _)| mark == key))
            .find(|key| {
                !matches!(
                    *key,
                    "x-kubernetes-list-map-keys"
                        | "x-kubernetes-group-version-kind"
                        | "x-kubernetes-unions"
                )
            });
        if let Some(mark) = unknown {
            bail!("a mark this table has no letter for: {mark}");
        }
        Ok(())
    }

    /// The number of the description in the other file; empty when there is none.
    fn description(&mut self, schema: &'a Value) -> String {
        let Some(text) = schema.get("description").and_then(Value::as_str) else {
            return String::new();
        };
        let number = *self.seen.entry(text).or_insert_with(|| {
            self.descriptions.push(text);
            self.descriptions.len() - 1
        });
        number.to_string()
    }
}
