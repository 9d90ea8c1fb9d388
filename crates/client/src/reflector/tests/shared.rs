//! A server in the same process, which offers its states.

use std::collections::VecDeque;
use std::convert::Infallible;

use futures::channel::mpsc::{self as channel, UnboundedSender};
use futures::{FutureExt, StreamExt};
use http::{Request, Response};
use knarr_states::{Change, Changes, Form, Memo, Offer, Page, Recent, Share, State};
use kube::client::Body;
use parking_lot::Mutex;

use super::*;

struct Map {
    name: &'static str,
    revision: u64,
    memo: Memo,
}

impl State for Map {
    fn namespaced_name(&self) -> (&str, &str) {
        ("x", self.name)
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn write(&self, _: Form, out: &mut Vec<u8>) {
        match self.name {
            "broken" => out.extend_from_slice(b"{\"metadata\":7}"),
            name => {
                out.extend_from_slice(map(name, &self.revision.to_string()).to_string().as_bytes())
            }
        }
    }

    fn size(&self, _: Form) -> usize {
        100
    }

    fn memo(&self) -> &Memo {
        &self.memo
    }
}

fn state(name: &'static str, revision: u64) -> Arc<dyn State> {
    Arc::new(Map {
        name,
        revision,
        memo: Memo::default(),
    })
}

/// States of a page, the list's revision, and the next page's token.
type Listed = (Vec<Arc<dyn State>>, u64, Option<String>);

/// Answers lists with pages and watches with changes, in the order given.
#[derive(Default)]
struct Script {
    pages: VecDeque<Listed>,
    asked: Vec<String>,
    watch: Option<UnboundedSender<Vec<Change>>>,
}

fn serve(script: &Arc<Mutex<Script>>, recent: &Arc<Recent>) -> kube::Client {
    let (script, recent) = (script.clone(), recent.clone());
    let service = tower::service_fn(move |request: Request<Body>| {
        assert!(request.extensions().get::<Share>().is_some());
        let query = request.uri().query().unwrap_or_default().to_owned();
        let mut response = Response::new(Body::empty());
        let mut script = script.lock();
        script.asked.push(query.clone());
        if query.contains("watch=true") {
            let (sender, events) = channel::unbounded();
            script.watch = Some(sender);
            let recent = recent.clone();
            let events = events.boxed();
            response
                .extensions_mut()
                .insert(Offer::new(Changes { events, recent }));
        } else {
            let (states, revision, continue_token) =
                script.pages.pop_front().expect("a list that is expected");
            let recent = recent.clone();
            let page = Page {
                states,
                revision,
                continue_token,
                recent,
            };
            response.extensions_mut().insert(Offer::new(page));
        }
        async move { Ok::<_, Infallible>(response) }.boxed()
    });
    kube::Client::new(service, "default")
}

struct Shared {
    script: Arc<Mutex<Script>>,
    informer: Informer<ConfigMap>,
    events: mpsc::UnboundedReceiver<String>,
    informers: Informers,
}

impl Shared {
    fn start(pages: Vec<Listed>, recent: &Arc<Recent>) -> Self {
        let script = Arc::new(Mutex::new(Script {
            pages: pages.into(),
            ..Script::default()
        }));
        let informers = Informers::new(serve(&script, recent), CancellationToken::new());
        let informer = informers.informer::<ConfigMap>();
        let events = told(&informer);
        Self {
            script,
            informer,
            events,
            informers,
        }
    }

    async fn event(&mut self) -> String {
        self.events.recv().await.expect("the informer runs")
    }

    /// Tells the watch, once there is one that asked from this revision.
    async fn tell(&self, from: u64, changes: Vec<Change>) {
        loop {
            {
                let script = self.script.lock();
                let asked = script.asked.last().is_some_and(|query| {
                    query.contains("watch=true")
                        && query.contains(&format!("resourceVersion={from}"))
                });
                if let Some(watch) = script.watch.as_ref().filter(|_| asked) {
                    watch.unbounded_send(changes).expect("the watch is read");
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn cut(&self) {
        self.script.lock().watch = None;
    }
}

#[tokio::test(start_paused = true)]
async fn states_are_listed_watched_and_decoded_once() {
    let recent = Arc::new(Recent::default());
    let (a, b) = (state("a", 1), state("b", 2));
    let pages = || {
        vec![
            (vec![a.clone()], 2, Some("next".to_owned())),
            (vec![b.clone()], 2, None),
        ]
    };
    let mut one = Shared::start(pages(), &recent);
    let mut other = Shared::start(pages(), &recent);
    for shared in [&mut one, &mut other] {
        let mut listed = [shared.event().await, shared.event().await];
        listed.sort();
        assert_eq!(listed, ["+a", "+b"]);
        shared.informer.synced().await;
    }
    let (first, second) = (one.informer.get("x", "a"), other.informer.get("x", "a"));
    let both = first.zip(second).expect("both have it");
    assert!(Arc::ptr_eq(&both.0, &both.1));

    one.tell(2, vec![Change::Applied(state("a", 3)), Change::Bookmark(4)])
        .await;
    assert_eq!(one.event().await, "~a");
    one.cut();
    one.tell(4, vec![Change::Deleted(state("a", 3), 5)]).await;
    assert_eq!(one.event().await, "-a");
    assert!(one.informer.get("x", "a").is_none());
    one.cut();
    one.tell(5, vec![Change::Applied(state("c", 6))]).await;
    assert_eq!(one.event().await, "+c");
    assert_eq!(one.informer.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_is_gone_lists_again() {
    let recent = Arc::new(Recent::default());
    let pages = vec![
        (vec![state("a", 1), state("b", 1)], 2, None),
        (vec![state("b", 1), state("c", 8)], 9, None),
    ];
    let mut shared = Shared::start(pages, &recent);
    shared.event().await;
    shared.event().await;
    let gone = br#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":410,"reason":"Expired","message":"too old"}"#;
    shared
        .tell(2, vec![Change::Error(bytes::Bytes::from_static(gone))])
        .await;
    assert_eq!(
        [shared.event().await, shared.event().await],
        ["-a", "+c"],
        "only what differs is told"
    );
    shared.tell(9, vec![Change::Applied(state("b", 10))]).await;
    assert_eq!(shared.event().await, "~b");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_hides_nothing() {
    let recent = Arc::new(Recent::default());
    let pages = vec![(vec![state("broken", 1), state("a", 1)], 2, None)];
    let mut shared = Shared::start(pages, &recent);
    assert_eq!(shared.event().await, "+a");
    shared
        .tell(
            2,
            vec![
                Change::Applied(state("broken", 3)),
                Change::Applied(state("b", 4)),
            ],
        )
        .await;
    assert_eq!(shared.event().await, "+b");
    assert_eq!(shared.informer.len(), 2);
    assert!(shared.informer.get("x", "broken").is_none());
}

/// Objects that are not kept decoded are as they were all the same, in indexes too.
#[tokio::test(start_paused = true)]
async fn nothing_depends_on_what_is_kept() {
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct ByName(String);
    impl crate::IndexKey<ConfigMap> for ByName {
        fn keys_of(map: &ConfigMap) -> Vec<Self> {
            vec![Self(map.metadata.name.clone().unwrap_or_default())]
        }
    }
    let recent = Arc::new(Recent::with_limit(0));
    let pages = vec![(vec![state("a", 1), state("b", 1)], 2, None)];
    let mut shared = Shared::start(pages, &recent);
    shared.event().await;
    shared.event().await;
    let found = |name: &str| {
        let found = shared.informer.by_index(&ByName(name.to_owned()));
        let revisions = found
            .iter()
            .map(|map| map.metadata.resource_version.clone());
        revisions.flatten().collect::<Vec<_>>()
    };
    assert_eq!(found("a"), ["1"]);
    shared.tell(2, vec![Change::Applied(state("a", 3))]).await;
    let told = shared.events.recv().await;
    assert_eq!(told.as_deref(), Some("~a"));
    assert_eq!(found("a"), ["3"]);
    assert_eq!(found("b"), ["1"]);
    shared
        .tell(2, vec![Change::Deleted(state("a", 3), 4)])
        .await;
    let told = shared.events.recv().await;
    assert_eq!(told.as_deref(), Some("-a"));
    assert_eq!(found("a"), Vec::<String>::new());
    assert_eq!(recent.bytes(), 0);
}

/// Types that say so are decoded once a state, however little of whole objects is kept.
#[tokio::test(start_paused = true)]
async fn summaries_stay_decoded() {
    struct Name(String, String);
    static DECODED: Mutex<usize> = Mutex::new(0);
    impl crate::Object for Name {
        const IS_KEPT: bool = true;
        fn namespace(&self) -> &str {
            "x"
        }
        fn name(&self) -> &str {
            &self.0
        }
        fn resource_version(&self) -> &str {
            &self.1
        }
        fn decode(json: &str) -> Result<Self, serde_json::Error> {
            *DECODED.lock() += 1;
            let map: ConfigMap = serde_json::from_str(json)?;
            let meta = map.metadata;
            Ok(Self(
                meta.name.unwrap_or_default(),
                meta.resource_version.unwrap_or_default(),
            ))
        }
    }
    let recent = Arc::new(Recent::with_limit(0));
    let mut shared = Shared::start(vec![(vec![state("b", 1)], 1, None)], &recent);
    shared.event().await;
    let page = (vec![state("a", 1), state("b", 2)], 2, None);
    shared.script.lock().pages.push_back(page);
    let names = shared.informers.informer_as::<Name, ConfigMap>();
    names.synced().await;
    let (sender, mut events) = mpsc::unbounded_channel();
    names.on_event(move |event| {
        let old = match &event {
            Event::Updated { old, .. } => old.1.clone(),
            Event::Added(_) | Event::Deleted(_) => String::new(),
        };
        let new = event.object();
        let _ = sender.send(format!("{}: {old}>{}", new.0, new.1));
    });
    let mut listed = [events.recv().await, events.recv().await].map(Option::unwrap_or_default);
    listed.sort();
    assert_eq!(listed, ["a: >1", "b: >2"]);
    let changes = vec![
        Change::Applied(state("a", 3)),
        Change::Deleted(state("b", 2), 4),
    ];
    shared.tell(2, changes).await;
    assert_eq!(events.recv().await.as_deref(), Some("a: 1>3"));
    assert_eq!(events.recv().await.as_deref(), Some("b: >2"));
    for _ in 0..10 {
        assert_eq!(names.list().len(), 1);
    }
    assert_eq!(*DECODED.lock(), 4, "two of the list, two of the watch");
    assert_eq!(recent.bytes(), 0);
}
