//! The OpenAPI v2 documents of other servers, merged into this one's: upstream's `openapi/aggregator`.
//!
//! Servers are asked only when somebody wants the document, and again a minute later at the earliest, as upstream does by itself.
//! Nobody waits long for them: what is known is served, and a server that did not answer well is asked again behind
//! the back of who asks. Of a server only what it says of its group-version is kept, compressed; of the merged document its
//! compressed bytes, for as long as nothing in it changes.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use futures::future::join_all;
use http::{StatusCode, header};
use knarr_api::openapi::{Document, Part};
use knarr_registry::catalog::Snapshot;
use knarr_webhook::Backend;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};

use super::{
    ask::{PLAIN, Question, ask},
    routes::{Route, Routes, Way},
};

const PATH: &str = "/openapi/v2";
/// How old what is known of a server may be, as upstream refreshes.
const REFRESH: Duration = Duration::from_secs(60);
/// The same after a failure.
const RETRY: Duration = Duration::from_secs(10);
/// Who wants the document waits so long for all servers together.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most bytes of a server's document: four times as many as that of upstream's own server has.
const MAX_BYTES: usize = 16 << 20;
/// Documents of other servers that are held in memory at once.
const PLACES: usize = 4;

/// What other servers say, and what was made of it.
#[derive(Debug)]
pub struct Schemas {
    /// By name of the APIService.
    servers: Mutex<BTreeMap<String, Arc<Server>>>,
    merged: Mutex<Option<Arc<Merged>>>,
    places: Semaphore,
}

#[derive(Debug)]
struct Server {
    way: Way,
    known: Mutex<Known>,
}

/// What is known of a server.
#[derive(Debug, Default)]
struct Known {
    /// Empty where it had none.
    etag: String,
    /// `None`: nothing is known, or it has no document.
    part: Option<Arc<Part>>,
    /// When it was last asked, and whether it answered well.
    asked: Option<(Instant, bool)>,
    /// Is closed when the answer is there, where the server is being asked.
    under_way: Option<watch::Receiver<()>>,
}

/// What came of a question.
enum Answer {
    Unchanged,
    /// `None`: it has no document.
    New(String, Option<Part>),
}

/// A merged document, and of what it was made.
#[derive(Debug)]
pub struct Merged {
    snapshot: Weak<Snapshot>,
    parts: Vec<Arc<Part>>,
    json: OnceLock<Document>,
    protobuf: OnceLock<Document>,
}

impl Default for Schemas {
    fn default() -> Schemas {
        Schemas {
            servers: Mutex::default(),
            merged: Mutex::default(),
            places: Semaphore::new(PLACES),
        }
    }
}

impl Schemas {
    /// What is known of the servers of these routes, in the order in which it is merged. Asks those whose time has come.
    pub async fn parts(self: &Arc<Self>, routes: &Routes) -> Vec<Arc<Part>> {
        let routes = sorted(routes);
        let servers = self.follow(&routes);
        let asked = routes.iter().zip(&servers).filter_map(|(route, server)| {
            let backend = route.backend.as_ref().ok().filter(|_| route.available)?;
            self.refresh(route, backend, server)
        });
        let asked: Vec<_> = asked.collect();
        if !asked.is_empty() {
            let answers = asked.into_iter().map(async |mut answer| {
                // An error says that it is closed, which is what is waited for.
                let _closed = answer.changed().await;
            });
            let _late = timeout(PATIENCE, join_all(answers)).await;
        }
        let known = servers
            .iter()
            .map(|server| server.known.lock().part.clone());
        known.flatten().collect()
    }

    /// Of each route its server. Those without a route are forgotten.
    fn follow(&self, routes: &[&Arc<Route>]) -> Vec<Arc<Server>> {
        let mut servers = self.servers.lock();
        let mut before = std::mem::take(&mut *servers);
        let followed = routes.iter().map(|route| {
            let known = before.remove(&route.name);
            let server = known.filter(|server| server.way == route.way);
            let server = server.unwrap_or_else(|| {
                Arc::new(Server {
                    way: route.way.clone(),
                    known: Mutex::default(),
                })
            });
            servers.insert(route.name.clone(), server.clone());
            server
        });
        followed.collect()
    }

    /// Asks a server whose time has come. What is to be waited for, if something is.
    fn refresh(
        self: &Arc<Self>,
        route: &Route,
        backend: &Arc<Backend>,
        server: &Arc<Server>,
    ) -> Option<watch::Receiver<()>> {
        let mut known = server.known.lock();
        let well = known.asked.is_none_or(|(_, well)| well);
        if let Some(under_way) = &known.under_way {
            return well.then(|| under_way.clone());
        }
        let age = match well {
            true => REFRESH,
            false => RETRY,
        };
        if known.asked.is_some_and(|(last, _)| last.elapsed() < age) {
            return None;
        }
        let (done, under_way) = watch::channel(());
        known.under_way = Some(under_way.clone());
        let etag = known.etag.clone();
        drop(known);
        let asking = Asking {
            schemas: self.clone(),
            server: server.clone(),
            backend: backend.clone(),
            name: route.name.clone(),
            group: route.group.clone(),
            version: route.version.clone(),
        };
        // It ends by itself: each of its steps has a deadline.
        knarr_tasks::spawn("a question for schemas", async move {
            asking.run(&etag).await;
            drop(done);
        });
        well.then_some(under_way)
    }

    /// The document of a set of kinds and these parts; `None`: there are none, and nothing is kept.
    pub fn merged(&self, snapshot: &Arc<Snapshot>, parts: Vec<Arc<Part>>) -> Option<Arc<Merged>> {
        let mut merged = self.merged.lock();
        if parts.is_empty() {
            *merged = None;
            return None;
        }
        if let Some(merged) = merged.as_ref()
            && merged.is_of(snapshot, &parts)
        {
            return Some(merged.clone());
        }
        let fresh = Arc::new(Merged {
            snapshot: Arc::downgrade(snapshot),
            parts,
            json: OnceLock::new(),
            protobuf: OnceLock::new(),
        });
        *merged = Some(fresh.clone());
        Some(fresh)
    }
}

impl Merged {
    fn is_of(&self, snapshot: &Arc<Snapshot>, parts: &[Arc<Part>]) -> bool {
        let hashes = |parts: &[Arc<Part>]| -> Vec<String> {
            parts.iter().map(|part| part.hash().to_owned()).collect()
        };
        std::ptr::eq(self.snapshot.as_ptr(), Arc::as_ptr(snapshot))
            && hashes(&self.parts) == hashes(parts)
    }

    /// As JSON. Takes a while the first time.
    pub fn json(&self, snapshot: &Snapshot) -> &Document {
        self.json.get_or_init(|| {
            let made = snapshot.openapi.merged_json(&self.parts);
            made.unwrap_or_else(|error| {
                tracing::error!(%error, "what other servers say is left out of OpenAPI v2");
                snapshot.openapi.v2_json().clone()
            })
        })
    }

    /// As protobuf. Takes a while the first time.
    pub fn protobuf(&self, snapshot: &Snapshot) -> &Document {
        self.protobuf.get_or_init(|| {
            let made = snapshot.openapi.merged_proto(&self.parts);
            made.unwrap_or_else(|error| {
                tracing::error!(%error, "what other servers say is left out of OpenAPI v2");
                snapshot.openapi.v2_proto().clone()
            })
        })
    }
}

/// A question to a server.
struct Asking {
    schemas: Arc<Schemas>,
    server: Arc<Server>,
    backend: Arc<Backend>,
    name: String,
    group: String,
    version: String,
}

impl Asking {
    async fn run(self, etag: &str) {
        let answer = self.fetch(etag).await;
        let mut known = self.server.known.lock();
        known.under_way = None;
        known.asked = Some((Instant::now(), answer.is_ok()));
        match answer {
            Ok(Answer::Unchanged) => {}
            Ok(Answer::New(etag, part)) => {
                known.etag = etag;
                let same = match (&known.part, &part) {
                    (Some(before), Some(now)) => before.hash() == now.hash(),
                    _ => false,
                };
                if !same {
                    known.part = part.map(Arc::new);
                }
            }
            Err(error) => {
                let kept = known.part.is_some();
                tracing::warn!(
                    error,
                    service = self.name,
                    kept,
                    "a server's OpenAPI v2 document is not taken"
                );
            }
        }
    }

    async fn fetch(&self, etag: &str) -> Result<Answer, String> {
        // It is given back when the document has been read.
        let _place = self.schemas.places.acquire().await;
        let question = Question {
            path: PATH,
            accept: PLAIN,
            etag,
            max_bytes: MAX_BYTES,
        };
        let told = ask(&self.backend, question).await?;
        match told.code {
            StatusCode::NOT_MODIFIED if !etag.is_empty() => Ok(Answer::Unchanged),
            StatusCode::NOT_FOUND => Ok(Answer::New(String::new(), None)),
            StatusCode::OK => {
                let etag = told.header(header::ETAG).to_owned();
                let (group, version) = (self.group.clone(), self.version.clone());
                let read = move || Part::read(&told.body, &group, &version);
                let part = tokio::task::spawn_blocking(read).await;
                let part = part.map_err(|error| error.to_string())?;
                let part = part.map_err(|error| format!("{PATH}: {error}"))?;
                Ok(Answer::New(etag, Some(part)))
            }
            code => Err(format!("{PATH}: {}", code.as_u16())),
        }
    }
}

/// As upstream sorts them: by the priority of their group, then by name.
fn sorted(routes: &Routes) -> Vec<&Arc<Route>> {
    let mut groups: HashMap<&str, i32> = HashMap::new();
    for route in routes.iter() {
        let most = groups.entry(&route.group).or_insert(i32::MIN);
        *most = route.priority.group.max(*most);
    }
    let mut routes: Vec<&Arc<Route>> = routes.iter().collect();
    let priority = |route: &Route| groups.get(route.group.as_str()).copied();
    routes.sort_by(|a, b| {
        let (one, other) = (Reverse(priority(a)), Reverse(priority(b)));
        one.cmp(&other).then_with(|| a.name.cmp(&b.name))
    });
    routes
}

#[cfg(test)]
mod tests;
