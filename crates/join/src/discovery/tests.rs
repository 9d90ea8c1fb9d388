use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

use super::*;

fn certificate() -> String {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["ca".to_owned()]).expect("names");
    params.self_signed(&key).expect("a certificate").pem()
}

/// What a server with these authorities publishes, signed by these tokens.
fn published(authorities: &str, tokens: &[&BootstrapToken]) -> ClusterInfo {
    let kubeconfig = json!({
        "clusters": [{"name": "", "cluster": {
            "server": "https://192.0.2.1:6443",
            "certificate-authority-data": BASE64_STANDARD.encode(authorities),
        }}],
        "users": null,
    })
    .to_string();
    let mut data: BTreeMap<String, String> = tokens
        .iter()
        .map(|token| {
            let key = format!("{SIGNATURE_PREFIX}{}", token.id());
            (key, bootstrap_token::sign(&kubeconfig, token))
        })
        .collect();
    data.insert(KUBECONFIG.to_owned(), kubeconfig);
    ClusterInfo::from_data(data)
}

#[test]
fn only_the_authority_of_the_hash_is_trusted() {
    let (ours, theirs) = (certificate(), certificate());
    let hash = CaHash::of_pem(&ours).expect("a certificate");
    let both = published(&format!("{theirs}{ours}"), &[]);
    let trusted = both.authority(&hash).expect("it is there");
    assert_eq!(CaHash::of_pem(trusted.pem()), Some(hash));
    assert_eq!(trusted.pem().matches("BEGIN").count(), 1);

    let found = published(&theirs, &[]).authority(&hash).err();
    assert_eq!(found, CaHash::of_pem(&theirs).map(|hash| hash.to_string()));
    for nothing in ["", "garbage"] {
        let found = published(nothing, &[]).authority(&hash).err();
        assert_eq!(found.as_deref(), Some("none"));
    }
    let empty = ClusterInfo::default();
    assert_eq!(empty.authority(&hash).err().as_deref(), Some("none"));
    assert_eq!((empty.server(), empty.hash()), (None, None));
    assert_eq!(both.server().as_deref(), Some("https://192.0.2.1:6443"));
}

#[test]
fn signatures_tell_why_a_token_is_refused() {
    let token = |id, secret| BootstrapToken::new(id, secret).expect("a token");
    let known = token("abc123", "0123456789abcdef");
    let info = published("", &[&known]);
    for (token, expected) in [
        (known, TokenState::Known),
        (token("abc123", "1123456789abcdef"), TokenState::OtherSecret),
        (token("abc124", "0123456789abcdef"), TokenState::Unknown),
    ] {
        assert_eq!(info.state(&token), expected);
    }
}
