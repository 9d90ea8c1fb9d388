//! Writes image archives as `docker save` does.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// An image.
pub struct Image {
    /// Repository and tag.
    pub name: String,
    /// The lowest first.
    pub layers: Vec<Layer>,
    /// The `config` part of the image's configuration: Entrypoint, Cmd, Env, User ...
    pub config: Value,
}

impl Image {
    /// What the image's id is the digest of.
    fn configuration(&self) -> String {
        let diff_ids: Vec<String> = self.layers.iter().map(Layer::diff_id).collect();
        json!({
            "architecture": architecture(),
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
        .to_string()
    }

    /// The image's manifest, as registries serve it, and all that it points to.
    pub fn manifest(&self) -> (Blob, Vec<Blob>) {
        let config = Blob::new(self.configuration().into_bytes());
        let layers = self.layers.iter().map(|layer| Blob {
            digest: layer.diff_id(),
            bytes: layer.tar.clone(),
        });
        let layers: Vec<Blob> = layers.collect();
        let described: Vec<Value> = layers
            .iter()
            .map(|layer| layer.descriptor("application/vnd.oci.image.layer.v1.tar"))
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": described,
        });
        let manifest = Blob::new(manifest.to_string().into_bytes());
        (manifest, [vec![config], layers].concat())
    }
}

/// Bytes that are found by their digest.
#[derive(Clone)]
pub struct Blob {
    /// With its algorithm.
    pub digest: String,
    pub bytes: Arc<[u8]>,
}

impl Blob {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            digest: format!("sha256:{}", digest(&bytes)),
            bytes: bytes.into(),
        }
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

/// A layer, whose bytes images share.
#[derive(Clone)]
pub struct Layer {
    /// Of the tar, in hexadecimal digits.
    digest: String,
    tar: Arc<[u8]>,
}

impl Layer {
    /// The uncompressed tar.
    pub fn bytes(&self) -> &[u8] {
        &self.tar
    }

    fn diff_id(&self) -> String {
        format!("sha256:{}", self.digest)
    }
}

/// Builds a layer's tar. Nothing has a time; everything belongs to root but what [`LayerBuilder::entry`] copies.
pub struct LayerBuilder {
    tar: tar::Builder<Vec<u8>>,
}

impl Default for LayerBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl LayerBuilder {
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

    /// Copies an entry of another archive to `path`, with its owner; `target` is where it leads if it is a link.
    pub fn entry(
        mut self,
        path: &str,
        target: Option<&Path>,
        entry: &mut tar::Entry<'_, impl Read>,
    ) -> Result<Self> {
        let from = entry.header();
        let mut header = header(from.entry_type(), from.mode()?, from.size()?);
        header.set_uid(from.uid()?);
        header.set_gid(from.gid()?);
        match target {
            Some(target) => self.tar.append_link(&mut header, path, target),
            None => self.tar.append_data(&mut header, path, entry),
        }
        .with_context(|| path.to_owned())?;
        Ok(self)
    }

    pub fn finish(self) -> Result<Layer> {
        let tar = self.tar.into_inner().context("cannot end the layer")?;
        Ok(Layer {
            digest: digest(&tar),
            tar: tar.into(),
        })
    }
}

/// Writes the archive of these images. Layers they share are in it once.
pub fn archive<W: Write>(images: &[Image], to: W) -> Result<W> {
    let mut tar = tar::Builder::new(to);
    let mut file = |path: &str, content: &[u8]| {
        let mut header = header(tar::EntryType::Regular, 0o644, content.len() as u64);
        tar.append_data(&mut header, path, content)
            .with_context(|| path.to_owned())
    };
    let mut entries = Vec::new();
    let mut written = BTreeSet::new();
    for image in images {
        let config = image.configuration();
        let config_path = format!("{}.json", digest(config.as_bytes()));
        if written.insert(config_path.clone()) {
            file(&config_path, config.as_bytes())?;
        }
        let mut layer_paths = Vec::new();
        for layer in &image.layers {
            let path = format!("{}/layer.tar", layer.digest);
            if written.insert(path.clone()) {
                file(&path, layer.bytes())?;
            }
            layer_paths.push(path);
        }
        entries
            .push(json!({"Config": config_path, "RepoTags": [image.name], "Layers": layer_paths}));
    }
    file("manifest.json", Value::from(entries).to_string().as_bytes())?;
    tar.into_inner().context("cannot end the archive")
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
        let layer = LayerBuilder::new()
            .directory("etc", 0o755)
            .and_then(|layer| layer.file("etc/a", 0o644, b"content"))
            .and_then(|layer| layer.link("b", "etc/a"))
            .and_then(LayerBuilder::finish)
            .unwrap();
        let upper = |content: &[u8]| {
            LayerBuilder::new()
                .file("c", 0o644, content)
                .and_then(LayerBuilder::finish)
                .unwrap()
        };
        let image = |name: &str| Image {
            name: name.to_owned(),
            layers: vec![layer.clone(), upper(name.as_bytes())],
            config: json!({"Env": [name]}),
        };
        let images = [image("a:1"), image("a:2")];
        let bytes = archive(&images, Vec::new()).unwrap();
        assert_eq!(bytes, archive(&images, Vec::new()).unwrap());

        let files = files(&bytes);
        assert_eq!(
            files.len(),
            6,
            "two configurations, three layers, the manifest: {:?}",
            files.keys()
        );
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["Layers"][0], manifest[1]["Layers"][0]);
        assert_ne!(manifest[0]["Layers"][1], manifest[1]["Layers"][1]);
        assert_eq!(manifest[1]["RepoTags"], json!(["a:2"]));
        let config: Value =
            serde_json::from_slice(&files[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        let stored = &files[manifest[0]["Layers"][0].as_str().unwrap()];
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            format!("sha256:{}", digest(stored))
        );
        assert_eq!(stored, layer.bytes());

        let (manifest, blobs) = images[0].manifest();
        let manifest: Value = serde_json::from_slice(&manifest.bytes).unwrap();
        let named = [
            &manifest["config"],
            &manifest["layers"][0],
            &manifest["layers"][1],
        ];
        for (named, blob) in named.into_iter().zip(&blobs) {
            assert_eq!(named["digest"], blob.digest);
            assert_eq!(blob.digest, format!("sha256:{}", digest(&blob.bytes)));
        }
        assert_eq!(blobs.len(), named.len());
    }
}
