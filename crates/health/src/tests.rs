use super::*;

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

#[test]
fn only_health_is_answered() {
    for (method, path, of_proxy, status, text) in [
        (Method::GET, "/healthz", false, 200, "ok"),
        (Method::GET, "/livez", false, 200, "ok"),
        (Method::HEAD, "/readyz", false, 200, "ok"),
        (Method::POST, "/healthz", false, 405, "method"),
        (Method::GET, "/metrics", false, 404, "404"),
        (Method::GET, "/", false, 404, "404"),
        (Method::GET, "/healthz", true, 200, "\"nodeEligible\":true"),
        (Method::GET, "/readyz", true, 200, "ok"),
    ] {
        let answer = answer(&method, path, of_proxy);
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
        let body = format!("{:?}", answer.body());
        assert!(
            body.replace('\\', "").contains(text),
            "{method} {path}: {body}"
        );
    }
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    let request = b"GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("a question");
    let mut text = Vec::new();
    // The other side may leave without TLS' goodbye.
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn questions_are_answered_on_tls_and_in_the_clear() {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let made = knarr_join::self_signed(&["localhost".to_owned()]);
    let (certificate, key) = made.expect("a certificate");
    let identity = Identity {
        chain: vec![certificate.clone()],
        key,
    };
    let token = CancellationToken::new();
    let secure = Health::bind(address, Kind::Secure(identity))
        .await
        .expect("a server");
    let clear = Health::bind(address, Kind::Proxy).await.expect("a server");
    let (secure_at, clear_at) = (
        secure.address().expect("an address"),
        clear.address().expect("an address"),
    );
    assert!(matches!(
        Health::bind(clear_at, Kind::Proxy).await,
        Err(Error::Listen { .. })
    ));
    let running =
        [secure, clear].map(|health| knarr_tasks::spawn("health", health.run(token.clone())));

    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("an anchor");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(secure_at).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    let said = ask(stream.expect("TLS")).await;
    assert!(
        said.starts_with("HTTP/1.1 200") && said.ends_with("ok"),
        "{said}"
    );

    let stream = TcpStream::connect(clear_at).await.expect("a connection");
    let said = ask(stream).await;
    assert!(said.contains("lastUpdated"), "{said}");
    token.cancel();
    for one in running {
        one.await.expect("an end");
    }
}
