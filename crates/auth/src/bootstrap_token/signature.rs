//! Detached JWS by a token over what is public of a cluster: who knows the token can tell that whoever published it does, too.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;

use super::BootstrapToken;

/// `header..signature` by HMAC-SHA256, as upstream's `ComputeDetachedSignature`.
#[must_use]
pub fn sign(content: &str, token: &BootstrapToken) -> String {
    detached(content, token.id(), token.secret())
}

/// Whether the signature is the token's over this content.
#[must_use]
pub fn verify(signature: &str, content: &str, token: &BootstrapToken) -> bool {
    super::same_bytes(signature.as_bytes(), sign(content, token).as_bytes())
}

fn detached(content: &str, id: &str, secret: &str) -> String {
    // An id needs no escapes.
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"{id}"}}"#));
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content, token and signature of upstream's own test.
    #[test]
    fn signatures_are_upstreams() {
        let content = "Hello from the other side. I must have called a thousand times.";
        assert_eq!(
            detached(content, "joshua", "my voice is my passcode"),
            "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"
        );
    }

    #[test]
    fn only_the_token_signs() {
        let token = BootstrapToken::new("abc123", "0123456789abcdef").expect("a token");
        let other = BootstrapToken::new("abc123", "1123456789abcdef").expect("a token");
        let signature = sign("content", &token);
        assert!(verify(&signature, "content", &token));
        for (signature, content, token) in [
            (&*signature, "contents", &token),
            (&*signature, "content", &other),
            ("", "content", &token),
            ("..", "content", &token),
            (&signature[..signature.len() - 1], "content", &token),
        ] {
            assert!(!verify(signature, content, token), "{signature} {content}");
        }
    }
}
