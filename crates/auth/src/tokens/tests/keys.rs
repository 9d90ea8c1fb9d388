use super::*;

#[test]
fn the_published_key_verifies_tokens() {
    let tokens = tokens(&cluster());
    let token = token(&tokens.request("ns", "bot", json!({})).unwrap());
    let jwks: Value = serde_json::from_str(&tokens.jwks()).unwrap();
    let key = &jwks["keys"][0];
    let header: Value =
        serde_json::from_slice(&BASE64.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    assert_eq!(header["kid"], key["kid"]);
    let part = |name: &str| BASE64.decode(key[name].as_str().unwrap()).unwrap();
    let point = [vec![4], part("x"), part("y")].concat();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, point)
        .verify(signed.as_bytes(), &BASE64.decode(signature).unwrap())
        .unwrap();
    let discovery: Value = serde_json::from_str(&tokens.discovery()).unwrap();
    assert_eq!(discovery["issuer"], ISSUER);
    assert_eq!(
        discovery["jwks_uri"],
        "https://192.0.2.1:6443/openid/v1/jwks"
    );
}

/// A public key in PEM form.
fn public(key: &[u8]) -> String {
    let pair = KeyPair::try_from(key).unwrap();
    pair.public_key_pem()
}

#[test]
fn tokens_of_keys_and_issuers_before_hold_where_that_is_said() {
    let (before, now, fake) = (key(), key(), cluster());
    let config = |issuers: &[&str]| {
        let issuers: Vec<String> = issuers.iter().map(|issuer| (*issuer).into()).collect();
        Config::of_domain("cluster.local", "192.0.2.1:6443").with_issuers(&issuers)
    };
    let old = Tokens::new(&before, config(&["https://old"]), fake.clone()).unwrap();
    let signed = token(&old.request("ns", "bot", json!({})).unwrap());
    let keys = || VerificationKey::parse(public(&before).as_bytes()).unwrap();
    let with = |config: Config| Tokens::new(&now, config, fake.clone()).unwrap();
    let both = with(config(&["https://new", "https://old"]).with_keys(keys()));
    let found = check(&both, &signed).unwrap();
    assert_eq!(found.user.name, "system:serviceaccount:ns:bot");
    for refusing in [
        with(config(&["https://new", "https://old"])),
        with(config(&["https://new"]).with_keys(keys())),
    ] {
        assert!(check(&refusing, &signed).is_err());
    }
    let fresh = token(&both.request("ns", "bot", json!({})).unwrap());
    assert_eq!(claims(&fresh)["iss"], "https://new");
    assert_eq!(claims(&fresh)["aud"], json!(["https://new", "https://old"]));
    assert!(check(&both, &fresh).is_ok());
    assert_eq!(
        both.issuers(),
        ["https://new", "kubernetes/serviceaccount", "https://old"]
    );
    let jwks: Value = serde_json::from_str(&both.jwks()).unwrap();
    assert_eq!(jwks["keys"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        jwks["keys"][1]["kid"],
        serde_json::from_str::<Value>(&old.jwks()).unwrap()["keys"][0]["kid"]
    );
}

#[test]
fn files_of_keys_are_read_or_refused() {
    let ec = public(&key());
    for (pem, wanted) in [
        (ec.clone(), Ok(vec!["ES256"])),
        (format!("{ec}{RSA}"), Ok(vec!["ES256", "RS256"])),
        (String::new(), Err("it has no public key")),
        (
            KeyPair::try_from(&key()[..]).unwrap().serialize_pem(),
            Err("it has a block \"PRIVATE KEY\", which is no public key"),
        ),
    ] {
        let read = VerificationKey::parse(pem.as_bytes());
        let names = read.map(|keys| keys.iter().map(VerificationKey::algorithm).collect());
        assert_eq!(
            names.map_err(|error| error.0),
            wanted.map_err(str::to_owned)
        );
    }
}
