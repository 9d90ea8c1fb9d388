use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{
    line::{Line, parse},
    read::{Options, send},
    *,
};

const LOG: &str = "\
2026-01-01T00:00:01.000000001Z stdout F one
2026-01-01T00:00:02.000000002Z stderr F two
2026-01-01T00:00:03.000000003Z stdout P thr
2026-01-01T00:00:03.000000004Z stdout F ee
";

#[test]
fn lines() {
    let whole = Line {
        time: "2026-01-01T00:00:00Z",
        stdout: true,
        full: true,
        text: b"a b",
    };
    assert_eq!(parse(b"2026-01-01T00:00:00Z stdout F a b\n"), Some(whole));
    let empty = Line {
        time: "t",
        stdout: false,
        full: false,
        text: b"",
    };
    assert_eq!(parse(b"t stderr P:x \n"), Some(empty));
    for bad in [
        "",
        "\n",
        "t stdout F no line feed",
        "t stdin F x\n",
        "t stdout X x\n",
        "t\n",
    ] {
        assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
    }
}

/// What is shown of the last lines, parts apart.
async fn tail(log: &str, lines: u64) -> String {
    let mut file = io::Cursor::new(log.as_bytes());
    let at = tail::offset(&mut file, log.len() as u64, lines)
        .await
        .unwrap();
    log[usize::try_from(at).unwrap()..]
        .lines()
        .map(|l| format!("{}|", l.rsplit(' ').next().unwrap()))
        .collect()
}

#[tokio::test]
async fn tails() {
    for (lines, text) in [
        (0, ""),
        (1, "thr|ee|"),
        (2, "two|thr|ee|"),
        (3, "one|two|thr|ee|"),
        (9, "one|two|thr|ee|"),
        (u64::MAX, "one|two|thr|ee|"),
    ] {
        assert_eq!(tail(LOG, lines).await, text, "{lines}");
    }
    let unended = format!("{LOG}t stdout P wo\nt stdout P rd\n");
    assert_eq!(tail(&unended, 1).await, "wo|rd|");
    assert_eq!(tail(&unended, 2).await, "thr|ee|wo|rd|");
}

#[tokio::test]
async fn a_tail_is_found_across_the_pieces_that_are_read() {
    let line = |n: usize| format!("t stdout F {}{n:05}\n", "x".repeat(n % 97));
    let log: String = (0..5_000).map(line).collect();
    for lines in [1, 1_000, 1_501, 4_999] {
        let wanted: String = (5_000 - lines..5_000).map(line).collect();
        let mut file = io::Cursor::new(log.as_bytes());
        let at = tail::offset(&mut file, log.len() as u64, lines as u64)
            .await
            .unwrap();
        assert_eq!(&log[usize::try_from(at).unwrap()..], wanted, "{lines}");
    }
}

/// Counts what is read.
struct Counted {
    file: io::Cursor<Vec<u8>>,
    most: usize,
}

impl tokio::io::AsyncRead for Counted {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        task: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        self.most += buffer.remaining();
        std::pin::Pin::new(&mut self.file).poll_read(task, buffer)
    }
}

impl tokio::io::AsyncSeek for Counted {
    fn start_seek(mut self: std::pin::Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        std::pin::Pin::new(&mut self.file).start_seek(to)
    }

    fn poll_complete(
        mut self: std::pin::Pin<&mut Self>,
        task: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<u64>> {
        std::pin::Pin::new(&mut self.file).poll_complete(task)
    }
}

#[tokio::test]
async fn what_is_no_log_is_not_read_to_its_beginning() {
    let length = 64 << 20;
    let mut file = Counted {
        file: io::Cursor::new(vec![b'x'; length]),
        most: 0,
    };
    tail::offset(&mut file, length as u64, 10).await.unwrap();
    assert!(file.most < 4 << 20, "{}", file.most);
}

fn options(query: &str) -> Options {
    Options::parse(query, "2026-01-01T00:01:00Z".parse().unwrap()).unwrap()
}

#[test]
fn options_are_read_from_the_query() {
    let all = options("follow=true&tailLines=5&timestamps=1&limitBytes=9&sinceSeconds=60");
    let since = Some("2026-01-01T00:00:00Z".parse().unwrap());
    let expected = Options {
        follow: true,
        timestamps: true,
        tail: Some(5),
        since,
        limit_bytes: Some(9),
        stdout: None,
    };
    assert_eq!(all, expected);
    assert!(Options::parse("tailLines=x", jiff::Timestamp::now()).is_err());
}

/// A log in a directory of its own.
fn log() -> (tempfile::TempDir, Log) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("pod/main/0.log");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, LOG).unwrap();
    let log = Log::new(home.path().to_owned(), path);
    (home, log)
}

async fn text(query: &str) -> String {
    let (_home, log) = log();
    let (_alive, state) = watch::channel(false);
    let (out, mut chunks) = mpsc::channel::<io::Result<Bytes>>(4);
    tokio::spawn(send(log, options(query), state, out));
    let mut all = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn logs_are_shown_as_asked_for() {
    assert_eq!(text("").await, "one\ntwo\nthree\n");
    assert_eq!(text("tailLines=1").await, "three\n");
    assert_eq!(text("limitBytes=6").await, "one\ntw");
    assert_eq!(text("sinceTime=2026-01-01T00:00:02Z").await, "two\nthree\n");
    assert_eq!(
        text("stream=Stderr&timestamps=true").await,
        "2026-01-01T00:00:02.000000002Z two\n"
    );
    assert_eq!(
        text("tailLines=1&timestamps=true").await,
        "2026-01-01T00:00:03.000000003Z three\n",
        "one time a line, however many parts it has"
    );
    assert_eq!(
        text("sinceTime=2026-01-01T00:00:03.000000004Z&timestamps=true").await,
        "2026-01-01T00:00:03.000000004Z ee\n"
    );
    assert_eq!(
        text("follow=true&tailLines=1").await,
        "three\n",
        "the container has ended"
    );
}

#[tokio::test]
async fn a_log_that_is_not_followed_ends_where_it_ended_when_it_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    let line = format!("t stdout F {}\n", "x".repeat(8_000));
    std::fs::write(&path, line.repeat(40)).unwrap();
    let (_alive, state) = watch::channel(true);
    let (out, mut chunks) = mpsc::channel::<io::Result<Bytes>>(1);
    let log = Log::new(dir.path().to_owned(), path.clone());
    tokio::spawn(send(log, options("tailLines=30"), state, out));
    // From now on there is no room for most of the rest until somebody takes it.
    let mut lines = newlines(chunks.recv().await);
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap();
    io::Write::write_all(&mut file, line.as_bytes()).unwrap();
    while let Some(chunk) = chunks.recv().await {
        lines += newlines(Some(chunk));
    }
    assert_eq!(lines, 30);
}

fn newlines(chunk: Option<io::Result<Bytes>>) -> usize {
    let chunk = chunk.unwrap().unwrap();
    chunk.iter().filter(|byte| **byte == b'\n').count()
}

#[tokio::test]
async fn following_sees_what_is_written_later_and_after_a_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    std::fs::write(&path, "t stdout F a\n").unwrap();
    let (alive, state) = watch::channel(true);
    let (out, mut chunks) = mpsc::channel::<io::Result<Bytes>>(4);
    let log = Log::new(dir.path().to_owned(), path.clone());
    tokio::spawn(send(log, options("follow=true"), state, out));
    let mut next = async || {
        let wait = tokio::time::timeout(std::time::Duration::from_secs(5), chunks.recv());
        wait.await
            .unwrap()
            .map(|chunk| String::from_utf8(chunk.unwrap().to_vec()).unwrap())
    };
    assert_eq!(next().await.as_deref(), Some("a\n"));
    let append = |path: &std::path::Path, text: &str| {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    append(&path, "t stdout F b\n");
    assert_eq!(next().await.as_deref(), Some("b\n"));
    std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
    append(&path, "t stdout F c\n");
    assert_eq!(next().await.as_deref(), Some("c\n"));
    alive.send_replace(false);
    assert_eq!(next().await, None);
}

#[test]
fn the_end_of_a_log_serves_as_last_words() {
    let (home, log) = log();
    assert_eq!(log.last_lines(80, 2_048), "one\ntwo\nthree\n");
    assert_eq!(log.last_lines(80, 4), "ree\n");
    let none = Log::new(home.path().to_owned(), "/nonexistent");
    assert_eq!(none.last_lines(80, 4), "");
}

#[tokio::test]
async fn links_are_no_logs() {
    let (home, log) = log();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), LOG).unwrap();
    std::fs::remove_file(log.path()).unwrap();
    std::os::unix::fs::symlink(outside.path(), log.path()).unwrap();
    assert!(log.open().is_err());
    assert_eq!(log.last_lines(80, 2_048), "");
    let main = log.path().parent().unwrap();
    std::fs::remove_dir_all(main).unwrap();
    std::os::unix::fs::symlink(outside.path().parent().unwrap(), main).unwrap();
    let name = outside.path().file_name().unwrap();
    let through = Log::new(home.path().to_owned(), main.join(name));
    assert!(through.open().is_err());
    assert!(outside.path().exists());
}
