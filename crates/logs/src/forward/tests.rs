//! Outputs against receivers that read what is really sent.

mod receivers;

use serde_json::Value as Json;

use self::receivers::{Receivers, Seen};
use super::{config::Forwarding, *};
use crate::{
    record::{Record, Source, Stream},
    store::Limits,
};

/// An output with its store.
struct Bench {
    home: tempfile::TempDir,
    store: Arc<Store>,
    counts: Arc<Counts>,
    tasks: Option<Tasks>,
    config: String,
}

fn open(home: &Path) -> Arc<Store> {
    let limits = Limits {
        bytes: 64 << 20,
        age: Duration::from_secs(u64::from(u32::MAX)),
        free_percent: 0,
    };
    Arc::new(Store::open(home, limits).unwrap().0)
}

impl Bench {
    fn new(config: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut bench = Self {
            store: open(home.path()),
            home,
            counts: Arc::default(),
            tasks: None,
            config: format!("outputs: [{{name: a, {config}}}]"),
        };
        bench.start();
        bench
    }

    fn start(&mut self) {
        let forwarding = Forwarding::parse(&self.config).unwrap();
        forget_others(self.home.path(), &forwarding.outputs).unwrap();
        let output = &forwarding.outputs[0];
        let counts = self.counts.clone();
        let forwarder =
            Forwarder::new(output, "n1", &self.store, self.home.path(), counts).unwrap();
        let tasks = Tasks::new(CancellationToken::new());
        forwarder.start(&tasks);
        self.tasks = Some(tasks);
    }

    async fn stop(&mut self) {
        let tasks = self.tasks.take().unwrap();
        tasks.token().cancel();
        tasks.stopped().await;
    }

    fn write(&self, numbers: std::ops::Range<i64>) {
        let sources = ["web-0", "web-1", "db-0"].map(|pod| {
            Arc::new(Source {
                namespace: "shop".to_owned(),
                pod: pod.to_owned(),
                uid: format!("uid-{pod}"),
                container: "main".to_owned(),
                labels: [("app".to_owned(), pod[..2].to_owned())].into(),
                ..Source::default()
            })
        });
        for number in numbers {
            let mut writer = self.store.writer();
            let text = format!("line {number} \"of\" ü");
            writer.push(&Record {
                source: sources[usize::try_from(number % 3).unwrap()].clone(),
                stream: Stream::Stderr,
                time: 1_893_456_000_000_000_000 + number,
                text: text.as_bytes(),
            });
            writer.commit(None);
        }
    }
}

/// What a receiver must have of a pod, in order; lines that came twice are one.
fn check(seen: &[Seen], numbers: std::ops::Range<i64>) {
    for (index, pod) in ["web-0", "web-1", "db-0"].iter().enumerate() {
        let of_pod = seen.iter().filter(|line| line.pod == *pod);
        let mut got: Vec<i64> = Vec::new();
        for line in of_pod {
            assert_eq!(line.text, format!("line {} \"of\" ü", line.number()));
            if got.last().is_none_or(|last| line.number() > *last) {
                got.push(line.number());
            } else {
                assert!(got.contains(&line.number()), "{pod}: out of order");
            }
        }
        let wanted: Vec<i64> = numbers.clone().filter(|n| n % 3 == index as i64).collect();
        assert_eq!(got, wanted, "{pod}");
    }
}

/// Receivers of every kind: one that is not there at first, then fails, then works, and is away again while knarr restarts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_receiver_misses_it_gets_later_and_in_order() {
    for kind in ["fluentForward", "otlp", "loki", "elasticsearch"] {
        let receivers = Receivers::reserve().await;
        let config = match kind {
            "fluentForward" => format!("fluentForward: {{address: '{}'}}", receivers.address),
            kind => format!("{kind}: {{endpoint: 'http://{}'}}", receivers.address),
        };
        let mut bench = Bench::new(&config);
        bench.write(0..600);
        while bench.counts.retries.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut receiver = receivers.start(kind, 2).await;
        let seen = receiver.wait(600).await;
        check(&seen, 0..600);
        bench.write(600..900);
        receiver.wait(900).await;
        bench.stop().await;
        let receivers = receiver.stop().await;
        bench.write(900..1_200);
        bench.start();
        bench.write(1_200..1_500);
        let mut receiver = receivers.start(kind, 1).await;
        let seen = receiver.wait(1_500).await;
        check(&seen, 0..1_500);
        assert_eq!(bench.counts.missed.load(Ordering::Relaxed), 0);
        assert_eq!(bench.counts.refused.load(Ordering::Relaxed), 0);
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_file_has_a_line_each_and_a_limit() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("all.jsonl");
    let config = format!(
        "file: {{path: '{}', maxBytes: 4M}}, labelSelector: app=we",
        path.display()
    );
    let mut bench = Bench::new(&config);
    bench.write(0..30);
    let until = Instant::now() + Duration::from_secs(30);
    // What is written when it is stopped has not been counted.
    while bench.counts.sent.load(Ordering::Relaxed) < 20 && Instant::now() < until {
        sleep(Duration::from_millis(20)).await;
    }
    let text = fs::read_to_string(&path).unwrap();
    let first: Json = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["@timestamp"], "2030-01-01T00:00:00.000000000Z");
    assert_eq!(first["kubernetes"]["pod"]["name"], "web-0");
    assert_eq!(first["kubernetes"]["labels"]["app"], "we");
    assert_eq!(text.lines().count(), 20);
    bench.stop().await;
    assert_eq!(bench.counts.sent.load(Ordering::Relaxed), 20);
}

#[tokio::test]
async fn an_output_that_is_new_gets_what_comes_from_then_on() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("all.jsonl");
    let mut bench = Bench::new(&format!("file: {{path: '{}'}}", path.display()));
    bench.stop().await;
    bench.write(0..30);
    // Forgotten, and given again.
    forget_others(bench.home.path(), &[]).unwrap();
    bench.start();
    bench.write(30..33);
    let until = Instant::now() + Duration::from_secs(30);
    while bench.counts.sent.load(Ordering::Relaxed) < 3 && Instant::now() < until {
        sleep(Duration::from_millis(20)).await;
    }
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("line 30 ") && !text.contains("line 29 "),
        "{text}"
    );
    bench.stop().await;
}
