use std::{
    fs::{self, OpenOptions},
    io::Write,
};

use k8s_openapi::api::core::v1::Pod;
use knarr_client::Informer;

use super::*;
use crate::{
    record::Owned,
    store::{Limits, Place, Tail},
};

/// A node's directory of logs with an agent that follows it.
struct Bench {
    home: tempfile::TempDir,
    store: Arc<Store>,
    token: CancellationToken,
    running: Option<tokio::task::JoinHandle<()>>,
    tail: Tail,
}

fn settings(home: &Path) -> Settings {
    Settings {
        pods: home.join("pods"),
        own: Some(home.join("knarr.log")),
        rate: BYTES_PER_SECOND,
    }
}

fn open(home: &Path) -> (Arc<Store>, Positions) {
    let limits = Limits {
        bytes: 64 << 20,
        age: Duration::from_secs(u64::from(u32::MAX)),
        free_percent: 0,
    };
    let retained = home.join("retained");
    let (store, since) = Store::open(&retained, limits).unwrap();
    (Arc::new(store), Positions::load(&retained, since))
}

impl Bench {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let (store, positions) = open(home.path());
        drop(positions);
        let mut bench = Self {
            tail: Tail::new(store.clone(), Place::default()),
            home,
            store,
            token: CancellationToken::new(),
            running: None,
        };
        bench.start();
        bench
    }

    fn start(&mut self) {
        let place = self.tail.place();
        let (store, positions) = open(self.home.path());
        self.tail = Tail::new(store.clone(), place);
        self.store = store.clone();
        let informer = Informer::<Pod>::new();
        let pod = serde_json::json!({
            "metadata": { "namespace": "default", "name": "web", "uid": "u1", "labels": { "app": "web" } },
        });
        informer.replace(vec![serde_json::from_value(pod).unwrap()]);
        let pods = Pods::new(informer, Default::default());
        let follower = Follower::new(settings(self.home.path()), store, pods, positions).unwrap();
        self.token = CancellationToken::new();
        self.running = Some(tokio::spawn(follower.run(self.token.clone())));
    }

    async fn stop(&mut self) {
        self.token.cancel();
        self.running.take().unwrap().await.unwrap();
    }

    /// As a kill: nothing is saved.
    async fn kill(&mut self) {
        let running = self.running.take().unwrap();
        running.abort();
        let _ = running.await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("pods").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The next records, when there are so many.
    async fn records(&mut self, count: usize) -> Vec<Owned> {
        let mut records = Vec::new();
        let collected = tokio::time::timeout(Duration::from_secs(30), async {
            let mut written = self.store.written();
            loop {
                written.borrow_and_update();
                while let Some(record) = self.tail.next().unwrap() {
                    records.push(record);
                }
                if records.len() >= count {
                    break;
                }
                written.changed().await.unwrap();
            }
        });
        assert!(collected.await.is_ok(), "{} of {count}", records.len());
        assert_eq!(records.len(), count);
        records
    }

    async fn texts(&mut self, count: usize) -> Vec<String> {
        let records = self.records(count).await;
        let text = |record: &Owned| String::from_utf8_lossy(&record.text).into_owned();
        records.iter().map(text).collect()
    }
}

fn line(number: u32) -> String {
    format!("2030-01-01T00:00:00.{number:09}Z stdout F line {number}\n")
}

fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers.map(line).collect()
}

fn wanted(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("line {number}")).collect()
}

const LOG: &str = "default_web_u1/main/0.log";

#[tokio::test]
async fn lines_have_their_pods_names_and_labels() {
    let mut bench = Bench::new();
    bench.write(LOG, &line(1));
    bench.write("kube-system_other_u2/side/3.log", "");
    let record = bench.records(1).await.remove(0);
    let source = &record.source;
    assert_eq!(
        (&*source.namespace, &*source.pod, &*source.uid),
        ("default", "web", "u1")
    );
    assert_eq!(
        (&*source.container, &*source.labels["app"]),
        ("main", "web")
    );
    assert_eq!(record.time, 1_893_456_000_000_000_001);
    bench.write(
        "kube-system_other_u2/side/3.log",
        "2030-01-01T00:00:00.000000000Z stderr P a\n",
    );
    bench.write(
        "kube-system_other_u2/side/3.log",
        "2030-01-01T00:00:00.000000000Z stderr F b\nnonsense\n",
    );
    let record = bench.records(1).await.remove(0);
    assert_eq!(
        (&*record.source.pod, &record.text[..]),
        ("other", &b"ab"[..])
    );
    let own = bench.home.path().join("knarr.log");
    fs::write(
        own,
        "2030-01-01T00:00:00.000001Z  INFO knarr: a line of its own\n",
    )
    .unwrap();
    let record = bench.records(1).await.remove(0);
    assert_eq!(
        (&*record.source.pod, &*record.source.container),
        ("", "knarr")
    );
    bench.stop().await;
}

#[tokio::test]
async fn rotation_restarts_and_deletion_lose_nothing() {
    let mut bench = Bench::new();
    bench.write(LOG, &lines(0..100));
    assert_eq!(bench.texts(100).await, wanted(0..100));
    for round in 1..8_u32 {
        let from = round * 100;
        bench.write(LOG, &lines(from..from + 50));
        // As the kubelet and the runtime do it.
        let aside = format!("{LOG}.2030010{round}-000000");
        fs::rename(bench.path(LOG), bench.path(&aside)).unwrap();
        bench.write(&aside, &lines(from + 50..from + 60));
        bench.write(LOG, &lines(from + 60..from + 100));
        assert_eq!(
            bench.texts(100).await,
            wanted(from..from + 100),
            "round {round}"
        );
        match round % 3 {
            0 => {}
            1 => {
                bench.stop().await;
                bench.start();
            }
            _ => {
                bench.kill().await;
                bench.start();
            }
        }
    }
    bench.stop().await;
    bench.write(LOG, &lines(800..850));
    bench.start();
    assert_eq!(bench.texts(50).await, wanted(800..850));
    // A pod's last words.
    bench.write(LOG, &lines(850..900));
    fs::remove_dir_all(bench.path("default_web_u1")).unwrap();
    assert_eq!(bench.texts(50).await, wanted(850..900));
    // And one of the same name after it.
    bench.write("default_web_u3/main/0.log", &lines(0..10));
    assert_eq!(bench.texts(10).await, wanted(0..10));
    bench.stop().await;
}

#[tokio::test]
async fn what_is_no_log_harms_nobody() {
    let mut bench = Bench::new();
    let directory = bench.path("default_web_u1/main");
    fs::create_dir_all(&directory).unwrap();
    let secret = bench.home.path().join("secret");
    fs::write(&secret, line(1)).unwrap();
    std::os::unix::fs::symlink(&secret, directory.join("1.log")).unwrap();
    std::os::unix::fs::symlink(bench.home.path(), bench.path("default_link_u9")).unwrap();
    fs::create_dir(directory.join("2.log")).unwrap();
    let fifo = rustix::fs::CWD;
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(
        fifo,
        directory.join("3.log"),
        rustix::fs::FileType::Fifo,
        mode,
        0,
    )
    .unwrap();
    fs::write(directory.join("4.log"), vec![b'x'; 3 << 20]).unwrap();
    bench.write("default_web_u1/main/4.log", &format!("\n{}", line(7)));
    bench.write("default_web_u1/main/5.log", &line(8));
    let mut texts = bench.texts(2).await;
    texts.sort();
    assert_eq!(texts, ["line 7", "line 8"]);
    assert!(bench.store.counts.skipped.load(Ordering::Relaxed) >= 3 << 20);
    bench.stop().await;
}
