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
    let bearer = |service: Option<&str>| {
        Some(Challenge::Bearer {
            realm: "https://auth.example/token".to_owned(),
            service: service.map(str::to_owned),
        })
    };
    let full =
        "Bearer realm=\"https://auth.example/token\",service=\"r, x\",scope=\"repository:a:push\"";
    assert_eq!(wanted(&[full]), bearer(Some("r, x")));
    assert_eq!(wanted(&["Basic realm=\"r\"", full]), bearer(Some("r, x")));
    assert_eq!(
        wanted(&["basic realm=\"r\", bearer Realm=\"https://auth.example/token\""]),
        bearer(None)
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
