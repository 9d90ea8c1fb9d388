//! Where the CNI plugin tells of addresses; see [`knarr_cni::policy`].

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt, net::UnixListener as StdListener},
    path::Path,
    sync::Arc,
    time::Duration,
};

use knarr_cni::policy::{Answer, Change, LINE_LIMIT_BYTES, Notice};
use knarr_nft::Family;
use knarr_tasks::accept;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};
use tracing::debug;

/// Plugins that may wait at the same time; more wait to be let in.
const PLUGINS_MAX: usize = 64;
/// Notices that may wait for the planner.
pub const QUEUE: usize = PLUGINS_MAX;
/// A plugin writes its line at once.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait until the kernel has a pod's policies; the plugin waits a little longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
const OWNER_ONLY: u32 = 0o600;

/// A notice, and where its answer goes once it is in force.
pub struct Request {
    pub notice: Notice,
    pub answer: oneshot::Sender<()>,
}

/// Listens from now on; nobody is answered before [`serve`].
pub fn open(path: &Path) -> io::Result<StdListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = StdListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(OWNER_ONLY))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Lets plugins in for as long as it is awaited.
/// `families` are those that policies are enforced in.
pub async fn serve(
    listener: StdListener,
    families: &[Family],
    told: mpsc::Sender<Request>,
) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let seats = Arc::new(Semaphore::new(PLUGINS_MAX));
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else {
            return Ok(());
        };
        let (stream, _) = accept("a CNI plugin's question", || listener.accept()).await;
        let (families, told) = (families.to_vec(), told.clone());
        knarr_tasks::spawn("a CNI plugin's question", async move {
            if let Err(error) = answer(stream, &families, told).await {
                debug!(%error, "a CNI plugin went away");
            }
            drop(seat);
        });
    }
}

async fn answer(
    mut stream: UnixStream,
    families: &[Family],
    told: mpsc::Sender<Request>,
) -> io::Result<()> {
    let mut line = String::new();
    let mut limited = BufReader::new((&mut stream).take(LINE_LIMIT_BYTES));
    timeout(READ_TIMEOUT, limited.read_line(&mut line)).await??;
    let error = match serde_json::from_str::<Notice>(&line) {
        // Whoever had it would be reached by everybody.
        Ok(Notice {
            change, address, ..
        }) if change == Change::Add && !families.contains(&Family::of(address)) => Some(format!(
            "nobody enforces network policies for {address}: the cluster does not have its family"
        )),
        Ok(notice) => match timeout(ANSWER_TIMEOUT, in_force(notice, told)).await {
            Ok(true) => None,
            Ok(false) => Some("network policies are being stopped".to_owned()),
            Err(_) => Some("the kernel does not have them yet".to_owned()),
        },
        Err(error) => Some(error.to_string()),
    };
    let mut answer = serde_json::to_vec(&Answer { error })?;
    answer.push(b'\n');
    timeout(READ_TIMEOUT, stream.write_all(&answer)).await?
}

async fn in_force(notice: Notice, told: mpsc::Sender<Request>) -> bool {
    let (answer, done) = oneshot::channel();
    told.send(Request { notice, answer }).await.is_ok() && done.await.is_ok()
}
