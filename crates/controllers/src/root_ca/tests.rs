use super::*;

#[test]
fn written_when_missing_or_different() {
    let created = plan("x", "PEM", None).expect("a write");
    assert_eq!(
        created
            .data
            .as_ref()
            .and_then(|data| data.get("ca.crt"))
            .map(String::as_str),
        Some("PEM")
    );
    assert_eq!(created.metadata.namespace.as_deref(), Some("x"));
    assert!(plan("x", "PEM", Some(&created)).is_none());
    let rotated = plan("x", "NEW", Some(&created)).expect("a write");
    assert_eq!(
        rotated
            .data
            .and_then(|data| data.get("ca.crt").cloned())
            .as_deref(),
        Some("NEW")
    );
    let mut extended = created;
    extended
        .data
        .get_or_insert_default()
        .insert("more".to_owned(), "x".to_owned());
    assert_eq!(
        plan("x", "PEM", Some(&extended))
            .and_then(|map| map.data)
            .map_or(0, |data| data.len()),
        1
    );
}
