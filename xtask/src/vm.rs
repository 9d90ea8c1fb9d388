//! Checks knarr on a kernel whose control groups are version 2, in a virtual machine: most machines that build knarr have one
//! version only, and which one is the kernel's and the service manager's to say.
//!
//! The machine is qemu without hardware support, with Debian's kernel, no disk and no network device. All it has is in its
//! initial file system, put together here: busybox, knarr, nft and kubectl with their libraries, the kernel's modules, the
//! project's images, the runtime's tests. `vm/init` boots it, `vm/checks` says what is checked; the console is the report.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use knarr_testkit::image;
use serde_json::Value;

const INIT: &str = include_str!("../vm/init");
const CHECKS: &str = include_str!("../vm/checks");
/// What init prints last.
const ALL_WELL: &str = "VM: the checks ended with 0";
/// How much of the kernel's modules is taken along: what containers' networks and file systems make it load.
const MODULES: &[&str] = &[
    "arch",
    "crypto",
    "drivers/net",
    "fs/overlayfs",
    "lib",
    "net/core",
    "net/ipv4",
    "net/ipv6",
    "net/netfilter",
];
const MEMORY_MIB: u32 = 2_048;
const PROCESSORS: u32 = 2;

#[derive(Parser)]
pub struct Args {
    /// The program to check.
    #[arg(long, value_name = "FILE")]
    knarr: Option<PathBuf>,
    /// Where Debian's kernel package is unpacked.
    #[arg(long, value_name = "DIR")]
    kernel: Option<PathBuf>,
    /// Longest time the machine may run, in seconds.
    #[arg(long, default_value_t = 900)]
    timeout: u64,
    /// Run these parts of vm/checks, with commas between them, and not all but `the_runtime`: its own tests, which need no
    /// cluster.
    #[arg(long, value_name = "PARTS", default_value = "")]
    only: String,
}

/// Runs `cargo xtask vm`.
pub fn run(args: &Args) -> Result<()> {
    let work = image::target_dir().join("vm");
    let kernel = Kernel::find(&args.kernel.clone().unwrap_or_else(|| work.join("kernel")))?;
    let knarr = match &args.knarr {
        Some(path) => path.clone(),
        None => image::target_dir().join("release/knarr"),
    };
    let root = work.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    let files = Root(root);
    files.fill(&knarr, &kernel)?;
    let initrd = work.join("initrd");
    files.pack(&initrd)?;
    let (_machine, console) = boot(&kernel, &initrd, args)?;
    watch(console, Duration::from_secs(args.timeout))
}

/// Debian's kernel, as its package has it.
struct Kernel {
    image: PathBuf,
    modules: PathBuf,
    release: String,
}

impl Kernel {
    fn find(package: &Path) -> Result<Self> {
        let boot = package.join("boot");
        let names = fs::read_dir(&boot)
            .with_context(|| format!("no kernel package is unpacked in {}", package.display()))?;
        let release = names
            .flatten()
            .find_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                Some(name.strip_prefix("vmlinuz-")?.to_owned())
            })
            .with_context(|| format!("no kernel in {}", boot.display()))?;
        Ok(Self {
            image: boot.join(format!("vmlinuz-{release}")),
            modules: package.join("lib/modules").join(&release),
            release,
        })
    }
}

/// The machine's file system, as a folder.
struct Root(PathBuf);

impl Root {
    fn fill(&self, knarr: &Path, kernel: &Kernel) -> Result<()> {
        self.text("init", INIT)?;
        self.text("checks", CHECKS)?;
        self.file(
            &image::workspace().join("examples/hello.yaml"),
            "hello.yaml",
        )?;
        self.file(Path::new("/bin/busybox"), "bin/busybox")?;
        for name in ["sh", "modprobe"] {
            symlink("busybox", self.0.join("bin").join(name))?;
        }
        self.directory("sbin")?;
        symlink("../bin/busybox", self.0.join("sbin/modprobe"))?;
        self.program(knarr, "bin/knarr")?;
        self.program(&find_program("nft")?, "usr/sbin/nft")?;
        self.program(&find_program("kubectl")?, "bin/kubectl")?;
        // Busybox's knows no namespaces of control groups.
        self.program(&find_program("unshare")?, "usr/bin/unshare")?;
        for test in runtime_tests()? {
            let name = test.file_name().context("a test has a name")?;
            self.program(&test, &format!("tests/{}", name.to_string_lossy()))?;
        }
        for archive in image::build(&image::target_dir().join("images"))? {
            let name = archive.file_name().context("an archive has a name")?;
            self.file(&archive, &format!("images/{}", name.to_string_lossy()))?;
        }
        self.modules(kernel)
    }

    fn directory(&self, path: &str) -> Result<PathBuf> {
        let path = self.0.join(path);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    fn place(&self, path: &str) -> Result<PathBuf> {
        let path = self.0.join(path);
        let parent = path.parent().context("a file has a directory")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        Ok(path)
    }

    fn text(&self, path: &str, text: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let to = self.place(path)?;
        fs::write(&to, text)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn file(&self, from: &Path, to: &str) -> Result<()> {
        fs::copy(from, self.place(to)?)
            .with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    }

    /// A program without what only debuggers read, and the libraries it names.
    fn program(&self, from: &Path, to: &str) -> Result<()> {
        let place = self.place(to)?;
        let stripped = Command::new("strip")
            .arg("-o")
            .arg(&place)
            .arg(from)
            .output();
        if !stripped.is_ok_and(|output| output.status.success()) {
            self.file(from, to)?;
        }
        let output = Command::new("ldd")
            .arg(from)
            .output()
            .context("cannot run ldd")?;
        // Fails for a static program, which needs none.
        for library in libraries(&String::from_utf8_lossy(&output.stdout)) {
            let name = library.strip_prefix("/").unwrap_or(&library);
            if !self.0.join(name).exists() {
                self.file(&library, &name.to_string_lossy())?;
            }
        }
        Ok(())
    }

    fn modules(&self, kernel: &Kernel) -> Result<()> {
        let to = format!("lib/modules/{}", kernel.release);
        for folder in MODULES {
            let from = kernel.modules.join("kernel").join(folder);
            copy_tree(&from, &self.directory(&format!("{to}/kernel/{folder}"))?)?;
        }
        for list in [
            "modules.builtin",
            "modules.order",
            "modules.builtin.modinfo",
        ] {
            self.file(&kernel.modules.join(list), &format!("{to}/{list}"))?;
        }
        run_to_end(
            Command::new("/bin/busybox")
                .args(["depmod", "-b"])
                .arg(&self.0)
                .arg(&kernel.release),
        )
    }

    /// As the kernel reads its initial file system.
    fn pack(&self, to: &Path) -> Result<()> {
        let list = Command::new("/bin/busybox")
            .args(["find", "."])
            .current_dir(&self.0)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run busybox")?;
        let names = list.stdout.context("the list is read")?;
        run_to_end(
            Command::new("/bin/busybox")
                .args(["cpio", "-o", "-H", "newc", "-R", "0:0"])
                .current_dir(&self.0)
                .stdin(names)
                .stdout(File::create(to).with_context(|| format!("cannot make {}", to.display()))?)
                .stderr(Stdio::null()),
        )
    }
}

/// Paths in the output of ldd: `NAME => PATH (ADDRESS)` or, for the loader, `PATH (ADDRESS)`.
fn libraries(output: &str) -> BTreeSet<PathBuf> {
    output
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn find_program(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    directories.push("/usr/sbin".into());
    let found = directories
        .iter()
        .map(|directory| directory.join(name))
        .find(|path| path.exists());
    let found = found.with_context(|| format!("{name} is not installed"))?;
    fs::canonicalize(&found).with_context(|| format!("cannot find {}", found.display()))
}

fn run_to_end(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// The programs of the runtime's tests that have containers, built when something has changed.
fn runtime_tests() -> Result<Vec<PathBuf>> {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(image::workspace())
        .args(["test", "--quiet", "--no-run", "--message-format=json"])
        .args([
            "--package",
            "knarr-runtime",
            "--test",
            "cri",
            "--test",
            "streaming",
        ])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the runtime's tests did not build");
    let text = String::from_utf8(output.stdout).context("cargo speaks UTF-8")?;
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(messages
        .filter(|message| message["profile"]["test"] == true)
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect())
}

/// A running machine, which ends with its owner.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn boot(kernel: &Kernel, initrd: &Path, args: &Args) -> Result<(Machine, ChildStdout)> {
    let mut process = Command::new("nice")
        .args([
            "qemu-system-x86_64",
            "-machine",
            "q35,accel=tcg",
            "-cpu",
            "max",
        ])
        .args([
            "-smp",
            &PROCESSORS.to_string(),
            "-m",
            &MEMORY_MIB.to_string(),
        ])
        // Nothing may leave it.
        .args(["-nic", "none"])
        .args([
            "-nodefaults",
            "-display",
            "none",
            "-serial",
            "stdio",
            "-no-reboot",
        ])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initrd)
        .arg("-append")
        .arg(format!(
            "console=ttyS0 quiet panic=-1 rdinit=/init only={}",
            args.only
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run qemu-system-x86_64 (Debian's qemu-system-x86)")?;
    let console = process.stdout.take().context("the console is read")?;
    Ok((Machine(process), console))
}

/// Prints the console until the machine is off; what it said in the end.
fn watch(console: ChildStdout, timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(console);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|count| count > 0)
        {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    let mut well = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => {
                writeln!(io::stdout(), "{line}")?;
                well |= line.starts_with(ALL_WELL);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("the machine still runs after {timeout:?}")
            }
        }
    }
    if !well {
        bail!("not all is well, see above");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_paths_that_ldd_prints() {
        let output = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(
            libraries(output).into_iter().collect::<Vec<_>>(),
            [
                PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6"),
                PathBuf::from("/lib64/ld-linux-x86-64.so.2"),
            ]
        );
        assert!(libraries("\tnot a dynamic executable\n").is_empty());
    }
}
