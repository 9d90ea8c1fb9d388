//! `/logs/`: files of the host's `/var/log`, and with `?query=` what its services have logged, as `journalctl` or such a file has it.

mod query;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io,
    path::{Component, Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use knarr_host::Directory;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use self::query::Query;
use super::{Body, text};
use crate::configuration::Settings;

const ROOT: &str = "/var/log";
const PROGRAM: &str = "journalctl";
/// Longest time that a query may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Pieces on their way to the client, and the bytes of each.
const QUEUE: usize = 4;
const PIECE: usize = 64 * 1024;
/// Entries of a directory that are listed.
const MAX_ENTRIES: usize = 10_000;
/// What `journalctl` says of the services that it knows, bytes.
const MAX_SERVICES: u64 = 1 << 20;

type Pieces = mpsc::Sender<io::Result<Bytes>>;

/// Answers for a path below `/logs`.
pub(super) async fn serve(
    settings: &Settings,
    method: &Method,
    (path, query): (&str, &str),
    token: CancellationToken,
) -> Response<Body> {
    if !settings.enable_system_log_handler {
        let message = "logs endpoint is disabled.\n";
        return text(StatusCode::METHOD_NOT_ALLOWED, message);
    }
    if *method != Method::GET {
        return super::not_allowed("GET");
    }
    let path = path.strip_prefix("/logs").unwrap_or(path);
    let asked = match settings
        .enable_system_log_query
        .then(|| Query::parse(query))
    {
        Some(Err(why)) => return text(StatusCode::BAD_REQUEST, why + "\n"),
        Some(Ok(asked)) => asked,
        None => None,
    };
    let Some(asked) = asked else {
        return file(Path::new(ROOT), path, token).await;
    };
    if !matches!(path, "" | "/") {
        let message = "path not allowed in query mode\n";
        return text(StatusCode::NOT_ACCEPTABLE, message);
    }
    if let Err(why) = asked.validate() {
        return text(StatusCode::NOT_ACCEPTABLE, why + "\n");
    }
    match asked.files.first().cloned() {
        Some(one) => file(Path::new(ROOT), &one, token).await,
        None => services(asked, token),
    }
}

/// What is at a path below a directory: links are followed as far as they stay in it.
fn locate(root: &Path, path: &str) -> io::Result<PathBuf> {
    let mut inside = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => inside.push(name),
            // As in a URL: nothing is above.
            Component::ParentDir => drop(inside.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    let root = root.canonicalize()?;
    let found = root.join(inside).canonicalize()?;
    let inside = found.strip_prefix(&root);
    inside
        .map(Path::to_owned)
        .map_err(|_| io::ErrorKind::PermissionDenied.into())
}

enum Found {
    File(File, u64),
    /// Names, with a slash after those of directories.
    Directory(Vec<String>),
}

/// Blocks.
fn open(root: &Path, path: &str) -> io::Result<Found> {
    let inside = locate(root, path)?;
    let root = Directory::open(root)?;
    let directory = match inside.as_os_str().is_empty() {
        true => Some(root),
        false => match root.open_file(&inside) {
            Ok(file) => {
                let length = file.metadata()?.len();
                return Ok(Found::File(file, length));
            }
            Err(_) => Some(root.child(&inside)?),
        },
    };
    let mut names = Vec::new();
    for (name, kind) in directory
        .map(|directory| directory.entries())
        .transpose()?
        .into_iter()
        .flatten()
    {
        if names.len() >= MAX_ENTRIES {
            break;
        }
        let slash = if kind.is_dir() { "/" } else { "" };
        names.push(format!("{}{slash}", name.to_string_lossy()));
    }
    names.sort();
    Ok(Found::Directory(names))
}

async fn file(root: &Path, path: &str, token: CancellationToken) -> Response<Body> {
    let (root, wanted) = (root.to_owned(), path.to_owned());
    let found = tokio::task::spawn_blocking(move || open(&root, &wanted)).await;
    match found.map_err(io::Error::other).and_then(|found| found) {
        Ok(Found::File(file, length)) => {
            let (sender, receiver) = mpsc::channel(QUEUE);
            let file = tokio::fs::File::from_std(file).take(length);
            tokio::spawn(async move { pass_on(Some(file), &sender).await });
            stream(receiver, token)
        }
        Ok(Found::Directory(_)) if !path.is_empty() && !path.ends_with('/') => {
            let name = path.rsplit('/').next().unwrap_or_default();
            let mut response = text(StatusCode::MOVED_PERMANENTLY, "");
            if let Ok(place) = HeaderValue::from_str(&format!("{name}/")) {
                response.headers_mut().insert(header::LOCATION, place);
            }
            response
        }
        Ok(Found::Directory(names)) => listing(&names),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            text(StatusCode::FORBIDDEN, "403 Forbidden\n")
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            text(StatusCode::NOT_FOUND, "404 page not found\n")
        }
        Err(error) => {
            tracing::debug!(%error, path, "a file of the node's logs cannot be read");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "500 Internal Server Error\n",
            )
        }
    }
}

/// As Go's file server lists a directory.
fn listing(names: &[String]) -> Response<Body> {
    let mut page =
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n"
            .to_owned();
    for name in names {
        let link: String = name
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                    char::from(byte).to_string()
                }
                byte => format!("%{byte:02X}"),
            })
            .collect();
        let shown = name
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        page.push_str(&format!("<a href=\"{link}\">{shown}</a>\n"));
    }
    page.push_str("</pre>\n");
    super::typed(StatusCode::OK, "text/html; charset=utf-8", page.into())
}

fn stream(pieces: mpsc::Receiver<io::Result<Bytes>>, token: CancellationToken) -> Response<Body> {
    let pieces = tokio_stream(pieces).take_until(token.cancelled_owned());
    let frames = pieces.map(|piece| piece.map(Frame::data));
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    let kind = HeaderValue::from_static("text/plain;charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn tokio_stream<T>(mut pieces: mpsc::Receiver<T>) -> impl futures::Stream<Item = T> {
    futures::stream::poll_fn(move |task| pieces.poll_recv(task))
}

/// What services have logged. What goes wrong is told in the text, as upstream does: the answer has begun.
fn services(asked: Query, token: CancellationToken) -> Response<Body> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        // The deadline ends the program as well.
        let _in_time = tokio::time::timeout(DEADLINE, answer(&asked, &sender)).await;
    });
    stream(receiver, token)
}

async fn answer(asked: &Query, to: &Pieces) {
    let known = known_services().await;
    let is_native = |name: &&String| known.contains(&format!("{name}.service"));
    let (native, files): (Vec<&String>, Vec<&String>) = asked.services.iter().partition(is_native);
    if !native.is_empty() {
        journal(asked, &native, to).await;
    }
    if files.is_empty() {
        return;
    }
    if asked.has_options() {
        let names: Vec<&str> = files.iter().map(|name| name.as_str()).collect();
        let names = names.join(" ");
        tell(to, format!("\noptions present and query resolved to log files for [{names}]\ntry without specifying options\n")).await;
        return;
    }
    for name in files {
        of_service(Path::new(ROOT), name, to).await;
    }
}

async fn tell(to: &Pieces, line: String) {
    // Whoever asked may have gone.
    let _told = to.send(Ok(line.into())).await;
}

/// The units that the journal knows; nothing where there is no journal.
async fn known_services() -> String {
    let mut command = Command::new(PROGRAM);
    command
        .args(["--field", "_SYSTEMD_UNIT"])
        .kill_on_drop(true);
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else {
        return String::new();
    };
    let mut text = String::new();
    if let Some(out) = child.stdout.take() {
        let read = out.take(MAX_SERVICES).read_to_string(&mut text).await;
        if read.is_err() {
            text.clear();
        }
    }
    match child.wait().await {
        Ok(status) if status.success() => text,
        _ => String::new(),
    }
}

async fn journal(asked: &Query, services: &[&String], to: &Pieces) {
    let mut command = Command::new(PROGRAM);
    command.args(asked.arguments(services)).kill_on_drop(true);
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        tell(to, "\nerror: journal output not available\n".to_owned()).await;
        return;
    };
    let out = child.stdout.take();
    let err = child.stderr.take();
    tokio::join!(pass_on(out, to), pass_on(err, to));
    // What it says of itself has been passed on.
    let _status = child.wait().await;
}

/// Until the end, or until nobody listens. Who reads slowly, or not at all, holds no thread meanwhile.
async fn pass_on(from: Option<impl AsyncRead + Unpin>, to: &Pieces) {
    let Some(mut from) = from else { return };
    loop {
        let mut piece = vec![0; PIECE];
        let read = match from.read(&mut piece).await {
            Ok(0) => return,
            Ok(count) => {
                piece.truncate(count);
                Ok(piece.into())
            }
            Err(error) => Err(error),
        };
        let failed = read.is_err();
        if to.send(read).await.is_err() || failed {
            return;
        }
    }
}

/// A service that has a file: `NAME`, `NAME.log` or `NAME/NAME.log`.
async fn of_service(root: &Path, name: &str, to: &Pieces) {
    for path in [
        name.to_owned(),
        format!("{name}.log"),
        format!("{name}/{name}.log"),
    ] {
        let root = root.to_owned();
        let found = tokio::task::spawn_blocking(move || open(&root, &path)).await;
        match found.map_err(io::Error::other).and_then(|found| found) {
            Ok(Found::File(file, length)) => {
                return pass_on(Some(tokio::fs::File::from_std(file).take(length)), to).await;
            }
            Ok(Found::Directory(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tell(to, format!("\nerror getting log for {name}: {error}\n")).await;
                return;
            }
        }
    }
    tell(to, format!("\nlog not found for {name}\n")).await;
}
