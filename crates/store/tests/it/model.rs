//! Random histories against a model that is nothing but a map for each revision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use knarr_store::{Change, Embedded, Error, Event, Expect, KeyValue, Op, Options, Outcome, Store};
use proptest::prelude::*;

const DEADLINE: Duration = Duration::from_secs(20);
const KEYS: [&str; 6] = ["/a/1", "/a/2", "/a/20", "/b", "/b/1", "/c/1"];
const PREFIXES: [&str; 6] = ["", "/", "/a/", "/a/2", "/b", "/d"];

/// How an op's expectation relates to the state that it finds.
#[derive(Clone, Debug)]
enum Guess {
    Any,
    Absent,
    Right,
    Wrong,
}

#[derive(Clone, Debug)]
struct Write {
    key: usize,
    guess: Guess,
    /// `None` deletes.
    value: Option<u8>,
}

#[derive(Clone, Debug)]
enum Step {
    /// Submitted at once, in order.
    Writes(Vec<Write>),
    Get {
        key: usize,
        back: u64,
    },
    Range {
        prefix: usize,
        after: Option<usize>,
        limit: usize,
        back: u64,
    },
    Watch {
        prefix: usize,
        back: u64,
    },
    Compact {
        back: u64,
    },
    Reopen,
}

fn write() -> impl Strategy<Value = Write> {
    let guess = prop_oneof![4 => Just(Guess::Any), 1 => Just(Guess::Absent), 4 => Just(Guess::Right), 1 => Just(Guess::Wrong)];
    (
        0..KEYS.len(),
        guess,
        prop::option::weighted(0.75, any::<u8>()),
    )
        .prop_map(|(key, guess, value)| Write { key, guess, value })
}

fn step() -> impl Strategy<Value = Step> {
    let back = || 0..25u64;
    prop_oneof![
        8 => prop::collection::vec(write(), 1..6).prop_map(Step::Writes),
        3 => (0..KEYS.len(), back()).prop_map(|(key, back)| Step::Get { key, back }),
        3 => (0..PREFIXES.len(), prop::option::of(0..KEYS.len()), 0..4usize, back())
            .prop_map(|(prefix, after, limit, back)| Step::Range { prefix, after, limit, back }),
        3 => (0..PREFIXES.len(), back()).prop_map(|(prefix, back)| Step::Watch { prefix, back }),
        1 => back().prop_map(|back| Step::Compact { back }),
        1 => Just(Step::Reopen),
    ]
}

type Keys = BTreeMap<String, KeyValue>;

struct Model {
    /// The state at revision 1, 2, ...
    states: Vec<Keys>,
    /// The event of revision 2, 3, ...
    events: Vec<Event>,
    compacted: u64,
}

impl Model {
    fn new() -> Model {
        Model {
            states: vec![Keys::new()],
            events: Vec::new(),
            compacted: 0,
        }
    }

    fn revision(&self) -> u64 {
        self.states.len() as u64
    }

    fn state(&self, revision: u64) -> &Keys {
        &self.states[revision as usize - 1]
    }

    /// The op that a write stands for now, and what has to come of it.
    fn apply(&mut self, write: &Write) -> (Op, Outcome) {
        let (key, revision) = (KEYS[write.key], self.revision());
        let mut state = self.state(revision).clone();
        let current = state.get(key).cloned();
        let known = current.as_ref().map_or(0, |kv| kv.mod_revision);
        let (expect, fits) = match write.guess {
            Guess::Any => (Expect::Any, true),
            Guess::Absent => (Expect::Absent, current.is_none()),
            Guess::Right => (Expect::Revision(known), true),
            Guess::Wrong => (Expect::Revision(known + 1), false),
        };
        let value = write.value.map(|byte| vec![byte; usize::from(byte)]);
        let change = value
            .clone()
            .map_or(Change::Delete, |value| Change::Put(value.into()));
        let op = Op {
            key: key.to_owned(),
            expect,
            change,
        };
        if !fits {
            return (op, Outcome::Conflict { current, revision });
        }
        if value.is_none() && current.is_none() {
            return (
                op,
                Outcome::Committed {
                    revision,
                    previous: None,
                },
            );
        }
        let revision = revision + 1;
        let value = value.map(|value| KeyValue {
            key: Arc::from(key),
            value: value.into(),
            create_revision: current.as_ref().map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: current.as_ref().map_or(1, |kv| kv.version + 1),
        });
        match &value {
            Some(kv) => state.insert(key.to_owned(), kv.clone()),
            None => state.remove(key),
        };
        self.states.push(state);
        self.events.push(Event {
            key: Arc::from(key),
            value,
            previous: current.clone(),
        });
        (
            op,
            Outcome::Committed {
                revision,
                previous: current,
            },
        )
    }
}

/// 0 is now, 1 the future, more of it the past.
fn at(model: &Model, back: u64) -> Option<u64> {
    match back {
        0 => None,
        _ => Some((model.revision() + 2).saturating_sub(back).max(1)),
    }
}

/// What a read at a revision has to answer: that revision's state, or an error.
fn readable(model: &Model, at: Option<u64>) -> Result<&Keys, &'static str> {
    match at {
        None => Ok(model.state(model.revision())),
        Some(at) if at > model.revision() => Err("future"),
        Some(at) if at < model.compacted => Err("compacted"),
        Some(at) => Ok(model.state(at)),
    }
}

fn name(error: Error) -> &'static str {
    match error {
        Error::Future { .. } => "future",
        Error::Compacted { .. } => "compacted",
        other => panic!("{other}"),
    }
}

async fn watch(store: &Embedded, model: &Model, prefix: &str, from: u64) {
    let mut watch = match store.watch(prefix, from).await {
        Ok(watch) => watch,
        Err(error) => {
            assert_eq!(name(error), "compacted");
            assert!(from <= model.compacted);
            return;
        }
    };
    assert!(from > model.compacted);
    let read = async {
        let mut seen = Vec::new();
        while watch.revision() < model.revision() {
            for commit in watch.next_batch().await.expect("batch").commits {
                seen.extend(
                    commit
                        .events
                        .into_iter()
                        .map(|event| (commit.revision, event)),
                );
            }
        }
        seen
    };
    let seen = tokio::time::timeout(DEADLINE, read).await.expect("in time");
    let numbered = (2..).zip(model.events.iter().cloned());
    let expected: Vec<_> = numbered
        .filter(|(revision, event)| *revision >= from && event.key.starts_with(prefix))
        .collect();
    assert_eq!(seen, expected);
}

async fn run(steps: Vec<Step>) {
    let dir = tempfile::tempdir().expect("directory");
    // A ring of 4, so that most watches begin in the engine's history and end in the ring.
    let options = Options {
        ring_commits: 4,
        queue_requests: 3,
        ..Options::default()
    };
    let mut store = Embedded::open(dir.path(), options.clone()).expect("opens");
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Writes(writes) => {
                let (ops, expected): (Vec<_>, Vec<_>) =
                    writes.iter().map(|write| model.apply(write)).unzip();
                let mut outcomes = Vec::new();
                // No more at once than the queue takes: those that wait for a place may overtake each other.
                for ops in ops.chunks(options.queue_requests) {
                    let committed = join_all(ops.iter().map(|op| store.commit(op.clone()))).await;
                    outcomes.extend(
                        committed
                            .into_iter()
                            .map(|outcome| outcome.expect("commits")),
                    );
                }
                assert_eq!(outcomes, expected);
                assert_eq!(store.published(), model.revision());
            }
            Step::Get { key, back } => {
                let at = at(&model, back);
                let found = store.get(KEYS[key], at).await.map_err(name);
                let expected = readable(&model, at)
                    .map(|keys| (model.revision(), keys.get(KEYS[key]).cloned()));
                assert_eq!(found, expected);
            }
            Step::Range {
                prefix,
                after,
                limit,
                back,
            } => {
                let (at, prefix, after) = (
                    at(&model, back),
                    PREFIXES[prefix],
                    after.map(|key| KEYS[key]),
                );
                let found = store.range(prefix, after, limit, at).await.map_err(name);
                let expected = readable(&model, at).map(|keys| {
                    let after = after.unwrap_or("");
                    let all = keys
                        .values()
                        .filter(|kv| kv.key.starts_with(prefix) && &*kv.key > after);
                    let all: Vec<_> = all.cloned().collect();
                    let count = if limit == 0 {
                        all.len()
                    } else {
                        limit.min(all.len())
                    };
                    (all[..count].to_vec(), (all.len() - count) as u64)
                });
                assert_eq!(found.map(|page| (page.kvs, page.remaining)), expected);
            }
            Step::Watch { prefix, back } => {
                let from = at(&model, back)
                    .unwrap_or(model.compacted + 1)
                    .min(model.revision());
                watch(&store, &model, PREFIXES[prefix], from).await;
            }
            Step::Compact { back } => {
                let to = at(&model, back).unwrap_or(model.revision());
                let expected = match to {
                    _ if to > model.revision() => Err("future"),
                    _ if to <= model.compacted => Err("compacted"),
                    _ => Ok(()),
                };
                assert_eq!(store.compact(to).await.map_err(name), expected);
                if expected.is_ok() {
                    model.compacted = to;
                }
            }
            Step::Reopen => {
                drop(store);
                store = Embedded::open(dir.path(), options.clone()).expect("opens again");
                assert_eq!(store.published(), model.revision());
                // A compaction that had not begun its sweep is forgotten; one that had is kept.
                assert!(store.compacted() <= model.compacted);
                model.compacted = store.compacted();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_a_map_for_each_revision(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(run(steps));
    }
}
