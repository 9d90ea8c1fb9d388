use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

mod kubeconfigs;

/// A directory that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("knarr-pki-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn options() -> Options {
    Options {
        node_name: "node-1".into(),
        node_ips: vec!["192.0.2.1".parse().unwrap()],
        cluster_domain: "cluster.local".into(),
        service_ips: vec!["10.43.0.1".parse().unwrap()],
        extra_sans: vec!["api.example.org".into()],
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn first_start_makes_everything_with_tight_permissions() {
    let dir = Dir::new();
    let pki = Pki::open(&dir.0.join("pki"), options()).unwrap();
    assert_eq!(mode(&dir.0.join("pki")), 0o700);
    for key in [
        "ca",
        "front-proxy-ca",
        "front-proxy-client",
        "apiserver",
        "apiserver-kubelet-client",
        "admin",
        "kubelet",
        "sa",
        "secrets-encryption",
    ] {
        assert_eq!(mode(&dir.0.join(format!("pki/{key}.key"))), 0o600, "{key}");
    }
    assert!(
        fs::read_to_string(dir.0.join("pki/sa.pub"))
            .unwrap()
            .contains("BEGIN PUBLIC KEY")
    );
    assert_ne!(pki.encryption_keys().all(), [[0; 32]]);
    assert!(
        fs::read_dir(dir.0.join("pki"))
            .unwrap()
            .all(|f| !f.unwrap().path().ends_with(".tmp"))
    );
}

#[test]
fn the_kubelet_client_is_no_administrator() {
    let dir = Dir::new();
    let pki = Pki::open(&dir.0, options()).unwrap();
    let certificates = crate::x509::Certificates::default();
    let found = certificates.user(pki.credential(Role::KubeletClient).cert());
    let user = found.expect("a user").user;
    assert_eq!(user.name, "kube-apiserver-kubelet-client");
    assert!(!crate::authz::is_master(&user), "{user:?}");
    assert!(user.groups.iter().any(|group| group == KUBELET_ADMINS));
    let bound = crate::policy::policy().bindings;
    let roles: Vec<&str> = bound
        .iter()
        .filter(|b| b.subjects.iter().any(|(_, _, name)| name == KUBELET_ADMINS))
        .map(|b| b.role.as_str())
        .collect();
    assert_eq!(roles, ["system:kubelet-api-admin"]);
}

#[test]
fn a_second_start_changes_nothing() {
    let dir = Dir::new();
    let first = Pki::open(&dir.0, options()).unwrap();
    let second = Pki::open(&dir.0, options()).unwrap();
    assert_eq!(first.ca_pem(), second.ca_pem());
    assert_eq!(first.service_account_key(), second.service_account_key());
    assert_eq!(
        first.encryption_keys().all(),
        second.encryption_keys().all()
    );
    for role in Role::ALL {
        assert_eq!(
            first.credential(role).cert_pem(),
            second.credential(role).cert_pem(),
            "{role:?}"
        );
    }
}

#[test]
fn changed_names_reissue_only_what_names_them() {
    let dir = Dir::new();
    let first = Pki::open(&dir.0, options()).unwrap();
    let second = Pki::open(
        &dir.0,
        Options {
            node_ips: vec!["192.0.2.9".parse().unwrap(), "fd01::9".parse().unwrap()],
            ..options()
        },
    )
    .unwrap();
    assert_ne!(
        first.credential(Role::ApiServer).cert_pem(),
        second.credential(Role::ApiServer).cert_pem()
    );
    assert_ne!(
        first.credential(Role::Kubelet).cert_pem(),
        second.credential(Role::Kubelet).cert_pem()
    );
    assert_eq!(
        first.credential(Role::Admin).cert_pem(),
        second.credential(Role::Admin).cert_pem()
    );
}

#[test]
fn a_torn_pair_is_issued_again_and_a_lost_authority_key_is_an_error() {
    let dir = Dir::new();
    let first = Pki::open(&dir.0, options()).unwrap();
    fs::copy(dir.0.join("kubelet.key"), dir.0.join("admin.key")).unwrap();
    let second = Pki::open(&dir.0, options()).unwrap();
    assert_ne!(
        first.credential(Role::Admin).cert_pem(),
        second.credential(Role::Admin).cert_pem()
    );
    fs::remove_file(dir.0.join("ca.key")).unwrap();
    assert!(matches!(
        Pki::open(&dir.0, options()),
        Err(Error::Damaged { .. })
    ));
}

#[test]
fn renewal_at_two_thirds_reaches_new_handshakes() {
    let dir = Dir::new();
    let pki = Pki::open(&dir.0, options()).unwrap();
    let day = Duration::from_secs(24 * 3600);
    let before = pki.credential(Role::ApiServer);
    assert_eq!(
        pki.renew_due_at(SystemTime::now() + 240 * day).unwrap(),
        vec![]
    );
    assert_eq!(
        pki.renew_due_at(SystemTime::now() + 244 * day).unwrap(),
        Role::ALL.to_vec()
    );
    // Made while the clock was ahead.
    assert_eq!(
        pki.renew_due_at(SystemTime::now() + 243 * day).unwrap(),
        Role::ALL.to_vec()
    );
    pki.renew_due_at(SystemTime::now() + 488 * day).unwrap();
    let after = pki.credential(Role::ApiServer);
    assert_ne!(before.cert_pem(), after.cert_pem());
    assert!(after.not_after() > before.not_after() + 200 * day);
    assert_eq!(
        fs::read_to_string(dir.0.join("apiserver.crt")).unwrap(),
        after.cert_pem()
    );
}

/// A handshake in memory; the server's name is checked against the certificate, the client's certificate comes back.
fn handshake(pki: &Pki, name: &str, client: Role) -> Result<Vec<u8>, rustls::Error> {
    handshake_between(pki, pki, name, client)
}

/// The same between two states of a directory: the client is of one, the server of the other.
fn handshake_between(
    from: &Pki,
    to: &Pki,
    name: &str,
    client: Role,
) -> Result<Vec<u8>, rustls::Error> {
    let name = rustls_pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut client =
        rustls::ClientConnection::new(from.client_config(client).unwrap(), name).unwrap();
    let mut server =
        rustls::ServerConnection::new(to.server_config(Role::ApiServer).unwrap()).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(server.peer_certificates().unwrap()[0].to_vec())
}

#[test]
fn tls_serves_every_name_and_shows_the_client() {
    let dir = Dir::new();
    let pki = Pki::open(&dir.0, options()).unwrap();
    for name in [
        "localhost",
        "127.0.0.1",
        "::1",
        "10.43.0.1",
        "192.0.2.1",
        "kubernetes.default.svc.cluster.local",
        "api.example.org",
    ] {
        let seen = handshake(&pki, name, Role::Admin).unwrap();
        assert_eq!(seen, pki.credential(Role::Admin).cert().to_vec(), "{name}");
    }
    assert!(handshake(&pki, "example.com", Role::Admin).is_err());
}

#[test]
fn who_passes_requests_on_is_nobody_here() {
    let dir = Dir::new();
    let pki = Pki::open(&dir.0, options()).unwrap();
    // The API server's own authority does not know it.
    assert!(handshake(&pki, "localhost", Role::FrontProxy).is_err());
    assert_ne!(pki.ca_pem(), pki.front_proxy_ca_pem());
    assert!(pki.client_identity(Role::FrontProxy).unwrap().has_certs());
}

#[test]
fn the_authority_of_the_front_proxy_is_made_again() {
    let dir = Dir::new();
    let first = Pki::open(&dir.0, options()).unwrap();
    fs::write(dir.0.join("front-proxy-ca.key"), "torn").unwrap();
    let second = Pki::open(&dir.0, options()).unwrap();
    assert_eq!(first.ca_pem(), second.ca_pem());
    assert_ne!(first.front_proxy_ca_pem(), second.front_proxy_ca_pem());
    let leaf = |pki: &Pki| pki.credential(Role::FrontProxy).cert_pem().to_owned();
    assert_ne!(leaf(&first), leaf(&second), "it is signed by the new one");
    let third = Pki::open(&dir.0, options()).unwrap();
    assert_eq!(leaf(&second), leaf(&third));
}

#[test]
fn kubeconfig_embeds_everything() {
    let dir = Dir::new();
    let pki = Pki::open(&dir.0.join("pki"), options()).unwrap();
    let path = dir.0.join("admin.kubeconfig");
    pki.write_kubeconfig(Role::Admin, "https://127.0.0.1:6443", &path)
        .unwrap();
    assert_eq!(mode(&path), 0o600);
    let config: serde_json::Value =
        serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(
        config["clusters"][0]["cluster"]["server"],
        "https://127.0.0.1:6443"
    );
    assert_eq!(config["current-context"], "knarr");
    assert!(
        config["users"][0]["user"]["client-key-data"]
            .as_str()
            .unwrap()
            .len()
            > 100
    );
}

#[test]
fn servers_that_know_the_token_have_the_same_authority() {
    const TOKEN: &str = "0123456789abcdef";
    let (first, second) = (Dir::new(), Dir::new());
    let shared = shared::Shared::open(&first.0.join("pki")).unwrap();
    let sealed = shared.seal(TOKEN).unwrap();
    assert!(!String::from_utf8_lossy(&sealed).contains("PRIVATE"));
    let unsealed = shared::Shared::unseal(&sealed, TOKEN).unwrap();
    unsealed.write(&second.0.join("pki")).unwrap();
    let open = |dir: &Dir| Pki::open(&dir.0.join("pki"), options()).unwrap();
    let (one, other) = (open(&first), open(&second));
    assert_eq!(one.ca_pem(), other.ca_pem());
    assert_eq!(one.front_proxy_ca_pem(), other.front_proxy_ca_pem());
    assert_eq!(one.service_account_key(), other.service_account_key());
    assert_eq!(one.encryption_keys().all(), other.encryption_keys().all());
    assert_ne!(
        one.credential(Role::ApiServer).key_pem(),
        other.credential(Role::ApiServer).key_pem()
    );
    // A second time nothing is to be done.
    unsealed.write(&second.0.join("pki")).unwrap();
}

/// kubeadm's directory: RSA in PKCS#1 for the authority and for tokens.
#[test]
fn a_directory_of_kubeadm_is_taken_up() {
    const KEY: &str = include_str!("tests/kubeadm.key");
    let dir = Dir::new();
    let pki = dir.0.join("pki");
    fs::create_dir(&pki).unwrap();
    let key = key::signing_key(KEY.as_bytes()).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "kubernetes");
    let authority = params.self_signed(&key).unwrap();
    fs::write(pki.join("ca.crt"), authority.pem()).unwrap();
    for name in ["ca.key", "sa.key"] {
        fs::write(pki.join(name), KEY).unwrap();
    }
    let first = Pki::open(&pki, options()).unwrap();
    assert_eq!(fs::read_to_string(pki.join("ca.key")).unwrap(), KEY);
    assert_eq!(fs::read_to_string(pki.join("sa.key")).unwrap(), KEY);
    assert_eq!(first.service_account_key(), key.serialize_der());
    let public = fs::read_to_string(pki.join("sa.pub")).unwrap();
    assert_eq!(public, key.public_key_pem());
    let issued = fs::read_to_string(pki.join("apiserver.crt")).unwrap();
    let (_, leaf) = x509_parser::pem::parse_x509_pem(issued.as_bytes()).unwrap();
    let leaf = leaf.parse_x509().unwrap();
    let (_, ca) = X509Certificate::from_der(authority.der()).unwrap();
    assert!(knarr_x509::is_signed_by(&leaf, &ca));
    // What it has signed is there at the next start, too.
    Pki::open(&pki, options()).unwrap();
    assert_eq!(
        fs::read_to_string(pki.join("apiserver.crt")).unwrap(),
        issued
    );
}

#[test]
fn a_wrong_token_opens_nothing() {
    let (first, second) = (Dir::new(), Dir::new());
    let shared = shared::Shared::open(&first.0.join("pki")).unwrap();
    let sealed = shared.seal("the token of the cluster").unwrap();
    let told = |text: &[u8], token: &str| {
        let error = shared::Shared::unseal(text, token).err();
        error.expect("an error").to_string()
    };
    assert_eq!(
        told(&sealed, "another token, as long"),
        "the token is not that of the cluster's other servers"
    );
    assert_eq!(
        told(&sealed, "short"),
        "the token has less than 16 characters"
    );
    let damaged = "what is stored of the cluster's keys is damaged";
    assert_eq!(told(b"{}", "the token of the cluster"), damaged);
    let endless =
        br#"{"iterations": 4000000000, "salt": "", "nonce": "AAAAAAAAAAAAAAAA", "sealed": ""}"#;
    assert_eq!(told(endless, "the token of the cluster"), damaged);
    // Another cluster's directory stays as it is.
    let other = shared::Shared::open(&second.0.join("pki")).unwrap();
    assert!(matches!(
        shared.write(&second.0.join("pki")),
        Err(Error::OtherCluster { .. })
    ));
    let kept = shared::Shared::open(&second.0.join("pki")).unwrap();
    let token = "the token of the cluster";
    let again = shared::Shared::unseal(&kept.seal(token).unwrap(), token).unwrap();
    again.write(&second.0.join("pki")).unwrap();
    other.write(&second.0.join("pki")).unwrap();
}

#[test]
fn a_replaced_authority_is_trusted_until_it_is_dropped() {
    let dir = Dir::new();
    let open = || Pki::open(&dir.0, options()).unwrap();
    let old = open();
    assert!(matches!(
        old.drop_replaced_authorities(),
        Err(Error::NothingReplaced)
    ));
    old.replace_authorities().unwrap();
    assert!(matches!(
        old.replace_authorities(),
        Err(Error::StillTrusted)
    ));
    assert!(matches!(
        old.drop_replaced_authorities(),
        Err(Error::RestartFirst)
    ));
    // What the process that goes on makes until its end is made again.
    old.renew_all().unwrap();
    let new = open();
    assert_ne!(new.ca_pem(), old.ca_pem());
    assert!(new.ca_pem().ends_with(old.ca_pem()), "both are trusted");
    assert!(new.front_proxy_ca_pem().ends_with(old.front_proxy_ca_pem()));
    // Who knows the old one alone, and shows what it has signed.
    handshake_between(&old, &new, "localhost", Role::Admin).unwrap();
    // A server that knows the old one alone, such as a kubelet that has not been restarted.
    handshake_between(&new, &old, "localhost", Role::KubeletClient).unwrap();
    handshake_between(&new, &new, "localhost", Role::Admin).unwrap();
    assert!(matches!(
        new.replace_authorities(),
        Err(Error::StillTrusted)
    ));
    let again = open();
    let leaf = |pki: &Pki| pki.credential(Role::ApiServer).cert_pem().to_owned();
    assert_eq!(leaf(&new), leaf(&again), "a start changes nothing");
    new.drop_replaced_authorities().unwrap();
    let dropped = open();
    assert!(new.ca_pem().starts_with(dropped.ca_pem()));
    assert_eq!(leaf(&new), leaf(&dropped));
    assert!(handshake_between(&old, &dropped, "localhost", Role::Admin).is_err());
    handshake_between(&new, &dropped, "localhost", Role::Admin).unwrap();
    dropped.replace_authorities().unwrap();
}

#[test]
fn a_replacement_that_was_interrupted_is_the_old_one_or_the_new_one() {
    let dir = Dir::new();
    let old = Pki::open(&dir.0, options()).unwrap();
    let key = fs::read(dir.0.join("ca.key")).unwrap();
    old.replace_authorities().unwrap();
    let both = fs::read(dir.0.join("ca.crt")).unwrap();
    // The certificate has not got its name yet.
    fs::write(dir.0.join("ca.crt"), old.ca_pem()).unwrap();
    fs::write(dir.0.join("ca.next.crt"), &both).unwrap();
    let new = Pki::open(&dir.0, options()).unwrap();
    assert_eq!(new.ca_pem().as_bytes(), both);
    handshake_between(&old, &new, "localhost", Role::Admin).unwrap();
    // Nor has the key.
    fs::write(dir.0.join("ca.key"), key).unwrap();
    fs::write(dir.0.join("ca.crt"), old.ca_pem()).unwrap();
    fs::write(dir.0.join("ca.next.crt"), &both).unwrap();
    let kept = Pki::open(&dir.0, options()).unwrap();
    assert_eq!(kept.ca_pem(), old.ca_pem());
    assert!(!dir.0.join("ca.next.crt").exists());
    handshake_between(&old, &kept, "localhost", Role::Admin).unwrap();
}
