//! The watch cache against a model: concurrent writes, slow watchers that a small ring overtakes, compaction and restarts.
//!
//! The model is the list of commits. From it follows what each list must hold and what each watcher must have been sent; the
//! order of everything else comes from a seed.

use std::collections::BTreeMap;

use futures::{future::join_all, poll};
use knarr_auth::request::Selectors;
use knarr_store::{Embedded, Expect, Op, Outcome};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{
    output::Frames,
    watcher::{Start, WatchOptions, Watcher},
    *,
};

/// Events that a ring keeps: watchers are overtaken all the time.
const RING: usize = 8;
const STEPS: usize = 300;
const DEADLINE: Duration = Duration::from_secs(60);

const NAMESPACES: [&str; 2] = ["m", "n"];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const NODES: [&str; 3] = ["", "one", "two"];
const APPS: [&str; 2] = ["web", "db"];
/// Namespace, labels, fields.
const FILTERS: [(&str, &str, &str); 7] = [
    ("", "", ""),
    ("n", "", ""),
    ("", "app=web", ""),
    ("", "", "spec.nodeName=one"),
    ("m", "app!=db", "spec.nodeName!=two"),
    ("n", "", "metadata.name=a"),
    ("", "", "metadata.name=b"),
];

/// A pod as far as the model goes: node and app.
type Pod = (&'static str, &'static str);
type Key = (&'static str, &'static str);

#[derive(Clone, Debug)]
struct Write {
    revision: u64,
    key: Key,
    new: Option<Pod>,
}

fn pods() -> &'static Arc<Kind> {
    knarr_api::built_in("", "v1", "pods").expect("a core kind")
}

fn json_of((namespace, name): Key, (node, app): Pod) -> Bytes {
    entry::encode(&json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
        "spec": {"nodeName": node},
    }))
}

fn store_key((namespace, name): Key) -> String {
    format!("/registry/pods/{namespace}/{name}")
}

fn filter(which: usize) -> Filter {
    let (namespace, labels, fields) = FILTERS[which];
    let selectors = Selectors::parse(labels, fields).expect("selectors");
    Filter::new(pods(), namespace, &selectors).expect("a filter")
}

/// Whether a filter of the table selects a pod, said once more.
fn selects(which: usize, (namespace, name): Key, (node, app): Pod) -> bool {
    match which {
        0 => true,
        1 => namespace == "n",
        2 => app == "web",
        3 => node == "one",
        4 => namespace == "m" && app != "db" && node != "two",
        5 => namespace == "n" && name == "a",
        _ => name == "b",
    }
}

/// `TYPE namespace/name node app revision`
fn line(kind: &str, (namespace, name): Key, (node, app): Pod, revision: u64) -> String {
    format!("{kind} {namespace}/{name} {node} {app} {revision}")
}

/// Every commit so far.
#[derive(Default)]
struct Model {
    writes: Vec<Write>,
}

impl Model {
    /// Every pod at a revision, with the revision of its last change.
    fn at(&self, revision: u64) -> BTreeMap<Key, (Pod, u64)> {
        let mut state = BTreeMap::new();
        for write in self.writes.iter().filter(|w| w.revision <= revision) {
            match write.new {
                Some(pod) => state.insert(write.key, (pod, write.revision)),
                None => state.remove(&write.key),
            };
        }
        state
    }

    fn list(&self, which: usize, revision: u64) -> Vec<String> {
        let all = self.at(revision).into_iter();
        all.filter(|(key, (pod, _))| selects(which, *key, *pod))
            .map(|(key, (pod, changed))| line("ITEM", key, pod, changed))
            .collect()
    }

    /// What a watcher with a filter sees of what comes after a revision.
    fn events(&self, which: usize, after: u64) -> Vec<String> {
        let mut state = self.at(after);
        let mut lines = Vec::new();
        for write in self.writes.iter().filter(|w| w.revision > after) {
            let seen = |pod: &Pod| selects(which, write.key, *pod);
            let old = state.get(&write.key).map(|(pod, _)| *pod).filter(seen);
            let new = write.new.filter(seen);
            let event = match (old, new) {
                (None, Some(new)) => Some(("ADDED", new)),
                (Some(_), Some(new)) => Some(("MODIFIED", new)),
                (Some(old), None) => Some(("DELETED", old)),
                (None, None) => None,
            };
            lines.extend(event.map(|(kind, pod)| line(kind, write.key, pod, write.revision)));
            match write.new {
                Some(pod) => state.insert(write.key, (pod, write.revision)),
                None => state.remove(&write.key),
            };
        }
        lines
    }
}

/// A watch and what it was sent.
struct Watched {
    watcher: Watcher<Frames>,
    which: usize,
    /// Lines that came first because the watch began with what there was.
    initial: Vec<String>,
    after: u64,
    got: Vec<String>,
    /// 410 came: what it wanted is compacted.
    expired: bool,
}

impl Watched {
    /// Takes what is there, at most `frames` of it.
    async fn read(&mut self, frames: usize) {
        for _ in 0..frames {
            match poll!(self.watcher.next()) {
                std::task::Poll::Ready(Some(frame)) => self.take(&frame),
                _ => return,
            }
        }
    }

    fn take(&mut self, frame: &[u8]) {
        for text in frame.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let event: Value = serde_json::from_slice(text).expect("JSON");
            let object = &event["object"];
            let at = |path: &[&str]| knarr_meta::object::str_at(object, path).to_owned();
            if event["type"] == "ERROR" {
                assert_eq!(object["code"], 410, "{event}");
                self.expired = true;
                continue;
            }
            self.got.push(format!(
                "{} {}/{} {} {} {}",
                event["type"].as_str().unwrap_or_default(),
                at(&["metadata", "namespace"]),
                at(&["metadata", "name"]),
                at(&["spec", "nodeName"]),
                at(&["metadata", "labels", "app"]),
                at(&["metadata", "resourceVersion"]),
            ));
        }
    }

    /// What it must have been sent in the end.
    fn wanted(&self, model: &Model) -> Vec<String> {
        let mut wanted = self.initial.clone();
        wanted.extend(model.events(self.which, self.after));
        wanted
    }

    fn check(&self, model: &Model, compacted: u64) {
        let wanted = self.wanted(model);
        assert!(
            wanted.starts_with(&self.got),
            "filter {} after {}\n got {:#?}\n wanted {:#?}",
            self.which,
            self.after,
            self.got,
            wanted
        );
        assert!(!self.expired || compacted > self.after, "an early 410");
    }
}

/// A store with a cache that follows it.
struct World {
    seed: u64,
    random: fastrand::Rng,
    store: Arc<Embedded>,
    cache: Arc<Cache>,
    stop: CancellationToken,
    feed: JoinHandle<Result<(), Error>>,
    model: Model,
    watched: Vec<Watched>,
    _dir: tempfile::TempDir,
}

async fn follow(
    store: &Arc<Embedded>,
) -> (Arc<Cache>, CancellationToken, JoinHandle<Result<(), Error>>) {
    let transformer = crate::transform::for_tests();
    let cache = Cache::load_with(store.clone(), transformer, &Kinds::built_in(), RING).await;
    let cache = Arc::new(cache.expect("a cache"));
    let stop = CancellationToken::new();
    let feed = {
        let (cache, stop) = (cache.clone(), stop.clone());
        tokio::spawn(async move { cache.feed(stop).await })
    };
    (cache, stop, feed)
}

impl World {
    async fn new(seed: u64) -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Embedded::open(dir.path(), Default::default()).expect("a store");
        let store = Arc::new(store);
        let (cache, stop, feed) = follow(&store).await;
        World {
            seed,
            random: fastrand::Rng::with_seed(seed),
            store,
            cache,
            stop,
            feed,
            model: Model::default(),
            watched: Vec::new(),
            _dir: dir,
        }
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.usize(..of.len())]
    }

    /// Several writes of different pods at once.
    async fn write(&mut self) {
        let now = self.model.at(u64::MAX);
        let count = self.random.usize(1..=4);
        let mut chosen: BTreeMap<Key, Option<Pod>> = BTreeMap::new();
        for _ in 0..count {
            let key = (self.pick(&NAMESPACES), self.pick(&NAMES));
            let gone = now.contains_key(&key) && self.random.u8(..) < 90;
            let pod = (self.pick(&NODES), self.pick(&APPS));
            chosen.insert(key, (!gone).then_some(pod));
        }
        let ops = chosen.into_iter().map(|(key, new)| {
            let expect = match now.get(&key) {
                Some((_, revision)) => Expect::Revision(*revision),
                None => Expect::Absent,
            };
            let change = match new {
                Some(pod) => knarr_store::Change::Put(json_of(key, pod)),
                None => knarr_store::Change::Delete,
            };
            let op = Op {
                key: store_key(key),
                expect,
                change,
            };
            let store = self.store.clone();
            async move {
                match store.commit(op).await.expect("a commit") {
                    Outcome::Committed { revision, .. } => Write { revision, key, new },
                    Outcome::Conflict { .. } => panic!("{key:?}: nobody else writes"),
                }
            }
        });
        let mut writes = join_all(ops).await;
        writes.sort_by_key(|write| write.revision);
        self.model.writes.extend(writes);
    }

    async fn watch(&mut self) {
        let which = self.random.usize(..FILTERS.len());
        let resource = self.cache.of(pods()).expect("a resource").clone();
        let newest = self.store.revision().await.expect("a revision");
        let start = match self.random.u8(..4) {
            0 => Start::Now { annotated: false },
            // Of the future, sometimes.
            1 => Start::After(newest + self.random.u64(..4)),
            _ => Start::After(newest.saturating_sub(self.random.u64(..40)).max(1)),
        };
        let begins_now = matches!(start, Start::Now { .. });
        let options = WatchOptions {
            filter: filter(which),
            start,
            bookmarks: false,
            timeout: 100 * DEADLINE,
        };
        let watcher = Watcher::new(
            self.cache.clone(),
            resource,
            options,
            Frames::new(pods().clone(), None),
        );
        let after = watcher.position();
        let initial = match begins_now {
            false => Vec::new(),
            true => {
                let items = self.model.list(which, after).into_iter();
                items
                    .map(|item| item.replacen("ITEM", "ADDED", 1))
                    .collect()
            }
        };
        self.watched.push(Watched {
            watcher,
            which,
            initial,
            after,
            got: Vec::new(),
            expired: false,
        });
    }

    /// Lists at some revision, exactly, from a random page on.
    async fn list(&mut self) {
        let which = self.random.usize(..FILTERS.len());
        let newest = self.store.revision().await.expect("a revision");
        let revision = newest.saturating_sub(self.random.u64(..30)).max(1);
        self.cache.at_least(revision).await.expect("published");
        let resource = self.cache.of(pods()).expect("a resource").clone();
        let start = self.random.bool().then_some("m/b");
        let page = Page { start, limit: 0 };
        let got = match self
            .cache
            .list_at(&resource, &filter(which), page, revision)
            .await
        {
            Ok(slice) => slice,
            Err(ListError::Expired) => {
                assert!(self.store.compacted() > revision, "an early 410");
                return;
            }
            Err(ListError::Status(status)) => panic!("{status:?}"),
        };
        assert!(self.store.compacted() <= revision, "no 410");
        assert_eq!(got.revision, revision);
        let items = got.entries.iter().map(|entry| {
            let tree = entry.tree();
            let at = |path: &[&str]| knarr_meta::object::str_at(&tree, path).to_owned();
            let (node, app) = (
                at(&["spec", "nodeName"]),
                at(&["metadata", "labels", "app"]),
            );
            format!("ITEM {} {node} {app} {}", entry.key, entry.revision)
        });
        let after = |item: &String| {
            let key = item.split(' ').nth(1).unwrap_or_default();
            start.is_none_or(|start| key > start)
        };
        let mut wanted = self.model.list(which, revision);
        wanted.retain(after);
        assert_eq!(
            items.collect::<Vec<_>>(),
            wanted,
            "seed {}: filter {which} at {revision}",
            self.seed
        );
    }

    async fn compact(&mut self) {
        // The feed has its own place in history; servers keep minutes of it.
        let newest = self.cache.published();
        let to = newest.saturating_sub(self.random.u64(..60));
        if to > self.store.compacted() {
            self.store.compact(to).await.expect("a compaction");
        }
    }

    /// A new cache, as after a restart; watches end, and are opened anew where they were.
    async fn restart(&mut self) {
        self.stop.cancel();
        self.cache.stop();
        self.watched.clear();
        (self.cache, self.stop, self.feed) = follow(&self.store).await;
    }

    /// Everybody reads to the end.
    async fn settle(&mut self) {
        let newest = self.store.revision().await.expect("a revision");
        self.cache.at_least(newest).await.expect("published");
        let compacted = self.store.compacted();
        for watched in &mut self.watched {
            let wanted = watched.wanted(&self.model);
            while watched.got.len() < wanted.len() && !watched.expired {
                let next = tokio::time::timeout(DEADLINE, watched.watcher.next()).await;
                match next.expect("an event in time") {
                    Some(frame) => watched.take(&frame),
                    None => panic!("seed {}: a watch ended", self.seed),
                }
            }
            watched.read(10).await;
            watched.check(&self.model, compacted);
        }
    }

    async fn run(&mut self) {
        for _ in 0..STEPS {
            match self.random.u8(..100) {
                0..50 => self.write().await,
                50..62 => self.watch().await,
                62..80 => {
                    for at in 0..self.watched.len() {
                        let frames = self.random.usize(..3);
                        self.watched[at].read(frames).await;
                        self.watched[at].check(&self.model, self.store.compacted());
                    }
                }
                80..94 => self.list().await,
                94..98 => self.compact().await,
                _ => {
                    self.settle().await;
                    self.restart().await;
                }
            }
        }
        self.settle().await;
        self.stop.cancel();
        assert!(!self.feed.is_finished() || self.store.revision().await.expect("a revision") > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agrees_with_the_model() {
    let seeds = match std::env::var("KNARR_SEED").map(|seed| seed.parse()) {
        Ok(Ok(seed)) => seed..seed + 1,
        _ => 0..12,
    };
    for seed in seeds {
        let run = tokio::spawn(async move { World::new(seed).await.run().await });
        assert!(run.await.is_ok(), "KNARR_SEED={seed}");
    }
}
