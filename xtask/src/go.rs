//! Builds Go programs of upstream's, at the versions that the modules in `tests/upstream` pin.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::image;

use crate::command;

/// The oldest toolchain that knows what the modules say.
const OLDEST: (u32, u32) = (1, 26);
/// Where Go is when it is not in PATH.
const USUAL_PLACES: [&str; 3] = [
    "/usr/local/go/bin/go",
    "/usr/lib/go/bin/go",
    "/usr/lib/go-1.26/bin/go",
];
const KUBERNETES: &str = "k8s.io/kubernetes";
/// Packages that tell the version of what they are linked into.
const VERSION_PACKAGES: [&str; 2] = [
    "k8s.io/component-base/version",
    "k8s.io/client-go/pkg/version",
];

/// A module of ours that pins others: a folder in `tests/upstream`, or [`CLIENTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Module(pub &'static str);

/// Kubernetes and its end-to-end suite.
pub const SUITE: Module = Module("suite");
/// Programs of ours that are clients of a cluster.
pub const CLIENTS: Module = Module("clients");

/// Runs containers for containerd. Parts of it are written in C; other programs run in images that may have no libc.
pub const RUNC: Module = Module("runc");
/// What is built into [`RUNC`] beside the default: its filter of system calls.
const RUNC_TAGS: &str = "seccomp";

/// A main package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    pub module: Module,
    pub package: &'static str,
}

impl Program {
    /// Where its executable is once it is built: named by the package's last element that is no major version.
    pub fn path(self) -> PathBuf {
        let mut elements = self.package.rsplit('/');
        let name = elements.find(|element| !is_major_version(element));
        self.module.output().join(name.unwrap_or(self.package))
    }
}

fn is_major_version(element: &str) -> bool {
    element
        .strip_prefix('v')
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

impl Module {
    fn folder(self) -> PathBuf {
        let folder = match self {
            CLIENTS => "clients/go".to_owned(),
            Self(name) => format!("upstream/{name}"),
        };
        image::workspace().join("tests").join(folder)
    }

    fn output(self) -> PathBuf {
        directory().join("go").join(self.0)
    }

    /// The text that decides what is built: modules cannot change behind it.
    pub fn pins(self) -> Result<String> {
        let path = self.folder().join("go.mod");
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The source of a module that this one pins, downloaded if need be.
    pub fn source_of(self, path: &str) -> Result<PathBuf> {
        command::quiet(self.go()?.args(["mod", "download", path]))?;
        let folder = self.list("{{.Dir}}", path)?;
        Ok(PathBuf::from(folder))
    }

    /// The version of a module that this one pins, as `v1.37.2`.
    pub fn version_of(self, path: &str) -> Result<String> {
        self.list("{{.Version}}", path)
    }

    fn list(self, format: &str, path: &str) -> Result<String> {
        let text = command::output(self.go()?.args(["list", "-m", "-f", format, path]))?;
        Ok(text.trim().to_owned())
    }

    fn go(self) -> Result<Command> {
        let mut go = Command::new(toolchain()?);
        go.current_dir(self.folder())
            .env("CGO_ENABLED", if self == RUNC { "1" } else { "0" });
        Ok(go)
    }

    /// Flags for the linker: no tables for debuggers, and the version that Kubernetes' own build would write.
    fn linker_flags(self) -> Result<String> {
        let mut flags = "-s -w".to_owned();
        if self != SUITE {
            return Ok(flags);
        }
        let version = self.version_of(KUBERNETES)?;
        let mut numbers = version.trim_start_matches('v').split('.');
        let (major, minor) = (numbers.next(), numbers.next());
        for package in VERSION_PACKAGES {
            for (name, value) in [
                ("gitVersion", Some(version.as_str())),
                ("gitMajor", major),
                ("gitMinor", minor),
                ("gitTreeState", Some("clean")),
            ] {
                let value = value.with_context(|| format!("no release: {version}"))?;
                flags.push_str(&format!(" -X {package}.{name}={value}"));
            }
        }
        Ok(flags)
    }
}

/// Where everything made of upstream's is kept.
pub fn directory() -> PathBuf {
    image::target_dir().join("upstream")
}

/// Builds programs; Go sees itself which are up to date.
pub fn build(programs: &[Program]) -> Result<()> {
    let modules: BTreeSet<Module> = programs.iter().map(|program| program.module).collect();
    for module in modules {
        fs::create_dir_all(module.output())?;
        let packages = programs.iter().filter(|program| program.module == module);
        let mut out = module.output().into_os_string();
        // With the slash Go takes it for a directory.
        out.push("/");
        command::run(
            module
                .go()?
                .args(["build", "-trimpath", "-buildvcs=false", "-tags"])
                .arg(if module == RUNC { RUNC_TAGS } else { "" })
                .arg("-ldflags")
                .arg(module.linker_flags()?)
                .arg("-o")
                .arg(out)
                .args(packages.map(|program| program.package)),
        )?;
    }
    Ok(())
}

/// Builds a package's tests; the executable.
#[cfg(feature = "cluster")]
pub fn build_tests(program: Program) -> Result<PathBuf> {
    let module = program.module;
    fs::create_dir_all(module.output())?;
    let out = program.path().with_extension("test");
    command::run(
        module
            .go()?
            .args(["test", "-c", "-trimpath", "-buildvcs=false", "-ldflags"])
            .arg(module.linker_flags()?)
            .arg("-o")
            .arg(&out)
            .arg(program.package),
    )?;
    Ok(out)
}

/// Runs a main package; what it printed.
pub fn run(program: Program) -> Result<String> {
    command::output(program.module.go()?.arg("run").arg(program.package))
}

/// The version of Go, in its own words.
pub fn version() -> Result<String> {
    go_version(&toolchain()?)
}

fn go_version(go: &Path) -> Result<String> {
    command::output(Command::new(go).args(["env", "GOVERSION"])).map(|text| text.trim().to_owned())
}

fn toolchain() -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path).map(|folder| folder.join("go"));
    let wanted = format!("Go {}.{} or newer (https://go.dev/dl)", OLDEST.0, OLDEST.1);
    let go = in_path
        .chain(USUAL_PLACES.map(PathBuf::from))
        .find(|go| go.is_file())
        .with_context(|| format!("building upstream's programs needs {wanted}"))?;
    let version = go_version(&go)?;
    ensure!(
        is_new_enough(&version),
        "building upstream's programs needs {wanted}; {} is {version}",
        go.display()
    );
    Ok(go)
}

/// A version that cannot be read is one of development, which is newer.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version
        .trim_start_matches("go")
        .split(['.', ' ', 'r', 'b'])
        .map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLDEST,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_named_as_go_names_them() {
        let cases = [
            ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
            ("go.etcd.io/etcd/server/v3", "server"),
            ("example.com/v/vet", "vet"),
        ];
        for (package, name) in cases {
            let path = Program {
                module: SUITE,
                package,
            }
            .path();
            assert!(
                path.ends_with(format!("upstream/go/suite/{name}")),
                "{path:?}"
            );
        }
    }

    #[test]
    fn old_toolchains_are_refused() {
        let cases = [
            ("go1.26.0", true),
            ("go1.26", true),
            ("go1.27rc1", true),
            ("go2.0", true),
            ("go1.25.9", false),
            ("devel +a1b2c3", true),
        ];
        for (version, wanted) in cases {
            assert_eq!(is_new_enough(version), wanted, "{version}");
        }
    }
}
