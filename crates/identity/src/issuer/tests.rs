use std::sync::atomic::{AtomicBool, Ordering};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use knarr_webhook::testing::{Reaction, Server};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::json;

use super::*;
use crate::claims::Source;

struct Signer(EcdsaKeyPair, &'static str);

impl Signer {
    fn new(id: &'static str) -> Signer {
        let (ring, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(ring, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(ring, pkcs8.as_ref(), &random);
        Signer(pair.expect("a key"), id)
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        json!({"kty": "EC", "kid": self.1, "crv": "P-256", "x": BASE64.encode(x), "y": BASE64.encode(y)})
    }

    fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": self.1});
        let encode = |value: &Value| BASE64.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(signature.expect("signed")))
    }
}

/// A server that says who it is, and has the second key once it is told so.
async fn serve(keys: [Value; 2], rotated: Arc<AtomicBool>) -> Server {
    let url = Arc::new(std::sync::OnceLock::<String>::new());
    let own = url.clone();
    let server = Server::start(&[], move |path, _| {
        let url = own.get().cloned().unwrap_or_default();
        Reaction::Answer(match path {
            WELL_KNOWN => json!({"issuer": url, "jwks_uri": format!("{url}/keys")}),
            _ if rotated.load(Ordering::Relaxed) => json!({"keys": keys}),
            _ => json!({"keys": [keys[0]]}),
        })
    })
    .await;
    url.set(format!("https://{}", server.address))
        .expect("it is set once");
    server
}

fn issuer(server: &Server) -> Issuer {
    Issuer::new(Settings {
        url: format!("https://{}", server.address),
        discovery_url: String::new(),
        trust: Trust::Bundle(server.authority.clone().into_bytes()),
        audiences: vec!["knarr".to_owned(), "other".to_owned()],
        mappings: Mappings {
            username: Source::Claim {
                claim: "sub".to_owned(),
                prefix: String::new(),
            },
            groups: None,
            uid: None,
            extra: Vec::new(),
            required: Vec::new(),
            claim_rules: Vec::new(),
            user_rules: Vec::new(),
        },
    })
}

async fn ask(issuer: &Issuer, token: &str) -> Result<String, String> {
    let token = Token::parse(token).expect("a token");
    issuer.user(&token).await.map(|user| user.name)
}

fn claims(more: &Value) -> Value {
    let mut claims = json!({"sub": "jane", "aud": "knarr", "exp": unix_seconds() + 60});
    for (claim, value) in more.as_object().into_iter().flatten() {
        claims[claim] = value.clone();
    }
    claims
}

#[tokio::test]
async fn a_token_is_of_its_issuer() {
    let signer = Signer::new("a");
    let server = serve([signer.jwk(), json!({})], Arc::default()).await;
    let issuer = issuer(&server);
    let token = signer.token(&claims(&json!({})));
    assert_eq!(
        ask(&issuer, &token).await,
        Err("authenticator not initialized".to_owned())
    );
    issuer.initialize().await;
    assert_eq!(ask(&issuer, &token).await, Ok("jane".to_owned()));
    let now = unix_seconds();
    for (more, wanted) in [
        (json!({"aud": ["x", "other"]}), true),
        (json!({"nbf": now + LEEWAY_SECONDS - 5}), true),
        (json!({"exp": now as f64 + 60.5}), true),
        (json!({"aud": "x"}), false),
        (json!({"aud": null}), false),
        (json!({"exp": now - 1}), false),
        (json!({"exp": null}), false),
        (json!({"nbf": now + LEEWAY_SECONDS + 60}), false),
    ] {
        let token = signer.token(&claims(&more));
        assert_eq!(ask(&issuer, &token).await.is_ok(), wanted, "{more}");
    }
}

#[tokio::test]
async fn new_keys_are_looked_for_but_not_for_everybody() {
    let (old, new, strange) = (Signer::new("a"), Signer::new("b"), Signer::new("c"));
    let rotated = Arc::new(AtomicBool::new(false));
    let server = serve([old.jwk(), new.jwk()], rotated.clone()).await;
    let issuer = issuer(&server);
    issuer.initialize().await;
    rotated.store(true, Ordering::Relaxed);
    assert!(ask(&issuer, &new.token(&claims(&json!({})))).await.is_ok());
    let calls = server.calls();
    for _ in 0..20 {
        assert!(
            ask(&issuer, &strange.token(&claims(&json!({}))))
                .await
                .is_err()
        );
    }
    assert_eq!(server.calls(), calls, "they were fetched a moment ago");
}

#[tokio::test]
async fn who_says_another_name_is_not_believed() {
    let signer = Signer::new("a");
    let server = serve([signer.jwk(), json!({})], Arc::default()).await;
    let mut issuer = issuer(&server);
    issuer.settings.discovery_url = format!("https://{}{WELL_KNOWN}", server.address);
    issuer.settings.url = "https://somebody.else".to_owned();
    let why = issuer
        .discover()
        .await
        .map(|_| ())
        .expect_err("another issuer");
    assert!(why.contains("issuer did not match"), "{why}");
    issuer.settings.trust = Trust::Bundle(Vec::new());
    let why = issuer
        .discover()
        .await
        .map(|_| ())
        .expect_err("an authority that is not trusted");
    assert!(why.contains("certificate"), "{why}");
}
