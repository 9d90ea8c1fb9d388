//! Where a command tells a running knarr what to do: a socket in the data directory, a line of JSON each way.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt, net::UnixListener as StdListener},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use knarr_tasks::accept;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    time::timeout,
};
use tracing::debug;

const OWNER_ONLY: u32 = 0o600;
const LINE_LIMIT_BYTES: u64 = 8_192;
/// Who asks writes its line at once.
pub const READ_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize, Deserialize)]
struct Answer<T> {
    /// Why not.
    error: Option<String>,
    #[serde(default = "Option::default")]
    done: Option<T>,
}

/// Listens from now on; nobody is answered before [`serve`].
pub fn listen(path: &Path) -> io::Result<StdListener> {
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

/// Does what is asked, one after the other: only who runs knarr gets here, and this machine's root.
pub async fn serve<R, T, F>(listener: StdListener, obey: impl Fn(R) -> F) -> io::Result<()>
where
    R: DeserializeOwned,
    T: Serialize,
    F: Future<Output = Result<T>>,
{
    let listener = UnixListener::from_std(listener)?;
    loop {
        let (stream, _) = accept("a command", || listener.accept()).await;
        if let Err(error) = answer(stream, &obey).await {
            debug!(%error, "who gave a command went away");
        }
    }
}

async fn answer<R, T, F>(mut stream: UnixStream, obey: &impl Fn(R) -> F) -> io::Result<()>
where
    R: DeserializeOwned,
    T: Serialize,
    F: Future<Output = Result<T>>,
{
    let line = timeout(READ_TIMEOUT, read_line(&mut stream)).await??;
    let done = match serde_json::from_str(&line) {
        Ok(request) => obey(request).await,
        Err(error) => Err(error.into()),
    };
    let answer = match done {
        Ok(done) => Answer {
            error: None,
            done: Some(done),
        },
        Err(error) => Answer {
            error: Some(format!("{error:#}")),
            done: None,
        },
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

/// Has the knarr that listens there do something, and waits until it has; `None` when nobody listens.
///
/// # Errors
/// When it says why not, goes away, or takes longer than `limit`.
pub async fn ask<R: Serialize, T: DeserializeOwned>(
    path: &Path,
    request: &R,
    limit: Duration,
) -> Result<Option<T>> {
    let asked = async {
        let Ok(mut stream) = UnixStream::connect(path).await else {
            return Ok(None);
        };
        let mut text = serde_json::to_vec(request)?;
        text.push(b'\n');
        stream.write_all(&text).await?;
        let line = read_line(&mut stream).await?;
        let answer: Answer<T> = serde_json::from_str(&line).context("knarr has gone away")?;
        match (answer.error, answer.done) {
            (Some(error), _) => bail!("{error}"),
            (None, done) => Ok(done),
        }
    };
    match timeout(limit, asked).await {
        Ok(result) => result,
        Err(_) => bail!("no answer within {}s", limit.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn commands_are_answered() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("run/x.sock");
        let limit = Duration::from_secs(5);
        let nobody = ask::<_, u32>(&path, &1, limit).await;
        assert_eq!(nobody.expect("an answer"), None);
        let listener = listen(&path).expect("a listener");
        let obey = |number: u32| async move {
            match number {
                0 => bail!("not nothing"),
                number => Ok(number * 2),
            }
        };
        let serving = serve(listener, obey);
        let asking = async {
            let asked = ask::<_, u32>(&path, &21, limit).await;
            assert_eq!(asked.expect("an answer"), Some(42));
            let refused = ask::<_, u32>(&path, &0, limit).await;
            assert_eq!(refused.expect_err("none").to_string(), "not nothing");
            assert!(ask::<_, u32>(&path, &"words", limit).await.is_err());
        };
        tokio::select! {
            served = serving => panic!("{served:?}"),
            () = asking => {}
        }
    }
}
