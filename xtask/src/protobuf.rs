//! Makes the table of protobuf field numbers that `knarr-apiserver` embeds: `crates/apiserver/src/protobuf/messages.txt`.
//!
//! Its sources are the Go modules that `tests/upstream/suite` pins:
//!
//! - the `.proto` files: numbers and types of fields;
//! - the definitions that `generate-schema` reads too: the fields' JSON names, and which messages are kinds;
//! - the Go types: which fields are no pointers, so that protobuf always has them, and which of those JSON leaves out where they
//!   are zero, because of the tag `omitempty`.
//!
//! The format of the table is described in its header.

mod proto;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    fs,
    path::PathBuf,
};

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use self::proto::{Cardinality, Field};
use crate::schema::source::{self, GoFields};

const HEADER: &str = "\
# Protobuf field numbers of the API's types, by `cargo xtask generate-protobuf`.
# A message, then its fields: number, JSON name (~: the fields are the parent's own), flags, type.
# Flags: ? zero is left out of JSON, ! zero is in JSON too, [ repeated, { map from strings, - a pointer: absent or any value.
# Types: s string, i integer, t boolean, f double, b bytes, T time, U time with microseconds, D duration, Q quantity,
# I integer or string, R embedded object, J embedded JSON, L list of strings in a message, A schema or schemas, O schema or bool,
# N schema or names; else a message.
";

/// Messages that the server reads as one value, and their letters in the table.
const SPECIAL: &[(&str, &str)] = &[
    ("meta.Time", "T"),
    ("meta.MicroTime", "U"),
    ("meta.Duration", "D"),
    ("meta.FieldsV1", "J"),
    ("meta.Verbs", "L"),
    ("resource.Quantity", "Q"),
    ("intstr.IntOrString", "I"),
    ("runtime.RawExtension", "R"),
    ("authentication.v1.ExtraValue", "L"),
    ("authorization.v1.ExtraValue", "L"),
    ("certificates.v1.ExtraValue", "L"),
    ("apiextensions.v1.JSON", "J"),
    ("apiextensions.v1.JSONSchemaPropsOrArray", "A"),
    ("apiextensions.v1.JSONSchemaPropsOrBool", "O"),
    ("apiextensions.v1.JSONSchemaPropsOrStringArray", "N"),
];

/// What is no kind of a group, but is posted or answered.
const OTHER_ROOTS: &[&str] = &[
    "meta.APIGroup",
    "meta.APIGroupList",
    "meta.APIResourceList",
    "meta.APIVersions",
    "meta.DeleteOptions",
    "meta.ListMeta",
    "meta.PartialObjectMetadata",
    "meta.Status",
];

/// Arguments of `cargo xtask generate-protobuf`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where the table is written.
    #[arg(long, default_value = "crates/apiserver/src/protobuf/messages.txt")]
    out: PathBuf,
}

/// Runs `cargo xtask generate-protobuf`.
pub fn run(args: &Args) -> Result<()> {
    let mut messages = BTreeMap::new();
    let mut fields = HashMap::new();
    let packages = source::packages()?;
    let imported = source::imported(&packages)?;
    for package in packages {
        proto::read(&package, &mut messages)?;
        fields.insert(package.messages.clone(), package.fields(&imported)?);
    }
    let definitions = source::definitions()?;
    let table = Generator::new(&definitions, &messages, &fields).run()?;
    fs::write(&args.out, &table).with_context(|| format!("writing {}", args.out.display()))?;
    eprintln!("{}: {} bytes", args.out.display(), table.len());
    Ok(())
}

struct Generator<'a> {
    messages: &'a BTreeMap<String, Vec<Field>>,
    /// By the message's name: `core.v1.PodSpec`.
    definitions: HashMap<String, Definition<'a>>,
    /// Every property's name, by its lower case.
    properties: HashMap<String, &'a str>,
    /// By package: `core.v1`.
    fields: &'a HashMap<String, GoFields>,
}

struct Definition<'a> {
    kind: bool,
    properties: BTreeSet<&'a str>,
}

impl<'a> Generator<'a> {
    fn new(
        source: &'a Map<String, Value>,
        messages: &'a BTreeMap<String, Vec<Field>>,
        fields: &'a HashMap<String, GoFields>,
    ) -> Self {
        let definitions: HashMap<String, Definition<'a>> = source
            .iter()
            .filter_map(|(name, schema)| {
                let definition = Definition {
                    kind: schema.get("x-kubernetes-group-version-kind").is_some(),
                    properties: schema["properties"]
                        .as_object()
                        .into_iter()
                        .flatten()
                        .map(|(property, _)| property.as_str())
                        .collect(),
                };
                Some((message_name(name)?, definition))
            })
            .collect();
        let properties = definitions
            .values()
            .flat_map(|definition| &definition.properties)
            .map(|property| (property.to_lowercase(), *property))
            .collect();
        Generator {
            messages,
            definitions,
            properties,
            fields,
        }
    }

    fn run(&self) -> Result<String> {
        let mut messages: BTreeMap<String, String> = BTreeMap::new();
        let mut waiting: Vec<&str> = self
            .messages
            .keys()
            .map(String::as_str)
            .filter(|name| self.is_root(name))
            .collect();
        while let Some(name) = waiting.pop() {
            if messages.contains_key(name) {
                continue;
            }
            let mut text = format!(">{name}\n");
            for field in &self.messages[name] {
                self.field(name, field, &mut text)
                    .with_context(|| format!("{name} {}", field.name))?;
                if let Some(inner) = &field.message
                    && special(inner).is_none()
                {
                    let (inner, _) = self
                        .messages
                        .get_key_value(inner)
                        .with_context(|| format!("no message {inner}"))?;
                    waiting.push(inner);
                }
            }
            messages.insert(name.to_owned(), text);
        }
        Ok(HEADER.to_owned() + &messages.into_values().collect::<String>())
    }

    /// Objects of stable versions, and what is of no version of a group. Lists all have the same two fields: the server knows them.
    fn is_root(&self, message: &str) -> bool {
        if OTHER_ROOTS.contains(&message) {
            return true;
        }
        let version = message.split('.').nth(1).unwrap_or_default();
        let list = self.messages[message].iter().any(|f| f.name == "items");
        let kind = self
            .definitions
            .get(message)
            .is_some_and(|definition| definition.kind);
        matches!(version, "v1" | "v2") && kind && !list
    }

    fn field(&self, message: &str, field: &Field, out: &mut String) -> Result<()> {
        let name = self.json_name(message, field)?;
        let flag = match field.cardinality {
            Cardinality::Repeated => "[",
            Cardinality::Map => "{",
            Cardinality::One => self.flag(message, field, name),
        };
        let kind = match &field.message {
            Some(inner) => special(inner).unwrap_or(inner),
            None => field.scalar,
        };
        writeln!(out, "{} {name} {flag} {kind}", field.number)?;
        Ok(())
    }

    fn flag(&self, message: &str, field: &Field, name: &str) -> &'static str {
        if name == "~" {
            return "!";
        }
        let declared = message.rsplit_once('.').and_then(|(package, owner)| {
            let fields = self.fields.get(package)?;
            fields.get(&(owner.to_owned(), name.to_owned()))
        });
        match declared {
            // A slice of bytes may be absent too.
            Some(declared) if declared.pointer || field.scalar == "b" => "-",
            Some(declared) if declared.omitempty && field.message.is_none() => "?",
            Some(_) => "!",
            None => "-",
        }
    }

    fn json_name(&self, message: &str, field: &Field) -> Result<&'a str> {
        let key = field.name.to_lowercase();
        match self.definitions.get(message) {
            Some(definition) => {
                // `$ref` and `x-kubernetes-list-type` are `ref` and `xKubernetesListType` there.
                let own = definition
                    .properties
                    .iter()
                    .find(|property| property.replace(['$', '-'], "").to_lowercase() == key);
                // A message that the object has no field for is an embedded struct.
                own.copied()
                    .or_else(|| field.message.is_some().then_some("~"))
            }
            // An embedded struct has no definition of its own; its fields are its parent's.
            None => self.properties.get(&key).copied(),
        }
        .context("no JSON name")
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
    [
        "io.k8s.api.",
        "io.k8s.apiextensions-apiserver.pkg.apis.",
        "io.k8s.kube-aggregator.pkg.apis.",
    ]
    .iter()
    .find_map(|prefix| definition.strip_prefix(prefix))
    .map(ToOwned::to_owned)
}
