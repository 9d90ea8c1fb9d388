use super::*;

#[test]
fn endpoints_are_unix_sockets_only() {
    assert_eq!(
        socket_path("unix:///run/a.sock").unwrap(),
        PathBuf::from("/run/a.sock")
    );
    assert_eq!(
        socket_path("/run/a.sock").unwrap(),
        PathBuf::from("/run/a.sock")
    );
    assert!(matches!(
        socket_path("tcp://127.0.0.1:1"),
        Err(Error::Endpoint(_))
    ));
    assert!(matches!(socket_path("run/a.sock"), Err(Error::Endpoint(_))));
}

#[tokio::test]
async fn a_missing_socket_is_told() {
    let error = connect("/nonexistent/knarr.sock").await.unwrap_err();
    assert!(
        error.to_string().contains("/nonexistent/knarr.sock"),
        "{error}"
    );
}
