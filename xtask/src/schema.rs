//! Makes the table of the API's facts that `knarr-api` embeds: `crates/api/data/schema.txt.gz` (definitions, fields, types,
//! marks) and `crates/api/data/descriptions.txt.gz` (their documentation).
//!
//! The source is the PyPI package `kubernetes-validate`, which carries the OpenAPI v2 definitions of each Kubernetes release
//! with their descriptions and `x-kubernetes-*` marks, rewritten as JSON schema: optional fields have `null` among their types,
//! `apiVersion` and `kind` an `enum`, `int-or-string` is a `oneOf`. All of that is undone here. Facts and texts are two files,
//! because the server needs the facts at start-up and the texts only when somebody asks for OpenAPI.
//!
//! The format of both files is described where they are read, in `crates/api/src/schema/table.rs`.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

/// The release whose API is served, and the version of the package that carries it.
const RELEASE: &str = "1.35.0";
/// Between two descriptions: they contain newlines, but no control characters.
const RECORD_SEPARATOR: char = '\u{1e}';

/// Defaults that matter to whoever merges lists by key, and that the package leaves out: a port without a protocol is a TCP
/// port. (Definition, field, JSON.)
const DEFAULTS: &[(&str, &str, &str)] = &[
    ("io.k8s.api.core.v1.ContainerPort", "protocol", "\"TCP\""),
    ("io.k8s.api.core.v1.ServicePort", "protocol", "\"TCP\""),
];

/// Arguments of `cargo xtask generate-schema`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Read this `_definitions.json` instead of downloading the package with pip.
    #[arg(long)]
    definitions: Option<PathBuf>,
    /// Where the two files are written.
    #[arg(long, default_value = "crates/api/data")]
    out: PathBuf,
}

/// Runs `cargo xtask generate-schema`.
pub fn run(args: &Args) -> Result<()> {
    let source = definitions(args.definitions.as_deref())?;
    let definitions = source["$defs"]
        .as_object()
        .context("no $defs in the definitions")?;
    let (facts, descriptions) = Generator::new(definitions.iter()).run()?;
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

/// The definitions in this file, or of the package.
pub fn definitions(path: Option<&Path>) -> Result<Value> {
    let json = match path {
        Some(path) => fs::read(path).with_context(|| format!("reading {}", path.display()))?,
        None => download()?,
    };
    serde_json::from_slice(&json).context("parsing the definitions")
}

/// Fetches the package into a temporary folder and returns its definitions.
fn download() -> Result<Vec<u8>> {
    let folder = std::env::temp_dir().join(format!("generate-schema-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = download_into(&folder);
    fs::remove_dir_all(&folder)?;
    result
}

fn download_into(folder: &Path) -> Result<Vec<u8>> {
    let pip = Command::new("pip")
        .args(["download", "--quiet", "--no-deps", "--dest"])
        .arg(folder)
        .arg(format!("kubernetes-validate=={RELEASE}"))
        .status()
        .context("running pip")?;
    ensure!(
        pip.success(),
        "pip could not download kubernetes-validate {RELEASE}"
    );
    let wheel = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip downloaded no wheel")?;
    // A wheel is a zip file, and whoever has pip has Python.
    let output = Command::new("python3")
        .args(["-c", "import sys,zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))"])
        .arg(&wheel)
        .arg(format!("kubernetes_validate/kubernetes-json-schema/v{RELEASE}-local/_definitions.json"))
        .output()
        .context("running python3")?;
    ensure!(
        output.status.success(),
        "the wheel has no definitions of {RELEASE}"
    );
    Ok(output.stdout)
}

struct Generator<'a> {
    definitions: BTreeMap<&'a str, &'a Value>,
    /// Number of each definition: its place in name order.
    numbers: HashMap<&'a str, usize>,
    descriptions: Vec<&'a str>,
    /// The texts that were seen already: a third of them are repeated.
    seen: HashMap<&'a str, usize>,
    out: String,
}

impl<'a> Generator<'a> {
    fn new(definitions: impl Iterator<Item = (&'a String, &'a Value)>) -> Self {
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
            out: String::new(),
        }
    }

    fn run(mut self) -> Result<(String, String)> {
        writeln!(self.out, "knarr-schema\t1\tv{RELEASE}")?;
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
        self.marks(schema)?;
        if let Some((_, _, json)) = DEFAULTS
            .iter()
            .find(|(d, f, _)| (*d, *f) == (definition, field))
        {
            write!(self.out, "\td={json}")?;
        }
        self.out.push('\n');
        Ok(())
    }

    /// The type in the table's notation.
    fn kind(&self, schema: &Value) -> Result<String> {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let name = reference.trim_start_matches("#/$defs/");
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
