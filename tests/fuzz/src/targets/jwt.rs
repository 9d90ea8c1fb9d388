//! Service-account tokens. An input is a token, or three lines: a header and claims as JSON, which are signed with the server's
//! key, and what to put in the signature's place (nothing: the signature).
//!
//! What was not signed is not accepted, and what was signed is only as far as it is one of this issuer's, for this audience, at
//! this time, and its account is there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use knarr_auth::objects::{Object, Objects};
use knarr_auth::tokens::{Config, Tokens};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use crate::shape;

use super::Target;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const UID: &str = "sa-1";
/// Both sides of a token's times, seconds.
const LEEWAY: i64 = 60;

/// One service account.
struct Account;

#[async_trait]
impl Objects for Account {
    fn get(&self, _: &str, resource: &str, namespace: &str, name: &str) -> Option<Object> {
        let found = (resource, namespace, name) == ("serviceaccounts", "ns", "bot");
        let metadata = json!({"metadata": {"name": "bot", "namespace": "ns", "uid": UID}});
        found.then(|| Object {
            revision: 1,
            json: metadata.to_string().into(),
        })
    }

    fn list(&self, _: &str, _: &str, _: &str) -> Vec<Object> {
        Vec::new()
    }

    async fn appears(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        _: Duration,
    ) -> Option<Object> {
        self.get(group, resource, namespace, name)
    }

    fn revision_of(&self, _: &str, _: &str) -> u64 {
        1
    }
}

pub struct Jwt {
    tokens: Tokens,
    key: EcdsaKeyPair,
    random: SystemRandom,
    issued: String,
}

impl Jwt {
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let der =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random)
            .expect("its own key");
        let config = Config::of_domain("cluster.local", "192.0.2.1:6443");
        let tokens = Tokens::new(der.as_ref(), config, Arc::new(Account)).expect("a P-256 key");
        let answer = tokens.request("ns", "bot", json!({})).expect("a token");
        let issued = answer["status"]["token"].as_str().unwrap_or_default();
        Self {
            tokens,
            key,
            random,
            issued: issued.to_owned(),
        }
    }

    fn sign(&self, text: &str) -> String {
        let signature = self.key.sign(&self.random, text.as_bytes());
        BASE64.encode(signature.expect("a signature"))
    }

    /// The token that three lines stand for, and whether it is signed.
    fn make(&self, lines: &str) -> Option<(String, bool)> {
        let mut lines = lines.splitn(3, '\n');
        let (header, claims, instead) = (lines.next()?, lines.next()?, lines.next()?);
        let text = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        Some(match instead {
            "" => (format!("{text}.{}", self.sign(&text)), true),
            instead => (format!("{text}.{instead}"), false),
        })
    }
}

impl Target for Jwt {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let now = jiff::Timestamp::now().as_second();
        let part = |at: usize| -> String {
            let part = self.issued.split('.').nth(at).unwrap_or_default();
            String::from_utf8(BASE64.decode(part).unwrap_or_default()).unwrap_or_default()
        };
        let claims = |exp: i64, nbf: i64| {
            json!({
                "aud": [ISSUER], "exp": exp, "iat": now, "iss": ISSUER, "nbf": nbf,
                "kubernetes.io": {"namespace": "ns", "serviceaccount": {"name": "bot", "uid": UID}},
                "sub": "system:serviceaccount:ns:bot",
            })
        };
        let inputs = [
            self.issued.clone(),
            format!("{}\n{}\n", part(0), part(1)),
            format!("{}\n{}\nAAAA", part(0), part(1)),
            format!("{{\"alg\":\"ES256\"}}\n{}\n", claims(i64::MAX, i64::MIN)),
            format!("{{\"alg\":\"ES256\"}}\n{}\n", claims(now, now)),
            format!("{{\"alg\":\"none\"}}\n{}\n ", claims(now + 60, now)),
        ];
        inputs.into_iter().map(String::into_bytes).collect()
    }

    fn words(&self) -> &'static [&'static str] {
        &[
            "\"alg\":\"none\"",
            "\"alg\":\"ES256\"",
            "\"alg\":\"HS256\"",
            "\"crit\":[]",
            "\"kid\":\"\"",
            ".",
            "..",
            "=",
            "\n",
            "\"exp\":",
            "\"nbf\":",
            "\"aud\":[]",
            "\"pod\":{\"name\":\"p\",\"uid\":\"u\"}",
            "\"warnafter\":",
            "9223372036854775807",
            "-9223372036854775808",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let Ok(text) = std::str::from_utf8(input) else {
            return Ok(0);
        };
        let (token, signed) = self
            .make(text)
            .unwrap_or_else(|| (text.to_owned(), text == self.issued));
        match self.tokens.authenticate(&token, self.tokens.audiences()) {
            Err(rejected) => Ok(shape::of(&rejected.to_string())),
            Ok(_) if !signed => Err("a token that nobody signed is accepted".to_owned()),
            Ok(found) => {
                holds(&token)?;
                Ok(shape::of(&format!("{:?}", found.user.extra)))
            }
        }
    }
}

/// What an accepted token has to say.
fn holds(token: &str) -> Result<(), String> {
    let part = |at: usize| -> Option<Value> {
        serde_json::from_slice(&BASE64.decode(token.split('.').nth(at)?).ok()?).ok()
    };
    let (Some(header), Some(claims)) = (part(0), part(1)) else {
        return Err("an accepted token has no header or no claims".to_owned());
    };
    let now = jiff::Timestamp::now().as_second();
    let at = |name: &str| claims[name].as_i64().unwrap_or_default();
    let audiences = claims["aud"].as_array();
    let good = header["alg"] == "ES256"
        && claims["iss"] == ISSUER
        && audiences.is_some_and(|all| all.iter().any(|one| one == ISSUER))
        && at("exp").saturating_add(LEEWAY) >= now - 1
        && at("nbf").saturating_sub(LEEWAY) <= now
        && claims["kubernetes.io"]["serviceaccount"]["name"] == "bot"
        && claims["kubernetes.io"]["serviceaccount"]["uid"] == UID
        && claims["kubernetes.io"]["namespace"] == "ns";
    match good {
        true => Ok(()),
        false => Err(format!("{header} {claims} is accepted")),
    }
}
