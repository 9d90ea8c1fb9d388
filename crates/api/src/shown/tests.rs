use super::*;

fn read(shown: &Shown, json: &str) -> Value {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let value = shown.deserialize(&mut deserializer).expect("JSON");
    deserializer.end().expect("all is read");
    value
}

#[test]
fn fields_are_read_or_passed_over() {
    let json = r#"{"a": {"x": 1, "y\u0041": [true, null, -1.5]}, "b": [{"x": 2, "y": {}}, "text", 3], "c": 18446744073709551615}"#;
    let cases: [(Shown, &str); 6] = [
        (Shown::All, json),
        (Shown::Nothing, "null"),
        (Shown::Only(&[]), "{}"),
        (
            Shown::Only(&[("b", Shown::Only(&[("x", Shown::All)])), ("c", Shown::All)]),
            r#"{"b": [{"x": 2}, "text", 3], "c": 18446744073709551615}"#,
        ),
        (
            Shown::Rest(&[
                ("a", Shown::Only(&[("yA", Shown::All)])),
                ("b", Shown::Nothing),
            ]),
            r#"{"a": {"yA": [true, null, -1.5]}, "c": 18446744073709551615}"#,
        ),
        // What is not as it should be is as it is.
        (Shown::Rest(&[("c", Shown::Only(&[]))]), json),
    ];
    for (shown, wanted) in cases {
        let wanted: Value = serde_json::from_str(wanted).expect("JSON");
        assert_eq!(read(&shown, json), wanted, "{shown:?}");
    }
}
