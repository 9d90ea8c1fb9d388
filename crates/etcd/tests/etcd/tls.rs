//! An etcd that speaks TLS only, and with those only who show a certificate.

use std::{fs, path::Path};

use knarr_etcd::{Etcd, Tls};
use knarr_store::Store;
use knarr_testkit::{Etcd as Servers, EtcdOptions, etcds};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::{options, put};

struct Files {
    ca: String,
    leaf: String,
    key: String,
}

fn certificates() -> Files {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let ca = CertifiedIssuer::self_signed(authority, key).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    let leaf = leaf.signed_by(&key, &ca).expect("a certificate");
    Files {
        ca: ca.pem(),
        leaf: leaf.pem(),
        key: key.serialize_pem(),
    }
}

fn flags(files: &Files, dir: &Path) -> Vec<String> {
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let (ca, leaf) = (write("ca.crt", &files.ca), write("leaf.crt", &files.leaf));
    let key = write("leaf.key", &files.key);
    vec![
        format!("--trusted-ca-file={ca}"),
        format!("--cert-file={leaf}"),
        format!("--key-file={key}"),
        "--client-cert-auth".to_owned(),
    ]
}

#[tokio::test]
async fn certificates_are_shown_and_asked_for() {
    for program in etcds() {
        println!("etcd {}", program.name);
        let (files, dir) = (certificates(), tempfile::tempdir().expect("a directory"));
        let mut servers = EtcdOptions::free(program, 1).expect("ports");
        servers.flags = flags(&files, dir.path());
        servers.https = true;
        let servers = Servers::start(servers, dir.path()).expect("etcd");
        servers.wait_listening().expect("etcd listens");
        let tls = |ca: &str, identity: bool| Tls {
            ca: ca.into(),
            identity: identity.then(|| (files.leaf.clone().into(), files.key.clone().into())),
        };
        let connect = |tls| Etcd::connect(options(&servers.address(), Some(tls)));
        let store = connect(tls(&files.ca, true)).await.expect("a store");
        let at = put(&store, "/a", "1").await.expect("a write");
        assert_eq!(store.revision().await.expect("a revision"), at);
        let stranger = connect(tls(&files.ca, false)).await;
        assert!(stranger.is_err(), "a client without a certificate");
        let other = connect(tls(&certificates().ca, true)).await;
        assert!(other.is_err(), "a server of another authority");
    }
}
