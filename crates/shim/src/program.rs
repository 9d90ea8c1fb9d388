//! A container's program, executed as runc does it: by execve(2) alone, and with the reason in the container's output when that
//! fails. execvp(3), which libcontainer would use, gives a file that the kernel refuses to `sh` instead, so that nobody learns that
//! it is of another architecture.

use std::ffi::{CStr, CString};
use std::io::{self, Write};
use std::path::Path;

use libcontainer::workload::default::DefaultExecutor;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::errno::Errno;
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

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        DefaultExecutor {}.validate(spec)
    }
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
    fn an_empty_directory_of_a_search_path_is_the_present_one() {
        assert_eq!(candidates("a", "/x::/y"), ["/x/a", "./a", "/y/a"]);
        assert_eq!(candidates("./a", "/x"), ["./a"]);
    }
}
