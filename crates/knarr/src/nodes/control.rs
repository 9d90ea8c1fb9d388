//! Where `knarr node` tells the running `knarr up` what to do: a socket in the data directory, a line of JSON each way.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt, net::UnixListener as StdListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::{Nodes, WANT_TIMEOUT};

/// Below the data directory.
const SOCKET: &str = "run/nodes.sock";
const OWNER_ONLY: u32 = 0o600;
const LINE_LIMIT_BYTES: u64 = 4_096;
/// Who asks writes its line at once.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// What is asked has its own deadline.
const ANSWER_TIMEOUT: Duration = WANT_TIMEOUT.saturating_add(READ_TIMEOUT);
/// After the system refuses to let somebody in.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is asked of `knarr up`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// End a node's process.
    Stop(String),
    /// Start it again.
    Start(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// Why not.
    error: Option<String>,
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(SOCKET)
}

/// Listens from now on; nobody is answered before [`serve`].
pub fn listen(data_dir: &Path) -> io::Result<StdListener> {
    let path = path(data_dir);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = StdListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(OWNER_ONLY))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Does what is asked, one after the other: only this machine's root gets here.
pub(super) async fn serve(listener: StdListener, nodes: &Nodes) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = answer(stream, nodes).await {
                    debug!(%error, "who gave a command went away");
                }
            }
            Err(error) => {
                warn!(%error, "cannot take a command");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, nodes: &Nodes) -> io::Result<()> {
    let line = timeout(READ_TIMEOUT, read_line(&mut stream)).await??;
    let done = match serde_json::from_str(&line) {
        Ok(Request::Stop(node)) => nodes.want(&node, false).await,
        Ok(Request::Start(node)) => nodes.want(&node, true).await,
        Err(error) => Err(error.into()),
    };
    let answer = Answer {
        error: done.err().map(|error| format!("{error:#}")),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    stream.write_all(&text).await
}

async fn read_line(stream: &mut UnixStream) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(stream.take(LINE_LIMIT_BYTES))
        .read_line(&mut line)
        .await?;
    Ok(line)
}

/// Has the `knarr up` of a data directory do something, and waits until it has.
///
/// # Errors
/// When it does not run, has no other nodes, or says why not.
pub async fn ask(data_dir: &Path, request: &Request) -> Result<()> {
    let asked = async {
        let mut stream = UnixStream::connect(path(data_dir)).await.with_context(|| {
            format!(
                "no knarr up with several nodes runs on {}",
                data_dir.display()
            )
        })?;
        let mut text = serde_json::to_vec(request)?;
        text.push(b'\n');
        stream.write_all(&text).await?;
        let line = read_line(&mut stream).await?;
        let answer: Answer = serde_json::from_str(&line).context("knarr up has gone away")?;
        match answer.error {
            None => Ok(()),
            Some(error) => bail!("{error}"),
        }
    };
    match timeout(ANSWER_TIMEOUT, asked).await {
        Ok(result) => result,
        Err(_) => bail!("no answer within {}s", ANSWER_TIMEOUT.as_secs()),
    }
}
