use super::{FieldSelector, escape};

fn error(text: &str) -> String {
    FieldSelector::parse(text)
        .expect_err("an error")
        .to_string()
}

#[test]
fn parses_matches_and_displays() {
    let selector =
        FieldSelector::parse("status.phase!=Failed,spec.nodeName==n1,").expect("a selector");
    assert_eq!(
        selector.to_string(),
        "spec.nodeName=n1,status.phase!=Failed"
    );
    assert_eq!(selector.exact("spec.nodeName"), Some("n1"));
    assert_eq!(selector.exact("status.phase"), None);
    let on = |node: &'static str, phase: &'static str| {
        selector.matches_with(|field| match field {
            "spec.nodeName" => Some(node),
            "status.phase" => Some(phase),
            _ => None,
        })
    };
    assert!(on("n1", "Running"));
    assert!(!on("n1", "Failed"));
    assert!(!on("n2", "Running"));
    assert!(FieldSelector::parse("").expect("everything").is_empty());
}

#[test]
fn escapes() {
    let value = r"a,b=c\d";
    let text = format!("x={}", escape(value));
    let selector = FieldSelector::parse(&text).expect("a selector");
    assert_eq!(selector.requirements()[0].value, value);
    assert_eq!(selector.to_string(), text);
}

#[test]
fn refuses_in_upstreams_words() {
    assert_eq!(error("a"), "invalid selector: 'a'; can't understand 'a'");
    assert_eq!(
        error("a=b=c"),
        "invalid field selector: unescaped character in value: 61"
    );
    assert_eq!(
        error(r"a=\b"),
        r"invalid field selector: invalid escape sequence: \b"
    );
}
