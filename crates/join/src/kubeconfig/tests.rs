use super::*;

use std::fs;

use serde_json::{Value, json};

/// A directory with an authority, a client of it, and a kubeconfig that names both.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::default();
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(dir.path().join("ca.crt"), certificate.pem()).expect("a file");
        let this = Self { dir };
        this.identity();
        this
    }

    /// Another certificate for the client.
    fn identity(&self) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::default();
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(self.dir.path().join("c.crt"), certificate.pem()).expect("a file");
        fs::write(self.dir.path().join("c.key"), key.serialize_pem()).expect("a file");
    }

    fn write(&self, cluster: Value, user: Value) -> PathBuf {
        let path = self.dir.path().join("config");
        let config = json!({
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        });
        fs::write(&path, config.to_string()).expect("a file");
        path
    }
}

#[test]
fn what_cannot_be_used_is_told() {
    let files = Files::new();
    let good = json!({"server": "https://h:6443", "certificate-authority": "ca.crt"});
    for (cluster, user, wanted) in [
        (good.clone(), json!({"token": "t"}), ""),
        (
            good.clone(),
            json!({"client-certificate": "c.crt", "client-key": "c.key"}),
            "",
        ),
        (
            good.clone(),
            json!({"username": "a", "password": "b"}),
            "passwords",
        ),
        (good.clone(), json!({"token": "a\nb"}), "its token"),
        (good.clone(), json!({"exec": {"command": "x"}}), "exec"),
        (
            good,
            json!({"client-certificate": "c.key", "client-key": "c.key"}),
            "client certificate",
        ),
        (
            json!({"server": "https://h:6443"}),
            json!({}),
            "no authority",
        ),
        (
            json!({"server": "https://h/path", "certificate-authority": "ca.crt"}),
            json!({}),
            "HOST:PORT",
        ),
        (
            json!({"server": "https://h", "insecure-skip-tls-verify": true}),
            json!({}),
            "insecure-skip-tls-verify",
        ),
    ] {
        let path = files.write(cluster.clone(), user.clone());
        match read(&path) {
            Ok(_) => assert_eq!(wanted, "", "{cluster} {user}"),
            Err(error) => {
                let text = error.to_string();
                assert!(!wanted.is_empty() && text.contains(wanted), "{text}");
            }
        }
    }
}

#[test]
fn addresses_have_the_port_of_https() {
    for (text, expected) in [
        ("https://h", Some("https://h:443")),
        ("https://h:6443/", Some("https://h:6443")),
        ("https://[fd00::1]:6443", Some("https://[fd00::1]:6443")),
        ("https://h/api", None),
        ("", None),
    ] {
        let parsed = address(text).map(|address| address.to_string());
        assert_eq!(parsed.as_deref(), expected, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn rotated_credentials_are_read_again() {
    let files = Files::new();
    let cluster = json!({"server": "https://h:6443", "certificate-authority": "ca.crt"});
    let user =
        |token: &str| json!({"client-certificate": "c.crt", "client-key": "c.key", "token": token});
    let path = files.write(cluster.clone(), user("one"));
    let options = Options {
        path,
        server: None,
        service_accounts: false,
    };
    let clients = KubeconfigClients::open(&options).await.expect("clients");
    let header = || clients.own.source.header.load_full().expect("a header");
    let shown = || clients.own.source.seen.lock().1.clone();
    let first = shown();
    files.write(cluster, user("two"));
    files.identity();
    clients.own.reload().await;
    assert_eq!(*header(), "Bearer one", "it is not due yet");
    assert_eq!(shown(), first);
    tokio::time::advance(RELOAD_INTERVAL).await;
    clients.own.reload().await;
    assert_eq!(*header(), "Bearer two");
    assert_ne!(shown(), first);
    // What cannot be read changes nothing.
    fs::write(&options.path, "").expect("a file");
    tokio::time::advance(RELOAD_INTERVAL).await;
    clients.own.reload().await;
    assert_eq!(*header(), "Bearer two");
}

#[tokio::test]
async fn bootstrap_tokens_are_told_from_others() {
    let files = Files::new();
    let cluster = json!({"server": "https://h:6443", "certificate-authority": "ca.crt"});
    for (user, good) in [
        (json!({"token": "abcdef.0123456789abcdef"}), true),
        (json!({"token": "eyJhbGciOi"}), false),
        (
            json!({"client-certificate": "c.crt", "client-key": "c.key"}),
            false,
        ),
    ] {
        let path = files.write(cluster.clone(), user.clone());
        match Bootstrap::read(&path).await {
            Ok(read) => {
                assert!(good, "{user}");
                assert_eq!(read.server.to_string(), "https://h:6443");
            }
            Err(error) => assert!(!good && error.to_string().contains("bootstrap"), "{error}"),
        }
    }
}

#[tokio::test]
async fn what_is_written_can_be_read() {
    let files = Files::new();
    let read = |name: &str| fs::read_to_string(files.dir.path().join(name)).expect("a file");
    let identity = Identity {
        ca_pem: &read("ca.crt"),
        certificate_pem: &read("c.crt"),
        key_pem: &read("c.key"),
    };
    let path = files.dir.path().join("written");
    fs::write(&path, identity.kubeconfig("https://h:6443")).expect("a file");
    let options = Options {
        path,
        server: None,
        service_accounts: false,
    };
    let clients = KubeconfigClients::open(&options).await.expect("clients");
    assert_eq!(clients.server().to_string(), "https://h:6443");
    assert_eq!(clients.ca_pem(), identity.ca_pem);
}

#[test]
fn watches_are_told_from_other_requests() {
    for (uri, expected) in [
        ("/api/v1/pods?limit=500", false),
        ("/api/v1/pods?watch=true&resourceVersion=5", true),
        ("/api/v1/pods?resourceVersion=5&watch=1", true),
        ("/api/v1/namespaces/watch", false),
        ("/api/v1/pods?labelSelector=watch%3Dtrue", false),
    ] {
        let request = Request::get(uri).body(Body::empty()).expect("a request");
        assert_eq!(is_watch(&request), expected, "{uri}");
    }
}
