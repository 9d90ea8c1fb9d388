use std::{fs, os::unix::fs::PermissionsExt};

use rcgen::{CertificateParams, KeyPair};

use super::*;

/// A certificate from the first of a month to that of the next, and its key.
fn pair() -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["n1".to_owned()]).expect("names");
    params.not_before = rcgen::date_time_ymd(2030, 4, 1);
    params.not_after = rcgen::date_time_ymd(2030, 5, 1);
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

/// One that lives through April 2030.
pub(crate) fn certified() -> Certified {
    let (certificate, key) = pair();
    Certified::from_pem(&format!("{certificate}{key}")).expect("a pair")
}

#[test]
fn a_certificate_is_rotated_in_the_last_third_of_its_life() {
    let certified = certified();
    for (share, expected) in [
        (0, "2030-04-22T00:00:00Z"),
        (500, "2030-04-25T00:00:00Z"),
        (5000, "2030-04-27T23:16:48Z"),
    ] {
        assert_eq!(certified.rotation(share).to_string(), expected);
    }
    for (time, valid) in [
        ("2030-03-31T23:59:59Z", false),
        ("2030-04-01T00:00:00Z", true),
        ("2030-05-01T00:00:01Z", false),
    ] {
        assert_eq!(
            certified.is_valid(time.parse().expect("a time")),
            valid,
            "{time}"
        );
    }
}

#[test]
fn only_pairs_are_read() {
    let ((certificate, key), (_, other)) = (pair(), pair());
    let whole = Certified::from_pem(&format!("{certificate}{key}")).expect("a pair");
    assert_eq!(Certified::from_pem(&whole.to_pem()), Some(whole.clone()));
    assert!(!format!("{whole:?}").contains("key"));
    for text in [
        String::new(),
        certificate.clone(),
        key.clone(),
        format!("{certificate}{other}"),
        format!("{certificate}-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
    ] {
        assert_eq!(Certified::from_pem(&text), None, "{text}");
    }
}

#[test]
fn a_key_waits_for_its_certificate() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = Place::new(dir.path(), "client");
    assert_eq!(place.load().expect("no error"), None);
    let key = place.pending().expect("a key");
    let again = place.pending().expect("the key");
    assert_eq!(key.public_key(), again.public_key());
    let certified = certified();
    place.store(&certified).expect("kept");
    assert_eq!(place.load().expect("no error"), Some(certified));
    let next = place.pending().expect("another key");
    assert_ne!(key.public_key(), next.public_key());
    for entry in fs::read_dir(dir.path()).expect("a directory") {
        let mode = entry
            .and_then(|entry| entry.metadata())
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    fs::write(place.path(), "torn").expect("written");
    assert_eq!(place.load().expect("no error"), None);
}
