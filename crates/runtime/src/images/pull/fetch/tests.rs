use super::*;

#[test]
fn registries_of_this_machine() {
    for registry in [
        "localhost",
        "localhost:5000",
        "127.0.0.1",
        "127.9.9.9:5000",
        "[::1]:5000",
    ] {
        assert!(is_loopback(registry), "{registry}");
    }
    for registry in [
        "docker.io",
        "localhost.example",
        "128.0.0.1:5000",
        "[fe80::1]:5000",
        "10.0.0.1",
    ] {
        assert!(!is_loopback(registry), "{registry}");
    }
}
