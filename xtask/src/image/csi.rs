//! Images of a CSI driver and of upstream's programs beside it, as the manifest in `tests/upstream/csi` names them: each is its
//! program alone, as upstream's.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use knarr_testkit::image::{self, Image, LayerBuilder};
use serde_json::json;

use crate::go::{self, Module, Program};

const MODULE: Module = Module("csi");
const ARCHIVE: &str = "csi.tar";

/// What is made of one program.
struct Recipe {
    repository: &'static str,
    package: &'static str,
    /// The module that tells the version; `None` for the driver, which is this project's.
    version_of: Option<&'static str>,
}

const RECIPES: [Recipe; 4] = [
    Recipe {
        repository: "knarr/csi-directory",
        package: "./driver",
        version_of: None,
    },
    Recipe {
        repository: "registry.k8s.io/sig-storage/csi-provisioner",
        package: "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner",
        version_of: Some("github.com/kubernetes-csi/external-provisioner/v6"),
    },
    Recipe {
        repository: "registry.k8s.io/sig-storage/csi-attacher",
        package: "github.com/kubernetes-csi/external-attacher/v4/cmd/csi-attacher",
        version_of: Some("github.com/kubernetes-csi/external-attacher/v4"),
    },
    Recipe {
        repository: "registry.k8s.io/sig-storage/csi-resizer",
        package: "github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer",
        version_of: Some("github.com/kubernetes-csi/external-resizer/v2"),
    },
];

impl Recipe {
    fn program(&self) -> Program {
        Program {
            module: MODULE,
            package: self.package,
        }
    }

    fn image(&self) -> Result<Image> {
        let path = self.program().path();
        let program = fs::read(&path).with_context(|| path.display().to_string())?;
        let tag = match self.version_of {
            Some(module) => MODULE.version_of(module)?,
            None => "latest".to_owned(),
        };
        let layer = LayerBuilder::new()
            .directory("tmp", 0o1777)?
            .file("program", 0o755, &program)?
            .finish()?;
        Ok(Image {
            name: format!("{}:{tag}", self.repository),
            layers: vec![layer],
            config: json!({"Entrypoint": ["/program"]}),
        })
    }
}

/// Writes the archives of the project's own images and of these to `out`; their paths. Needs Go.
pub fn build(out: &Path) -> Result<Vec<PathBuf>> {
    let mut archives = image::build(out)?;
    let programs: Vec<Program> = RECIPES.iter().map(Recipe::program).collect();
    go::build(&programs)?;
    let images: Result<Vec<Image>> = RECIPES.iter().map(Recipe::image).collect();
    let archive = out.join(ARCHIVE);
    fs::write(&archive, image::archive(&images?, Vec::new())?)
        .with_context(|| format!("cannot write {}", archive.display()))?;
    archives.push(archive);
    Ok(archives)
}
