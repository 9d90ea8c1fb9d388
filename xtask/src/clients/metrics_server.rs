//! metrics-server: its image is its program alone, as upstream's, under the name that its manifests give it.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use knarr_testkit::image::{self, Image, LayerBuilder, target_dir};
use serde_json::json;

use crate::go::Module;

use super::build::{Program, Subject, go, source};

const MODULE: Module = Module("metrics-server");
const PATH: &str = "sigs.k8s.io/metrics-server";
const PACKAGE: &str = "sigs.k8s.io/metrics-server/cmd/metrics-server";
const REPOSITORY: &str = "registry.k8s.io/metrics-server/metrics-server";

/// The walk, pointed at a cluster that has the image.
pub fn client() -> Result<Program> {
    let manifests = MODULE.source_of(PATH)?.join("manifests");
    let walk = Program::new(source("metrics-server/walk")).variable("MANIFESTS", &manifests);
    Ok(walk.pointed_at(Subject::Runtime(images()?)))
}

/// A directory with archives of the project's images and of metrics-server's.
fn images() -> Result<PathBuf> {
    let out = target_dir().join("clients/metrics-server");
    image::build(&out)?;
    let path = go(MODULE, PACKAGE)?;
    let program = fs::read(&path).with_context(|| path.display().to_string())?;
    let version = MODULE.version_of(PATH)?;
    let image = Image {
        name: format!("{REPOSITORY}:{version}"),
        layers: vec![
            LayerBuilder::new()
                .file("metrics-server", 0o755, &program)?
                .finish()?,
        ],
        config: json!({"Entrypoint": ["/metrics-server"], "User": "65534"}),
    };
    let archive = out.join("metrics-server.tar");
    fs::write(&archive, image::archive(&[image], Vec::new())?)
        .with_context(|| format!("cannot write {}", archive.display()))?;
    Ok(out)
}
