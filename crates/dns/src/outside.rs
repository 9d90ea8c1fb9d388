//! Names that are somebody else's: what is kept of them, and the resolvers that know them.
//!
//! ```text
//! question -> kept and true: answered at once, and renewed ahead of time where many ask
//!          -> kept and old:  the resolvers are asked; where they are away or slow, what is kept is the answer
//!          -> not kept:      the resolvers are asked
//! ```

use std::sync::Arc;

use hickory_proto::{
    rr::Name,
    serialize::binary::{BinDecodable, BinDecoder},
};
use tokio::{
    sync::{Semaphore, oneshot},
    time::{Instant, timeout},
};

use crate::{
    cache::{Cache, Entry, Found, Judged, Kept},
    forward::{Asked, Forwarder},
    wire::{Question, RCODE},
};

/// Answers that are renewed ahead of time at once; what is more waits for its end.
const PREFETCHES_AT_ONCE: usize = 64;
const SERVER_FAILURE: u8 = 2;

/// The resolvers for the names below one.
pub struct Route {
    pub from: Name,
    /// Names below which others are asked.
    pub except: Vec<Name>,
    pub forwarder: Forwarder,
}

/// Kept answers, and resolvers.
pub struct Outside {
    cache: Option<Cache>,
    /// The first that fits is asked.
    routes: Vec<Route>,
    prefetches: Arc<Semaphore>,
}

/// What is known of a question without asking.
pub enum Known {
    Answer(Vec<u8>),
    /// Something for [`Outside::ask`].
    Old(Arc<Entry>),
    Nothing,
}

impl Outside {
    pub fn new(cache: Option<Cache>, routes: Vec<Route>) -> Arc<Self> {
        Arc::new(Self {
            cache,
            routes,
            prefetches: Arc::new(Semaphore::new(PREFETCHES_AT_ONCE)),
        })
    }

    /// By which rules answers are kept, if they are.
    #[cfg(test)]
    pub fn rules(&self) -> Option<&crate::cache::Rules> {
        self.cache.as_ref().map(Cache::rules)
    }

    /// What is kept.
    pub fn get(self: &Arc<Self>, message: &[u8], question: &Question<'_>) -> Known {
        let Some(cache) = &self.cache else {
            return Known::Nothing;
        };
        let now = Instant::now();
        match cache.get(question.key().bytes(), now) {
            Found::Fresh(entry, is_due) => {
                if is_due {
                    self.prefetch(message);
                }
                Known::Answer(entry.answer(question, now))
            }
            Found::Stale(entry) => Known::Old(entry),
            Found::Nothing => Known::Nothing,
        }
    }

    fn prefetch(self: &Arc<Self>, message: &[u8]) {
        let Ok(permit) = self.prefetches.clone().try_acquire_owned() else {
            return;
        };
        let (outside, message) = (self.clone(), message.to_vec());
        knarr_tasks::spawn("an answer's renewal", async move {
            if let Some(question) = Question::read(&message) {
                outside.fetch(&question, false).await;
            }
            drop(permit);
        });
    }

    /// Asks the resolvers. `old` is what [`Self::get`] has found.
    pub async fn ask(
        self: &Arc<Self>,
        message: &[u8],
        old: Option<Arc<Entry>>,
        tcp: bool,
    ) -> Asked {
        let Some(question) = Question::read(message) else {
            return self.pass_on(message, tcp).await;
        };
        match old {
            Some(entry) => self.renew(message, &question, entry, tcp).await,
            None => self.fetch(&question, tcp).await,
        }
    }

    /// Asks, and answers with what there is if that takes long or fails.
    async fn renew(
        self: &Arc<Self>,
        message: &[u8],
        question: &Question<'_>,
        entry: Arc<Entry>,
        tcp: bool,
    ) -> Asked {
        let wait = self.cache.as_ref().map(|cache| cache.rules().stale_wait);
        let wait = wait.unwrap_or_default();
        if !entry.has_failed(Instant::now()) {
            let (sender, receiver) = oneshot::channel();
            let (outside, message) = (self.clone(), message.to_vec());
            // Goes on when the client has its answer, for whoever asks next.
            knarr_tasks::spawn("an answer's renewal", async move {
                if let Some(question) = Question::read(&message) {
                    // The receiver may have gone.
                    let _ = sender.send(outside.fetch(&question, tcp).await);
                }
            });
            if let Ok(Ok(Asked::Answer(answer))) = timeout(wait, receiver).await
                && answer
                    .get(3)
                    .is_some_and(|flags| flags & RCODE != SERVER_FAILURE)
            {
                return Asked::Answer(answer);
            }
            entry.mark_failed(Instant::now());
        }
        Asked::Answer(entry.stale_answer(question))
    }

    /// Asks an ordinary question, and keeps the answer.
    async fn fetch(&self, question: &Question<'_>, tcp: bool) -> Asked {
        let Some(route) = name_of(question).and_then(|name| self.route(&name)) else {
            return Asked::Nothing;
        };
        let mut answer = match route.forwarder.ask(&question.outgoing(), tcp).await {
            Asked::Answer(answer) => answer,
            other => return other,
        };
        if let Some(cache) = &self.cache
            && let Some(judged) = self.judge(cache, &answer, question)
        {
            let now = Instant::now();
            let entry = Arc::new(Entry::new(judged, now));
            cache.put(question.key().bytes(), &entry, now);
            return Asked::Answer(entry.answer(question, now));
        }
        if let Some(place) = answer.get_mut(..2) {
            place.copy_from_slice(&question.id);
        }
        Asked::Answer(answer)
    }

    fn judge(&self, cache: &Cache, answer: &[u8], question: &Question<'_>) -> Option<Judged> {
        // Perhaps not from whom it was asked, or about something else.
        if !question.is_answered_by(answer) {
            return None;
        }
        let judged = Kept::judge(answer, question, cache.rules())?;
        let name = name_of(question)?;
        cache.rules().keeps(judged.sort, &name).then_some(judged)
    }

    /// Anything else goes as it came, and so does its answer.
    async fn pass_on(&self, message: &[u8], tcp: bool) -> Asked {
        let name = hickory_proto::op::Message::from_vec(message).ok();
        let name = name.and_then(|message| Some(message.queries.first()?.name().clone()));
        let Some(route) = name.and_then(|name| self.route(&name)) else {
            return Asked::Nothing;
        };
        match route.forwarder.ask(message, tcp).await {
            Asked::Answer(mut answer) => {
                if let (Some(place), Some(id)) = (answer.get_mut(..2), message.get(..2)) {
                    place.copy_from_slice(id);
                }
                Asked::Answer(answer)
            }
            other => other,
        }
    }

    fn route(&self, name: &Name) -> Option<&Route> {
        self.routes.iter().find(|route| {
            route.from.zone_of(name) && !route.except.iter().any(|except| except.zone_of(name))
        })
    }
}

fn name_of(question: &Question<'_>) -> Option<Name> {
    Name::read(&mut BinDecoder::new(question.name())).ok()
}

#[cfg(test)]
mod tests;
