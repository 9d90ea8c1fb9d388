use super::*;

fn config(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         contexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {{{cluster}}}}}]\n\
         users: [{{name: u, user: {{{user}}}}}]\n"
    )
}

fn issued() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn embedded_data_and_files_are_the_same() {
    let (certificate, key) = issued();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("c.pem"), &certificate).unwrap();
    fs::write(dir.path().join("k.pem"), &key).unwrap();
    let server = "server: 'https://127.0.0.1:6443'";
    let files = parse(
        &config(
            &format!("{server}, certificate-authority: c.pem"),
            "client-certificate: c.pem, client-key: k.pem",
        ),
        dir.path(),
    )
    .unwrap();
    let (c, k) = (base64(&certificate), base64(&key));
    let embedded = parse(
        &config(
            &format!("{server}, certificate-authority-data: {c}"),
            &format!("client-certificate-data: {c}, client-key-data: {k}"),
        ),
        Path::new("/nowhere"),
    )
    .unwrap();
    assert_eq!(files.server, "https://127.0.0.1:6443");
    assert_eq!(files.authorities, embedded.authorities);
    assert_eq!(files.client_certificate, embedded.client_certificate);
    assert!(embedded.client_certificate.is_some() && embedded.token.is_none());
}

#[test]
fn a_token_needs_no_certificate() {
    let text = config(
        "server: 'https://k', insecure-skip-tls-verify: true",
        "token: abc",
    );
    let access = parse(&text, Path::new(".")).unwrap();
    assert_eq!(access.token.as_deref(), Some("abc"));
    assert!(access.authorities.is_none() && access.client_certificate.is_none());
}

#[test]
fn what_cannot_be_used_is_said() {
    let server = "server: 'https://k', insecure-skip-tls-verify: true";
    for (text, wanted) in [
        ("a: [".to_owned(), "not a kubeconfig"),
        (
            "current-context: x".to_owned(),
            "there is no context \"x\" (current-context)",
        ),
        (
            config("server: 'https://k'", "token: a"),
            "the cluster has no certificate authority",
        ),
        (
            config(server, "client-key-data: YQ=="),
            "a client certificate needs its key, and a key its certificate",
        ),
        (
            config(server, "exec: {command: x}"),
            "credential plugins are not supported: use a client certificate or a token",
        ),
        (
            config("server: k, certificate-authority-data: '%'", ""),
            "embedded data is not base64",
        ),
    ] {
        let error = parse(&text, Path::new(".")).unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
}
