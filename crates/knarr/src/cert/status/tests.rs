use expect_test::expect;

use super::*;

fn certificate(from: &str, to: &str, is_ca: bool) -> Certificate {
    let (der, _) = knarr_join::self_signed(&["a".to_owned()]).expect("a certificate");
    let mut certificate = Certificate::from_der(&der).expect("a certificate");
    certificate.not_before = from.parse().expect("a time");
    certificate.not_after = to.parse().expect("a time");
    certificate.is_ca = is_ca;
    certificate
}

#[test]
fn certificates_are_told_with_their_ends() {
    let now = "2030-06-01T00:00:00Z".parse().expect("a time");
    let year = ("2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z");
    let mut rows = vec![HEAD.map(String::from)];
    let mut warnings = Vec::new();
    for (file, (from, to), is_ca) in [
        (
            "ca.crt",
            ("2025-01-01T00:00:00Z", "2035-01-01T00:00:00Z"),
            true,
        ),
        (
            "old-ca.crt",
            ("2020-06-10T00:00:00Z", "2030-06-10T00:00:00Z"),
            true,
        ),
        ("apiserver.crt", year, false),
        (
            "late.crt",
            ("2030-05-01T00:00:00Z", "2030-06-02T00:00:00Z"),
            false,
        ),
        (
            "ended.crt",
            ("2029-01-01T00:00:00Z", "2030-01-01T00:00:00Z"),
            false,
        ),
        (
            "early.crt",
            ("2030-07-01T00:00:00Z", "2031-01-01T00:00:00Z"),
            false,
        ),
    ] {
        let found = Found {
            file: file.to_owned(),
            certificate: certificate(from, to, is_ca),
            is_replaced: file == "old-ca.crt",
        };
        warnings.extend(warning(&found, now));
        rows.push(row(&found, now));
    }
    expect![[r"
        FILE            NAME   USE         SIGNED BY   EXPIRES                LEFT        STATE
        ca.crt          a      authority   a           2035-01-01T00:00:00Z   1675d0h     good
        old-ca.crt      a      authority   a           2030-06-10T00:00:00Z   9d0h        replaced, still trusted
        apiserver.crt   a      server      a           2031-01-01T00:00:00Z   214d0h      good, renewed by itself
        late.crt        a      server      a           2030-06-02T00:00:00Z   1d0h        good, but late to be renewed
        ended.crt       a      server      a           2030-01-01T00:00:00Z   <expired>   expired
        early.crt       a      server      a           2031-01-01T00:00:00Z   214d0h      not yet valid
    "]]
    .assert_eq(&text::table(&rows));
    assert_eq!(
        warnings,
        [
            "old-ca.crt ends in 9d0h; drop it: knarr cert rotate --drop-old-ca",
            "late.crt ends in 1d0h; renew it: knarr cert rotate",
        ]
    );
}

#[test]
fn only_certificates_are_looked_at() {
    let dir = tempfile::tempdir().expect("a directory");
    let (der, key) = knarr_join::self_signed(&["a".to_owned()]).expect("a certificate");
    let key = pem::encode(pem::PRIVATE_KEY, key.secret_der());
    let both = pem::encode(pem::CERTIFICATE, &der) + &key;
    fs::write(dir.path().join("node.pem"), both.clone() + &both).expect("a file");
    fs::write(dir.path().join("node.key"), "secret").expect("a file");
    let found = certificates(dir.path(), "").expect("certificates");
    assert_eq!(found.len(), 1);
    fs::write(dir.path().join("broken.crt"), "x").expect("a file");
    assert!(certificates(dir.path(), "").is_err());
    assert!(
        certificates(&dir.path().join("none"), "")
            .expect("nothing")
            .is_empty()
    );
}
