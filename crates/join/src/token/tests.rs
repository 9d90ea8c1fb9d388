use super::*;

const HASH: &str = "sha256:00ff7b1f5a1e0f7f3c1d2e4b5a69788796a5b4c3d2e1f00112233445566778ab";

#[test]
fn a_token_is_one_word_with_a_hash() {
    let word = format!("abc123.0123456789abcdef@{HASH}");
    let token: JoinToken = word.parse().expect("a token");
    assert_eq!(token.token.id(), "abc123");
    assert_eq!(token.ca.map(|hash| hash.to_string()).as_deref(), Some(HASH));
    assert_eq!(token.reveal(), word);
    assert!(!format!("{token:?}").contains("0123456789abcdef"));
    let bare: JoinToken = "abc123.0123456789abcdef".parse().expect("a token");
    assert_eq!(
        (bare.ca, &*bare.reveal()),
        (None, "abc123.0123456789abcdef")
    );
}

#[test]
fn what_is_no_token_is_refused() {
    let cut = &HASH[..HASH.len() - 1];
    for (text, expected) in [
        ("", TokenError::Token),
        ("abc123", TokenError::Token),
        ("abc123.0123456789abcde", TokenError::Token),
        ("ABC123.0123456789abcdef", TokenError::Token),
        ("abc123.0123456789abcdef ", TokenError::Token),
        ("abc123.0123456789abcdef@", TokenError::Hash),
        ("abc123.0123456789abcdef@sha256:", TokenError::Hash),
        ("abc123.0123456789abcdef@md5:00", TokenError::Hash),
        (&format!("abc123.0123456789abcdef@{cut}"), TokenError::Hash),
        (
            &format!("abc123.0123456789abcdef@{HASH}0"),
            TokenError::Hash,
        ),
        (&format!("abc123.0123456789abcdef@{cut}g"), TokenError::Hash),
    ] {
        assert_eq!(text.parse::<JoinToken>(), Err(expected), "{text}");
    }
}
