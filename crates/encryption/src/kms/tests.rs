use std::path::Path;

use tokio::time::{advance, pause, resume};

use super::{
    testing::{Behaviour, Plugin},
    *,
};

const PLACE: &[u8] = b"/registry/secrets/default/a";

struct World {
    dir: tempfile::TempDir,
    seals: Arc<Seals>,
}

impl World {
    fn new() -> World {
        World {
            dir: tempfile::tempdir().expect("a directory"),
            seals: Arc::default(),
        }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.dir.path().join("kms.sock")
    }

    fn plugin(&self) -> Plugin {
        Plugin::start(&self.socket(), Behaviour::default())
    }

    /// What a server has of the plugin after its start.
    fn kms(&self, timeout: Duration) -> Kms {
        let options = Options {
            name: "k".to_owned(),
            endpoint: format!("unix://{}", Path::display(&self.socket())),
            timeout,
        };
        Kms::new(&options, self.seals.clone(), Arc::new(Metrics::new("s"))).expect("a plugin")
    }
}

fn seal(kms: &Kms, plain: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    kms.encrypt(&mut out, plain, PLACE)?;
    let data = out.strip_prefix(kms.prefix().as_bytes());
    Ok(data.expect("the prefix").to_vec())
}

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn the_plugin_is_asked_once_a_seed() {
    let world = World::new();
    let plugin = world.plugin();
    let one = world.kms(LONG);
    assert!(seal(&one, b"x").is_err(), "it was never asked");
    one.check().await.expect("fit");
    let stored = [seal(&one, b"first"), seal(&one, b"second")].map(|one| one.expect("sealed"));
    assert_eq!((plugin.calls("Status"), plugin.calls("Encrypt")), (1, 1));
    let (plain, sealed) = one.open(&stored[0], PLACE).await.expect("opened");
    assert_eq!(
        (plain.as_slice(), Some(sealed)),
        (b"first".as_slice(), one.seal_of_now())
    );
    assert_eq!(
        plugin.calls("Decrypt"),
        1,
        "its own seed is known, and was given back once"
    );
    // Another server, or this one after a restart.
    let other = world.kms(LONG);
    other.check().await.expect("fit");
    for (stored, plain) in stored.iter().zip([b"first".as_slice(), b"second"]) {
        let (opened, seal) = other.open(stored, PLACE).await.expect("opened");
        assert_eq!(opened, plain);
        assert_eq!(
            Some(seal),
            other.seal_of_now(),
            "the same key, another seed"
        );
    }
    assert_eq!(plugin.calls("Decrypt"), 3, "its own, and the other's");
    let moved = other.open(&stored[0], b"/elsewhere").await;
    assert!(matches!(moved, Err(Error::Unreadable(_))), "{moved:?}");
}

#[tokio::test]
async fn another_key_makes_another_seed() {
    let world = World::new();
    let plugin = world.plugin();
    let kms = world.kms(LONG);
    kms.check().await.expect("fit");
    let stored = seal(&kms, b"old").expect("sealed");
    let old = kms.seal_of_now();
    plugin.behave(|now| now.key_id = "2".to_owned());
    kms.check().await.expect("its last answer counts");
    assert_eq!(kms.seal_of_now(), old);
    pause();
    advance(GOOD_FOR).await;
    resume();
    kms.check().await.expect("fit");
    assert_eq!(plugin.calls("Encrypt"), 2);
    assert_ne!(kms.seal_of_now(), old);
    let (plain, seal) = kms.open(&stored, PLACE).await.expect("opened");
    assert_eq!(
        (plain.as_slice(), Some(seal)),
        (b"old".as_slice(), old),
        "it is stale"
    );
}

#[tokio::test]
async fn values_are_written_for_a_while_without_the_plugin() {
    let world = World::new();
    let plugin = world.plugin();
    let kms = world.kms(SHORT);
    kms.check().await.expect("fit");
    drop(plugin);
    pause();
    advance(GOOD_FOR).await;
    resume();
    let why = kms.check().await.expect_err("nobody answers");
    assert!(why.contains("DeadlineExceeded"), "{why}");
    let stored = seal(&kms, b"x").expect("sealed");
    pause();
    advance(WRITE_FOR).await;
    resume();
    let refused = seal(&kms, b"x").expect_err("too long ago");
    assert!(
        refused.is_unavailable() && refused.to_string().contains("expired"),
        "{refused}"
    );
    kms.open(&stored, PLACE).await.expect("reads go on");
}

#[tokio::test]
async fn who_does_not_answer_is_not_waited_for_again() {
    let world = World::new();
    let plugin = world.plugin();
    let kms = world.kms(LONG);
    kms.check().await.expect("fit");
    let stored = seal(&kms, b"x").expect("sealed");
    let hasty = world.kms(SHORT);
    let before = plugin.calls("Decrypt");
    plugin.behave(|now| now.hangs = true);
    for _ in 0..3 {
        let error = hasty.open(&stored, PLACE).await.expect_err("no answer");
        assert!(error.is_unavailable(), "{error}");
    }
    assert_eq!(plugin.calls("Decrypt"), before + 1);
    plugin.behave(|now| now.hangs = false);
    hasty.check().await.expect("fit again");
    let (plain, _) = hasty.open(&stored, PLACE).await.expect("opened");
    assert_eq!(plain, b"x");
}

#[tokio::test]
async fn what_the_plugin_refuses_is_unreadable() {
    let world = World::new();
    let plugin = world.plugin();
    let kms = world.kms(LONG);
    kms.check().await.expect("fit");
    let stored = seal(&kms, b"x").expect("sealed");
    plugin.behave(|now| {
        now.key_id = "2".to_owned();
        now.lost = Some("1".to_owned());
    });
    let other = world.kms(LONG);
    other.check().await.expect("fit");
    let error = other.open(&stored, PLACE).await.expect_err("refused");
    assert!(!error.is_unavailable(), "{error}");
    // Of one that says itself that it is not fit, another answer is to be expected.
    plugin.behave(|now| now.healthz = "no".to_owned());
    let third = world.kms(LONG);
    third.check().await.expect_err("not fit");
    let error = third.open(&stored, PLACE).await.expect_err("refused");
    assert!(error.is_unavailable(), "{error}");
}

#[tokio::test]
async fn what_plugins_say_is_checked() {
    for (change, told) in [
        (
            (|now| now.healthz = "sick".to_owned()) as fn(&mut Behaviour),
            "got unexpected healthz status: sick",
        ),
        (
            |now| now.version = "v1".to_owned(),
            "expected KMSv2 API version v2, got v1",
        ),
        (
            |now| now.key_id.clear(),
            "got invalid KMSv2 KeyID hash \"\": keyID is empty",
        ),
        (
            |now| now.annotations = [("bad".to_owned(), Vec::new())].into(),
            "failed to validate annotations",
        ),
    ] {
        let world = World::new();
        let plugin = world.plugin();
        plugin.behave(change);
        let kms = world.kms(LONG);
        let why = kms.check().await.expect_err("not fit");
        assert!(why.contains(told), "{why}");
        assert!(
            why.starts_with("kmsv2 Provider k is not healthy, error: "),
            "{why}"
        );
    }
}

/// A seed that the plugin has lost, or has taken for another's, is one that opens nothing after a restart.
#[tokio::test]
async fn what_the_plugin_does_not_give_back_is_not_written_with() {
    for change in [(|now| now.lies = true) as fn(&mut Behaviour), |now| {
        now.refuses = true
    }] {
        let world = World::new();
        let plugin = world.plugin();
        plugin.behave(change);
        let kms = world.kms(LONG);
        let why = kms.check().await.expect_err("not fit");
        assert!(why.contains("failed to rotate DEK"), "{why}");
        let error = seal(&kms, b"x").expect_err("not written");
        assert!(error.is_unavailable(), "{error}");
    }
}

/// Who refuses or confuses everything says nothing about a value: it is not gone, and is there again when that is over.
#[tokio::test]
async fn a_plugin_that_has_lost_its_mind_damages_nothing() {
    let world = World::new();
    let plugin = world.plugin();
    let kms = world.kms(LONG);
    kms.check().await.expect("fit");
    let stored = seal(&kms, b"x").expect("sealed");
    for change in [(|now| now.lies = true) as fn(&mut Behaviour), |now| {
        now.refuses = true
    }] {
        let other = world.kms(LONG);
        other.check().await.expect("fit");
        *other.proven.lock() = None;
        plugin.behave(change);
        let error = other.open(&stored, PLACE).await.expect_err("not opened");
        assert!(error.is_unavailable(), "{error}");
        plugin.behave(|now| *now = Behaviour::default());
        other.check().await.expect("fit again");
        let (plain, _) = other.open(&stored, PLACE).await.expect("opened");
        assert_eq!(plain, b"x", "nothing wrong is remembered");
    }
}

#[tokio::test]
async fn what_plugins_say_is_told_so_far() {
    let world = World::new();
    let plugin = world.plugin();
    plugin.behave(|now| {
        now.healthz = "\u{e4}".repeat(100_000);
        now.version = "v".repeat(100_000);
    });
    let kms = world.kms(LONG);
    let why = kms.check().await.expect_err("not fit");
    assert!(why.len() < 4 << 10, "{} bytes", why.len());
}
