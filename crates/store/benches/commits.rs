//! What a commit costs: 32 writers create keys of 0.5 KiB one after the other, with a watcher that reads them all.
//!
//!     cargo bench -p knarr-store --bench commits [-- directory]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use knarr_store::{Embedded, Op, Options, Store};

const WRITERS: usize = 32;
const COMMITS_EACH: usize = 3000;
const VALUE_BYTES: usize = 512;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let parent = std::env::args()
        .skip(1)
        .find(|arg| !arg.starts_with('-'))
        .map_or(".".into(), PathBuf::from);
    let dir = tempfile::tempdir_in(parent)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(load(dir.path()))?;
    let begin = Instant::now();
    let store = Embedded::open(dir.path(), Options::default())?;
    let elapsed = begin.elapsed();
    let revision = runtime.block_on(store.revision())?;
    report(&format!("open {revision} revisions: {elapsed:?}"));
    Ok(())
}

async fn load(dir: &std::path::Path) -> Outcome {
    let store = Arc::new(Embedded::open(dir, Options::default())?);
    let mut watch = store.watch("/", 0).await?;
    let total = (WRITERS * COMMITS_EACH) as u64;
    let watcher = tokio::spawn(async move {
        while watch.revision() <= total {
            if watch.next_batch().await.is_err() {
                break;
            }
        }
    });
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(store.clone(), writer)))
        .collect();
    let mut latencies = Vec::new();
    for writer in writers {
        latencies.extend(writer.await??);
    }
    let (elapsed, cpu) = (begin.elapsed(), cpu_seconds() - cpu);
    watcher.await?;
    latencies.sort();
    let at = |q: usize| latencies[(latencies.len() - 1) * q / 100];
    let rate = total as f64 / elapsed.as_secs_f64();
    report(&format!(
        "{total} commits: {rate:.0}/s, p50 {:?}, p99 {:?}, max {:?}",
        at(50),
        at(99),
        at(100)
    ));
    report(&format!(
        "CPU {:.1} us a commit, writers and watcher included",
        cpu / total as f64 * 1e6
    ));
    report(&status("VmRSS:"));
    report(&status("RssAnon:"));
    Ok(())
}

async fn write(store: Arc<Embedded>, writer: usize) -> Result<Vec<Duration>, knarr_store::Error> {
    let mut latencies = Vec::with_capacity(COMMITS_EACH);
    for n in 0..COMMITS_EACH {
        let op = Op::create(
            format!("/registry/configmaps/load-{writer}/object-{n:06}"),
            vec![7; VALUE_BYTES],
        );
        let begin = Instant::now();
        store.commit(op).await?;
        latencies.push(begin.elapsed());
    }
    Ok(latencies)
}

#[allow(clippy::print_stdout)]
fn report(line: &str) {
    println!("{line}");
}

/// User and system time of the whole process (in ticks of 10 ms).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2);
    fields
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

fn status(name: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_default()
        .to_owned()
}
