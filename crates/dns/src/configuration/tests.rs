use std::time::Duration;

use hickory_proto::rr::Name;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::*;

fn map(name: &str, files: &[(&str, &str)]) -> ConfigMap {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(files.iter().map(owned).collect()),
        ..ConfigMap::default()
    }
}

/// Waits until the settings have, or have not, a block of their own for a zone.
async fn until(live: &Live, zone: &str, wanted: bool) {
    let zone = Name::from_ascii(zone).unwrap();
    let waiting = async {
        loop {
            let settings = live.read().clone();
            let root = settings.site(&Name::root());
            let own = settings.site(&zone);
            let is_own = match (own, root) {
                (Some(own), Some(root)) => !Arc::ptr_eq(own, root),
                (own, _) => own.is_some(),
            };
            if is_own == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), waiting);
    waited.await.expect("the settings do not change");
}

#[tokio::test(start_paused = true)]
async fn settings_follow_the_maps_and_survive_what_is_wrong() {
    let maps = [Informer::new(), Informer::new()];
    let [main, custom] = maps.clone();
    let around = crate::surroundings("cluster.local", Vec::new(), Vec::new()).unwrap();
    let configuration = Configuration::with(around, maps, None);
    let live = configuration.live();
    let work = tokio::spawn(configuration.run(CancellationToken::new()));
    main.replace(Vec::new());
    custom.replace(vec![map(CUSTOM, &[("a.server", "a.example. {\n}\n")])]);
    until(&live, "a.example.", true).await;
    let text = ". {\n}\nb.example. {\n}\nimport custom/*.server\n";
    main.apply(map(MAIN, &[("Corefile", text)]));
    until(&live, "b.example.", true).await;
    until(&live, "a.example.", true).await;
    let before = live.read().clone();
    main.apply(map(MAIN, &[("Corefile", ". {\nnonsense\n}\n")]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(
        Arc::ptr_eq(&before, &live.read()),
        "what was wrong is gone by"
    );
    main.apply(map(MAIN, &[("Corefile", "c.example. {\n}\n")]));
    until(&live, "c.example.", true).await;
    main.remove(map(MAIN, &[]));
    custom.remove(map(CUSTOM, &[]));
    until(&live, "c.example.", false).await;
    assert!(live.read().only().is_some(), "what is built in");
    work.abort();
}
