//! Builds clients from their pinned modules, into the target directory. What is up to date is left alone.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
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
    pub subject: Subject,
}

/// What a client is pointed at.
#[derive(Debug, Default)]
pub enum Subject {
    #[default]
    Cluster,
    /// A cluster that has the archives of a directory, or its runtime.
    Runtime(PathBuf),
    /// containerd with the archives of a directory, one of them of the image that holds a pod's namespaces.
    Containerd {
        images: PathBuf,
        pause: &'static str,
    },
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

    pub fn pointed_at(self, subject: Subject) -> Self {
        Self { subject, ..self }
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
            let venv = ["-m", "venv", "--clear"];
            install(Command::new(system).args(venv).arg(&folder))
                .context("making an environment (Debian's python3-venv)")?;
            let pip = ["-m", "pip", "install", "--quiet", "--requirement"];
            install(Command::new(&python).args(pip).arg(&requirements))
                .context("getting packages from PyPI")
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
        let npm = tool("npm", "Debian's npm, or Node.js's own")?;
        step("installing the JavaScript clients", || {
            let ci = ["ci", "--loglevel=error", "--no-audit", "--no-fund"];
            install(Command::new(npm).current_dir(&folder).args(ci))
                .context("getting packages from npm's registry")
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

/// Runs an installer; an error is the line in which it says why, for it says much.
fn install(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said =
        [output.stderr, output.stdout].map(|text| String::from_utf8_lossy(&text).into_owned());
    bail!("{}: {}", output.status, reason(&said.join("\n")))
}

/// The first line of an installer's that is an error, else the last.
fn reason(said: &str) -> &str {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_error = |line: &&str| {
        let line = line.to_lowercase();
        ["error", "npm err"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let error = lines.clone().find(is_error);
    error.or(lines.next_back()).unwrap_or("it said nothing")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_installer_says_is_one_line() {
        let cases = [
            (
                "WARNING: Retrying after connection broken\nERROR: No matching distribution found for kopf==1\n",
                "ERROR: No matching distribution found for kopf==1",
            ),
            (
                "npm error code ENOTFOUND\nnpm error syscall getaddrinfo\nnpm error A log is in /root\n",
                "npm error code ENOTFOUND",
            ),
            ("npm ERR! code EAI_AGAIN\n", "npm ERR! code EAI_AGAIN"),
            ("something\n  cannot be\n\n", "cannot be"),
            ("\n", "it said nothing"),
        ];
        for (said, wanted) in cases {
            assert_eq!(reason(said), wanted, "{said:?}");
        }
        let error = install(Command::new("/nowhere/npm").arg("ci")).unwrap_err();
        assert!(
            format!("{error:#}").starts_with("cannot run /nowhere/npm: "),
            "{error:#}"
        );
    }

    #[test]
    fn an_installer_that_fails_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        fs::write(&list, "a").unwrap();
        let failed = once(folder.path(), &list, || {
            install(Command::new("sh").args(["-c", "echo ERROR: no way >&2; exit 3"]))
        });
        assert_eq!(
            failed.unwrap_err().to_string(),
            "exit status: 3: ERROR: no way"
        );
        let mut times = 0;
        for text in ["a", "a", "b"] {
            fs::write(&list, text).unwrap();
            once(folder.path(), &list, || {
                times += 1;
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(times, 2);
    }
}
