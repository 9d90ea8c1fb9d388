//! Images made by the project itself: the example's web server, and busybox for tests.
//!
//! Each is one layer, in an archive as `docker save` writes it. The bytes are the same whenever the programs in them are
//! the same (no times, no order by chance), so an archive is written only when something has changed.

mod archive;

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

pub use archive::{Blob, Image, Layer, LayerBuilder, archive};

/// The example's web server. The tags differ in the variable `HELLO_VERSION` only.
pub const HELLO: &str = "knarr/hello:latest";
/// The same server as another image, to roll out.
pub const HELLO_V2: &str = "knarr/hello:v2";
/// Debian's static busybox with a link for each of its applets in /bin.
pub const BUSYBOX: &str = "knarr/busybox:latest";

const BUSYBOX_PROGRAM: &str = "/bin/busybox";
const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";
/// Where programs of images are looked for.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Builds what has changed and writes `hello.tar` and `busybox.tar` to `out`; their paths. Needs a Rust toolchain and
/// busybox-static.
pub fn build(out: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let hello = out.join("hello.tar");
    replace(
        &hello,
        &archive(&hello_images(&hello_program()?)?, Vec::new())?,
    )?;
    let busybox = out.join("busybox.tar");
    replace(&busybox, &archive(&[busybox_image()?], Vec::new())?)?;
    Ok(vec![hello, busybox])
}

/// The workspace's folder, of which this crate is a part.
pub fn workspace() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest)
}

/// The folder of everything that is built, as cargo decides it.
pub fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}

/// Builds the server as a small static program, in a target directory of its own: its flags would have cargo build
/// everything else anew.
fn hello_program() -> Result<Vec<u8>> {
    let target_dir = target_dir().join("hello");
    let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo told whoever calls us is not meant for that build.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_") && text != "CARGO_HOME" || text.starts_with("RUSTC") {
            command.env_remove(&name);
        }
    }
    let flags = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static"];
    let status = command
        .current_dir(workspace())
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "knarr-hello",
            "--target",
            &triple,
        ])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_STRIP", "true")
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the image's program did not build");
    }
    let program = target_dir.join(triple).join("release/hello");
    fs::read(&program).with_context(|| format!("cannot read {}", program.display()))
}

fn hello_images(program: &[u8]) -> Result<Vec<Image>> {
    let layer = LayerBuilder::new()
        .directory("etc", 0o755)?
        .directory("tmp", 0o1777)?
        .file("etc/passwd", 0o644, PASSWD.as_bytes())?
        .file("etc/group", 0o644, GROUP.as_bytes())?
        .file("hello", 0o755, program)?
        .finish()?;
    let image = |name: &str, version: &str| Image {
        name: name.to_owned(),
        layers: vec![layer.clone()],
        config: serde_json::json!({
            "Entrypoint": ["/hello"],
            "Env": [PATH, format!("HELLO_VERSION={version}")],
            "ExposedPorts": {"8080/tcp": {}},
            "User": "65534:65534",
            "WorkingDir": "/",
        }),
    };
    Ok(vec![image(HELLO, "1"), image(HELLO_V2, "2")])
}

fn busybox_image() -> Result<Image> {
    let program = fs::read(BUSYBOX_PROGRAM)
        .with_context(|| format!("cannot read {BUSYBOX_PROGRAM} (Debian's busybox-static)"))?;
    let list = Command::new(BUSYBOX_PROGRAM)
        .arg("--list")
        .output()
        .with_context(|| format!("cannot run {BUSYBOX_PROGRAM}"))?;
    let list = String::from_utf8(list.stdout).context("busybox names its applets in UTF-8")?;
    let mut layer = LayerBuilder::new()
        .directory("bin", 0o755)?
        .directory("etc", 0o755)?
        .directory("tmp", 0o1777)?
        .directory("root", 0o700)?
        .file("etc/passwd", 0o644, PASSWD.as_bytes())?
        .file("etc/group", 0o644, GROUP.as_bytes())?
        .file("bin/busybox", 0o755, &program)?;
    for applet in list.lines().filter(|name| *name != "busybox") {
        layer = layer.link(&format!("bin/{applet}"), "busybox")?;
    }
    Ok(Image {
        name: BUSYBOX.to_owned(),
        layers: vec![layer.finish()?],
        config: serde_json::json!({"Cmd": ["sh"], "Env": [PATH], "WorkingDir": "/"}),
    })
}

/// Writes a file unless it has that content already; others see the old or the new one.
fn replace(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let dir = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut temporary = tempfile::NamedTempFile::new_in(dir)?;
        temporary.write_all(content)?;
        temporary.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
