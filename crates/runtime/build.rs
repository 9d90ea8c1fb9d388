//! Builds the shim as a small static program of its own, which `src/shim/program.rs` embeds.
//!
//! The nested cargo has a target directory beside ours, shared by every profile and by `check` and `clippy`, so that
//! the shim is compiled once and only again when its sources change.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET_SUBDIRECTORY: &str = "shim";
const PROFILE: &str = "shim";

fn main() {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let workspace = manifest.join("../..");
    for path in [
        "crates/shim/src",
        "crates/shim/Cargo.toml",
        "crates/host/src",
        "Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(variable("OUT_DIR"));
    let target = variable("TARGET");
    // OUT_DIR is <target directory>/[<triple>/]<profile>/build/<package>/out.
    let shared = out
        .ancestors()
        .nth(4)
        .map_or_else(|| out.clone(), Path::to_path_buf);
    let directory = shared.join(TARGET_SUBDIRECTORY);
    let built = build(&workspace, &directory, &target, true)
        || build(&workspace, &directory, &target, false);
    assert!(built, "the shim did not build (see above)");
    let program = directory.join(&target).join(PROFILE).join("knarr-shim");
    std::fs::copy(&program, out.join("knarr-shim"))
        .unwrap_or_else(|error| panic!("copy {}: {error}", program.display()));
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

/// Static where libseccomp's archive is installed; the second attempt links what there is.
fn build(workspace: &Path, directory: &Path, target: &str, fixed: bool) -> bool {
    let mut command = Command::new(variable("CARGO"));
    command
        .current_dir(workspace)
        .args([
            "build",
            "--quiet",
            "--package",
            "knarr-shim",
            "--bin",
            "knarr-shim",
        ])
        .args(["--profile", PROFILE, "--target", target, "--target-dir"])
        .arg(directory);
    // What cargo set for this build must not leak into that one: clippy's wrapper, above all, would not compile it.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let leaks = text.starts_with("CARGO_FEATURE_")
            || text.starts_with("CARGO_CFG_")
            || text.starts_with("CARGO_PKG_")
            || matches!(
                &*text,
                "RUSTC_WORKSPACE_WRAPPER"
                    | "RUSTC_WRAPPER"
                    | "CLIPPY_ARGS"
                    | "CARGO_TARGET_DIR"
                    | "CARGO_MAKEFLAGS"
                    | "CARGO_MANIFEST_DIR"
                    | "CARGO_PRIMARY_PACKAGE"
                    | "RUSTFLAGS"
                    | "OUT_DIR"
                    | "TARGET"
                    | "HOST"
                    | "NUM_JOBS"
                    | "OPT_LEVEL"
                    | "DEBUG"
                    | "PROFILE"
            );
        if leaks {
            command.env_remove(&name);
        }
    }
    let mut flags = vec!["-Clink-arg=-fuse-ld=lld"];
    if fixed {
        let Some(library) = seccomp_archive() else {
            return false;
        };
        command
            .env("LIBSECCOMP_LINK_TYPE", "static")
            .env("LIBSECCOMP_LIB_PATH", library);
        // At a fixed address nothing is relocated at start, so more of it stays shared between the shims.
        flags.extend(["-Ctarget-feature=+crt-static", "-Crelocation-model=static"]);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            println!("cargo::warning=cannot run cargo for the shim: {error}");
            false
        }
    }
}

/// The directory of libseccomp.a.
fn seccomp_archive() -> Option<PathBuf> {
    let triple = format!("{}-linux-gnu", env::var("CARGO_CFG_TARGET_ARCH").ok()?);
    ["/usr/lib", "/usr/lib64", "/usr/local/lib"]
        .iter()
        .flat_map(|root| [Path::new(root).join(&triple), PathBuf::from(root)])
        .find(|directory| directory.join("libseccomp.a").exists())
}
