//! Images as no builder makes them.

use std::io::Write;

use anyhow::Result;
use knarr_testkit::image::Blob;
use serde_json::{Value, json};

/// The head of a root's file, of which the rest is to be set.
pub fn header() -> Result<tar::Header> {
    let mut header = tar::Header::new_ustar();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_device_major(0)?;
    header.set_device_minor(0)?;
    Ok(header)
}

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// Long enough for what must compress.
const MEBIBYTE: usize = 1 << 20;

/// An image whose parts can be changed before they are served.
pub struct Forged {
    /// Bytes and descriptor.
    pub layers: Vec<(Vec<u8>, Value)>,
    pub config: Vec<u8>,
    pub config_descriptor: Value,
}

impl Forged {
    /// Layers by what is fetched, what it unpacks to, and media type.
    pub fn new(layers: &[(Vec<u8>, &[u8], &str)]) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|(_, tar, _)| digest(tar)).collect();
        let config = json!({
            "architecture": architecture(), "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let layers = layers
            .iter()
            .map(|(bytes, _, kind)| (bytes.clone(), descriptor(bytes, kind)))
            .collect();
        let mut forged = Self {
            layers,
            config: Vec::new(),
            config_descriptor: Value::Null,
        };
        forged.set_config(config.to_string().into_bytes());
        forged
    }

    /// One layer, as it is.
    pub fn plain(tar: Vec<u8>) -> Self {
        Self::new(&[(tar.clone(), &tar, TAR)])
    }

    pub fn set_config(&mut self, config: Vec<u8>) {
        self.config_descriptor = descriptor(&config, "application/vnd.oci.image.config.v1+json");
        self.config = config;
    }

    pub fn manifest(&self) -> Blob {
        let layers: Vec<&Value> = self
            .layers
            .iter()
            .map(|(_, descriptor)| descriptor)
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": self.config_descriptor, "layers": layers,
        });
        Blob::new(manifest.to_string().into_bytes())
    }
}

pub fn descriptor(bytes: &[u8], kind: &str) -> Value {
    json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
}

pub fn digest(bytes: &[u8]) -> String {
    Blob::new(bytes.to_vec()).digest
}

/// For this platform.
pub fn index(manifests: &[(&str, usize)]) -> Blob {
    let platform = json!({"os": "linux", "architecture": architecture()});
    let manifests: Vec<Value> = manifests
        .iter()
        .map(|(digest, size)| json!({"mediaType": INDEX, "digest": digest, "size": size, "platform": platform}))
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    Blob::new(index.to_string().into_bytes())
}

/// Entries by kind, path and target; files hold their own path.
pub fn tar(entries: &[(tar::EntryType, &str, &str)]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, path, target) in entries {
        let content = if *kind == tar::EntryType::Regular {
            path.as_bytes()
        } else {
            b""
        };
        let mut header = header()?;
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        if matches!(kind, tar::EntryType::Char | tar::EntryType::Block) {
            header.set_device_major(1)?;
            header.set_device_minor(1)?;
        }
        // By hand: the library refuses to write what a good library would refuse to read.
        let fields = header.as_old_mut();
        fields.name[..path.len()].copy_from_slice(path.as_bytes());
        fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        builder.append(&header, content)?;
    }
    Ok(builder.into_inner()?)
}

/// As many small files.
pub fn many_files(count: usize) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for n in 0..count {
        let mut header = header()?;
        header.set_size(0);
        header.set_mode(0o644);
        builder.append_data(
            &mut header,
            format!("many/{}/{n}", n % 100),
            std::io::empty(),
        )?;
    }
    Ok(builder.into_inner()?)
}

/// Zeros, compressed a thousand times, as a file of a tar if it has a header.
pub fn bomb(mebibytes: usize, is_tar: bool) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if is_tar {
        let mut header = header()?;
        header.set_path("zeros")?;
        header.set_size((mebibytes * MEBIBYTE) as u64);
        header.set_mode(0o644);
        header.set_cksum();
        bytes = gzip(header.as_bytes())?;
    }
    // One stream after another is one stream.
    let zeros = gzip(&vec![0; MEBIBYTE])?;
    for _ in 0..mebibytes {
        bytes.extend_from_slice(&zeros);
    }
    Ok(bytes)
}

pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
