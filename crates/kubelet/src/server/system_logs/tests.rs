use std::os::unix::fs::symlink;

use super::*;
use crate::configuration::KubeletConfiguration;

async fn body(response: Response<Body>) -> (StatusCode, String) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn queries_are_names_files_and_options() {
    let parse = |query: &str| Query::parse(query).map(Option::unwrap_or_default);
    let found = parse("query=kubelet&query=crio&tailLines=5&boot=-1&pattern=a%20b").unwrap();
    assert_eq!(found.services, ["kubelet", "crio"]);
    assert!(found.has_options() && found.validate().is_ok());
    let services: Vec<&String> = found.services.iter().collect();
    assert_eq!(
        found.arguments(&services)[3..],
        [
            "--pager-end",
            "--lines=5",
            "--unit=kubelet",
            "--unit=crio",
            "--grep=a b",
            "--boot",
            "-1"
        ]
    );
    let found =
        parse("query=a&sinceTime=2026-01-02T03:04:05Z&untilTime=2026-01-02T13:04:05%2B01:00")
            .unwrap();
    assert_eq!(
        found.arguments(&[])[3..],
        ["--since=2026-1-2 3:4:5", "--until=2026-1-2 12:4:5"]
    );
    assert_eq!(parse("query=/foo.log").unwrap().files, ["/foo.log"]);
    assert_eq!(Query::parse(""), Ok(None));
    for (query, why) in [
        ("query=", "query: Invalid value: [\"\"]: may not be empty"),
        (
            "query=a&sinceTime=now",
            "sinceTime: Invalid value: \"now\": invalid time format",
        ),
        (
            "query=a&tailLines=x",
            "tailLines: Invalid value: \"x\": strconv.Atoi: parsing \"x\": invalid syntax",
        ),
    ] {
        assert_eq!(Query::parse(query), Err(why.to_owned()), "{query}");
    }
    for (query, why) in [
        ("query=a%3Bb", "input contains unsupported characters"),
        ("query=-f", "input contains unsupported characters"),
        (
            "query=a&query=b&query=c&query=d&query=e",
            "query: Too many: 5: must have at most 4 items",
        ),
        (
            "tailLines=5",
            "query: Required value: cannot be empty with options",
        ),
        ("query=a&query=/b", "cannot specify a file and service"),
        ("query=/a&query=/b", "cannot specify more than one file"),
        ("query=/a&boot=0", "cannot specify file with options"),
        (
            "query=a&boot=1",
            "boot: Invalid value: 1: must be less than 1",
        ),
        (
            "query=a&tailLines=100001",
            "must be between 0 and 100000, inclusive",
        ),
        (
            "query=a&sinceTime=2026-01-02T00:00:00Z&untilTime=2026-01-01T00:00:00Z",
            "must be after `sinceTime`",
        ),
    ] {
        let error = parse(query).unwrap().validate().unwrap_err();
        assert!(error.contains(why), "{query}: {error}");
    }
}

#[tokio::test]
async fn files_are_served_and_nothing_outside_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("log");
    std::fs::create_dir_all(root.join("sub dir")).unwrap();
    std::fs::write(root.join("a.log"), "hello\n").unwrap();
    std::fs::write(root.join("sub dir/b<.log"), "b").unwrap();
    std::fs::write(dir.path().join("secret"), "s").unwrap();
    symlink("a.log", root.join("link")).unwrap();
    symlink("../secret", root.join("out")).unwrap();
    let get = |path: &'static str| {
        let root = root.clone();
        async move { body(file(&root, path, CancellationToken::new()).await).await }
    };
    assert_eq!(get("/a.log").await, (StatusCode::OK, "hello\n".to_owned()));
    assert_eq!(get("/link").await.1, "hello\n");
    assert_eq!(get("/out").await.0, StatusCode::FORBIDDEN);
    assert_eq!(get("/../secret").await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        get("/none").await,
        (StatusCode::NOT_FOUND, "404 page not found\n".to_owned())
    );
    let (status, page) = get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        page.contains("<a href=\"sub%20dir/\">sub dir/</a>\n"),
        "{page}"
    );
    let (_, page) = get("/sub dir/").await;
    assert!(
        page.contains("<a href=\"b%3C.log\">b&lt;.log</a>"),
        "{page}"
    );
    assert_eq!(get("/sub dir").await.0, StatusCode::MOVED_PERMANENTLY);
}

/// Those that read slowly would hold what the kubelet does everything on a disk with.
#[test]
fn who_does_not_read_holds_no_thread() {
    let dir = tempfile::tempdir().unwrap();
    let long = vec![b'x'; 64 * PIECE];
    std::fs::write(dir.path().join("a.log"), &long).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }
        .worker_threads(1)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let idle = file(dir.path(), "/a.log", CancellationToken::new()).await;
        let (sender, unread) = mpsc::channel(QUEUE);
        let of_idle = tokio::time::timeout(
            Duration::from_millis(200),
            of_service(dir.path(), "a", &sender),
        );
        assert!(of_idle.await.is_err(), "nobody reads it");
        let read = file(dir.path(), "/a.log", CancellationToken::new());
        let read = async { body(read.await).await };
        let (_, text) = tokio::time::timeout(Duration::from_secs(10), read)
            .await
            .expect("a thread that is free");
        assert_eq!(text.len(), long.len());
        drop((idle, unread));
    });
}

#[tokio::test]
async fn services_without_a_journal_have_files() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("b")).unwrap();
    std::fs::write(dir.path().join("a.log"), "of a").unwrap();
    std::fs::write(dir.path().join("b/b.log"), "of b").unwrap();
    for (name, wanted) in [
        ("a", "of a"),
        ("b", "of b"),
        ("c", "\nlog not found for c\n"),
    ] {
        let (sender, mut receiver) = mpsc::channel(QUEUE);
        of_service(dir.path(), name, &sender).await;
        drop(sender);
        let mut found = Vec::new();
        while let Some(piece) = receiver.recv().await {
            found.extend(piece.unwrap());
        }
        assert_eq!(String::from_utf8(found).unwrap(), wanted);
    }
}

#[tokio::test]
async fn what_is_not_enabled_is_refused() {
    let ask = |change: fn(&mut Settings), path: &'static str, query: &'static str| async move {
        let settings = KubeletConfiguration::with(change).settings;
        let asked = serve(
            &settings,
            &Method::GET,
            (path, query),
            CancellationToken::new(),
        )
        .await;
        body(asked).await
    };
    let off = ask(|own| own.enable_system_log_handler = false, "/logs/", "").await;
    assert_eq!(
        off,
        (
            StatusCode::METHOD_NOT_ALLOWED,
            "logs endpoint is disabled.\n".to_owned()
        )
    );
    let on = |own: &mut Settings| own.enable_system_log_query = true;
    assert_eq!(
        ask(on, "/logs/x", "query=a").await.0,
        StatusCode::NOT_ACCEPTABLE
    );
    assert_eq!(
        ask(on, "/logs/", "query=a%3Bb").await.0,
        StatusCode::NOT_ACCEPTABLE
    );
    assert_eq!(ask(on, "/logs/", "query=").await.0, StatusCode::BAD_REQUEST);
    // Without it a query says nothing.
    assert_eq!(
        ask(|_| (), "/logs/nowhere-at-all", "query=a").await.0,
        StatusCode::NOT_FOUND
    );
}
