//! Makes the images of Kubernetes' end-to-end suite, as [`recipes`](super::recipes) says, without any registry.
//!
//! All are in one archive, which has each layer once. It is made anew when anything has changed that it follows from: the
//! recipes and this code, the pinned modules, Go, and what apt knows of Debian.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use knarr_testkit::image::{self, Layer, LayerBuilder};
use serde_json::json;

use super::{
    compiled, debian,
    recipes::{self, IMAGES, Image, LEFT_OUT, MORE, Part},
};
use crate::{
    command,
    go::{self, Program},
    progress::step,
};

/// The archive's name.
pub const ARCHIVE: &str = "conformance.tar";
/// What the archive was made from, beside it.
const INPUTS: &str = "conformance.inputs";
const KUBERNETES: &str = "k8s.io/kubernetes";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The code that decides what is in the archive.
const CODE: [&str; 5] = [
    include_str!("../../../crates/testkit/src/image/archive.rs"),
    include_str!("conformance.rs"),
    include_str!("recipes.rs"),
    include_str!("debian.rs"),
    include_str!("compiled.rs"),
];

/// Makes the archive in `out` if need be; its path.
pub fn build(out: &Path) -> Result<PathBuf> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let archive = out.join(ARCHIVE);
    let inputs = out.join(INPUTS);
    let wanted = current_inputs()?;
    if archive.is_file() && fs::read_to_string(&inputs).is_ok_and(|old| old == wanted) {
        return Ok(archive);
    }
    let images = wanted_images()?;
    let layers = Layers::build(&images)?;
    step("writing the archive", || write(&archive, &images, &layers))?;
    fs::write(&inputs, wanted)?;
    Ok(archive)
}

/// What each image of the suite is made of, or why it is not made, one a line.
pub fn list() -> Result<Vec<String>> {
    let names = names()?;
    let lines = names.iter().map(|name| {
        Ok(match recipe(name)? {
            Recipe::Made(image) => format!("{name}: {}", contents(image)),
            Recipe::LeftOut(reason) => format!("{name}: not made ({reason})"),
        })
    });
    lines.collect()
}

fn contents(image: &Image) -> String {
    let layers: Vec<&str> = chain(image.layer).iter().map(|layer| layer.name).collect();
    layers.join(" + ")
}

/// Modules and packages do not change behind their versions, so versions are enough.
fn current_inputs() -> Result<String> {
    let mut text = format!("{}\n{}\n", go::version()?, debian::lists());
    let modules: BTreeSet<_> = programs().iter().map(|program| program.module).collect();
    for module in modules {
        text.push_str(&module.pins()?);
    }
    text.extend(CODE);
    Ok(text)
}

enum Recipe {
    Made(&'static Image),
    LeftOut(&'static str),
}

fn recipe(name: &str) -> Result<Recipe> {
    let repository = name
        .rsplit_once(':')
        .map_or(name, |(repository, _)| repository);
    if let Some(image) = IMAGES.iter().find(|image| image.repository == repository) {
        return Ok(Recipe::Made(image));
    }
    let left_out = LEFT_OUT.iter().find(|(start, _)| name.starts_with(start));
    match left_out {
        Some((_, reason)) => Ok(Recipe::LeftOut(reason)),
        None => bail!(
            "{name}: xtask/src/image/recipes.rs says neither how it is made nor why it is not"
        ),
    }
}

/// Names of all images that the suite wants, and of ours.
pub fn names() -> Result<Vec<String>> {
    let text = go::run(recipes::NAMES_PROGRAM)?;
    Ok(text.lines().chain(MORE).map(str::to_owned).collect())
}

/// Names of the images to make, with their recipes.
fn wanted_images() -> Result<Vec<(String, &'static Image)>> {
    let mut wanted = Vec::new();
    for name in step("asking the suite for the names of its images", names)? {
        if let Recipe::Made(image) = recipe(&name)? {
            wanted.push((name, image));
        }
    }
    Ok(wanted)
}

/// A layer and those below it, the lowest first.
fn chain(top: &'static recipes::Layer) -> Vec<&'static recipes::Layer> {
    let mut chain: Vec<_> = std::iter::successors(Some(top), |layer| layer.on).collect();
    chain.reverse();
    chain
}

/// Every layer that an image has, lower ones first.
fn all_layers() -> Vec<&'static recipes::Layer> {
    let mut layers: Vec<&recipes::Layer> = Vec::new();
    for image in IMAGES {
        for layer in chain(image.layer) {
            if !layers.iter().any(|known| known.name == layer.name) {
                layers.push(layer);
            }
        }
    }
    layers
}

fn programs() -> Vec<Program> {
    let layers = all_layers();
    let parts = layers.iter().flat_map(|layer| layer.parts);
    parts
        .filter_map(|part| match part {
            Part::Go(_, _, program) => Some(*program),
            _ => None,
        })
        .collect()
}

/// Finished layers by name.
struct Layers(BTreeMap<&'static str, Layer>);

impl Layers {
    fn build(images: &[(String, &'static Image)]) -> Result<Self> {
        step("building upstream's Go programs", || go::build(&programs()))?;
        let busybox = step("building busybox", compiled::busybox)?;
        let materials = Materials {
            busybox,
            pause: step("building pause", compiled::pause)?,
            kubernetes: go::SUITE.source_of(KUBERNETES)?,
        };
        let packages = step("fetching Debian packages", fetch)?;
        let used: BTreeSet<&str> = images
            .iter()
            .flat_map(|(_, image)| chain(image.layer))
            .map(|layer| layer.name)
            .collect();
        let mut finished = BTreeMap::new();
        step("making layers", || {
            for layer in all_layers() {
                if used.contains(layer.name) {
                    let made = make(layer, &packages, &materials)
                        .with_context(|| format!("layer {}", layer.name))?;
                    finished.insert(layer.name, made);
                }
            }
            Ok(())
        })?;
        Ok(Self(finished))
    }

    fn of(&self, image: &Image) -> Result<Vec<Layer>> {
        let layers = chain(image.layer).into_iter();
        layers
            .map(|layer| self.0.get(layer.name).cloned().context(layer.name))
            .collect()
    }
}

/// What is built before layers are made.
struct Materials {
    busybox: PathBuf,
    pause: PathBuf,
    /// Kubernetes' source.
    kubernetes: PathBuf,
}

/// The package files that each layer adds to those below it.
fn fetch() -> Result<BTreeMap<&'static str, BTreeSet<PathBuf>>> {
    let packages = debian::Packages::open()?;
    let mut with_lower: BTreeMap<&str, BTreeSet<PathBuf>> = BTreeMap::new();
    let mut added = BTreeMap::new();
    for layer in all_layers() {
        let wanted: BTreeSet<&str> = chain(layer)
            .iter()
            .flat_map(|layer| layer.packages)
            .copied()
            .collect();
        let below = layer.on.and_then(|below| with_lower.get(below.name));
        let below = below.cloned().unwrap_or_default();
        let files = match layer.packages {
            [] => below.clone(),
            _ => packages.get(&wanted)?,
        };
        added.insert(layer.name, files.difference(&below).cloned().collect());
        with_lower.insert(layer.name, files);
    }
    Ok(added)
}

fn make(
    layer: &recipes::Layer,
    packages: &BTreeMap<&str, BTreeSet<PathBuf>>,
    materials: &Materials,
) -> Result<Layer> {
    let replaced: BTreeSet<&str> = layer.parts.iter().map(Part::path).collect();
    let mut builder = LayerBuilder::new();
    let mut directories = BTreeSet::new();
    for package in packages.get(layer.name).into_iter().flatten() {
        builder = debian::add(builder, package, &mut directories, &replaced)?;
    }
    for part in layer.parts {
        builder = add(builder, part, materials).with_context(|| part.path().to_owned())?;
    }
    builder.finish()
}

fn add(layer: LayerBuilder, part: &Part, materials: &Materials) -> Result<LayerBuilder> {
    match part {
        Part::Directory(path, mode) => layer.directory(path, *mode),
        Part::Text(path, text) => layer.file(path, 0o644, text.as_bytes()),
        Part::Link(path, target) => layer.link(path, target),
        Part::Go(path, mode, program) => layer.file(path, *mode, &read(&program.path())?),
        Part::Source(path, source) => {
            layer.file(path, 0o644, &read(&materials.kubernetes.join(source))?)
        }
        Part::Pause(path) => layer.file(path, 0o755, &read(&materials.pause)?),
        Part::Registry(path) => registry(layer, path, &read(&materials.pause)?),
        Part::Busybox(path) => {
            let list = command::output(Command::new(&materials.busybox).arg("--list"))?;
            let mut layer = layer.file(path, 0o755, &read(&materials.busybox)?)?;
            for applet in list.lines().filter(|name| *name != "busybox") {
                layer = layer.link(&format!("usr/bin/{applet}"), "busybox")?;
            }
            Ok(layer)
        }
    }
}

/// Files as agnhost's registry looks for them: each in a folder of its digest, and one that tells the tag's.
fn registry(mut layer: LayerBuilder, root: &str, pause: &[u8]) -> Result<LayerBuilder> {
    let image = image::Image {
        name: String::new(),
        layers: vec![LayerBuilder::new().file("pause", 0o755, pause)?.finish()?],
        config: json!({"Entrypoint": ["/pause"]}),
    };
    let (manifest, blobs) = image.manifest();
    let tag = format!("{root}/pause/manifests/testing");
    layer = layer.file(&tag, 0o644, manifest.digest.as_bytes())?;
    let files = blobs.iter().map(|blob| ("blobs", blob));
    for (kind, blob) in files.chain([("manifests", &manifest)]) {
        let (algorithm, hash) = blob.digest.split_once(':').context("a digest")?;
        let start = hash.get(..2).context("a digest is long")?;
        let path = format!("{root}/pause/{kind}/{algorithm}/{start}/{hash}/data");
        layer = layer.file(&path, 0o644, &blob.bytes)?;
    }
    Ok(layer)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(archive: &Path, images: &[(String, &'static Image)], layers: &Layers) -> Result<()> {
    let images: Vec<image::Image> = images
        .iter()
        .map(|(name, recipe)| {
            Ok(image::Image {
                name: name.clone(),
                layers: layers.of(recipe)?,
                config: configuration(name, recipe),
            })
        })
        .collect::<Result<_>>()?;
    // Whoever reads it sees the old or the new one.
    let unfinished = archive.with_extension("unfinished");
    image::archive(&images, fs::File::create(&unfinished)?)?;
    fs::rename(&unfinished, archive)?;
    Ok(())
}

/// The tag is in it, so that two tags of one recipe are two images: specs roll from one to the other.
fn configuration(name: &str, recipe: &Image) -> serde_json::Value {
    let tag = name.rsplit_once(':').map_or("", |(_, tag)| tag);
    json!({
        "Entrypoint": recipe.entrypoint,
        "Cmd": recipe.command,
        "Env": [PATH],
        "User": recipe.user,
        "WorkingDir": "/",
        "Labels": {"org.opencontainers.image.version": tag},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_names_of_their_own() {
        for image in IMAGES {
            for layer in chain(image.layer) {
                let same = all_layers()
                    .into_iter()
                    .find(|other| other.name == layer.name);
                assert!(
                    same.is_some_and(|same| std::ptr::eq(same, layer)),
                    "{}",
                    layer.name
                );
            }
        }
    }

    #[test]
    fn an_image_is_made_or_left_out_but_not_forgotten() {
        let made = recipe("registry.k8s.io/e2e-test-images/agnhost:2.66.1").unwrap();
        assert!(
            matches!(made, Recipe::Made(image) if contents(image) == "shell + base + dns + agnhost")
        );
        let left_out = recipe("registry.k8s.io/sig-storage/csi-attacher:v4.12.0").unwrap();
        assert!(matches!(left_out, Recipe::LeftOut("CSI drivers")));
        assert!(recipe("registry.k8s.io/e2e-test-images/agnhost-new:1").is_err());
    }

    #[test]
    fn tags_of_one_recipe_are_different_images() {
        assert_ne!(
            configuration("nginx:1", &IMAGES[0]),
            configuration("nginx:2", &IMAGES[0])
        );
    }
}
