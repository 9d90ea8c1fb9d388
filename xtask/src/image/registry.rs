//! Serves the images of an archive as a registry does, for pods that insist on a pull.
//!
//! Only what a client needs to pull is answered: manifests by tag or digest, and blobs, which are files of the archive.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use knarr_testkit::image::Blob;
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const BLOB: &str = "application/octet-stream";
const MAX_REQUEST_BYTES: u64 = 16 << 10;
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(30);

/// An archive's images.
pub struct Registry {
    archive: PathBuf,
    /// Places of blobs in the archive, by digest.
    blobs: HashMap<String, Place>,
    /// By `repository:tag`, where the repository has no registry in front, and by digest.
    manifests: HashMap<String, Blob>,
}

#[derive(Clone, Copy)]
struct Place {
    start: u64,
    bytes: u64,
}

struct Answer<'a> {
    status: &'static str,
    media_type: &'static str,
    digest: &'a str,
    body: Body<'a>,
}

enum Body<'a> {
    Bytes(&'a [u8]),
    Archive(Place),
}

impl Registry {
    /// Opens an archive as `docker save` writes it, whose files are named by their digests as ours are.
    pub fn open(archive: &Path) -> Result<Self> {
        let mut registry = Self {
            archive: archive.to_owned(),
            blobs: HashMap::new(),
            manifests: HashMap::new(),
        };
        let mut entries = Value::Null;
        let mut tar = tar::Archive::new(File::open(archive)?);
        for entry in tar.entries_with_seek()? {
            let entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            let place = Place {
                start: entry.raw_file_position(),
                bytes: entry.size(),
            };
            if path == "manifest.json" {
                entries = serde_json::from_reader(entry)?;
            } else if let Some(digest) = digest_of(&path) {
                registry.blobs.insert(digest, place);
            }
        }
        for entry in entries.as_array().context("the archive names no images")? {
            registry.add(entry)?;
        }
        Ok(registry)
    }

    fn add(&mut self, entry: &Value) -> Result<()> {
        let descriptor = |file: &Value, media_type: &str| -> Result<Value> {
            let path = file.as_str().context("a file has a name")?;
            let digest = digest_of(path).with_context(|| path.to_owned())?;
            let place = self.blobs.get(&digest).with_context(|| digest.clone())?;
            Ok(json!({"mediaType": media_type, "digest": digest, "size": place.bytes}))
        };
        let layers = entry["Layers"].as_array().context("an image has layers")?;
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| descriptor(layer, LAYER))
            .collect::<Result<_>>()?;
        let manifest = Blob::new(
            json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": descriptor(&entry["Config"], CONFIG)?,
                "layers": layers,
            })
            .to_string()
            .into_bytes(),
        );
        for tag in entry["RepoTags"].as_array().into_iter().flatten() {
            let (_, name) = tag
                .as_str()
                .and_then(|tag| tag.split_once('/'))
                .context("an image's name has a registry")?;
            self.manifests.insert(name.to_owned(), manifest.clone());
        }
        self.manifests.insert(manifest.digest.clone(), manifest);
        Ok(())
    }

    /// Answers whoever connects, as long as this process lives.
    pub fn serve(self, listener: TcpListener) {
        let registry = Arc::new(self);
        let connections = Arc::new(AtomicUsize::new(0));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // One too many is closed at once; clients try again.
                if connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
                    connections.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                let (registry, connections) = (Arc::clone(&registry), Arc::clone(&connections));
                thread::spawn(move || {
                    // A client that goes away is its own affair.
                    let _ = registry.converse(&stream);
                    connections.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
    }

    /// Answers one request after another.
    fn converse(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(IDLE))?;
        stream.set_write_timeout(Some(IDLE))?;
        let mut reader = BufReader::new(stream);
        while let Some((method, path)) = read_request(&mut reader)? {
            let answer = self.answer(&path);
            self.write(stream, &answer, method != "HEAD")?;
        }
        Ok(())
    }

    fn answer(&self, path: &str) -> Answer<'_> {
        let path = path.split('?').next().unwrap_or_default();
        let path = path.strip_prefix("/v2/").unwrap_or("unknown");
        if path.is_empty() {
            return Answer::new("200 OK", "application/json", Body::Bytes(b"{}"));
        }
        self.find(path).unwrap_or(Answer::new(
            "404 Not Found",
            "application/json",
            Body::Bytes(br#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
        ))
    }

    fn find(&self, path: &str) -> Option<Answer<'_>> {
        if let Some((repository, reference)) = path.split_once("/manifests/") {
            let manifest = match reference.contains(':') {
                true => self.manifests.get(reference),
                false => self.manifests.get(&format!("{repository}:{reference}")),
            }?;
            let mut answer = Answer::new("200 OK", MANIFEST, Body::Bytes(&manifest.bytes));
            answer.digest = &manifest.digest;
            return Some(answer);
        }
        let (_, digest) = path.split_once("/blobs/")?;
        let (digest, place) = self.blobs.get_key_value(digest)?;
        let mut answer = Answer::new("200 OK", BLOB, Body::Archive(*place));
        answer.digest = digest;
        Some(answer)
    }

    fn write(&self, mut to: &TcpStream, answer: &Answer<'_>, with_body: bool) -> io::Result<()> {
        let length = match answer.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Archive(place) => place.bytes,
        };
        let mut head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {length}\r\n",
            answer.status, answer.media_type
        );
        if !answer.digest.is_empty() {
            head.push_str(&format!("Docker-Content-Digest: {}\r\n", answer.digest));
        }
        to.write_all(format!("{head}\r\n").as_bytes())?;
        if !with_body {
            return Ok(());
        }
        match answer.body {
            Body::Bytes(bytes) => to.write_all(bytes),
            Body::Archive(place) => {
                let mut archive = File::open(&self.archive)?;
                archive.seek(SeekFrom::Start(place.start))?;
                io::copy(&mut archive.take(place.bytes), &mut to).map(drop)
            }
        }
    }
}

impl<'a> Answer<'a> {
    fn new(status: &'static str, media_type: &'static str, body: Body<'a>) -> Self {
        Self {
            status,
            media_type,
            digest: "",
            body,
        }
    }
}

/// Of a file in the archive: `DIGEST.json` is a configuration, `DIGEST/layer.tar` a layer.
fn digest_of(path: &str) -> Option<String> {
    let digest = path
        .strip_suffix(".json")
        .or_else(|| path.strip_suffix("/layer.tar"))?;
    Some(format!("sha256:{digest}"))
}

/// Method and path of the next request; none when the client is done. No request of ours has a body.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<(String, String)>> {
    let mut reader = reader.take(MAX_REQUEST_BYTES);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line.trim_end().is_empty() {
            return Ok(Some((method.to_owned(), path.to_owned())));
        }
    }
}

#[cfg(test)]
mod tests {
    use knarr_testkit::image::{Image, LayerBuilder, archive};

    use super::*;

    fn ask(address: std::net::SocketAddr, request: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!("{request} HTTP/1.1\r\nHost: registry\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap()
            + 4;
        let body = answer.split_off(end);
        (String::from_utf8(answer).unwrap(), body)
    }

    #[test]
    fn an_image_can_be_pulled() {
        let layer = LayerBuilder::new()
            .file("a", 0o644, b"content")
            .and_then(LayerBuilder::finish)
            .unwrap();
        let image = Image {
            name: "registry.test/group/name:1".to_owned(),
            layers: vec![layer.clone()],
            config: json!({}),
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("images.tar");
        archive(&[image], File::create(&path).unwrap()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Registry::open(&path).unwrap().serve(listener);

        let (head, body) = ask(address, "HEAD /v2/group/name/manifests/1?ns=registry.test");
        assert!(
            head.starts_with("HTTP/1.1 200 OK") && body.is_empty(),
            "{head}"
        );
        let digest = head.split("Docker-Content-Digest: ").nth(1).unwrap();
        let digest = digest.lines().next().unwrap();
        let (_, body) = ask(address, &format!("GET /v2/group/name/manifests/{digest}"));
        let manifest: Value = serde_json::from_slice(&body).unwrap();
        let digest = manifest["layers"][0]["digest"].as_str().unwrap();
        let (_, body) = ask(address, &format!("GET /v2/group/name/blobs/{digest}"));
        assert_eq!(body, layer.bytes());
        let (head, _) = ask(address, "GET /v2/group/other/manifests/1");
        assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    }
}
