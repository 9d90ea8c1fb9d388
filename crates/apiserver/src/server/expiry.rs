//! Events are kept for a while only: what nobody touched within their life is deleted.
//!
//! Upstream gives each event a lease of the store. Here revisions tell the time: the server remembers how far its cache was at
//! each look, and an event whose revision is older than what was current one life ago is over. Until the server has run that
//! long itself, the times in the event decide.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use knarr_meta::{object, time};
use knarr_registry::cache::{entry::Entry, filter::Filter, resource::Page};
use knarr_store::{Change, Expect, Op};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use crate::core::Core;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(60);
/// Deletions under way at once: they share fsyncs.
const CONCURRENT: usize = 64;
/// Events parsed before others get their turn.
const TURN: usize = 256;

/// Runs until it is dropped.
pub async fn run(core: &Core, life: Duration) {
    let mut ticks = interval(PERIOD.min(life));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What is in the cache is swept: how far that is counts.
    let cache = &core.registry.cache;
    let mut clock = Clock::new(life, cache.published());
    loop {
        ticks.tick().await;
        clock.record(Instant::now(), cache.published());
        let now = jiff::Timestamp::now().as_second();
        let gone = sweep(core, &clock, now).await;
        if gone > 0 {
            tracing::debug!(gone, "deleted events whose life was over");
        }
    }
}

/// Which revisions are one life old.
struct Clock {
    life: Duration,
    /// Revision at the start: events up to it may be of any age.
    start: u64,
    seen: VecDeque<(Instant, u64)>,
    /// Everything up to this revision was there a life ago.
    over: u64,
}

impl Clock {
    fn new(life: Duration, start: u64) -> Clock {
        Clock {
            life,
            start,
            seen: VecDeque::new(),
            over: 0,
        }
    }

    fn record(&mut self, now: Instant, revision: u64) {
        self.seen.push_back((now, revision));
        while let Some((at, revision)) = self.seen.front() {
            if now.duration_since(*at) < self.life {
                break;
            }
            self.over = *revision;
            self.seen.pop_front();
        }
    }

    /// Whether an event of this revision is over; `last` reads the last moment that it tells of, in unix seconds.
    fn is_over(&self, revision: u64, now: i64, last: impl FnOnce() -> i64) -> bool {
        if revision <= self.over {
            return true;
        }
        let life = i64::try_from(self.life.as_secs()).unwrap_or(i64::MAX);
        revision <= self.start && now.saturating_sub(last()) >= life
    }
}

/// The last moment an event tells of. Its own times are its author's, the creation is the server's.
fn last_moment(event: &Value) -> i64 {
    let times = [
        object::creation_timestamp(event),
        object::str_at(event, &["lastTimestamp"]),
        object::str_at(event, &["eventTime"]),
        object::str_at(event, &["series", "lastObservedTime"]),
    ];
    let times = times.into_iter().filter_map(time::parse_unix_seconds);
    times.max().unwrap_or(i64::MIN)
}

/// Deletes what is over; how many went.
async fn sweep(core: &Core, clock: &Clock, now: i64) -> usize {
    let Some(events) = core.registry.cache.resource("", "events") else {
        return 0;
    };
    let everything = Page {
        start: None,
        limit: 0,
    };
    let all = events.list(&Filter::default(), everything).entries;
    let mut over: Vec<Arc<Entry>> = Vec::new();
    for turn in all.chunks(TURN) {
        let of_turn = turn
            .iter()
            .filter(|e| clock.is_over(e.revision, now, || last_moment(&e.tree())));
        over.extend(of_turn.cloned());
        tokio::task::yield_now().await;
    }
    let prefix = &events.prefix;
    let deleted = stream::iter(over).map(|entry| async move {
        let op = Op {
            key: format!("{prefix}{}", entry.key),
            // One that was touched since lives on.
            expect: Expect::Revision(entry.revision),
            change: Change::Delete,
        };
        match core.registry.store.commit(op).await {
            Ok(_) => 1,
            Err(error) => {
                tracing::warn!(%error, event = &*entry.key, "cannot delete an event");
                0
            }
        }
    });
    deleted
        .buffer_unordered(CONCURRENT)
        .fold(0, |sum, one| async move { usize::saturating_add(sum, one) })
        .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_lives_as_long_as_it_is_touched() {
        let life = Duration::from_secs(3600);
        let mut clock = Clock::new(life, 100);
        let start = Instant::now();
        let at = |minutes: u64| start + Duration::from_secs(minutes * 60);
        let young = || 0;
        clock.record(at(0), 100);
        clock.record(at(30), 150);
        assert!(!clock.is_over(90, 600, young), "times are young");
        assert!(
            clock.is_over(90, 3600, young),
            "older than the server's memory, and old"
        );
        assert!(!clock.is_over(101, 9999, || 0), "the server saw it come");
        clock.record(at(60), 200);
        assert!(
            clock.is_over(100, 0, young),
            "nobody touched it for an hour"
        );
        assert!(!clock.is_over(101, 0, young));
        clock.record(at(91), 300);
        assert!(clock.is_over(150, 0, young));
        assert!(!clock.is_over(151, 0, young));
    }

    #[test]
    fn finds_the_last_moment() {
        let event = json!({
            "metadata": {"creationTimestamp": "1970-01-01T00:00:05Z"},
            "lastTimestamp": null,
            "eventTime": "1970-01-01T00:00:07.000000Z",
            "series": {"lastObservedTime": "1970-01-01T00:00:09.500000Z"},
        });
        assert_eq!(last_moment(&event), 9);
        assert_eq!(last_moment(&json!({})), i64::MIN);
    }
}
