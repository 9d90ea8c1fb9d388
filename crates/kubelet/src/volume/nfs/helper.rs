//! `mount(8)` and `umount(8)` for file systems that need a helper of the host (`/sbin/mount.TYPE`), which these programs run.
//!
//! A server that does not answer holds such a program, and may hold it where no signal reaches it. So each has a deadline, runs beside
//! whoever asked, and is alone at its place until it has ended, however long after the deadline that is.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ffi::OsString,
    fs::File,
    io::{self, Read, Seek},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::{
        memfd::{MemFdCreateFlag, memfd_create},
        signal::{Signal, killpg},
    },
    unistd::Pid,
};
use parking_lot::Mutex;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// How much of what a program says is told.
const MAX_OUTPUT_BYTES: u64 = 4 << 10;
/// How long a program that was killed is waited for.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

/// Places where a program is at work.
static AT_WORK: Mutex<BTreeMap<PathBuf, Work>> = Mutex::new(BTreeMap::new());

/// What a program is to do with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Mount,
    Unmount,
}

/// Why it was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another program is at work at this place.
    Busy,
    /// How it ended, in Go's words, and what it said.
    Ended { how: String, output: String },
}

/// Whether something may yet be mounted below `directory`.
pub(super) fn is_mounting_below(directory: &Path) -> bool {
    let at_work = AT_WORK.lock();
    at_work
        .iter()
        .any(|(place, work)| *work == Work::Mount && place.starts_with(directory))
}

/// Has it for a place, until it is dropped.
struct Turn(PathBuf);

impl Turn {
    fn take(place: &Path, work: Work) -> Option<Self> {
        match AT_WORK.lock().entry(place.to_owned()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(free) => {
                free.insert(work);
                Some(Self(place.to_owned()))
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        AT_WORK.lock().remove(&self.0);
    }
}

/// Runs a program that mounts or unmounts `place`. One that is not done in time, or whose result nobody waits for any more, is
/// killed with what it has started.
///
/// # Errors
/// It was not successful.
pub(super) async fn run(
    program: &Path,
    arguments: &[OsString],
    (place, work): (&Path, Work),
    patience: Duration,
) -> Result<(), Failure> {
    let turn = Turn::take(place, work).ok_or(Failure::Busy)?;
    let failed = |error: io::Error| Failure::Ended {
        how: match error.kind() {
            io::ErrorKind::NotFound => {
                format!(
                    "exec: \"{}\": executable file not found in $PATH",
                    program.display()
                )
            }
            _ => error.to_string(),
        },
        output: String::new(),
    };
    // A daemon that it starts may keep what it writes to open: a pipe would have no end.
    let output = memfd_create(c"knarr-mount", MemFdCreateFlag::MFD_CLOEXEC);
    let output = File::from(output.map_err(|error| failed(error.into()))?);
    let (out, err) = (
        output.try_clone().map_err(failed)?,
        output.try_clone().map_err(failed)?,
    );
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0)
        .kill_on_drop(true);
    let child = command.spawn().map_err(failed)?;
    let token = CancellationToken::new();
    let _unless_forgotten = token.clone().drop_guard();
    let (told, result) = tokio::sync::oneshot::channel();
    knarr_tasks::spawn("a mount", async move {
        let _turn = turn;
        watch(child, token, patience, told).await;
    });
    let how = match result.await {
        Ok(Ok(status)) if status.success() => return Ok(()),
        Ok(Ok(status)) => in_words(status),
        Ok(Err(why)) => why,
        Err(_) => "nobody has seen its end".to_owned(),
    };
    Err(Failure::Ended {
        how,
        output: said(output),
    })
}

/// Tells how a program ends, and waits for it also when it is too late to be told.
async fn watch(
    mut child: Child,
    token: CancellationToken,
    patience: Duration,
    told: tokio::sync::oneshot::Sender<Result<ExitStatus, String>>,
) {
    let late = tokio::select! {
        status = child.wait() => {
            let _nobody = told.send(status.map_err(|error| error.to_string()));
            return;
        }
        () = token.cancelled() => false,
        () = tokio::time::sleep(patience) => true,
    };
    if let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ended = tokio::time::timeout(KILL_PATIENCE, child.wait()).await;
    if late {
        let _nobody = told.send(Err("context deadline exceeded".to_owned()));
    }
    let _ended = child.wait().await;
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {signal}"),
        (None, None) => status.to_string(),
    }
}

fn said(mut output: File) -> String {
    let mut bytes = Vec::new();
    let read = output
        .rewind()
        .and_then(|()| output.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => error.to_string(),
    }
}
