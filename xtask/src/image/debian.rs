//! Debian packages as parts of layers: apt finds what they depend on and fetches it, but nothing is installed.
//!
//! apt is told of another system than this one: one that has only what maintainer scripts need, since none is run. So the
//! answer does not depend on what is installed here, and root is not needed.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
    time::UNIX_EPOCH,
};

use anyhow::{Context, Result, bail, ensure};
use knarr_testkit::image::LayerBuilder;

use crate::{command, go};

/// What only maintainer scripts and package managers use; it does not come along unless it is asked for.
const MAINTENANCE: [&str; 12] = [
    "adduser",
    "debconf",
    "dpkg",
    "init-system-helpers",
    "login",
    "lsb-base",
    "passwd",
    "perl-base",
    "sysvinit-utils",
    "tar",
    "usr-is-merged",
    "usrmerge",
];
/// Newer than any.
const MAINTENANCE_VERSION: &str = "9999";
/// What no program reads.
const DROPPED: [&str; 7] = [
    "usr/share/bash-completion",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/bug",
];
/// Directories that are links to those in `usr`.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
const LISTS: &str = "/var/lib/apt/lists";

/// The place of fetched packages.
pub struct Packages {
    archives: PathBuf,
    /// Stays empty, so that apt names what is here already too.
    nothing: PathBuf,
    status: PathBuf,
}

impl Packages {
    pub fn open() -> Result<Self> {
        let root = folder();
        let packages = Self {
            archives: root.join("archives"),
            nothing: root.join("nothing"),
            status: root.join("status"),
        };
        for folder in [&packages.archives, &packages.nothing] {
            let partial = folder.join("partial");
            fs::create_dir_all(&partial)
                .with_context(|| format!("cannot make {}", partial.display()))?;
        }
        Ok(packages)
    }

    /// The files of these packages and of all that they depend on, fetched.
    pub fn get(&self, packages: &BTreeSet<&str>) -> Result<BTreeSet<PathBuf>> {
        if packages.is_empty() {
            return Ok(BTreeSet::new());
        }
        fs::write(&self.status, status(packages, &architecture()?))?;
        let text = command::output(
            self.apt(&self.nothing)
                .args(["--print-uris", "install"])
                .args(packages),
        )
        .context("apt cannot find the packages; `apt-get update` may help")?;
        let files: BTreeSet<PathBuf> = file_names(&text)?
            .iter()
            .map(|name| self.archives.join(name))
            .collect();
        if files.iter().any(|file| !file.is_file()) {
            command::run(
                self.apt(&self.archives)
                    .args(["--download-only", "install"])
                    .args(packages),
            )?;
        }
        for file in &files {
            ensure!(file.is_file(), "apt did not fetch {}", file.display());
        }
        Ok(files)
    }

    fn apt(&self, archives: &Path) -> Command {
        let mut apt = apt();
        for (name, value) in [
            ("Dir::State::status", self.status.as_path()),
            ("Dir::Cache::archives", archives),
        ] {
            apt.arg("-o").arg(format!("{name}={}", value.display()));
        }
        apt.args(["-qq", "--yes", "--no-install-recommends"]);
        apt
    }
}

/// Where everything of Debian's is kept.
pub fn folder() -> PathBuf {
    go::directory().join("debian")
}

/// apt-get that leaves the system's own state alone.
pub fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.args([
        "-oDebug::NoLocking=1",
        "-oDir::Cache::pkgcache=",
        "-oDir::Cache::srcpkgcache=",
        // Its own user cannot write where we keep things.
        "-oAPT::Sandbox::User=",
    ]);
    apt
}

/// Changes when apt has learnt of other versions.
pub fn lists() -> String {
    let entries = fs::read_dir(LISTS).into_iter().flatten().flatten();
    let mut lines: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let metadata = entry.metadata().ok()?;
            let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            name.contains("_Packages")
                .then(|| format!("{name} {} {}", metadata.len(), changed.as_secs()))
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

/// Copies what a package installs, but for `skipped` paths.
pub fn add(
    mut layer: LayerBuilder,
    package: &Path,
    directories: &mut BTreeSet<String>,
    skipped: &BTreeSet<&str>,
) -> Result<LayerBuilder> {
    let mut unpack = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run dpkg-deb")?;
    let mut stream = unpack.stdout.take().context("its output is read")?;
    let mut archive = tar::Archive::new(&mut stream);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let Some(path) = placed(&entry.path()?)? else {
            continue;
        };
        let kind = entry.header().entry_type();
        let known = kind.is_dir() && !directories.insert(path.clone());
        if known || skipped.contains(path.as_str()) {
            continue;
        }
        let target = entry.link_name()?.map(PathBuf::from);
        let target = match target {
            // Names a file of the package, which has moved with it.
            Some(target) if kind.is_hard_link() => placed(&target)?.map(PathBuf::from),
            other => other,
        };
        layer = layer.entry(&path, target.as_deref(), &mut entry)?;
    }
    // Its end is waited for by dpkg-deb.
    stream.read_to_end(&mut Vec::new())?;
    let status = unpack.wait()?;
    ensure!(status.success(), "dpkg-deb {}: {status}", package.display());
    Ok(layer)
}

/// Where a file of a package goes: nowhere, or to a path without a slash in front.
fn placed(path: &Path) -> Result<Option<String>> {
    let mut elements = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir | Component::RootDir => {}
            Component::Normal(name) => {
                elements.push(name.to_str().context("a path is no UTF-8")?);
            }
            _ => bail!("a package has the path {}", path.display()),
        }
    }
    if elements.first().is_some_and(|first| MERGED.contains(first)) {
        if elements.len() == 1 {
            return Ok(None);
        }
        elements.insert(0, "usr");
    }
    let path = elements.join("/");
    let dropped = DROPPED.iter().any(|dropped| {
        path.strip_prefix(dropped)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    Ok((!path.is_empty() && !dropped).then_some(path))
}

/// The system that apt is told of.
fn status(wanted: &BTreeSet<&str>, architecture: &str) -> String {
    MAINTENANCE
        .iter()
        .filter(|package| !wanted.contains(*package))
        .map(|package| {
            format!(
                "Package: {package}\nStatus: install ok installed\nVersion: {MAINTENANCE_VERSION}\n\
                 Architecture: {architecture}\nMaintainer: none\nDescription: none\n\n"
            )
        })
        .collect()
}

/// Lines of `--print-uris`: `'URI' FILE SIZE DIGEST`.
fn file_names(text: &str) -> Result<Vec<&str>> {
    text.lines()
        .map(|line| {
            line.split_whitespace()
                .nth(1)
                .filter(|name| name.ends_with(".deb"))
                .with_context(|| format!("apt says: {line}"))
        })
        .collect()
}

fn architecture() -> Result<String> {
    let text = command::output(Command::new("dpkg").arg("--print-architecture"))
        .context("images are made of Debian packages, on Debian")?;
    Ok(text.trim().to_owned())
}

/// Fetches the files that a package is built from into `folder`.
pub fn source(name: &str, folder: &Path) -> Result<()> {
    let lists = folder.join("lists");
    fs::create_dir_all(lists.join("partial"))?;
    let list = folder.join("sources.list");
    fs::write(&list, source_lines()?)?;
    let apt = |arguments: &[&str]| {
        let mut apt = apt();
        apt.current_dir(folder)
            .arg(format!("-oDir::Etc::sourcelist={}", list.display()))
            .arg("-oDir::Etc::sourceparts=-")
            .arg(format!("-oDir::State::lists={}", lists.display()))
            .arg("-qq")
            .args(arguments);
        command::quiet(&mut apt)
    };
    apt(&["update"])?;
    apt(&["source", "--download-only", name])
}

/// The repositories that this system takes packages from, as ones of sources.
fn source_lines() -> Result<String> {
    let text = command::output(apt().args([
        "indextargets",
        "--format",
        "deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Identifier: Packages",
        "Origin: Debian",
    ]))?;
    let lines: BTreeSet<&str> = text.lines().collect();
    ensure!(!lines.is_empty(), "apt knows no repository of Debian's");
    Ok(lines.into_iter().map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_to_usr_and_documentation_nowhere() {
        let cases = [
            ("./", None),
            ("./bin/", None),
            ("./bin/bash", Some("usr/bin/bash")),
            ("./lib/x/libc.so.6", Some("usr/lib/x/libc.so.6")),
            ("./library/a", Some("library/a")),
            ("./usr/share/doc/bash/README", None),
            ("./usr/share/docs", Some("usr/share/docs")),
        ];
        for (path, wanted) in cases {
            assert_eq!(
                placed(Path::new(path)).unwrap().as_deref(),
                wanted,
                "{path}"
            );
        }
        assert!(placed(Path::new("./../etc/passwd")).is_err());
    }

    #[test]
    fn apt_names_files() {
        let text = "'http://a/b%2bc.deb' b+c_1%3a2_amd64.deb 12 MD5Sum:00\n'http://a/d.deb' d_1_all.deb 3 \n";
        assert_eq!(
            file_names(text).unwrap(),
            ["b+c_1%3a2_amd64.deb", "d_1_all.deb"]
        );
        assert!(file_names("E: something\n").is_err());
    }

    #[test]
    fn what_is_asked_for_is_not_taken_as_installed() {
        let text = status(&BTreeSet::from(["perl-base"]), "amd64");
        assert!(text.contains("Package: dpkg\n") && !text.contains("perl-base"));
    }
}
