use hickory_proto::{
    op::{MessageType, OpCode, Query},
    rr::{
        RecordType,
        rdata::{A, CNAME},
    },
};

use super::*;

fn rules(texts: &[&str]) -> Vec<Rewrite> {
    let parse = |text: &&str| {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        Rewrite::parse(&words).unwrap()
    };
    texts.iter().map(parse).collect()
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn asked(texts: &[&str], text: &str) -> Option<String> {
    rewrite(&rules(texts), &name(text)).map(|(name, _)| name.to_ascii())
}

#[test]
fn names_become_others() {
    for (rule, from, to) in [
        (
            "name a.example.com b.svc.cluster.local",
            "A.example.com.",
            Some("b.svc.cluster.local."),
        ),
        ("name exact a b", "x.a.", None),
        (
            "name suffix .example.com .svc.cluster.local",
            "web.example.com.",
            Some("web.svc.cluster.local."),
        ),
        (
            "name suffix .example.com .svc.cluster.local",
            "example.com.",
            None,
        ),
        (
            "name prefix old- new-",
            "old-web.example.com.",
            Some("new-web.example.com."),
        ),
        (
            "name substring .old. .new.",
            "a.old.example.com.",
            Some("a.new.example.com."),
        ),
        (
            r"name regex (.*)\.example\.com\.$ {1}.default.svc.cluster.local",
            "web.example.com.",
            Some("web.default.svc.cluster.local."),
        ),
        ("stop name a. b.", "a.", Some("b.")),
    ] {
        assert_eq!(asked(&[rule], from).as_deref(), to, "{rule} {from}");
    }
}

#[test]
fn rules_end_with_the_first_that_fits_unless_they_go_on() {
    assert_eq!(
        asked(&["name a b", "name b c"], "a.").as_deref(),
        Some("b.")
    );
    assert_eq!(
        asked(&["continue name a b", "name b c"], "a.").as_deref(),
        Some("c.")
    );
    assert_eq!(
        asked(&["name x b", "name a c"], "a.").as_deref(),
        Some("c.")
    );
}

#[test]
fn what_is_not_understood_is_said() {
    for (text, told) in [
        ("", "rewrite knows names only, and not \"\""),
        ("stop", "rewrite says nothing to rewrite"),
        ("type AAAA A", "rewrite knows names only, and not \"type\""),
        ("name a", "rewrite name takes a name and what it becomes"),
        (
            "name glob a b",
            "a name is matched as exact, prefix, suffix, substring or regex, and not as \"glob\"",
        ),
        (
            "name suffix a b ttl 5",
            "\"ttl\" stands where an answer's rule would",
        ),
        (
            "name suffix a b answer",
            "an answer's rule is auto, name FROM TO or value FROM TO",
        ),
    ] {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        assert_eq!(Rewrite::parse(&words).unwrap_err(), told, "{text}");
    }
    let words = ["name", "regex", "(", "a"].map(str::to_owned);
    assert!(
        Rewrite::parse(&words)
            .unwrap_err()
            .starts_with("\"(\" is no pattern")
    );
    let long = ["name", "regex", &"a".repeat(10_001), "a"].map(str::to_owned);
    assert!(Rewrite::parse(&long).is_err());
}

/// Question, and each record's name with its value.
fn undone(texts: &[&str], question: &str, records: &[(&str, &str)]) -> Vec<String> {
    let (other, undo) = rewrite(&rules(texts), &name(question)).unwrap();
    let mut answer = Message::new(1, MessageType::Response, OpCode::Query);
    answer.add_query(Query::query(other, RecordType::A));
    for (owner, value) in records {
        let data = match value.parse() {
            Ok(address) => RData::A(A(address)),
            Err(_) => RData::CNAME(CNAME(name(value))),
        };
        answer.add_answer(Record::from_rdata(name(owner), 5, data));
    }
    undo.apply(&mut answer);
    let shown = |record: &Record| format!("{} {}", record.name, record.data);
    let question = answer.queries[0].name().to_string();
    std::iter::once(question)
        .chain(answer.answers.iter().map(shown))
        .collect()
}

#[test]
fn answers_are_to_what_was_asked() {
    let exact = undone(
        &["name A.example.com b.local"],
        "a.Example.com.",
        &[("b.local.", "x.b.local."), ("x.b.local.", "10.0.0.1")],
    );
    assert_eq!(
        exact,
        [
            "a.Example.com.",
            "a.example.com. x.a.example.com.",
            "x.a.example.com. 10.0.0.1"
        ]
    );
    let records = [("web.local.", "10.0.0.1")];
    let plain = undone(
        &["name suffix .example.com .local"],
        "web.example.com.",
        &records,
    );
    assert_eq!(plain, ["web.example.com.", "web.local. 10.0.0.1"]);
    let auto = undone(
        &["name suffix .example.com .local answer auto"],
        "web.example.com.",
        &records,
    );
    assert_eq!(auto, ["web.example.com.", "web.example.com. 10.0.0.1"]);
    let named = undone(
        &[r"name regex (.*)\.example\.com\. {1}.local answer name (.*)\.local\. {1}.example.com"],
        "web.example.com.",
        &records,
    );
    assert_eq!(named, ["web.example.com.", "web.example.com. 10.0.0.1"]);
}
