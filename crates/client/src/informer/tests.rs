use super::*;
use k8s_openapi::api::core::v1::ConfigMap;

fn map(namespace: &str, name: &str, revision: &str) -> ConfigMap {
    labelled(namespace, name, revision, "")
}

fn labelled(namespace: &str, name: &str, revision: &str, app: &str) -> ConfigMap {
    let labels = (!app.is_empty()).then(|| [("app".to_owned(), app.to_owned())].into());
    ConfigMap {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            resource_version: Some(revision.to_owned()),
            labels,
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

fn names(objects: Vec<Arc<ConfigMap>>) -> Vec<String> {
    let mut names: Vec<_> = objects
        .iter()
        .map(|o| format!("{}/{}@{}", o.namespace(), o.name(), o.resource_version()))
        .collect();
    names.sort();
    names
}

fn record(informer: &Informer<ConfigMap>) -> Arc<Mutex<Vec<String>>> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let sink = log.clone();
    informer.on_event(move |event| {
        sink.lock().push(match event {
            Event::Added(new) => format!("+{}@{}", new.name(), new.resource_version()),
            Event::Updated { old, new } => format!(
                "{}@{}>{}",
                new.name(),
                old.resource_version(),
                new.resource_version()
            ),
            Event::Deleted(last) => format!("-{}@{}", last.name(), last.resource_version()),
        });
    });
    log
}

#[test]
fn reads_by_name_and_namespace() {
    let informer = Informer::new();
    informer.replace(vec![
        map("x", "a", "1"),
        map("x", "b", "2"),
        map("y", "a", "3"),
    ]);
    assert_eq!(names(informer.list()), ["x/a@1", "x/b@2", "y/a@3"]);
    assert_eq!(names(informer.list_in("x")), ["x/a@1", "x/b@2"]);
    assert_eq!(
        informer
            .get("y", "a")
            .map(|o| o.resource_version().to_owned()),
        Some("3".to_owned())
    );
    assert!(informer.get("y", "b").is_none() && informer.list_in("z").is_empty());
    informer.remove(map("y", "a", "4"));
    assert_eq!(informer.len(), 2);
}

#[test]
fn a_relist_tells_only_differences() {
    let informer = Informer::new();
    let log = record(&informer);
    informer.replace(vec![map("x", "a", "1"), map("x", "b", "2")]);
    assert!(informer.is_synced());
    informer.replace(vec![map("x", "b", "2"), map("x", "c", "3")]);
    informer.replace(vec![map("x", "b", "5"), map("x", "c", "3")]);
    assert_eq!(*log.lock(), ["+a@1", "+b@2", "-a@1", "+c@3", "b@2>5"]);
}

#[test]
fn watch_events_in_order() {
    let informer = Informer::new();
    let log = record(&informer);
    informer.apply(map("x", "a", "1"));
    informer.apply(map("x", "a", "2"));
    informer.remove(map("x", "a", "3"));
    informer.remove(map("x", "never-seen", "4"));
    assert_eq!(*log.lock(), ["+a@1", "a@1>2", "-a@3"]);
}

#[test]
fn a_late_handler_gets_what_is_cached() {
    let informer = Informer::new();
    informer.apply(map("x", "a", "1"));
    let log = record(&informer);
    informer.apply(map("x", "a", "2"));
    assert_eq!(*log.lock(), ["+a@1", "a@1>2"]);
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct App(&'static str);

impl IndexKey<ConfigMap> for App {
    fn keys_of(map: &ConfigMap) -> Vec<Self> {
        let labels = map.metadata.labels.iter().flat_map(|l| l.values());
        labels
            .filter_map(|app| ["web", "db"].into_iter().find(|known| known == app))
            .map(App)
            .collect()
    }
}

/// Another meaning of the same text.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Name(&'static str);

impl IndexKey<ConfigMap> for Name {
    fn keys_of(map: &ConfigMap) -> Vec<Self> {
        ["web", "db"]
            .into_iter()
            .filter(|known| known == &map.name())
            .map(Name)
            .collect()
    }
}

#[test]
fn indexes_follow_changes() {
    let (web, db) = (App("web"), App("db"));
    let informer = Informer::new();
    informer.apply(labelled("x", "a", "1", "web"));
    assert_eq!(names(informer.by_index(&web)), ["x/a@1"]);
    informer.apply(labelled("x", "b", "2", "web"));
    assert_eq!(names(informer.by_index(&web)), ["x/a@1", "x/b@2"]);
    informer.apply(labelled("x", "a", "3", "db"));
    assert_eq!(names(informer.by_index(&web)), ["x/b@2"]);
    assert_eq!(names(informer.by_index(&db)), ["x/a@3"]);
    informer.remove(labelled("x", "b", "4", "web"));
    assert!(informer.by_index(&web).is_empty());
    assert!(informer.by_index(&Name("db")).is_empty());
    informer.replace(vec![labelled("x", "c", "5", "db")]);
    assert_eq!(names(informer.by_index(&db)), ["x/c@5"]);
}

#[test]
fn handlers_may_read_the_informer() {
    let informer = Informer::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (reader, sink) = (informer.clone(), seen.clone());
    informer.on_event(move |_: Event<ConfigMap>| sink.lock().push(reader.len()));
    informer.apply(map("x", "a", "1"));
    informer.apply(map("x", "b", "2"));
    assert_eq!(*seen.lock(), [1, 2]);
}

#[tokio::test]
async fn synced_wakes_all_waiters() {
    let informer = Informer::<ConfigMap>::new();
    let waiting = tokio::spawn({
        let informer = informer.clone();
        async move { informer.synced().await }
    });
    tokio::task::yield_now().await;
    assert!(!informer.is_synced() && !waiting.is_finished());
    informer.replace(Vec::new());
    waiting.await.expect("no panic");
    informer.synced().await;
}
