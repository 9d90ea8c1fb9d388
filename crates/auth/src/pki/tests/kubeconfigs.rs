//! Files that knarr writes, and others change.

use super::*;

/// `kubectl config set-context --current --namespace=...` writes the whole file anew, in an order of its own.
#[test]
fn a_namespace_that_was_chosen_stays() {
    let dir = Dir::new();
    let pki = Pki::open(&dir.0.join("pki"), options()).unwrap();
    let path = dir.0.join("config");
    let server = "https://127.0.0.1:6443";
    let read = || -> serde_json::Value {
        serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap()
    };
    pki.write_kubeconfig(Role::Admin, server, &path).unwrap();
    let mut file = read();
    file["contexts"][0]["context"]["namespace"] = "team-1".into();
    file["preferences"] = serde_json::json!({});
    let chosen = file.to_string();
    fs::write(&path, &chosen).unwrap();
    pki.write_kubeconfig(Role::Admin, server, &path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), chosen, "nothing is new");
    pki.renew_all().unwrap();
    let renewed = read();
    assert_ne!(renewed["users"], file["users"]);
    assert_eq!(renewed["contexts"], file["contexts"]);
    pki.write_kubeconfig(Role::Admin, "https://127.0.0.1:7443", &path)
        .unwrap();
    let moved = read();
    assert_eq!(moved["contexts"], file["contexts"]);
    assert_eq!(
        moved["clusters"][0]["cluster"]["server"],
        "https://127.0.0.1:7443"
    );
}

#[test]
fn renewed_certificates_reach_kubeconfigs_that_are_ours() {
    let dir = Dir::new();
    let pki = Pki::open(&dir.0.join("pki"), options()).unwrap();
    let [ours, theirs, gone] = ["a", "b", "c"].map(|name| dir.0.join(name));
    for path in [&ours, &theirs, &gone] {
        pki.write_kubeconfig(Role::Admin, "https://127.0.0.1:6443", path)
            .unwrap();
    }
    let before = fs::read_to_string(&ours).unwrap();
    fs::write(&theirs, "changed").unwrap();
    fs::remove_file(&gone).unwrap();
    let in_a_year = SystemTime::now() + Duration::from_secs(250 * 24 * 3600);
    for _ in 0..2 {
        pki.renew_due_at(in_a_year).unwrap();
        assert_eq!(pki.renew_all().unwrap(), Role::ALL.to_vec());
    }
    assert_ne!(before, fs::read_to_string(&ours).unwrap());
    let config: serde_json::Value =
        serde_saphyr::from_str(&fs::read_to_string(&ours).unwrap()).unwrap();
    let shown = config["users"][0]["user"]["client-certificate-data"].as_str();
    let shown = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, shown.unwrap()).unwrap();
    assert_eq!(shown, pki.credential(Role::Admin).cert_pem().as_bytes());
    assert_eq!(mode(&ours), 0o600);
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "changed");
    assert!(!gone.exists());
}
