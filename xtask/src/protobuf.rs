//! Makes the table of protobuf field numbers that `knarr-apiserver` embeds: `crates/apiserver/src/protobuf/messages.txt`.
//!
//! Three sources, none of which has all of it:
//!
//! - the crate `k8s-pb`, which carries upstream's `.proto` files as structs that prost derives: numbers and types of fields;
//! - the definitions that `generate-schema` reads too: the fields' JSON names, in their own case, and which messages are kinds;
//! - `protobuf/omitempty.txt` beside this file: fields whose zero means absent, because their Go type is no pointer and has the
//!   tag `omitempty`. No package says so. Update it from the struct tags in upstream's `types.go` when the release changes; a
//!   field that is missing there only shows its zero value, which the API's defaults give it anyway.
//!
//! The format of the table is described in its header.

mod bindings;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    fs,
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use self::bindings::{Binding, Cardinality};

/// The version of `k8s-pb` that carries the release of `generate-schema`.
const BINDINGS: &str = "0.9.0";

const OMITEMPTY: &str = include_str!("protobuf/omitempty.txt");

const HEADER: &str = "\
# Protobuf field numbers of the API's types, by `cargo xtask generate-protobuf`.
# A message, then its fields: number, JSON name (~: the fields are the parent's own), flags, type.
# Flags: ? zero is left out, [ repeated, { map from strings, - none.
# Types: s string, i integer, t boolean, f double, b bytes, T time, U time with microseconds, D duration, Q quantity,
# I integer or string, R embedded object, J embedded JSON, L list of strings in a message; else a message.
";

/// Messages that the server reads as one value, and their letters in the table.
const SPECIAL: &[(&str, &str)] = &[
    ("meta.Time", "T"),
    ("meta.MicroTime", "U"),
    ("meta.Duration", "D"),
    ("meta.FieldsV1", "J"),
    ("resource.Quantity", "Q"),
    ("intstr.IntOrString", "I"),
    ("runtime.RawExtension", "R"),
    ("authentication.v1.ExtraValue", "L"),
    ("authorization.v1.ExtraValue", "L"),
    ("certificates.v1.ExtraValue", "L"),
];

/// Arguments of `cargo xtask generate-protobuf`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Read this `_definitions.json` instead of downloading kubernetes-validate with pip.
    #[arg(long)]
    definitions: Option<PathBuf>,
    /// Read the `src` folder of this k8s-pb instead of downloading it with cargo.
    #[arg(long)]
    bindings: Option<PathBuf>,
    /// Where the table is written.
    #[arg(long, default_value = "crates/apiserver/src/protobuf/messages.txt")]
    out: PathBuf,
}

/// Runs `cargo xtask generate-protobuf`.
pub fn run(args: &Args) -> Result<()> {
    let source = crate::schema::definitions(args.definitions.as_deref())?;
    let source = source["$defs"]
        .as_object()
        .context("no $defs in the definitions")?;
    let bindings = match &args.bindings {
        Some(folder) => bindings::read(folder)?,
        None => bindings::download(BINDINGS)?,
    };
    let table = Generator::new(source, &bindings).run()?;
    fs::write(&args.out, &table).with_context(|| format!("writing {}", args.out.display()))?;
    eprintln!("{}: {} bytes", args.out.display(), table.len());
    Ok(())
}

struct Generator<'a> {
    bindings: &'a BTreeMap<String, Vec<Binding>>,
    /// Definitions by the message's name in lower case: the bindings have Rust's spelling of names.
    definitions: HashMap<String, Definition<'a>>,
    /// Every property's name, by its lower case.
    properties: HashMap<String, &'a str>,
    /// The message's name, then its fields.
    omitempty: HashMap<&'static str, BTreeSet<&'static str>>,
}

struct Definition<'a> {
    /// `core.v1.PodSpec`
    name: String,
    kind: bool,
    properties: BTreeSet<&'a str>,
}

impl<'a> Generator<'a> {
    fn new(
        source: &'a serde_json::Map<String, Value>,
        bindings: &'a BTreeMap<String, Vec<Binding>>,
    ) -> Self {
        let definitions: HashMap<String, Definition<'a>> = source
            .iter()
            .filter_map(|(name, schema)| {
                let definition = Definition {
                    name: message_name(name)?,
                    kind: schema.get("x-kubernetes-group-version-kind").is_some(),
                    properties: schema["properties"]
                        .as_object()
                        .into_iter()
                        .flatten()
                        .map(|(property, _)| property.as_str())
                        .collect(),
                };
                Some((definition.name.to_lowercase(), definition))
            })
            .collect();
        let properties = definitions
            .values()
            .flat_map(|definition| &definition.properties)
            .map(|property| (property.to_lowercase(), *property))
            .collect();
        let omitempty = OMITEMPTY
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let mut words = line.split(' ');
                Some((words.next()?, words.collect()))
            })
            .collect();
        Generator {
            bindings,
            definitions,
            properties,
            omitempty,
        }
    }

    fn run(&self) -> Result<String> {
        let mut messages: BTreeMap<String, String> = BTreeMap::new();
        let mut waiting: Vec<&str> = self
            .bindings
            .keys()
            .map(String::as_str)
            .filter(|name| self.is_root(name))
            .collect();
        while let Some(binding) = waiting.pop() {
            let name = self.proper_name(binding);
            if messages.contains_key(name) {
                continue;
            }
            let mut text = format!(">{name}\n");
            for field in &self.bindings[binding] {
                self.field(binding, field, &mut text)
                    .with_context(|| format!("{name} {}", field.name))?;
                if let Some(inner) = &field.message
                    && special(inner).is_none()
                {
                    let (inner, _) = self
                        .bindings
                        .get_key_value(inner)
                        .with_context(|| format!("no message {inner}"))?;
                    waiting.push(inner);
                }
            }
            messages.insert(name.to_owned(), text);
        }
        self.check_omitempty(&messages)?;
        Ok(HEADER.to_owned() + &messages.into_values().collect::<String>())
    }

    /// What clients post: objects of stable versions, and the options of a deletion. Nobody posts a list.
    fn is_root(&self, message: &str) -> bool {
        if message == "meta.DeleteOptions" {
            return true;
        }
        let version = message.split('.').nth(1).unwrap_or_default();
        let list = self.bindings[message].iter().any(|f| f.name == "items");
        let kind = self
            .definitions
            .get(&message.to_lowercase())
            .is_some_and(|definition| definition.kind);
        matches!(version, "v1" | "v2") && kind && !list
    }

    fn proper_name<'n>(&'n self, binding: &'n str) -> &'n str {
        self.definitions
            .get(&binding.to_lowercase())
            .map_or(binding, |definition| &definition.name)
    }

    fn field(&self, message: &str, field: &Binding, out: &mut String) -> Result<()> {
        let name = self.json_name(message, field)?;
        let zero_is_absent = self
            .omitempty
            .get(self.proper_name(message))
            .is_some_and(|fields| fields.contains(name));
        let flag = match field.cardinality {
            Cardinality::Repeated => "[",
            Cardinality::Map => "{",
            Cardinality::One if zero_is_absent => "?",
            Cardinality::One => "-",
        };
        let kind = match &field.message {
            Some(inner) => special(inner).unwrap_or_else(|| self.proper_name(inner)),
            None => field.scalar,
        };
        writeln!(out, "{} {name} {flag} {kind}", field.number)?;
        Ok(())
    }

    fn json_name(&self, message: &str, field: &Binding) -> Result<&'a str> {
        let key = field.name.replace('_', "").to_lowercase();
        match self.definitions.get(&message.to_lowercase()) {
            Some(definition) => {
                let own = definition
                    .properties
                    .iter()
                    .find(|property| property.to_lowercase() == key);
                // A message that the object has no field for is an embedded struct.
                own.copied()
                    .or_else(|| field.message.is_some().then_some("~"))
            }
            // An embedded struct has no definition of its own; its fields are its parent's.
            None => self.properties.get(&key).copied(),
        }
        .context("no JSON name")
    }

    fn check_omitempty(&self, messages: &BTreeMap<String, String>) -> Result<()> {
        for (message, fields) in &self.omitempty {
            let text = messages
                .get(*message)
                .with_context(|| format!("omitempty.txt: no message {message}"))?;
            for field in fields {
                ensure!(
                    text.contains(&format!(" {field} ? ")),
                    "omitempty.txt: {message} has no single field {field}"
                );
            }
        }
        Ok(())
    }
}

fn special(message: &str) -> Option<&'static str> {
    SPECIAL
        .iter()
        .find(|(name, _)| *name == message)
        .map(|(_, letter)| *letter)
}

/// `io.k8s.api.core.v1.Pod` is `core.v1.Pod`, and what is in meta/v1 is `meta.ObjectMeta`.
fn message_name(definition: &str) -> Option<String> {
    if let Some(name) = definition.strip_prefix("io.k8s.apimachinery.pkg.apis.meta.v1.") {
        return Some(format!("meta.{name}"));
    }
    definition
        .strip_prefix("io.k8s.api.")
        .map(ToOwned::to_owned)
}
