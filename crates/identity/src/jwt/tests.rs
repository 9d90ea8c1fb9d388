use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, KeyPair,
    },
};
use serde_json::json;

use super::*;

struct Signer {
    algorithm: &'static str,
    curve: &'static str,
    pair: EcdsaKeyPair,
}

impl Signer {
    fn new(
        algorithm: &'static str,
        curve: &'static str,
        ring: &'static EcdsaSigningAlgorithm,
    ) -> Signer {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(ring, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(ring, pkcs8.as_ref(), &random).expect("a key");
        Signer {
            algorithm,
            curve,
            pair,
        }
    }

    fn p256() -> Signer {
        Signer::new("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    fn jwk(&self, id: &str) -> Value {
        let point = &self.pair.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        json!({"kty": "EC", "use": "sig", "kid": id, "crv": self.curve, "x": BASE64.encode(x), "y": BASE64.encode(y)})
    }

    fn token(&self, header: Value, claims: Value) -> String {
        let encode = |value: Value| BASE64.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let random = SystemRandom::new();
        let signature = self.pair.sign(&random, signed.as_bytes()).expect("signed");
        format!("{signed}.{}", BASE64.encode(signature))
    }
}

fn keys(all: &[Value]) -> Keys {
    Keys::parse(json!({"keys": all}).to_string().as_bytes()).expect("keys")
}

fn is_proved(token: &str, keys: &Keys) -> bool {
    Token::parse(token).is_some_and(|token| token.verified(keys).is_some())
}

#[test]
fn a_key_proves_what_it_signed() {
    for signer in [
        Signer::p256(),
        Signer::new("ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
    ] {
        let own = keys(&[Signer::p256().jwk("other"), signer.jwk("a")]);
        let header = |kid: Value| json!({"alg": signer.algorithm, "kid": kid});
        let token = signer.token(header(json!("a")), json!({"sub": "jane"}));
        assert!(is_proved(&token, &own));
        let nameless = signer.token(json!({"alg": signer.algorithm}), json!({}));
        assert!(is_proved(&nameless, &own), "every key is tried");
        let misnamed = signer.token(header(json!("b")), json!({}));
        assert!(!is_proved(&misnamed, &own));
        assert!(!is_proved(&token, &keys(&[])));
        let (start, signature) = token.rsplit_once('.').expect("a token");
        let (head, _) = start.split_once('.').expect("a token");
        let claims = BASE64.encode("{\"sub\":\"root\"}");
        assert!(!is_proved(&format!("{head}.{claims}.{signature}"), &own));
    }
}

#[test]
fn a_header_decides_nothing_that_the_key_does_not() {
    let signer = Signer::p256();
    for (header, key) in [
        (json!({"alg": "none"}), signer.jwk("a")),
        (json!({"alg": "HS256"}), signer.jwk("a")),
        (json!({"alg": "ES384"}), signer.jwk("a")),
        (json!({"alg": "ES256", "crit": ["b64"]}), signer.jwk("a")),
        (json!({"alg": "ES256"}), {
            let mut jwk = signer.jwk("a");
            jwk["alg"] = json!("ES384");
            jwk
        }),
        (json!({"alg": "ES256"}), {
            let mut jwk = signer.jwk("a");
            jwk["use"] = json!("enc");
            jwk
        }),
    ] {
        let token = signer.token(header.clone(), json!({}));
        assert!(!is_proved(&token, &keys(&[key])), "{header}");
    }
}

#[test]
fn what_is_no_token_is_none() {
    for text in ["", "a.b", "a.b.c", "..", "e30.e30.", "{}"] {
        assert!(Token::parse(text).is_none(), "{text}");
    }
}

#[test]
fn a_set_may_have_keys_that_nobody_knows() {
    let set =
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519"}, {"kty": "EC", "crv": "P-521"}, {}]});
    let keys = Keys::parse(set.to_string().as_bytes()).expect("keys");
    assert!(!keys.verify(
        &Header {
            alg: "ES512".to_owned(),
            kid: None,
            crit: None,
        },
        b"",
        b""
    ));
    assert!(Keys::parse(b"[]").is_err());
}
