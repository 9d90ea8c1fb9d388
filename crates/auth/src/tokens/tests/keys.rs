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

#[test]
fn keys_of_every_type_sign_tokens_that_their_public_keys_prove() {
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let p256 = KeyPair::generate().unwrap();
    let of = SecretToken {
        namespace: "ns",
        account: "bot",
        account_uid: "sa-1",
        secret: "held",
    };
    for (pem, algorithm) in [
        (p256.serialize_pem(), "ES256"),
        (p384.serialize_pem(), "ES384"),
        (RSA_PRIVATE.to_owned(), "RS256"),
    ] {
        let pair = KeyPair::from_pem(&pem).unwrap();
        let token = SecretTokens::from_pem(pem.as_bytes()).unwrap();
        let token = token.sign(&of).unwrap();
        let keys = VerificationKey::parse(pair.public_key_pem().as_bytes()).unwrap();
        assert_eq!(keys[0].algorithm(), algorithm);
        let said: Value = keys[0].verify(&token).unwrap();
        assert_eq!(said["sub"], "system:serviceaccount:ns:bot");
        let header = BASE64.decode(token.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header, json!({"alg": algorithm, "kid": keys[0].id()}));
        // A server that signs with that key takes them, too.
        let tokens = tokens_with(&pair.serialize_der(), &cluster());
        let own = super::token(&tokens.request("ns", "bot", json!({})).unwrap());
        assert!(check(&tokens, &own).is_ok());
        let discovery: Value = serde_json::from_str(&tokens.discovery()).unwrap();
        let algorithms = &discovery["id_token_signing_alg_values_supported"];
        assert_eq!(*algorithms, json!([algorithm]));
    }
    let other = SecretTokens::from_pem(RSA.as_bytes()).unwrap_err();
    assert!(
        other
            .0
            .contains("does not contain a private key that signs")
    );
}

/// A key of 2048 bits, nobody's.
const RSA_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDFWfzt0cZZTH/1
toNp2UXui+78CuK5YxaZ2IIvfW+hMbIz1LjqCs+FODUWGHllm+mquCRGR6C4v3ke
/PaFF6iESfDgoopiMfMrVbPZz/HkA6g4SyQXnW6nqI72wDSAAWHrPDNHIXA6Whtu
+5FxvoqEeQCI73AHtyOsVY4yJiorJqWA77bhjQhrQ6jBu0h5EmMxUrAs2aKq0coQ
laEsfWdaZ16Hu2BKF9cz8xQ72HrCoH7VeOvVlN4NYpLLMyYub+VZhjnzcfhJXvs9
c+ONI9gSaWB3IvjyQBT8T7uu05VgqSmJjL2BHKJflm3JGtIaJcWLTpclWMMW71oL
QY9W50nDAgMBAAECggEABOtAyCa15GzpNZUmgmFlglQfkU2uKAPFwPDqEcf1G9Xy
xKL1NvQtBvuHKzVR9UvlD5nGYbAQW/p9yN1yQY/85cs4A0lZ3Ke1EWvx7yhlNZM3
wqtwy1vjsa8cXR8eT+B48dWOy6OUOggb7fC8R9MBfdrMPh2Fs9OHQpjhUfOskmW5
bbWRG01m/T784XqFqKqEaJCLXaJHUcwb1fh/FRxcltq/wCEYuV0zo+VrKb3uWCX3
J/JVmweKzGHCUSJ6ASNq7xvR8YyvM5Q2vJsY/kBbn4JyF0lYgb4r4qNI5PyNbzBV
TqOqb/diXmEVpD/nMmU8KN2vGfYXrxhV2J4k9DI2TQKBgQD6vKctfBsfAa603xIf
HK1ZfE+JeAiitEj+vgoriKPYbp3kYup8S+Wv9g9VTDZPD0a5lhS5tO7DsyCY9pKu
ARdG5P/z/t1rOocvtAOMLthGvvFQGI+BhPhLVhEjB/O4bsbsurL2h4Li4L0zXmhO
cYyod/nAC+vy8Xjj2BUkPTMgPQKBgQDJfndEifWCgNuw+MX57Ixc1WHR+M9Igws9
3xHCVkhnyS1ye9GeaoAKtB/qoqt7YS5367SBhuJ3dJPUjFVhHxjSt3tfhV5JeJAg
CVjldR8AOa2RUALY+Gsvn/L5diSsy14LwmVSv1RE5nJq3m1U1M2vHxwc+RxQtGMd
vVKRcXCx/wKBgCZT5DI9wF+TAEPBvaFn3s/JAtd+s8M7T9Uw85kIABO7hQM+Y52w
dGHbeSiOx9Z5/VOtL2nb0Iu1vAvl1TIoFIjPxJhloy8a+UM/fzNUjdbypSybNISV
8OaDN4dlVcohlOLm/yhUOpu3wvQxQDyNevTdsh27NMwkQViC1Wh+umv5AoGBAJbW
oqhfcrgoiM4Z3fMznvwcDWenkF0jJLZDmMLX3so7M1eB07F43rOklkQLVL4/SQ8j
F3TjqgNs9QHnsD7NjcKo8qXWbHgp1hL1jGPx4qxDgWjH8enFRlBXuAgB5oComZXK
CBoC+y29KihQrJ4V1IhljKEv53+PGqf3w6j3uDq3AoGBAI2A/mUPns8c7uqBMDy+
ePg9B+fX732Os/b+jwwGfDaCVwkrj7JiQQF6kTciWothLydL5brWe73nZSyfAPrE
VrCG4nbONRFjyuAJvfzacoiXWmUagrpONO96guWsKa7zdAnqkiOJ3FMS/yY/D1Ei
J8jx1Ryq/iAsTKkFk58iC8B7
-----END PRIVATE KEY-----
";
