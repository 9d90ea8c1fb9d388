use std::convert::Infallible;

use super::*;

fn secret(annotations: &[(&str, &str)], data: &[(&str, &str)]) -> Secret {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let mut secret = Secret::default();
    secret.metadata.name = Some("held".to_owned());
    secret.metadata.namespace = Some("ns".to_owned());
    secret.metadata.annotations = Some(annotations.iter().map(owned).collect());
    let bytes = |(key, value): &(&str, &str)| {
        let value = ByteString(value.as_bytes().to_vec());
        ((*key).to_owned(), value)
    };
    secret.data = Some(data.iter().map(bytes).collect());
    secret
}

fn account(uid: &str) -> ServiceAccount {
    let mut account = ServiceAccount::default();
    account.metadata.name = Some("bot".to_owned());
    account.metadata.uid = Some(uid.to_owned());
    account
}

/// What the Secret holds afterwards, as `key=value`; nothing when it is left alone.
fn completed(secret: &Secret) -> Vec<String> {
    let ca = ByteString(b"PEM".to_vec());
    let sign = || Ok::<_, Infallible>("signed".to_owned());
    let Ok(found) = complete(secret, &account("1"), &ca, sign);
    let Some(found) = found else {
        return Vec::new();
    };
    assert_eq!(annotation(&found, ACCOUNT), "bot");
    assert_eq!(annotation(&found, ACCOUNT_UID), "1");
    let data = found.data.unwrap_or_default().into_iter();
    data.map(|(key, value)| format!("{key}={}", String::from_utf8_lossy(&value.0)))
        .collect()
}

#[test]
fn a_secret_gets_what_it_lacks_and_keeps_what_it_has() {
    let named = [(ACCOUNT, "bot")];
    for (held, expected) in [
        (&[][..], &["ca.crt=PEM", "namespace=ns", "token=signed"][..]),
        (
            &[("token", "own"), ("extra", "x")],
            &["ca.crt=PEM", "extra=x", "namespace=ns", "token=own"],
        ),
        (
            &[("ca.crt", "OLD"), ("namespace", "ns"), ("token", "own")],
            &["ca.crt=PEM", "namespace=ns", "token=own"],
        ),
        (
            &[("ca.crt", "PEM"), ("namespace", "ns"), ("token", "own")],
            &[],
        ),
        (
            &[("ca.crt", "PEM"), ("namespace", "ns"), ("token", "")],
            &["ca.crt=PEM", "namespace=ns", "token=signed"],
        ),
    ] {
        assert_eq!(completed(&secret(&named, held)), expected, "{held:?}");
    }
}

#[test]
fn a_secret_is_of_the_account_whose_uid_it_names() {
    let account = account("1");
    assert!(is_of(&secret(&[(ACCOUNT, "bot")], &[]), &account));
    let with_uid = |uid| secret(&[(ACCOUNT, "bot"), (ACCOUNT_UID, uid)], &[]);
    assert!(is_of(&with_uid("1"), &account));
    assert!(!is_of(&with_uid("2"), &account), "an earlier account's");
}
