use super::*;

fn text(error: RequestError) -> String {
    PullError {
        reference: "docker.io/library/x:1".to_owned(),
        failure: error.failure("docker.io/library/x:1", "failed to fetch the manifest"),
    }
    .to_string()
}

fn status(status: u16, body: &str) -> RequestError {
    RequestError::Status {
        url: "https://r/v2/".to_owned(),
        status: StatusCode::from_u16(status).unwrap(),
        said: said(body.as_bytes()),
    }
}

#[test]
fn wording() {
    let missing = "failed to pull and unpack image \"docker.io/library/x:1\": failed to resolve reference \"docker.io/library/x:1\": docker.io/library/x:1: not found";
    let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
    assert_eq!(text(status(404, body)), missing);
    assert_eq!(text(status(404, "")), missing);
    let body = r#"{"errors":[{"code":"DENIED","message":"said the registry"}]}"#;
    for code in [401, 403] {
        let denied = text(status(code, body));
        assert!(
            denied.contains(
                "pull access denied, repository does not exist or may require authorization"
            ) && denied.ends_with("DENIED: said the registry"),
            "{denied}"
        );
    }
    assert_eq!(
        text(status(429, r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#)),
        "failed to pull and unpack image \"docker.io/library/x:1\": failed to fetch the manifest: unexpected status from GET request to https://r/v2/: 429 Too Many Requests: TOOMANYREQUESTS"
    );
}

#[test]
fn only_a_registrys_own_words_are_repeated() {
    for body in [
        "<html>secret</html>",
        "{\"secret\":1}",
        "\"secret\"",
        "{\"errors\":\"secret\"}",
    ] {
        assert_eq!(said(body.as_bytes()), None, "{body}");
    }
}

#[test]
fn messages_are_short_and_printable() {
    let body = format!(
        r#"{{"errors":[{{"code":"\u001b[31m\u202e\nx","message":"{}"}}]}}"#,
        "\u{e4}".repeat(5000)
    );
    let text = text(status(500, &body));
    assert!(
        text.len() <= MAX_MESSAGE_BYTES && text.ends_with("\u{e4}..."),
        "{text}"
    );
    assert!(text.chars().all(is_printed), "{text:?}");
    assert!(
        text.contains("500 Internal Server Error:  [31m  x: "),
        "{text}"
    );
}
