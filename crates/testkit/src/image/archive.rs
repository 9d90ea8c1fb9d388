//! Writes image archives as `docker save` does.

use std::{collections::BTreeSet, io};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// An image of one layer.
pub struct Image {
    /// Repository and tag.
    pub name: String,
    /// An uncompressed tar, from [`Layer::finish`].
    pub layer: Vec<u8>,
    /// The `config` part of the image's configuration: Entrypoint, Cmd, Env, User ...
    pub config: Value,
}

/// Builds a layer's tar. Everything belongs to root and has no time.
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
}

impl Default for Layer {
    fn default() -> Self {
        Self::new()
    }
}

impl Layer {
    pub fn new() -> Self {
        Self {
            tar: tar::Builder::new(Vec::new()),
        }
    }

    pub fn directory(mut self, path: &str, mode: u32) -> Result<Self> {
        let mut header = header(tar::EntryType::Directory, mode, 0);
        self.tar
            .append_data(&mut header, format!("{path}/"), io::empty())
            .with_context(|| path.to_owned())?;
        Ok(self)
    }

    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Result<Self> {
        let mut header = header(tar::EntryType::Regular, mode, content.len() as u64);
        self.tar
            .append_data(&mut header, path, content)
            .with_context(|| path.to_owned())?;
        Ok(self)
    }

    pub fn link(mut self, path: &str, target: &str) -> Result<Self> {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.tar
            .append_link(&mut header, path, target)
            .with_context(|| path.to_owned())?;
        Ok(self)
    }

    /// The layer's bytes.
    pub fn finish(self) -> Result<Vec<u8>> {
        self.tar.into_inner().context("cannot end the archive")
    }
}

/// The archive of these images. Layers they share are in it once.
pub fn archive(images: &[Image]) -> Result<Vec<u8>> {
    let mut files = Layer::new();
    let mut entries = Vec::new();
    let mut layers = BTreeSet::new();
    for image in images {
        let layer_digest = digest(&image.layer);
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": image.config,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
        })
        .to_string();
        let config_path = format!("{}.json", digest(config.as_bytes()));
        let layer_path = format!("{layer_digest}/layer.tar");
        files = files.file(&config_path, 0o644, config.as_bytes())?;
        if layers.insert(layer_digest) {
            files = files.file(&layer_path, 0o644, &image.layer)?;
        }
        entries
            .push(json!({"Config": config_path, "RepoTags": [image.name], "Layers": [layer_path]}));
    }
    let manifest = Value::from(entries).to_string();
    files
        .file("manifest.json", 0o644, manifest.as_bytes())?
        .finish()
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// As Go, and with it image configurations, calls this processor.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read};

    use super::*;

    fn files(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(bytes).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            assert!(files.insert(path, content).is_none());
        }
        files
    }

    #[test]
    fn images_share_their_layer() {
        let layer = Layer::new()
            .directory("etc", 0o755)
            .and_then(|layer| layer.file("etc/a", 0o644, b"content"))
            .and_then(|layer| layer.link("b", "etc/a"))
            .and_then(Layer::finish)
            .unwrap();
        let image = |name: &str| Image {
            name: name.to_owned(),
            layer: layer.clone(),
            config: json!({"Env": [name]}),
        };
        let bytes = archive(&[image("a:1"), image("a:2")]).unwrap();
        assert_eq!(bytes, archive(&[image("a:1"), image("a:2")]).unwrap());

        let files = files(&bytes);
        assert_eq!(
            files.len(),
            4,
            "two configurations, a layer, the manifest: {:?}",
            files.keys()
        );
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["Layers"], manifest[1]["Layers"]);
        assert_eq!(manifest[1]["RepoTags"], json!(["a:2"]));
        let config: Value =
            serde_json::from_slice(&files[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        let stored = &files[manifest[0]["Layers"][0].as_str().unwrap()];
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            format!("sha256:{}", digest(stored))
        );
        assert_eq!(*stored, layer);
    }
}
