//! The same faults for a watch whose events are the server's states.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use knarr_states::{Change, Changes};
use tokio::time::sleep;

use super::{EventFate, Faults, expired};

struct Disturbed {
    faults: Faults,
    events: BoxStream<'static, Vec<Change>>,
    /// Not looked at yet.
    waiting: VecDeque<Change>,
    /// To be told before anything else.
    again: Option<Change>,
    ended: bool,
}

impl Disturbed {
    async fn next(&mut self) -> Option<Change> {
        if let Some(change) = self.again.take() {
            return Some(change);
        }
        if self.ended {
            return None;
        }
        while self.waiting.is_empty() {
            self.waiting.extend(self.events.next().await?);
        }
        let change = self.waiting.pop_front()?;
        match self.faults.event_fate() {
            EventFate::Cut => return None,
            EventFate::Expired => {
                self.ended = true;
                return Some(Change::Error(Bytes::from(expired().to_string())));
            }
            EventFate::Delivered { repeated, delay } => {
                self.again = repeated.then(|| change.clone());
                if let Some(delay) = delay {
                    sleep(delay).await;
                }
            }
        }
        Some(change)
    }
}

pub(super) fn disturbed(faults: Faults, changes: Changes) -> Changes {
    let disturbed = Disturbed {
        faults,
        events: changes.events,
        waiting: VecDeque::new(),
        again: None,
        ended: false,
    };
    let events = stream::unfold(disturbed, |mut disturbed| async move {
        let change = disturbed.next().await?;
        Some((vec![change], disturbed))
    });
    Changes {
        events: events.boxed(),
        recent: changes.recent,
    }
}
