//! critest's images: it wants upstream's, which are in public registries. Ours do the same, from busybox and a program in C.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::image::{self, Image, Layer, LayerBuilder, target_dir};
use serde_json::{Value, json};

use crate::{command, image::compiled};

use super::build::source;

const SUITE: &str = "registry.k8s.io/e2e-test-images";
const CRI_TOOLS: &str = "gcr.io/k8s-staging-cri-tools";
const ENVIRONMENT: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/sh\n\
                      default-user:x:1000:1000::/home:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nwww-data:x:33:\ndefault-user:x:1000:\n\
                     group-defined-in-image:x:50000:default-user\nnogroup:x:65534:\n";
const PAGE: &str = "<html><body><h1>Welcome to nginx!</h1></body></html>\n";

/// What holds a pod's namespaces, for a runtime that wants an image for that.
pub const PAUSE: &str = "registry.k8s.io/pause:3.10.1";

/// A directory with archives of the project's images and of those that critest wants.
pub fn images() -> Result<PathBuf> {
    let out = target_dir().join("clients/images");
    image::build(&out)?;
    let program = nnp(&target_dir().join("clients"))?;
    let layer = layer(&program)?;
    // httpd says nothing by itself, and a line of a log is waited for.
    let server = |port: u16| {
        let script = format!("echo httpd; exec httpd -f -p {port} -h /www");
        json!(["sh", "-c", script])
    };
    let names = [
        (SUITE, "busybox:1.29-2", json!(["sh"]), ""),
        (SUITE, "nginx:1.14-2", server(80), ""),
        (SUITE, "httpd:2.4.39-4", server(80), ""),
        (SUITE, "nonewprivs:1.3", json!(["/nnp"]), ""),
        (CRI_TOOLS, "hostnet-nginx-amd64:latest", server(12003), ""),
        (
            CRI_TOOLS,
            "test-image-predefined-group:latest",
            json!(["sh"]),
            "1000",
        ),
    ];
    let mut images = vec![pause()?];
    images.extend(names.map(|(registry, name, command, user)| Image {
        name: format!("{registry}/{name}"),
        layers: vec![layer.clone()],
        config: configuration(&command, user),
    }));
    let archive = out.join("critest.tar");
    fs::write(&archive, image::archive(&images, Vec::new())?)
        .with_context(|| format!("cannot write {}", archive.display()))?;
    Ok(out)
}

fn configuration(command: &Value, user: &str) -> Value {
    json!({"Cmd": command, "Env": [ENVIRONMENT], "User": user, "WorkingDir": "/"})
}

fn pause() -> Result<Image> {
    let path = compiled::pause()?;
    let program = fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(Image {
        name: PAUSE.to_owned(),
        layers: vec![
            LayerBuilder::new()
                .file("pause", 0o755, &program)?
                .finish()?,
        ],
        config: json!({"Entrypoint": ["/pause"]}),
    })
}

/// Compiles the program that tells whether it may have root's rights.
fn nnp(folder: &Path) -> Result<Vec<u8>> {
    let out = folder.join("nnp");
    let status = Command::new("cc")
        .args(["-static", "-Os", "-o"])
        .arg(&out)
        .arg(source("critest/nnp.c"))
        .status()
        .context("cannot run cc (Debian's gcc)")?;
    ensure!(status.success(), "nnp.c does not compile: {status}");
    fs::read(&out).with_context(|| out.display().to_string())
}

fn layer(nnp: &[u8]) -> Result<Layer> {
    let program = compiled::busybox()?;
    let busybox = fs::read(&program).with_context(|| program.display().to_string())?;
    let list = command::output(Command::new(&program).arg("--list"))?;
    let mut layer = LayerBuilder::new()
        .directory("bin", 0o755)?
        .directory("etc", 0o755)?
        .directory("tmp", 0o1777)?
        .directory("root", 0o700)?
        .directory("www", 0o755)?
        .file("etc/passwd", 0o644, PASSWD.as_bytes())?
        .file("etc/group", 0o644, GROUP.as_bytes())?
        .file("www/index.html", 0o644, PAGE.as_bytes())?
        .file("nnp", 0o4755, nnp)?
        .file("bin/busybox", 0o755, &busybox)?
        // A path of its own, to be masked.
        .file("bin/ls", 0o755, &busybox)?;
    let own = ["busybox", "ls"];
    for applet in list.lines().filter(|name| !own.contains(name)) {
        layer = layer.link(&format!("bin/{applet}"), "busybox")?;
    }
    layer.finish()
}
