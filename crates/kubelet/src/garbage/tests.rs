use std::collections::HashSet;

use super::{
    images::{self, Image, Known, Policy},
    *,
};
use crate::{
    configuration::KubeletConfiguration,
    testing::{self, fake::Fake},
};

const MINUTE: Duration = Duration::from_secs(60);

fn policy() -> Policy {
    Policy {
        high: 85,
        low: 80,
        least_age: 2 * MINUTE,
        most_age: Duration::ZERO,
    }
}

fn image(id: &str, pinned: bool) -> v1::Image {
    v1::Image {
        id: id.to_owned(),
        repo_tags: vec![format!("{id}:latest")],
        size: 10,
        pinned,
        ..Default::default()
    }
}

fn ids(images: &[Image]) -> Vec<&str> {
    images.iter().map(|image| image.id.as_str()).collect()
}

#[test]
fn disks_that_are_too_full() {
    const GIB: u64 = 1 << 30;
    for (capacity, available, expected) in [
        (100 * GIB, 16 * GIB, None),
        (100 * GIB, 15 * GIB, Some((85, 5 * GIB))),
        (100 * GIB, 0, Some((100, 20 * GIB))),
        (100 * GIB, 200 * GIB, None),
    ] {
        let excess = policy().excess(capacity, available);
        assert_eq!(excess, expected, "{available} of {capacity}");
    }
    let never = Policy {
        high: 100,
        ..policy()
    };
    assert!(never.is_never() && !policy().is_never());
}

#[test]
fn the_least_recently_used_goes_first_and_the_used_and_the_pinned_stay() {
    let start = Instant::now();
    let mut known = Known::default();
    let listed = [
        image("a", false),
        image("b", false),
        image("c", false),
        image("p", true),
    ];
    let used = |names: &[&str]| -> HashSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    };
    let unused = known.notice(&listed, &used(&["a:latest", "b"]), start);
    assert_eq!(ids(&unused), ["c"]);
    let unused = known.notice(&listed, &used(&["a"]), start + MINUTE);
    assert_eq!(
        ids(&unused),
        ["c", "b"],
        "never used before used a minute ago"
    );
    let unused = known.notice(&listed, &used(&[]), start + 2 * MINUTE);
    assert_eq!(ids(&unused), ["c", "b", "a"]);
    known.forget("c");
    let unused = known.notice(&listed, &used(&[]), start + 3 * MINUTE);
    let again = unused.iter().find(|image| image.id == "c").unwrap();
    assert!(!policy().may_go(again, start + 4 * MINUTE));
    assert!(policy().may_go(again, start + 5 * MINUTE));
}

#[test]
fn age_counts_from_the_last_use() {
    let start = Instant::now();
    let policy = Policy {
        most_age: 60 * MINUTE,
        ..policy()
    };
    let of = |used: Option<Instant>| Image {
        id: "a".to_owned(),
        size: 1,
        detected: start,
        used,
    };
    for (used, after, expected) in [
        (None, 60, false),
        (None, 61, true),
        (Some(start + 30 * MINUTE), 61, false),
        (Some(start + 30 * MINUTE), 91, true),
    ] {
        assert_eq!(
            policy.is_too_old(&of(used), start + after * MINUTE),
            expected
        );
    }
}

#[test]
fn sizes_are_for_people() {
    for (bytes, text) in [
        (1_023, "1023 B"),
        (1_536, "1.5 KiB"),
        (20 << 20, "20.0 MiB"),
        (5 << 40, "5.0 TiB"),
    ] {
        assert_eq!(images::size(bytes), text);
    }
}

/// A runtime with a container that runs, one that has ended, and four images.
async fn runtime(dir: &std::path::Path, least_age: Duration) -> (Fake, Shared) {
    let fake = Fake::default();
    fake.state(|state| {
        let running = v1::ContainerState::ContainerRunning;
        let container = testing::container("a", 0, running, 1, 0);
        state.images = vec![
            image(&container.image_ref, false),
            image("sha256:unused", false),
            image("sha256:pinned", true),
            image("sha256:wanted", false),
        ];
        state.containers.insert(container.id.clone(), container);
    });
    fake.serve(&dir.join("cri.sock"));
    let (client, _server) = knarr_client::fake::client();
    let config = crate::Config {
        configuration: KubeletConfiguration::with(|own| own.image_minimum_gc_age = least_age),
        ..crate::Config::default()
    };
    let ctx = testing::context(client, config, dir).await;
    ctx.images.want("sha256:wanted");
    (fake, ctx)
}

fn removed(fake: &Fake) -> Vec<String> {
    let log = fake.state(|state| state.log.clone());
    let mut removed = log
        .into_iter()
        .filter(|line| line.starts_with("remove image"));
    removed.by_ref().collect()
}

#[tokio::test]
async fn what_is_neither_used_nor_wanted_nor_pinned_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (fake, ctx) = runtime(dir.path(), Duration::ZERO).await;
    everything(&ctx).await;
    assert_eq!(removed(&fake), ["remove image sha256:unused"]);
    assert_eq!(ctx.garbage.removed(), [("age", 0), ("space", 1)]);
}

#[tokio::test]
async fn what_has_just_come_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (fake, ctx) = runtime(dir.path(), 2 * MINUTE).await;
    everything(&ctx).await;
    assert!(removed(&fake).is_empty());
}

/// Files that switch the removal of images off, as kind's do, switch nothing else off: a part that ends takes the kubelet with it.
#[tokio::test]
async fn who_never_removes_images_does_not_end() {
    let dir = tempfile::tempdir().unwrap();
    let config = crate::Config {
        configuration: KubeletConfiguration::with(|own| own.image_gc_high_threshold_percent = 100),
        ..crate::Config::default()
    };
    assert!(Policy::of(&config.configuration.settings).is_never());
    Fake::default().serve(&dir.path().join("cri.sock"));
    let api = crate::testing::reviews::ReviewServer::default();
    let ctx = crate::testing::context(api.client(), config, dir.path()).await;
    let token = CancellationToken::new();
    let mut work = tokio::spawn(super::run(ctx, token.clone()));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut work).await;
    assert!(early.is_err(), "it ended");
    token.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), work).await;
    ended.expect("it ends with the token").unwrap();
}
