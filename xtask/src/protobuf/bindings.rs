//! Reads the messages and their fields from the source of the crate `k8s-pb`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// A field of a message.
pub struct Binding {
    pub number: u32,
    /// In Rust's spelling: `host_ip`.
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

/// Fetches the crate as cargo fetches a dependency, and reads it.
pub fn download(version: &str) -> Result<BTreeMap<String, Vec<Binding>>> {
    let folder = std::env::temp_dir().join(format!("generate-protobuf-{}", std::process::id()));
    let result = download_into(&folder, version).and_then(|source| read(&source));
    fs::remove_dir_all(&folder)?;
    result
}

fn download_into(folder: &Path, version: &str) -> Result<PathBuf> {
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("src/lib.rs"), "")?;
    let manifest = folder.join("Cargo.toml");
    fs::write(
        &manifest,
        format!(
            "[package]\nname = \"bindings\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\nk8s-pb = \"={version}\"\n"
        ),
    )?;
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(&manifest)
        .output()
        .context("running cargo")?;
    ensure!(
        output.status.success(),
        "cargo could not download k8s-pb {version}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "k8s-pb")
        .and_then(|package| package["manifest_path"].as_str())
        .context("cargo does not say where k8s-pb is")?;
    Ok(Path::new(manifest).with_file_name("src"))
}

/// Reads every group's messages, by name as in `core.v1.Pod` and `meta.ObjectMeta`.
pub fn read(source: &Path) -> Result<BTreeMap<String, Vec<Binding>>> {
    let mut messages = BTreeMap::new();
    for group in folders(&source.join("api"))? {
        for version in folders(&group)? {
            let module = [&group, &version].map(|path| last(path)).join(".");
            read_module(&version.join("mod.rs"), &module, &mut messages)?;
        }
    }
    let meta = source.join("apimachinery/pkg/apis/meta/v1/mod.rs");
    read_module(&meta, "meta", &mut messages)?;
    Ok(messages)
}

fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    Ok(folders)
}

fn last(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn read_module(
    path: &Path,
    module: &str,
    messages: &mut BTreeMap<String, Vec<Binding>>,
) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let code: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
        .collect();
    for item in code.join(" ").split("pub struct ").skip(1) {
        let (name, body) = item.split_once(" {").context("a struct without fields")?;
        let mut fields: Vec<Binding> = body
            .split("#[prost(")
            .skip(1)
            .map(|field| read_field(field, module).with_context(|| format!("{module}.{name}")))
            .collect::<Result<_>>()?;
        fields.sort_by_key(|field| field.number);
        messages.insert(format!("{module}.{name}"), fields);
    }
    Ok(())
}

/// `string, optional, tag = "1")] pub r#type: ::core::option::Option<::prost::alloc::string::String>, … }`
fn read_field(text: &str, module: &str) -> Result<Binding> {
    let (marks, rest) = text.split_once(")]").context("an unclosed attribute")?;
    let (name, rest) = rest
        .trim_start()
        .trim_start_matches("pub ")
        .split_once(':')
        .context("a field without a type")?;
    let kind = rest
        .split(" }")
        .next()
        .unwrap_or(rest)
        .trim()
        .trim_end_matches(',');
    let number = marks
        .split_once("tag = \"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .and_then(|(number, _)| number.parse().ok())
        .context("no number")?;
    let (cardinality, word) = match marks.strip_prefix("btree_map = \"string, ") {
        Some(value) => (Cardinality::Map, value.split('"').next()),
        None if marks.contains(", repeated") => (Cardinality::Repeated, marks.split(',').next()),
        None => (Cardinality::One, marks.split(',').next()),
    };
    let scalar = match word.unwrap_or_default() {
        "string" => "s",
        "bool" => "t",
        "int32" | "int64" => "i",
        "double" => "f",
        "bytes" | "bytes = \"vec\"" => "b",
        "message" => "",
        other => bail!("a type this table has no letter for: {other}"),
    };
    Ok(Binding {
        number,
        name: name.trim_start_matches("r#").to_owned(),
        cardinality,
        scalar,
        message: scalar.is_empty().then(|| message_of(kind, module)),
    })
}

/// The message in a type such as `::core::option::Option<super::super::core::v1::PodSpec>`.
fn message_of(kind: &str, module: &str) -> String {
    let path = kind
        .trim_end_matches(['>', ',', ' '])
        .rsplit(['<', ' '])
        .next()
        .unwrap_or(kind);
    let segments: Vec<&str> = path.split("::").collect();
    match segments.as_slice() {
        [.., "meta", "v1", name] => format!("meta.{name}"),
        [.., group, version, name] if version.starts_with('v') => {
            format!("{group}.{version}.{name}")
        }
        [.., package, name] => format!("{package}.{name}"),
        _ => format!("{module}.{path}"),
    }
}
