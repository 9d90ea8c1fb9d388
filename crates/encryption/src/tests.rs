use std::{fs, path::Path};

use super::{
    testing::{Behaviour, Plugin},
    *,
};

const KEY: &str = "/registry/secrets/default/a";
const ONE: &str = "{name: one, secret: MDEyMzQ1Njc4OWFiY2RlZg==}";
const TWO: &str = "{name: two, secret: ZmVkY2JhOTg3NjU0MzIxMA==}";
const LIMIT: Duration = Duration::from_secs(30);

fn own(n: u8) -> OwnKey {
    OwnKey::new([n; 32])
}

fn place(group: &'static str, resource: &'static str) -> Place<'static> {
    Place {
        group,
        resource,
        key: KEY,
    }
}

const SECRET: fn() -> Place<'static> = || place("", "secrets");

fn plain() -> Bytes {
    Bytes::from_static(b"{\"kind\":\"Secret\"}")
}

fn configuration(rules: &[(&str, &str)]) -> String {
    let mut text =
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
            .to_owned();
    for (resources, providers) in rules {
        text.push_str(&format!(
            "- resources: [{resources}]\n  providers: [{providers}]\n"
        ));
    }
    text
}

fn write(path: &Path, rules: &[(&str, &str)]) {
    fs::write(path, configuration(rules)).expect("a file");
}

async fn configured(rules: &[(&str, &str)]) -> Result<Encryption, ConfigError> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config");
    write(&path, rules);
    let options = Options {
        config_file: Some(path),
        ..Options::default()
    };
    Encryption::open(&options, vec![own(7)]).await
}

fn sealed(encryption: &Encryption, place: Place<'_>) -> Bytes {
    encryption.seal_value(place, plain()).expect("sealed")
}

async fn opened(
    encryption: &Encryption,
    place: Place<'_>,
    value: &Bytes,
) -> Result<(Bytes, bool), Error> {
    let (plain, seal) = encryption.open_value(place, value.clone()).await?;
    Ok((
        plain,
        encryption.is_current(place.group, place.resource, seal),
    ))
}

/// Whoever shares the store reads what is written, and what was encrypted before is read here.
#[tokio::test]
async fn secrets_stay_plain_where_others_have_no_key() {
    let options = Options {
        plain: true,
        ..Options::default()
    };
    let encryption = Encryption::open(&options, vec![own(7)]).await;
    let encryption = encryption.expect("no file, no error");
    assert_eq!(sealed(&encryption, SECRET()), plain());
    let before = sealed(&Encryption::of_own(vec![own(7)]), SECRET());
    for rotated in [false, true] {
        if rotated {
            encryption.set_own(vec![own(8), own(7)]);
        }
        assert_eq!(
            opened(&encryption, SECRET(), &before).await,
            Ok((plain(), false))
        );
        assert_eq!(
            opened(&encryption, SECRET(), &plain()).await,
            Ok((plain(), true))
        );
    }
    assert_eq!(sealed(&encryption, SECRET()), plain());
}

#[tokio::test]
async fn secrets_are_encrypted_with_the_own_key() {
    let encryption = Encryption::of_own(vec![own(7)]);
    let stored = sealed(&encryption, SECRET());
    assert!(stored.starts_with(b"k8s:enc:aesgcm:v1:local:"));
    assert_eq!(
        opened(&encryption, SECRET(), &stored).await,
        Ok((plain(), true))
    );
    assert_eq!(
        opened(&encryption, SECRET(), &plain()).await,
        Ok((plain(), false))
    );
    let other = place("", "configmaps");
    assert_eq!(sealed(&encryption, other), plain());
    assert_eq!(
        opened(&encryption, other, &plain()).await,
        Ok((plain(), true))
    );
    let foreign = opened(&encryption, other, &stored).await;
    let told = "identity transformer tried to read encrypted data";
    assert_eq!(foreign, Err(Error::Unreadable(told.to_owned())));
    let elsewhere = Place {
        key: "/elsewhere",
        ..SECRET()
    };
    assert!(opened(&encryption, elsewhere, &stored).await.is_err());
    // A new key writes, and the one before reads.
    encryption.set_own(vec![own(8), own(7)]);
    assert_eq!(
        opened(&encryption, SECRET(), &stored).await,
        Ok((plain(), false))
    );
    let anew = sealed(&encryption, SECRET());
    encryption.set_own(vec![own(8)]);
    assert_eq!(
        opened(&encryption, SECRET(), &anew).await,
        Ok((plain(), true))
    );
    assert!(opened(&encryption, SECRET(), &stored).await.is_err());
    assert_eq!(encryption.health().await, None);
}

#[tokio::test]
async fn rules_are_for_resources_groups_and_all() {
    let all = [
        ("secrets", format!("{{aescbc: {{keys: [{ONE}]}}}}")),
        ("\"*.apps\"", format!("{{aesgcm: {{keys: [{ONE}]}}}}")),
        (
            "\"*.*\"",
            format!("{{aesgcm: {{keys: [{TWO}]}}}}, {{identity: {{}}}}"),
        ),
    ];
    let rules: Vec<_> = all
        .iter()
        .map(|(one, providers)| (*one, &**providers))
        .collect();
    let encryption = configured(&rules).await.expect("a configuration");
    for (place, prefix) in [
        (SECRET(), "k8s:enc:aescbc:v1:one:"),
        (place("apps", "deployments"), "k8s:enc:aesgcm:v1:one:"),
        (place("bears.example", "pandas"), "k8s:enc:aesgcm:v1:two:"),
        (place("", "configmaps"), "k8s:enc:aesgcm:v1:two:"),
    ] {
        let stored = sealed(&encryption, place);
        assert!(stored.starts_with(prefix.as_bytes()), "{place:?}");
        assert_eq!(
            opened(&encryption, place, &stored).await,
            Ok((plain(), true))
        );
    }
    // Without identity among the providers nothing may be plain.
    let none = opened(&encryption, place("apps", "deployments"), &plain()).await;
    assert_eq!(
        none,
        Err(Error::Unreadable("no matching prefix found".to_owned()))
    );
    let read = opened(&encryption, place("", "configmaps"), &plain()).await;
    assert_eq!(read, Ok((plain(), false)));
    let own_key = Encryption::of_own(vec![own(7)]);
    let stored = sealed(&own_key, SECRET());
    assert_eq!(
        opened(&encryption, SECRET(), &stored).await,
        Ok((plain(), false))
    );
}

#[tokio::test]
async fn events_have_one_rule_under_both_names() {
    let keys = format!("{{aescbc: {{keys: [{ONE}]}}}}");
    let encryption = configured(&[("events", &keys)])
        .await
        .expect("a configuration");
    assert!(encryption.covers("", "events") && encryption.covers("events.k8s.io", "events"));
    // Secrets that nothing is said of are stored plain, and those of the own key are read.
    assert_eq!(sealed(&encryption, SECRET()), plain());
    let stored = sealed(&Encryption::of_own(vec![own(7)]), SECRET());
    assert_eq!(
        opened(&encryption, SECRET(), &stored).await,
        Ok((plain(), false))
    );
}

#[tokio::test]
async fn the_first_key_writes_and_all_read() {
    let keys = format!("{{aescbc: {{keys: [{ONE}]}}}}");
    let before = configured(&[("secrets", &keys)])
        .await
        .expect("a configuration");
    let stored = sealed(&before, SECRET());
    for providers in [
        format!("{{aescbc: {{keys: [{TWO}, {ONE}]}}}}"),
        format!("{{aescbc: {{keys: [{TWO}]}}}}, {{aescbc: {{keys: [{ONE}]}}}}"),
        format!("{{identity: {{}}}}, {{aescbc: {{keys: [{ONE}]}}}}"),
        format!(
            "{{secretbox: {{keys: [{{name: one, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}}]}}}}, {{aescbc: {{keys: [{ONE}]}}}}"
        ),
    ] {
        let now = configured(&[("secrets", &providers)])
            .await
            .expect("a configuration");
        assert_eq!(
            opened(&now, SECRET(), &stored).await,
            Ok((plain(), false)),
            "{providers}"
        );
    }
    let keys = format!("{{aescbc: {{keys: [{TWO}]}}}}");
    let without = configured(&[("secrets", &keys)])
        .await
        .expect("a configuration");
    let told = "no matching key was found for the provided AES transformer";
    assert_eq!(
        opened(&without, SECRET(), &stored).await,
        Err(Error::Unreadable(told.to_owned()))
    );
}

#[tokio::test]
async fn values_are_counted() {
    let keys = format!("{{aescbc: {{keys: [{ONE}]}}}}");
    let encryption = configured(&[("secrets", &keys)])
        .await
        .expect("a configuration");
    let stored = sealed(&encryption, SECRET());
    opened(&encryption, SECRET(), &stored)
        .await
        .expect("opened");
    let mut page = String::new();
    encryption.render(&mut page);
    for line in [
        "apiserver_storage_transformation_operations_total{resource=\"secrets\",status=\"OK\",transformation_type=\"from_storage\",transformer_prefix=\"k8s:enc:aescbc:v1:\"} 1\n",
        "apiserver_storage_transformation_operations_total{resource=\"secrets\",status=\"OK\",transformation_type=\"to_storage\",transformer_prefix=\"k8s:enc:aescbc:v1:\"} 1\n",
        "apiserver_storage_transformation_duration_seconds_count{transformation_type=\"to_storage\",transformer_prefix=\"k8s:enc:aescbc:v1:\"} 1\n",
        "apiserver_encryption_config_controller_last_config_info{apiserver_id_hash=\"\",hash=\"sha256:",
    ] {
        assert!(page.contains(line), "{line} not in {page}");
    }
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let waited = timeout(LIMIT, async {
        while !is().await {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "not within {LIMIT:?}: {what}");
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_a_bad_one_is_not_used() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config");
    let keys = |keys: &str| format!("{{aescbc: {{keys: [{keys}]}}}}");
    write(&path, &[("secrets", &keys(ONE))]);
    let options = Options {
        config_file: Some(path.clone()),
        plain: false,
        reload: true,
        server: "s".to_owned(),
    };
    let encryption = Arc::new(Encryption::open(&options, Vec::new()).await.expect("open"));
    assert_eq!(
        encryption.health().await,
        Some(Ok(())),
        "there is a check without plugins"
    );
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (encryption, stop) = (encryption.clone(), stop.clone());
        async move { encryption.run(stop).await }
    });
    let stored = sealed(&encryption, SECRET());
    let mut readable = encryption.readable();
    write(&path, &[("secrets", "{identity: {}}, {nothing: {}}")]);
    let rendered = async |wanted: &str| {
        let mut page = String::new();
        encryption.render(&mut page);
        page.contains(wanted)
    };
    until("a failure", async || {
        rendered("automatic_reloads_total{status=\"failure\"").await
    })
    .await;
    assert_eq!(
        opened(&encryption, SECRET(), &stored).await,
        Ok((plain(), true))
    );
    // A plugin that is not there does not take the old one's place, either, until it is.
    let socket = dir.path().join("kms.sock");
    let kms = format!(
        "{{kms: {{apiVersion: v2, name: k, endpoint: 'unix://{}', timeout: 100ms}}}}, {}",
        socket.display(),
        keys(ONE)
    );
    write(&path, &[("secrets", &kms)]);
    sleep(Duration::from_millis(100)).await;
    assert!(sealed(&encryption, SECRET()).starts_with(b"k8s:enc:aescbc:v1:one:"));
    let plugin = Plugin::start(&socket, Behaviour::default());
    timeout(LIMIT, readable.changed())
        .await
        .expect("in time")
        .expect("told");
    let anew = sealed(&encryption, SECRET());
    assert!(anew.starts_with(b"k8s:enc:kms:v2:k:"));
    assert_eq!(
        opened(&encryption, SECRET(), &stored).await,
        Ok((plain(), false))
    );
    assert_eq!(
        opened(&encryption, SECRET(), &anew).await,
        Ok((plain(), true))
    );
    assert_eq!(encryption.health().await, Some(Ok(())));
    drop(plugin);
    stop.cancel();
    running.await.expect("no panic");
}
