//! A container's program, executed as runc does it: by execve(2) alone, and with the reason in the container's output when that
//! fails. execvp(3), which libcontainer would use, gives a file that the kernel refuses to `sh` instead, so that nobody learns that
//! it is of another architecture.

use std::ffi::{CStr, CString};
use std::io::{self, Write};
use std::path::Path;

use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::errno::Errno;
use nix::sys::stat::stat;
use nix::unistd::{AccessFlags, access};
use oci_spec::runtime::Spec;

/// Where programs are looked for when the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// For libcontainer: what the process of a container does last.
#[derive(Clone)]
pub struct Program;

impl Executor for Program {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let args = spec.process().as_ref().and_then(|p| p.args().clone());
        let args = args.ok_or(ExecutorError::InvalidArg)?;
        let program = args.first().ok_or(ExecutorError::InvalidArg)?;
        let argv = args.iter().map(|arg| CString::new(arg.as_bytes()));
        let argv: Vec<CString> = argv
            .collect::<Result<_, _>>()
            .map_err(|_| ExecutorError::InvalidArg)?;
        let path = std::env::var("PATH").ok();
        let failure = execute(program, path.as_deref(), |candidate| {
            let Err(error) = nix::unistd::execv(candidate, &argv);
            error
        });
        let text = failure.to_string();
        // Whoever looks for the reason looks into the container's log.
        let _ = writeln!(io::stderr(), "{text}");
        Err(ExecutorError::Other(text))
    }

    /// Called as the container's user, in its directory. What libcontainer would ask is whether everybody may execute the file, which
    /// says nothing about its owner and its group.
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let process = spec.process().as_ref();
        let program = process.and_then(|process| process.args().as_ref()?.first());
        let Some(program) = program else {
            return Ok(());
        };
        let environment = process.and_then(|process| process.env().as_ref());
        let mut variables = environment.into_iter().flatten();
        let path = variables.find_map(|variable| variable.strip_prefix("PATH="));
        look(program, path).map_err(ExecutorValidationError::ArgValidationError)
    }
}

/// Whether a program is there and may be executed; the error is in the words of Go's `exec.LookPath`.
fn look(program: &str, search: Option<&str>) -> Result<(), String> {
    let mut last = Errno::ENOENT;
    for path in candidates(program, search.unwrap_or(DEFAULT_PATH)) {
        match executable(Path::new(&path)) {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
    }
    let reason = match last {
        _ if !program.contains('/') => "executable file not found in $PATH".to_owned(),
        Errno::EACCES => "permission denied".to_owned(),
        Errno::EISDIR => "is a directory".to_owned(),
        error => format!("stat {program}: {}", error.desc().to_lowercase()),
    };
    Err(format!("exec: {program:?}: {reason}"))
}

fn executable(path: &Path) -> Result<(), Errno> {
    let found = stat(path)?;
    if found.st_mode & libc::S_IFMT == libc::S_IFDIR {
        return Err(Errno::EISDIR);
    }
    access(path, AccessFlags::X_OK)
}

/// Which file could not be executed, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub path: String,
    pub reason: Errno,
}

impl std::fmt::Display for Failure {
    /// In the words of Go's `exec`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reason = self.reason.desc().to_lowercase();
        write!(f, "exec {}: {reason}", self.path)
    }
}

/// Tries `exec` for each file that a program may be, by a search path that is `None` where the environment has none. It returns
/// only when none can be executed.
pub fn execute(program: &str, search: Option<&str>, exec: impl Fn(&CStr) -> Errno) -> Failure {
    let mut failure = Failure {
        path: program.to_owned(),
        reason: Errno::ENOENT,
    };
    for path in candidates(program, search.unwrap_or(DEFAULT_PATH)) {
        let Ok(name) = CString::new(path.as_str()) else {
            continue;
        };
        let reason = exec(&name);
        let goes_on = match reason {
            // Of a file that is there, its interpreter is not.
            Errno::ENOENT | Errno::ENOTDIR if !Path::new(&path).exists() => continue,
            Errno::EACCES => true,
            _ => false,
        };
        failure = Failure { path, reason };
        if !goes_on {
            break;
        }
    }
    failure
}

/// A name with a slash is a file; any other is looked for, where an empty directory is the present one.
fn candidates(program: &str, search: &str) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let directories = search.split(':');
    directories
        .map(|directory| match directory {
            "" => format!("./{program}"),
            directory => format!("{directory}/{program}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_as_by_runc() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display().to_string();
        std::fs::create_dir(directory.path().join("a")).unwrap();
        std::fs::create_dir(directory.path().join("b")).unwrap();
        std::fs::write(directory.path().join("b/script"), "#!/nowhere\r\n").unwrap();
        std::fs::write(directory.path().join("b/foreign"), "").unwrap();
        let search = format!("{root}/a:{root}/b");
        let exec = |path: &CStr| match path.to_str().unwrap().rsplit('/').next() {
            Some("foreign") => Errno::ENOEXEC,
            Some("locked") => Errno::EACCES,
            _ => Errno::ENOENT,
        };
        let cases = [
            (
                "script",
                format!("{root}/b/script"),
                "no such file or directory",
            ),
            ("foreign", format!("{root}/a/foreign"), "exec format error"),
            ("locked", format!("{root}/b/locked"), "permission denied"),
            ("none", "none".to_owned(), "no such file or directory"),
            (
                "/no/such",
                "/no/such".to_owned(),
                "no such file or directory",
            ),
        ];
        for (program, path, reason) in cases {
            let failure = execute(program, Some(&search), exec);
            assert_eq!(failure.to_string(), format!("exec {path}: {reason}"));
        }
    }

    #[test]
    fn whoever_may_execute_a_file_need_not_be_everybody() {
        use std::fs::{Permissions, create_dir, set_permissions, write};
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (name, mode) in [("owners", 0o700), ("all", 0o755), ("plain", 0o644)] {
            write(at(name), "").unwrap();
            set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        }
        create_dir(at("directory")).unwrap();
        let root = directory.path().display().to_string();
        let search = format!("/nowhere:{root}");
        for (program, reason) in [
            ("owners".to_owned(), None),
            ("all".to_owned(), None),
            (format!("{root}/owners"), None),
            (
                "plain".to_owned(),
                Some("executable file not found in $PATH"),
            ),
            (
                "none".to_owned(),
                Some("executable file not found in $PATH"),
            ),
            (format!("{root}/plain"), Some("permission denied")),
            (format!("{root}/directory"), Some("is a directory")),
            (
                "/no/such".to_owned(),
                Some("stat /no/such: no such file or directory"),
            ),
        ] {
            let wanted = reason.map(|reason| format!("exec: {program:?}: {reason}"));
            assert_eq!(look(&program, Some(&search)).err(), wanted, "{program}");
        }
    }

    #[test]
    fn an_empty_directory_of_a_search_path_is_the_present_one() {
        assert_eq!(candidates("a", "/x::/y"), ["/x/a", "./a", "/y/a"]);
        assert_eq!(candidates("./a", "/x"), ["./a"]);
    }
}
