use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{
    line::{Line, parse},
    read::{Options, send, start_of_tail},
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

#[test]
fn tails() {
    for (lines, text) in [
        (0, ""),
        (1, "thr|ee|"),
        (2, "two|thr|ee|"),
        (3, "one|two|thr|ee|"),
        (9, "one|two|thr|ee|"),
    ] {
        let at = start_of_tail(LOG.as_bytes(), lines, true).unwrap();
        let rest = &LOG[usize::try_from(at).unwrap()..];
        let shown: String = rest
            .lines()
            .map(|l| format!("{}|", l.rsplit(' ').next().unwrap()))
            .collect();
        assert_eq!(shown, text, "{lines}");
    }
    assert_eq!(start_of_tail(LOG.as_bytes(), 9, false), None);
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

async fn text(query: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), LOG).unwrap();
    let (_alive, state) = watch::channel(false);
    let (out, mut chunks) = mpsc::channel::<io::Result<Bytes>>(4);
    tokio::spawn(send(file.path().to_owned(), options(query), state, out));
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
        text("follow=true&tailLines=1").await,
        "three\n",
        "the container has ended"
    );
}

#[tokio::test]
async fn following_sees_what_is_written_later_and_after_a_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    std::fs::write(&path, "t stdout F a\n").unwrap();
    let (alive, state) = watch::channel(true);
    let (out, mut chunks) = mpsc::channel::<io::Result<Bytes>>(4);
    tokio::spawn(send(path.clone(), options("follow=true"), state, out));
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
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), LOG).unwrap();
    let path = file.path().display().to_string();
    assert_eq!(last_lines(&path, 80, 2_048), "one\ntwo\nthree\n");
    assert_eq!(last_lines(&path, 80, 4), "ree\n");
    assert_eq!(last_lines("/nonexistent", 80, 4), "");
}

#[test]
fn old_log_files_are_counted_from_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["0.log", "0.log.3", "0.log.1", "0.log.2", "1.log.0"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    let path = dir.path().join("0.log");
    assert_eq!(
        rotate::surplus(&path, 2).unwrap(),
        [dir.path().join("0.log.1")]
    );
    assert!(rotate::surplus(&path, 3).unwrap().is_empty());
}
