use std::collections::BTreeMap;

use expect_test::expect;
use serde_json::json;

use super::Selector;

fn show(inputs: &[&str]) -> String {
    let lines: Vec<String> = inputs
        .iter()
        .map(|input| match Selector::parse(input) {
            Ok(selector) => format!("{input} -> {selector}"),
            Err(error) => format!("{input} -> error: {error}"),
        })
        .collect();
    lines.join("\n")
}

#[test]
fn parses_and_displays() {
    let shown = show(&[
        "",
        "app=web",
        "app==web",
        "app != web",
        "b=2,a=1",
        "tier in (b, a)",
        "tier notin(a)",
        "canary",
        "!canary",
        "n>5,m<3",
        "in in (in,notin)",
        "x in ()",
        "x in (a,,b)",
        "x=",
        "example.com/app=web",
    ]);
    expect![[r#"
         -> 
        app=web -> app=web
        app==web -> app==web
        app != web -> app!=web
        b=2,a=1 -> a=1,b=2
        tier in (b, a) -> tier in (a,b)
        tier notin(a) -> tier notin (a)
        canary -> canary
        !canary -> !canary
        n>5,m<3 -> m<3,n>5
        in in (in,notin) -> in in (in,notin)
        x in () -> x in ()
        x in (a,,b) -> x in (,a,b)
        x= -> x=
        example.com/app=web -> example.com/app=web"#]]
    .assert_eq(&shown);
}

#[test]
fn refuses_in_upstreams_words() {
    let shown = show(&[
        "x=a b", "x in a", "x in (a", ",a", "a,", "!", "x===a", "n>a", "-a=b", "a=-b", "a ! b",
    ]);
    expect![[r#"
        x=a b -> error: found 'b', expected: ',' or 'end of string'
        x in a -> error: unable to parse requirement: found 'a' expected: '('
        x in (a -> error: unable to parse requirement: found '', expected: ',' or ')'
        ,a -> error: found ',', expected: !, identifier, or 'end of string'
        a, -> error: found '', expected: identifier after ','
        ! -> error: unable to parse requirement: found '', expected: identifier
        x===a -> error: unable to parse requirement: found '=', expected: identifier
        n>a -> error: unable to parse requirement: values[0]: Invalid value: "a": for 'Gt', 'Lt' operators, the value must be an integer
        -a=b -> error: unable to parse requirement: <nil>: Invalid value: "-a": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        a=-b -> error: unable to parse requirement: values[0][a]: Invalid value: "-b": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
        a ! b -> error: unable to parse requirement: found '!', expected: in, notin, =, ==, !=, gt, lt"#]]
    .assert_eq(&shown);
}

#[test]
fn matches() {
    let labels: BTreeMap<String, String> = [("app", "web"), ("n", "7")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    let holds = |text| Selector::parse(text).expect("a selector").matches(&labels);
    for text in [
        "",
        "app=web",
        "app",
        "!canary",
        "app!=db",
        "other!=x",
        "other notin (x)",
        "n>6",
        "n<8",
        "app in (web,db),n",
    ] {
        assert!(holds(text), "{text}");
    }
    for text in [
        "app=db",
        "canary",
        "!app",
        "app!=web",
        "n>7",
        "app>1",
        "other in (x)",
    ] {
        assert!(!holds(text), "{text}");
    }
    assert!(!Selector::nothing().matches(&labels));
    assert!(Selector::everything().is_empty() && !Selector::nothing().is_empty());
}

#[test]
fn structured_form() {
    let tree = json!({
        "matchLabels": {"b": "2", "a": "1"},
        "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["y", "x"]}],
    });
    let selector = Selector::from_value(Some(&tree)).expect("a selector");
    assert_eq!(selector.to_string(), "a=1,b=2,c notin (x,y)");
    assert!(Selector::from_value(None).expect("nothing").is_nothing());
    assert!(
        Selector::from_value(Some(&json!({})))
            .expect("everything")
            .is_empty()
    );
    let wrong = json!({"matchExpressions": [{"key": "c", "operator": "Near"}]});
    let error = Selector::from_value(Some(&wrong)).expect_err("an error");
    assert_eq!(
        error.to_string(),
        "\"Near\" is not a valid label selector operator"
    );
}

#[test]
fn whatever_parses_displays_as_what_parses_the_same() {
    const PIECES: &[&str] = &[
        "a", "in", "notin", "x.io/b", "(", ")", ",", "=", "==", "!=", "!", ">", "<", " ", "7", "é",
        "-",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let mut parsed = 0;
    for _ in 0..50_000 {
        let text: String = (0..random.usize(1..9))
            .map(|_| PIECES[random.usize(..PIECES.len())])
            .collect();
        if let Ok(selector) = Selector::parse(&text) {
            parsed += 1;
            let again = Selector::parse(&selector.to_string());
            assert_eq!(again.as_ref(), Ok(&selector), "{text}");
        }
    }
    assert!(parsed > 1000, "{parsed}");
}
