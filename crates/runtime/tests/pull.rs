//! Pulls from a real registry: Debian's docker-registry, on the loopback, with storage of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use knarr_runtime::Registries;
use knarr_runtime::images::pull::{Credentials, PullFailure, Puller, Timeouts};
use knarr_runtime::images::{ImageStore, Reference};
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::manifest::OciImageIndex;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference as OciReference};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::process::{Child, Command};
use tokio_util::task::TaskTracker;

const REGISTRY: &str = "/usr/bin/docker-registry";
const BUSYBOX: &str = "/bin/busybox";
const PATIENCE: Duration = Duration::from_secs(30);
/// Of user `u`, password `secret`.
const HTPASSWD: &str = "u:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";

struct Kit {
    directory: tempfile::TempDir,
    registry: Child,
    port: u16,
    images: Arc<ImageStore>,
    puller: Puller,
    auth: RegistryAuth,
}

/// `None`, with the reason printed, where these tests cannot run.
async fn start(protected: bool) -> Option<Kit> {
    for path in [REGISTRY, BUSYBOX] {
        if !Path::new(path).exists() {
            eprintln!("skipped: needs {path} (Debian's docker-registry and busybox-static)");
            return None;
        }
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root, to own the files of layers");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let registry = serve(directory.path(), port, protected).await;
    let images = Arc::new(ImageStore::open(directory.path().join("images")).unwrap());
    Some(Kit {
        registry,
        port,
        puller: Puller::new(
            images.clone(),
            Registries::default(),
            Timeouts::default(),
            TaskTracker::new(),
        ),
        images,
        auth: if protected {
            RegistryAuth::Basic("u".to_owned(), "secret".to_owned())
        } else {
            RegistryAuth::Anonymous
        },
        directory,
    })
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

async fn serve(directory: &Path, port: u16, protected: bool) -> Child {
    let mut config = json!({
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": true}},
        "storage": {"filesystem": {"rootdirectory": directory.join("registry")}},
        "http": {"addr": format!("127.0.0.1:{port}")},
    });
    if protected {
        let path = directory.join("htpasswd");
        std::fs::write(&path, HTPASSWD).unwrap();
        config["auth"] = json!({"htpasswd": {"realm": "test", "path": path}});
    }
    let path = directory.join("config.yml");
    // JSON is YAML.
    std::fs::write(&path, config.to_string()).unwrap();
    let child = Command::new(REGISTRY)
        .arg("serve")
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .is_err()
    {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the registry does not listen"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    child
}

/// A layer with one file: the digest of its tar, and the tar compressed.
fn layer(name: &str, content: &[u8]) -> (String, Vec<u8>) {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    builder.append_data(&mut header, name, content).unwrap();
    let tar = builder.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    (digest(&tar), gzip.finish().unwrap())
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

struct Pushed {
    id: String,
    /// Digests of the compressed layers.
    layers: Vec<String>,
}

impl Kit {
    fn name(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }

    fn client(&self) -> Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::new(ClientConfig {
            protocol: ClientProtocol::Http,
            ..ClientConfig::default()
        })
    }

    /// Pushes an image of busybox and a marker of its own.
    async fn push(&self, repository: &str, tag: &str, architecture: &str) -> Pushed {
        let layers = [
            layer("bin/busybox", &std::fs::read(BUSYBOX).unwrap()),
            layer("marker", format!("{repository}:{tag}").as_bytes()),
        ];
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": {"Entrypoint": ["/bin/busybox"], "User": "7"},
            "rootfs": {"type": "layers", "diff_ids": [layers[0].0, layers[1].0]},
        })
        .to_string();
        let reference = self.oci(repository, tag);
        let blobs: Vec<ImageLayer> = layers
            .iter()
            .map(|(_, bytes)| ImageLayer::oci_v1_gzip(bytes.clone(), None))
            .collect();
        let pushing = Config::oci_v1(config.clone().into_bytes(), None);
        self.client()
            .push(&reference, &blobs, pushing, &self.auth, None)
            .await
            .unwrap();
        Pushed {
            id: digest(config.as_bytes()),
            layers: layers.iter().map(|(_, bytes)| digest(bytes)).collect(),
        }
    }

    fn oci(&self, repository: &str, tag: &str) -> OciReference {
        let registry = format!("127.0.0.1:{}", self.port);
        OciReference::with_tag(registry, repository.to_owned(), tag.to_owned())
    }

    async fn manifest_digest(&self, repository: &str, tag: &str) -> String {
        self.client()
            .fetch_manifest_digest(&self.oci(repository, tag), &self.auth)
            .await
            .unwrap()
    }

    async fn pull(
        &self,
        name: &str,
    ) -> Result<String, Arc<knarr_runtime::images::pull::PullError>> {
        self.pull_as(name, Credentials::Anonymous).await
    }

    async fn pull_as(
        &self,
        name: &str,
        credentials: Credentials,
    ) -> Result<String, Arc<knarr_runtime::images::pull::PullError>> {
        let reference = Reference::parse(&self.name(name)).unwrap();
        tokio::time::timeout(PATIENCE, self.puller.pull(&reference, credentials))
            .await
            .unwrap()
    }

    /// The registry's file of a blob.
    fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.directory
            .path()
            .join("registry/docker/registry/v2/blobs/sha256")
            .join(&hex[..2])
            .join(hex)
            .join("data")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_pulled_unpacked_and_found_by_tag_and_digest() {
    let Some(mut kit) = start(false).await else {
        return;
    };
    let pushed = kit.push("team/app", "v1", "amd64").await;
    let manifest = kit.manifest_digest("team/app", "v1").await;
    // Asked for twice at a time.
    let (first, second) = tokio::join!(kit.pull("team/app:v1"), kit.pull("team/app:v1"));
    assert_eq!(first.unwrap(), pushed.id);
    assert_eq!(second.unwrap(), pushed.id);
    let image = kit.images.find(&kit.name("team/app:v1")).unwrap();
    assert_eq!(image.config.config.as_ref().unwrap().user, "7");
    let by_digest = kit.name(&format!("team/app@{manifest}"));
    assert_eq!(image.digests.iter().collect::<Vec<_>>(), [&by_digest]);
    assert_eq!(kit.images.find(&by_digest).unwrap().id, pushed.id);
    let layers = kit.images.layers(&image).unwrap();
    assert!(
        std::fs::read(layers[0].join("bin/busybox")).unwrap() == std::fs::read(BUSYBOX).unwrap()
    );
    assert_eq!(
        std::fs::read_to_string(layers[1].join("marker")).unwrap(),
        "team/app:v1"
    );

    // Another image shares a layer, which the registry cannot give any more.
    kit.push("team/app", "v2", "amd64").await;
    std::fs::remove_file(kit.blob(&pushed.layers[0])).unwrap();
    kit.pull("team/app:v2").await.unwrap();

    // What a digest names does not change: no registry is asked.
    kit.registry.kill().await.unwrap();
    assert_eq!(
        kit.pull(&format!("team/app@{manifest}")).await.unwrap(),
        pushed.id
    );
    let down = kit.pull("team/app:v1").await.unwrap_err().to_string();
    assert!(
        down.starts_with("failed to pull and unpack image") && down.contains("Connection refused"),
        "{down}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found() {
    let Some(kit) = start(false).await else {
        return;
    };
    kit.push("app", "v1", "amd64").await;
    for name in ["app:v2", "nothing:v1"] {
        let error = kit.pull(name).await.unwrap_err();
        assert!(matches!(error.failure, PullFailure::NotFound(_)), "{error}");
        let full = kit.name(name);
        assert_eq!(
            error.to_string(),
            format!(
                "failed to pull and unpack image {full:?}: failed to resolve reference {full:?}: {full}: not found"
            )
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_gives_the_image_of_this_platform() {
    let Some(kit) = start(false).await else {
        return;
    };
    let (ours, other) = match std::env::consts::ARCH {
        "aarch64" => ("arm64", "amd64"),
        _ => ("amd64", "arm64"),
    };
    let pushed = kit.push("app", "ours", ours).await;
    kit.push("app", "other", other).await;
    for (tag, images) in [
        ("both", [("other", other), ("ours", ours)].as_slice()),
        ("one", &[("other", other)]),
    ] {
        let mut manifests = Vec::new();
        for (image, architecture) in images {
            let digest = kit.manifest_digest("app", image).await;
            let size = std::fs::metadata(kit.blob(&digest)).unwrap().len();
            manifests.push(json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
                "platform": {"architecture": architecture, "os": "linux"},
            }));
        }
        let index: OciImageIndex = serde_json::from_value(json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
        }))
        .unwrap();
        kit.client()
            .push_manifest_list(&kit.oci("app", tag), &kit.auth, index)
            .await
            .unwrap();
    }
    assert_eq!(kit.pull("app:both").await.unwrap(), pushed.id);
    let image = kit.images.find(&kit.name("app:both")).unwrap();
    // The digest that a user may ask for is the list's.
    let list = kit.manifest_digest("app", "both").await;
    assert!(
        image.digests.contains(&kit.name(&format!("app@{list}"))),
        "{:?}",
        image.digests
    );
    let missing = kit.pull("app:one").await.unwrap_err();
    assert!(
        matches!(missing.failure, PullFailure::Platform(_)),
        "{missing}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_with_another_content_is_refused() {
    let Some(kit) = start(false).await else {
        return;
    };
    let pushed = kit.push("app", "v1", "amd64").await;
    let blob = kit.blob(&pushed.layers[1]);
    let right = std::fs::read(&blob).unwrap();
    let mut other = right.clone();
    *other.last_mut().unwrap() ^= 1;
    let longer = [right.as_slice(), b"more"].concat();
    for (content, why) in [(other, "igest"), (longer, "it has more than")] {
        std::fs::write(&blob, content).unwrap();
        let error = kit.pull("app:v1").await.unwrap_err().to_string();
        assert!(
            error.contains("failed to copy layer") && error.contains(why),
            "{error}"
        );
    }
    assert!(kit.images.list().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_needed_and_used() {
    let Some(kit) = start(true).await else { return };
    let pushed = kit.push("app", "v1", "amd64").await;
    let password = |password: &str| Credentials::Password {
        username: "u".to_owned(),
        password: password.to_owned(),
    };
    for credentials in [Credentials::Anonymous, password("wrong")] {
        let error = kit.pull_as("app:v1", credentials).await.unwrap_err();
        assert!(
            matches!(error.failure, PullFailure::Denied { .. }),
            "{error}"
        );
    }
    assert_eq!(
        kit.pull_as("app:v1", password("secret")).await.unwrap(),
        pushed.id
    );
}
