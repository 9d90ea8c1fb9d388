//! kill -9 under load, again and again: every acknowledged write is there, revisions go on where they were, and a
//! watch from before the crash sees every revision once.
//!
//! The test binary starts itself as the victim, which tells of each acknowledged write on its standard output.
//! `KNARR_CRASH_CYCLES` sets the number of kills (20 by default).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use knarr_store::{Embedded, Op, Options, Outcome, Store};

const VICTIM_DIR: &str = "KNARR_CRASH_VICTIM_DIR";
const CYCLES: &str = "KNARR_CRASH_CYCLES";
const DEFAULT_CYCLES: u64 = 20;
const WRITERS: u64 = 16;
const KEYS_PER_WRITER: u64 = 10;
const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    if let Some(dir) = std::env::var_os(VICTIM_DIR) {
        return victim(Path::new(&dir));
    }
    let cycles =
        std::env::var(CYCLES).map_or(DEFAULT_CYCLES, |n| n.parse().expect("a number of cycles"));
    let dir = tempfile::tempdir().expect("directory");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    let mut survivor = Survivor {
        revision: 1,
        keys: BTreeMap::new(),
    };
    for cycle in 0..cycles {
        let acknowledged = kill_under_load(dir.path(), fastrand::usize(1..400));
        runtime.block_on(survivor.verify(dir.path(), &acknowledged, cycle));
    }
    assert!(survivor.revision > cycles, "there was load");
}

/// Starts a victim, kills it after it acknowledged `writes` writes, and returns all that it acknowledged: revision to
/// key and value (none for a delete).
fn kill_under_load(dir: &Path, writes: usize) -> BTreeMap<u64, (String, Option<String>)> {
    let mut victim = Command::new(std::env::current_exe().expect("own path"))
        .args([
            "crash::kill_9_loses_nothing_that_was_acknowledged",
            "--exact",
            "--nocapture",
        ])
        .env(VICTIM_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("victim starts");
    let output = BufReader::new(victim.stdout.take().expect("piped"));
    let mut acknowledged = BTreeMap::new();
    // Ends with the victim's death; a line that the kill cut in half was acknowledged to nobody.
    for line in output.split(b'\n') {
        let line = String::from_utf8_lossy(&line.expect("readable")).into_owned();
        let Some(("ack", rest)) = line.split_once(' ') else {
            continue;
        };
        let Some(body) = rest.strip_suffix(" .") else {
            continue;
        };
        let fields: Vec<&str> = body.split(' ').collect();
        let value = fields.get(2).map(|value| (*value).to_owned());
        acknowledged.insert(
            fields[0].parse().expect("a revision"),
            (fields[1].to_owned(), value),
        );
        if acknowledged.len() == writes {
            victim.kill().expect("kill -9");
        }
    }
    let status = victim.wait().expect("victim ended");
    assert!(
        acknowledged.len() >= writes,
        "the victim ended by itself: {status}"
    );
    acknowledged
}

/// What a watcher knows who saw everything up to `revision`.
struct Survivor {
    revision: u64,
    keys: BTreeMap<String, (u64, Vec<u8>)>,
}

impl Survivor {
    async fn verify(
        &mut self,
        dir: &Path,
        acknowledged: &BTreeMap<u64, (String, Option<String>)>,
        cycle: u64,
    ) {
        let store = Embedded::open(dir, Options::default()).expect("opens after a crash");
        let last = *acknowledged
            .keys()
            .next_back()
            .expect("something was acknowledged");
        assert!(
            store.published() >= last,
            "cycle {cycle}: {} of {last} revisions",
            store.published()
        );
        let mut watch = store
            .watch("", self.revision + 1)
            .await
            .expect("history is there");
        while self.revision < store.published() {
            let commit = tokio::time::timeout(DEADLINE, watch.next())
                .await
                .expect("in time")
                .expect("commit");
            assert_eq!(
                commit.revision,
                self.revision + 1,
                "cycle {cycle}: no gap, no repeat"
            );
            self.revision = commit.revision;
            for event in commit.events {
                let previous = event
                    .previous
                    .as_ref()
                    .map(|kv| (kv.mod_revision, kv.value.to_vec()));
                assert_eq!(
                    previous,
                    self.keys.get(&*event.key).cloned(),
                    "cycle {cycle}: previous value"
                );
                if let Some((key, value)) = acknowledged.get(&commit.revision) {
                    let found = event
                        .value
                        .as_ref()
                        .map(|kv| String::from_utf8_lossy(&kv.value).into_owned());
                    assert_eq!(
                        (&*event.key, &found),
                        (key.as_str(), value),
                        "cycle {cycle}: {}",
                        commit.revision
                    );
                }
                match event.value {
                    Some(kv) => self
                        .keys
                        .insert(event.key.to_string(), (kv.mod_revision, kv.value.to_vec())),
                    None => self.keys.remove(&*event.key),
                };
            }
        }
        let page = store.range("", None, 0, None).await.expect("range");
        let now: BTreeMap<_, _> = page
            .kvs
            .into_iter()
            .map(|kv| (kv.key.to_string(), (kv.mod_revision, kv.value.to_vec())))
            .collect();
        assert_eq!(
            now, self.keys,
            "cycle {cycle}: the state is what the history tells"
        );
    }
}

/// Writes until it is killed.
fn victim(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("runtime");
    let outcome: Result<(), knarr_store::Error> = runtime.block_on(async {
        let store = Arc::new(Embedded::open(dir, Options::default())?);
        // What the last victims wrote was verified: a sweep of it runs while the writers write.
        if store.published() > store.compacted() {
            store.compact(store.published()).await?;
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write(store.clone(), writer)))
            .collect();
        for writer in writers {
            writer.await.map_err(|_| knarr_store::Error::Closed)??;
        }
        Ok(())
    });
    panic!("writers do not end: {outcome:?}");
}

async fn write(store: Arc<Embedded>, writer: u64) -> Result<(), knarr_store::Error> {
    for n in 0.. {
        let key = format!("/writer-{writer}/{}", n % KEYS_PER_WRITER);
        let current = store.get(&key, None).await?.1;
        let value = format!("{n}-{}", "x".repeat(fastrand::usize(0..2000)));
        let delete = current.is_some() && n % 7 == 0;
        let op = match current {
            Some(kv) if delete => Op::delete_at(&*key, kv.mod_revision),
            Some(kv) => Op::update(&*key, kv.mod_revision, value.clone()),
            None => Op::create(&*key, value.clone()),
        };
        let outcome = store.commit(op).await?;
        let Outcome::Committed { revision, .. } = outcome else {
            panic!("nobody else writes {key}")
        };
        let line = if delete {
            format!("ack {revision} {key} .\n")
        } else {
            format!("ack {revision} {key} {value} .\n")
        };
        std::io::stdout().lock().write_all(line.as_bytes())?;
    }
    Ok(())
}
