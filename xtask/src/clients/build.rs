//! Builds clients from their pinned modules, into the target directory. What is up to date is left alone.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use knarr_testkit::image::{target_dir, workspace};

use crate::{
    command,
    go::{self, Module},
    progress::step,
};

/// How to start a client.
#[derive(Debug, Default)]
pub struct Program {
    pub file: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Archives for its cluster, instead of the project's images.
    pub images: Option<PathBuf>,
}

impl Program {
    pub fn new(file: PathBuf) -> Self {
        Self {
            file,
            ..Self::default()
        }
    }

    pub fn argument(mut self, argument: &Path) -> Self {
        self.arguments.push(argument.display().to_string());
        self
    }

    pub fn variable(mut self, name: &str, value: &Path) -> Self {
        self.environment
            .push((name.to_owned(), value.display().to_string()));
        self
    }
}

/// A file of the clients' sources.
pub fn source(path: &str) -> PathBuf {
    workspace().join("tests/clients").join(path)
}

/// A Go program, at the version that its module pins.
pub fn go(module: Module, package: &'static str) -> Result<PathBuf> {
    let program = go::Program { module, package };
    step(&format!("building {package}"), || go::build(&[program]))?;
    Ok(program.path())
}

/// The tests of a Go package, as a program.
pub fn go_tests(module: Module, package: &'static str) -> Result<PathBuf> {
    let program = go::Program { module, package };
    step(&format!("building {package}"), || go::build_tests(program))
}

/// The Python of an environment that has what `requirements.txt` names.
pub fn python() -> Result<PathBuf> {
    let folder = target_dir().join("clients/python");
    let requirements = source("python/requirements.txt");
    let python = folder.join("bin/python");
    once(&folder, &requirements, || {
        let system = tool("python3", "Debian's python3-venv")?;
        step("installing the Python clients", || {
            command::quiet(
                Command::new(system)
                    .args(["-m", "venv", "--clear"])
                    .arg(&folder),
            )?;
            let pip = ["-m", "pip", "install", "--quiet", "--requirement"];
            command::quiet(Command::new(&python).args(pip).arg(&requirements))
        })
    })?;
    Ok(python)
}

/// The folder with the JavaScript clients and the packages that their lock file names.
pub fn javascript() -> Result<PathBuf> {
    let folder = target_dir().join("clients/javascript");
    let sources = source("javascript");
    once(&folder, &sources.join("package-lock.json"), || {
        fs::create_dir_all(&folder)?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(sources.join(name), folder.join(name)).context(name)?;
        }
        let npm = tool("npm", "Debian's npm")?;
        step("installing the JavaScript clients", || {
            let ci = ["ci", "--silent", "--no-audit", "--no-fund"];
            command::quiet(Command::new(npm).current_dir(&folder).args(ci))
        })
    })?;
    // Node looks for packages beside the file that wants them, wherever a link to it is.
    for entry in fs::read_dir(&sources).with_context(|| sources.display().to_string())? {
        let path = entry?.path();
        if let (Some(name), Some("mjs")) =
            (path.file_name(), path.extension().and_then(|e| e.to_str()))
        {
            fs::copy(&path, folder.join(name)).with_context(|| path.display().to_string())?;
        }
    }
    Ok(folder)
}

/// The client that is a Rust package of its own.
pub fn cargo(folder: &str, package: &str) -> Result<PathBuf> {
    let out = target_dir().join("clients").join(folder);
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(source(folder).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&out);
    step(&format!("building {package}"), || {
        command::quiet(&mut command)
    })?;
    Ok(out.join("debug").join(package))
}

/// A program on PATH.
pub fn tool(name: &str, package: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed ({package})"))
}

/// Runs `make` unless it has succeeded for the same list of what is installed.
fn once(folder: &Path, list: &Path, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted = fs::read(list).with_context(|| list.display().to_string())?;
    let stamp = folder.join("installed");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    make()?;
    fs::write(&stamp, wanted).with_context(|| stamp.display().to_string())
}
