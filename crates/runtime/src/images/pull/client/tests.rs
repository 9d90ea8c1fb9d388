use super::*;

fn wanted(texts: &[&str]) -> Option<Challenge> {
    let headers = texts
        .iter()
        .map(|text| (WWW_AUTHENTICATE, text.parse().unwrap()));
    let mut map = HeaderMap::new();
    map.extend(headers);
    for text in texts {
        map.append(WWW_AUTHENTICATE, text.parse().unwrap());
    }
    challenge(&map)
}

#[test]
fn challenges() {
    let bearer = |service: Option<&str>, repositories: &[&str]| {
        Some(Challenge::Bearer {
            realm: "https://auth.example/token".to_owned(),
            service: service.map(str::to_owned),
            repositories: repositories.iter().map(|&name| name.to_owned()).collect(),
        })
    };
    let full =
        "Bearer realm=\"https://auth.example/token\",service=\"r, x\",scope=\"repository:a:push\"";
    assert_eq!(wanted(&[full]), bearer(Some("r, x"), &["a"]));
    assert_eq!(
        wanted(&["Basic realm=\"r\"", full]),
        bearer(Some("r, x"), &["a"])
    );
    assert_eq!(
        wanted(&["basic realm=\"r\", bearer Realm=\"https://auth.example/token\""]),
        bearer(None, &[])
    );
    assert_eq!(wanted(&["Basic realm=\"r\""]), Some(Challenge::Basic));
    for none in [
        &[][..],
        &["Bearer"],
        &["Digest realm=\"r\""],
        &["\"", "Bearer service=\"r\""],
    ] {
        assert_eq!(wanted(none), None, "{none:?}");
    }
}

#[test]
fn repositories_of_scopes() {
    for (scope, wanted) in [
        ("repository:hub/nginx:pull", &["hub/nginx"][..]),
        (
            "repository:a/b:pull,push repository:c:5000/d:pull",
            &["a/b", "c:5000/d"],
        ),
        ("registry:catalog:*", &[]),
        ("repository:a", &[]),
        ("repository::pull", &[]),
        ("", &[]),
    ] {
        assert_eq!(repositories(scope), wanted, "{scope:?}");
    }
}
