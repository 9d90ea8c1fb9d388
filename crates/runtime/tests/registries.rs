//! Pulls through mirrors, and from registries that keep a pull waiting or say what is not so.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use knarr_runtime::Registries;
use knarr_runtime::images::pull::{Credentials, PullFailure, Puller, Timeouts};
use knarr_runtime::images::{ImageStore, Reference};
use knarr_testkit::image::{Image, LayerBuilder};
use knarr_testkit::registry::{Answer, Body, Registry, Request, honest};
use serde_json::json;
use tokio_util::task::TaskTracker;

/// What a registry may keep a pull waiting here.
const TIMEOUTS: Timeouts = Timeouts {
    answer: Duration::from_secs(1),
    progress: Duration::from_secs(2),
};
/// Long enough for many to be stuck at a time on a busy machine.
const LONGER: Timeouts = Timeouts {
    answer: Duration::from_secs(15),
    progress: Duration::from_secs(15),
};
/// Within which every pull ends.
const PATIENCE: Duration = Duration::from_secs(60);

struct Kit {
    directory: tempfile::TempDir,
    images: Arc<ImageStore>,
    puller: Puller,
}

/// `None`, with the reason printed, where these tests cannot run.
fn kit(registries: &str) -> Option<Kit> {
    kit_with(registries, TIMEOUTS)
}

fn kit_with(registries: &str, timeouts: Timeouts) -> Option<Kit> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root, to own the files of layers");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let images = Arc::new(ImageStore::open(directory.path().join("images")).unwrap());
    let registries = Registries::parse(registries).unwrap();
    let puller = Puller::new(images.clone(), registries, timeouts, TaskTracker::new());
    Some(Kit {
        directory,
        images,
        puller,
    })
}

impl Kit {
    async fn pull_as(
        &self,
        name: &str,
        credentials: Credentials,
    ) -> Result<String, (PullFailure, String)> {
        let reference = Reference::parse(name).unwrap();
        let pulling = self.puller.pull(&reference, credentials);
        let outcome = tokio::time::timeout(PATIENCE, pulling)
            .await
            .expect("the pull does not end");
        outcome.map_err(|error| {
            let text = error.to_string();
            (Arc::into_inner(error).unwrap().failure, text)
        })
    }

    async fn pull(&self, name: &str) -> Result<String, String> {
        self.pull_as(name, Credentials::Anonymous)
            .await
            .map_err(|(_, text)| text)
    }

    /// Layers, whole or not, and files on their way.
    fn leftovers(&self) -> Vec<PathBuf> {
        let entries = ["layers", "tmp"].map(|name| self.directory.path().join("images").join(name));
        let entries = entries
            .iter()
            .flat_map(|path| std::fs::read_dir(path).unwrap());
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn image(files: &[&str]) -> Image {
    let layers = files.iter().map(|file| {
        LayerBuilder::new()
            .file(file, 0o644, file.as_bytes())
            .and_then(LayerBuilder::finish)
            .unwrap()
    });
    Image {
        name: String::new(),
        layers: layers.collect(),
        config: json!({}),
    }
}

fn images(names: &[&str]) -> BTreeMap<String, Image> {
    names
        .iter()
        .map(|name| ((*name).to_owned(), image(&["shared", name])))
        .collect()
}

fn serve(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Registry {
    Registry::serve(TcpListener::bind("127.0.0.1:0").unwrap(), handler).unwrap()
}

fn good(names: &[&str]) -> Registry {
    let images = images(names);
    serve(move |request| honest(&images, request))
}

fn mirrors(of: &str, mirrors: &[&Registry]) -> String {
    let endpoints: Vec<String> = mirrors
        .iter()
        .map(|mirror| format!("http://{}", mirror.address()))
        .collect();
    json!({"mirrors": {of: {"endpoint": endpoints}}}).to_string()
}

fn password(name: &str) -> Credentials {
    Credentials::Password {
        username: name.to_owned(),
        password: "secret".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_asked_first_and_shown_no_credentials() {
    let mirror = good(&["team/app"]);
    let Some(kit) = kit(&mirrors("registry.test", &[&mirror])) else {
        return;
    };
    let id = kit
        .pull_as("registry.test/team/app", password("u"))
        .await
        .unwrap();
    assert_eq!(
        kit.images.find("registry.test/team/app:latest").unwrap().id,
        id
    );
    let asked = mirror.requests();
    // The manifest, the configuration, two layers.
    assert_eq!(asked.len(), 4);
    for request in asked {
        assert_eq!(request.query, "ns=registry.test");
        assert!(
            !request.headers.contains_key("authorization"),
            "{request:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mirror_lacks_is_had_from_the_registry() {
    let registry = good(&["app"]);
    let lacking = serve(|_| Answer::new("404 Not Found", ""));
    let silent = serve(|_| Answer::of("200 OK", Body::Silence));
    let images = images(&["app"]);
    // Answers everything with something else.
    let lying = serve(move |request| {
        let mut answer = honest(&images, request);
        if let Body::Whole(bytes) = &answer.body {
            answer.body = Body::Whole([bytes, b" ".as_slice()].concat().into());
        }
        answer
    });
    let name = format!("{}/app", registry.address());
    let config = mirrors(
        &registry.address().to_string(),
        &[&lacking, &silent, &lying],
    );
    let Some(kit) = kit(&config) else { return };
    kit.pull(&name).await.unwrap();
    // One that only lacks something is asked for the rest; one that failed is not.
    let asked = [&lacking, &silent, &lying, &registry].map(|one| one.requests().len());
    assert_eq!(asked, [4, 1, 1, 4]);
    for request in registry.requests() {
        assert_eq!(request.query, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_tells_of_mirrors_and_registry() {
    let mirror = serve(|_| Answer::new("500 Internal Server Error", ""));
    let registry = serve(|_| Answer::new("503 Service Unavailable", ""));
    let Some(kit) = kit(&mirrors(&registry.address().to_string(), &[&mirror])) else {
        return;
    };
    let text = kit
        .pull(&format!("{}/app", registry.address()))
        .await
        .unwrap_err();
    for part in [
        format!("after http://{}/v2: ", mirror.address()),
        "500 Internal".to_owned(),
        "503 Service".to_owned(),
    ] {
        assert!(text.contains(&part), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_gets_the_credentials_it_asks_for() {
    let images = images(&["app"]);
    let registry = serve(move |request| {
        let authorization = request.headers.get("authorization").map(String::as_str);
        let own = format!("http://{}/token", request.headers["host"]);
        match (request.path.as_str(), authorization) {
            ("/token", Some("Basic dTpzZWNyZXQ=")) => {
                Answer::new("200 OK", r#"{"access_token":"t"}"#)
            }
            ("/token", _) => Answer::new("401 Unauthorized", ""),
            (_, Some("Bearer t")) => honest(&images, request),
            _ => Answer::new("401 Unauthorized", "").with(
                "WWW-Authenticate",
                format!("Bearer realm=\"{own}\",service=\"s\""),
            ),
        }
    });
    let address = registry.address().to_string();
    let name = format!("{address}/app");
    let configured =
        json!({"configs": {address: {"auth": {"username": "u", "password": "secret"}}}});
    for (config, credentials, works) in [
        (json!({}), password("u"), true),
        (json!({}), password("v"), false),
        (json!({}), Credentials::Anonymous, false),
        (configured, Credentials::Anonymous, true),
    ] {
        let Some(kit) = kit(&config.to_string()) else {
            return;
        };
        match kit.pull_as(&name, credentials).await {
            Ok(_) => assert!(works),
            Err((failure, text)) => {
                assert!(
                    !works && matches!(failure, PullFailure::Denied { .. }),
                    "{text}"
                );
            }
        }
    }
    let tokens = registry
        .requests()
        .into_iter()
        .filter(|request| request.path == "/token");
    for request in tokens {
        assert_eq!(request.query, "service=s&scope=repository%3Aapp%3Apull");
    }
}

/// Whom a registry leads to may not have the credentials sent to where it says that tokens are.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_not_for_whom_a_registry_leads_to() {
    let collector = serve(|_| Answer::new("200 OK", r#"{"token":"t"}"#));
    for challenge in [
        format!("Bearer realm=\"http://{}/token\"", collector.address()),
        "Basic realm=\"r\"".to_owned(),
    ] {
        let elsewhere = serve(move |_| {
            Answer::new("401 Unauthorized", "").with("WWW-Authenticate", challenge.clone())
        });
        let place = format!("http://{}/blob", elsewhere.address());
        let registry = serve(move |_| {
            Answer::new("307 Temporary Redirect", "").with("Location", place.clone())
        });
        let Some(kit) = kit("") else { return };
        let name = format!("{}/app", registry.address());
        let failed = kit.pull_as(&name, password("u")).await.unwrap_err();
        assert!(
            matches!(failed.0, PullFailure::Denied { .. }),
            "{}",
            failed.1
        );
        assert_eq!(elsewhere.requests().len(), 1, "nobody asks there again");
        let told = elsewhere.requests().into_iter().chain(registry.requests());
        for request in told {
            assert!(
                !request.headers.contains_key("authorization"),
                "{request:?}"
            );
        }
    }
    assert_eq!(collector.requests().len(), 0);
}

/// Manifests, tokens and layers that never end, or that do not come.
#[tokio::test(flavor = "multi_thread")]
async fn no_registry_keeps_a_pull_waiting() {
    let zeros: Arc<[u8]> = vec![b' '; 64 << 10].into();
    let endless = Body::Endless(zeros);
    for (bodies, wanted) in [
        (endless.clone(), "it has more than 4194304 bytes"),
        (Body::Drip(100_000), "no progress for too long: "),
        (Body::Drip(100 << 20), "it has more than 4194304 bytes"),
        (Body::Silence, "no progress for too long: no answer in 1s"),
        (Body::EndlessHeader, "message head is too large"),
        (
            Body::CutOff(b"{".as_slice().into(), 100),
            "end of file before message length reached",
        ),
    ] {
        let of_manifests = bodies.clone();
        let manifests = serve(move |_| Answer::of("200 OK", of_manifests.clone()));
        let of_tokens = bodies.clone();
        let tokens = serve(move |request| match request.path.as_str() {
            "/token" => Answer::of("200 OK", of_tokens.clone()),
            _ => Answer::new("401 Unauthorized", "").with(
                "WWW-Authenticate",
                format!("Bearer realm=\"http://{}/token\"", request.headers["host"]),
            ),
        });
        let Some(kit) = kit("") else { return };
        let text = kit
            .pull(&format!("{}/app", manifests.address()))
            .await
            .unwrap_err();
        assert!(text.contains(wanted), "{bodies:?}: {text}");
        kit.pull(&format!("{}/app", tokens.address()))
            .await
            .unwrap_err();
        assert_eq!(kit.leftovers(), [] as [PathBuf; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_layers_of_a_failed_pull_go_and_others_stay() {
    let images = images(&["bad", "good"]);
    let last = images["bad"].manifest().1.pop().unwrap().digest;
    let registry = serve(move |request| {
        if request.path.ends_with(&last) {
            // Until the other layer is surely there.
            std::thread::sleep(TIMEOUTS.answer / 2);
            return Answer::new("404 Not Found", "");
        }
        honest(&images, request)
    });
    let Some(kit) = kit("") else { return };
    let name = |image: &str| format!("{}/{image}", registry.address());
    kit.pull(&name("bad")).await.unwrap_err();
    assert_eq!(kit.leftovers(), [] as [PathBuf; 0]);
    let (bad, good) = (name("bad"), name("good"));
    let (bad, good) = tokio::join!(kit.pull(&bad), kit.pull(&good));
    bad.unwrap_err();
    let good = kit.images.find(&good.unwrap()).unwrap();
    assert_eq!(kit.images.layers(&good).unwrap().len(), 2);
    kit.pull(&name("bad")).await.unwrap_err();
    assert_eq!(
        kit.images.layers(&good).unwrap().len(),
        2,
        "the shared layer went"
    );
    // Two layers and their records.
    assert_eq!(kit.leftovers().len(), 4, "{:?}", kit.leftovers());
}

/// More pulls than there are places of any kind, all of them stuck at a layer.
#[tokio::test(flavor = "multi_thread")]
async fn stuck_pulls_are_in_nobodys_way() {
    const STUCK: usize = 30;
    let names: Vec<String> = (0..STUCK).map(|n| format!("stuck{n}")).collect();
    let stuck_images = images(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let configs: Vec<String> = stuck_images
        .values()
        .map(|image| image.manifest().1[0].digest.clone())
        .collect();
    let bad = serve(move |request| {
        let is_layer = request.path.contains("/blobs/")
            && !configs.iter().any(|config| request.path.ends_with(config));
        match (is_layer, honest(&stuck_images, request)) {
            (
                true,
                Answer {
                    body: Body::Whole(bytes),
                    ..
                },
            ) => Answer::of("200 OK", Body::Drip(bytes.len() as u64)),
            (_, answer) => answer,
        }
    });
    let good = good(&["app"]);
    let Some(kit) = kit_with("", LONGER) else {
        return;
    };
    let kit = Arc::new(kit);
    let pulls: Vec<_> = names
        .iter()
        .map(|name| {
            let (kit, name) = (Arc::clone(&kit), format!("{}/{name}", bad.address()));
            tokio::spawn(async move { kit.pull(&name).await })
        })
        .collect();
    let begun = Instant::now();
    while bad.requests().len() < 3 * STUCK {
        assert!(
            begun.elapsed() < PATIENCE,
            "{} requests",
            bad.requests().len()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    kit.pull(&format!("{}/app", good.address())).await.unwrap();
    assert!(
        pulls.iter().any(|pull| !pull.is_finished()),
        "nothing was stuck"
    );
    for pull in pulls {
        let text = pull.await.unwrap().unwrap_err();
        assert!(text.contains("no progress for too long"), "{text}");
    }
}

/// A registry that answers nobody has its places and no more; others' pulls find theirs.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_has_so_many_pulls_and_no_more() {
    const PLACES: usize = 64;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let held = Arc::new(std::sync::Mutex::new(Vec::new()));
    let accepted = held.clone();
    std::thread::spawn(move || {
        for stream in silent.incoming().flatten() {
            accepted.lock().unwrap().push(stream);
        }
    });
    let good = good(&["app"]);
    let Some(kit) = kit_with("", LONGER) else {
        return;
    };
    let kit = Arc::new(kit);
    let mut pulls = tokio::task::JoinSet::new();
    for n in 0..PLACES {
        let kit = Arc::clone(&kit);
        pulls.spawn(async move { kit.pull(&format!("{address}/app{n}")).await });
    }
    let begun = Instant::now();
    while held.lock().unwrap().len() < PLACES {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let name = format!("{address}/one-more");
    let refused = kit.pull_as(&name, Credentials::Anonymous).await;
    let (failure, _) = refused.unwrap_err();
    assert!(
        matches!(failure, PullFailure::TooManyOfRegistry(PLACES)),
        "{failure:?}"
    );
    kit.pull(&format!("{}/app", good.address())).await.unwrap();
    assert!(pulls.try_join_next().is_none(), "nothing was stuck");
}
