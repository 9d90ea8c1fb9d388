//! Volumes of plugins that are gone, and files of volumes that stand in each other's way.

use std::fmt;

use knarr_meta::{
    field::{Path, quote},
    object::{list_at, str_at, struct_at},
};
use serde_json::Value;

use crate::warnings::{self, Warnings};

/// Volumes of plugins that are deprecated or gone, by field.
const DEPRECATED: &[(&str, &str)] = &[
    (
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    (
        "gitRepo",
        "deprecated in v1.11, and disabled by default in v1.33+",
    ),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

pub(super) fn check(spec: &Value, path: &Path, out: &mut Warnings) {
    let volumes = list_at(spec, &["volumes"]);
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.child("volumes").index(index);
        for (field, text) in DEPRECATED {
            if struct_at(volume, &[field]).is_some() {
                // Upstream's path has the name of the Go field.
                let field = if *field == "storageos" {
                    "storageOS"
                } else {
                    field
                };
                out.at(&path.child(field), text);
            }
        }
        let claim = ["ephemeral", "volumeClaimTemplate", "spec"];
        if let Some(claim) = struct_at(volume, &claim) {
            let path = path
                .child("ephemeral")
                .child("volumeClaimTemplate")
                .child("spec");
            claim_spec(claim, &path, out);
        }
    }
    for volume in volumes {
        overlaps(volume, out);
    }
}

/// Warnings of a claim's spec.
pub(crate) fn claim_spec(spec: &Value, path: &Path, out: &mut Warnings) {
    for list in ["requests", "limits"] {
        if let Some(amounts) = struct_at(spec, &["resources", list]) {
            let path = path.child("resources").child(list);
            warnings::fractional(amounts, "storage", &path, out);
        }
    }
}

/// A file of a volume, and what it comes from where that is one of several.
#[derive(PartialEq, Eq)]
struct File<'v> {
    path: &'v str,
    source: String,
}

impl fmt::Display for File<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source.as_str() {
            "" => out.write_str(&quote(self.path)),
            source => write!(out, "{} ({source})", quote(self.path)),
        }
    }
}

fn overlaps(volume: &Value, out: &mut Warnings) {
    let name = quote(str_at(volume, &["name"]));
    let sources = [
        ("configMap", "name", "ConfigMap"),
        ("secret", "secretName", "Secret"),
    ];
    for (field, key, kind) in sources {
        if let Some(source) = struct_at(volume, &[field]) {
            let what = format!("{kind} {}", quote(str_at(source, &[key])));
            let mut found = Files::new(&name, what);
            found.add_all(items(source, ""), out);
        }
    }
    if let Some(source) = struct_at(volume, &["downwardAPI"]) {
        let mut found = Files::new(&name, "DownwardAPI".to_owned());
        found.add_all(items(source, ""), out);
    }
    if struct_at(volume, &["projected"]).is_some() {
        let mut found = Files::new(&name, "Projected".to_owned());
        for source in list_at(volume, &["projected", "sources"]) {
            if source.as_object().is_none_or(serde_json::Map::is_empty) {
                out.add(format!("volume {name} (Projected) has no sources provided"));
                continue;
            }
            found.add_all(projected(source), out);
        }
    }
}

/// The files that a source of a projected volume makes.
fn projected(source: &Value) -> Vec<File<'_>> {
    let named = |field, kind: &str| {
        let source = struct_at(source, &[field])?;
        Some((
            source,
            format!("{kind} {}", quote(str_at(source, &["name"]))),
        ))
    };
    if let Some((source, what)) = named("configMap", "ConfigMap") {
        return items(source, &what);
    }
    if let Some((source, what)) = named("secret", "Secret") {
        return items(source, &what);
    }
    if let Some(source) = struct_at(source, &["downwardAPI"]) {
        return items(source, "DownwardAPI");
    }
    let file = |source, field, what: &str| File {
        path: str_at(source, &[field]),
        source: what.to_owned(),
    };
    if let Some(source) = struct_at(source, &["serviceAccountToken"]) {
        return vec![file(source, "path", "ServiceAccountToken")];
    }
    if let Some(source) = struct_at(source, &["clusterTrustBundle"]) {
        let name = match source.get("name").and_then(Value::as_str) {
            Some(name) => name,
            None => str_at(source, &["signerName"]),
        };
        let what = format!("ClusterTrustBundle {}", quote(name));
        return vec![file(source, "path", &what)];
    }
    let Some(source) = struct_at(source, &["podCertificate"]) else {
        return Vec::new();
    };
    let files = [
        ("certificateChainPath", "PodCertificate chain"),
        ("keyPath", "PodCertificate key"),
        ("credentialBundlePath", "PodCertificate credential bundle"),
    ];
    let files = files.map(|(field, what)| file(source, field, what));
    files
        .into_iter()
        .filter(|file| !file.path.is_empty())
        .collect()
}

fn items<'v>(source: &'v Value, what: &str) -> Vec<File<'v>> {
    let items = list_at(source, &["items"]).iter();
    let files = items.map(|item| File {
        path: str_at(item, &["path"]),
        source: what.to_owned(),
    });
    files.collect()
}

/// The files of one volume.
struct Files<'v> {
    /// The volume's name, quoted, and what it holds.
    volume: &'v str,
    what: String,
    all: Vec<File<'v>>,
}

impl<'v> Files<'v> {
    fn new(volume: &'v str, what: String) -> Files<'v> {
        Files {
            volume,
            what,
            all: Vec::new(),
        }
    }

    /// Adds files, each compared with all before it.
    fn add_all(&mut self, files: Vec<File<'v>>, out: &mut Warnings) {
        for mut file in files {
            file.path = file.path.trim_end_matches('/');
            // Comparing ends with the room for what is found, and with more files than anybody projects.
            if out.is_full() || self.all.len() > MAX_FILES {
                return;
            }
            for other in self.all.iter().filter(|other| overlap(&file, other)) {
                out.add(format!(
                    "volume {} ({}): overlapping paths: {file} with {other}",
                    self.volume, self.what
                ));
            }
            self.all.push(file);
        }
    }
}

/// Most files of a volume that are compared with each other.
const MAX_FILES: usize = 1000;

/// Whether both are one file, or one is in a folder that the other would be.
fn overlap(one: &File<'_>, other: &File<'_>) -> bool {
    let within = |inner: &str, outer: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    !one.path.is_empty()
        && !other.path.is_empty()
        && (within(one.path, other.path) || within(other.path, one.path))
}
