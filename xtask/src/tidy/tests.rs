use std::collections::BTreeMap;

use super::{
    bare,
    circles::{self, Arrows},
    imports::Files,
    lengths::Lengths,
    modules::Modules,
    source::Source,
};

fn source(path: &str, text: &str) -> Source {
    Source::new(path.into(), text.to_owned())
}

/// The files of a crate `c`, by their names below `src`.
fn files(texts: &[(&str, &str)]) -> Files {
    let sources: Vec<Source> = texts
        .iter()
        .map(|(path, text)| source(&format!("crates/c/src/{path}"), text))
        .collect();
    let by_path = sources.iter().map(|source| (source.path.as_path(), source));
    let by_path: BTreeMap<_, _> = by_path.collect();
    let modules = Modules::read(&sources[0].path, &by_path).expect("tokens");
    Files::of(&modules)
}

/// Every arrow, as `from -> to: names`.
fn arrows(texts: &[(&str, &str)]) -> Vec<String> {
    let short = |path: &str| path.trim_start_matches("crates/c/src/").to_owned();
    let files = files(texts);
    let all = files.0.iter().flat_map(|(from, to)| {
        to.iter().map(move |(to, names)| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            format!("{} -> {}: {}", short(from), short(to), names.join(" "))
        })
    });
    all.collect()
}

#[test]
fn arrows_lead_to_where_names_are_defined() {
    let roots = "mod a; mod b;";
    for (what, a, b, wanted) in [
        ("a use", "use crate::b::X;", "pub struct X;", "X"),
        (
            "a path",
            "fn f() { crate::b::g(1) }",
            "pub fn g(_: u8) {}",
            "g",
        ),
        (
            "inside a macro",
            "fn f() { vec![super::b::X] }",
            "pub struct X;",
            "X",
        ),
        (
            "several",
            "use crate::{b::{X, Y as Z}};",
            "pub struct X; pub struct Y;",
            "X Y",
        ),
        ("all of it", "use super::b::*;", "pub struct X;", "b"),
        ("a module is none", "use crate::b;", "pub struct X;", ""),
        (
            "what it has is one",
            "use crate::b; fn f(_: b::X) {}",
            "pub struct X;",
            "X",
        ),
        (
            "what only tests use",
            "#[cfg(test)] mod tests { use crate::b::X; }",
            "pub struct X;",
            "",
        ),
        (
            "what only tests have",
            "#[cfg(test)] use crate::b::X;",
            "pub struct X;",
            "",
        ),
        (
            "another crate's",
            "use b2::X; use ::b::X as Y;",
            "pub struct X;",
            "",
        ),
        (
            "a text and a comment",
            "// crate::b::X\nconst T: &str = \"crate::b::X\";",
            "pub struct X;",
            "",
        ),
        (
            "visibility",
            "pub(in crate::b) struct Y;",
            "pub struct X;",
            "",
        ),
        (
            "a method's path",
            "fn f() { crate::b::X::new() }",
            "pub struct X;",
            "new",
        ),
    ] {
        let found = arrows(&[("lib.rs", roots), ("a.rs", a), ("b.rs", b)]);
        let wanted: Vec<String> = match wanted {
            "" => Vec::new(),
            names => vec![format!("a.rs -> b.rs: {names}")],
        };
        assert_eq!(found, wanted, "{what}");
    }
}

#[test]
fn a_name_that_is_handed_on_leads_to_its_own_file() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::X;"),
        ("b.rs", "mod c; pub use c::X;"),
        ("b/c.rs", "pub struct X;"),
    ]);
    assert_eq!(found, ["a.rs -> b/c.rs: X"]);
    let used = arrows(&[
        ("lib.rs", "mod b;"),
        ("b.rs", "mod c; pub use c::X; fn f(_: X) {}"),
        ("b/c.rs", "pub struct X;"),
    ]);
    assert_eq!(
        used,
        ["b.rs -> b/c.rs: X"],
        "who hands it on may use it, too"
    );
}

#[test]
fn a_child_may_name_what_its_parent_has() {
    let texts = [
        ("lib.rs", "mod a; pub struct Root;"),
        ("a.rs", "mod b; use b::X; pub struct Own;"),
        (
            "a/b.rs",
            "use super::Own; use crate::Root; pub struct X(Own, Root);",
        ),
    ];
    assert_eq!(arrows(&texts), ["a.rs -> a/b.rs: X"]);
    assert!(files(&texts).circles().is_empty());
}

#[test]
fn circles_are_told_with_what_ties_them() {
    let files = files(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "use crate::a::A; pub struct C;"),
    ]);
    let told = files.circles();
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains("crates/c/src/c.rs -> crates/c/src/a.rs: A"),
        "{}",
        told[0]
    );
    for excepted in [
        "crates/c/src/c.rs",
        "crates/c/src/c.rs -> crates/c/src/a.rs",
    ] {
        assert!(files.without(&[excepted]).circles().is_empty());
        assert_eq!(files.needed(&[excepted]), [excepted]);
    }
    let open = files.without(&["crates/c/src/b.rs"]);
    assert!(open.needed(&["crates/c/src/c.rs"]).is_empty());
}

#[test]
fn floors_are_counted_down_the_longest_way() {
    let arrows: Arrows<'_> = [
        ("a", vec!["b", "d"]),
        ("b", vec!["c"]),
        ("c", vec!["b"]),
        ("d", vec![]),
        ("e", vec!["a"]),
    ]
    .into_iter()
    .map(|(from, to)| (from, to.into_iter().collect()))
    .collect();
    assert_eq!(circles::floors(&arrows), ["e", "a", "(b + c)"]);
}

fn told(path: &str, text: &str) -> Vec<String> {
    let mut found = Lengths::default();
    found.measure(&source(path, text)).expect("tokens");
    found.problems(&[], &[])
}

#[test]
fn long_files_and_functions_are_told() {
    let body = |lines: usize| format!("struct A;\nfn f() {{\n{}}}\n", "    g();\n".repeat(lines));
    let table = format!(
        "fn f() {{\n    let t = [\n{}    ];\n}}\n",
        "        1,\n".repeat(100)
    );
    let most = "// a line\n".repeat(500);
    for (path, text, wanted) in [
        ("crates/c/src/a.rs", body(68), ""),
        (
            "crates/c/src/a.rs",
            body(69),
            "crates/c/src/a.rs:2 f has 71 lines (limit 70)",
        ),
        (
            "crates/c/src/a.rs",
            table.clone(),
            "crates/c/src/a.rs:1 f has 104 lines (limit 70)",
        ),
        ("crates/c/src/a/tests.rs", table.clone(), ""),
        ("crates/c/tests/it/a.rs", table, ""),
        ("crates/c/src/a.rs", most.clone(), ""),
        (
            "crates/c/src/a.rs",
            most + "\n",
            "crates/c/src/a.rs has 501 lines (limit 500)",
        ),
    ] {
        let wanted: Vec<&str> = Some(wanted)
            .filter(|text| !text.is_empty())
            .into_iter()
            .collect();
        assert_eq!(told(path, &text), wanted);
    }
}

#[test]
fn exceptions_are_needed() {
    let long = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(90));
    let mut found = Lengths::default();
    found.measure(&source("a.rs", &long)).expect("tokens");
    let functions = [("a.rs f", "why"), ("b.rs f", "why")];
    let told = found.problems(&[("c.rs", "why")], &functions);
    let wanted =
        ["c.rs", "b.rs f"].map(|what| format!("{what} is not too long: it needs no exception"));
    assert_eq!(told, wanted);
}

#[test]
fn deletes_name_what_they_delete() {
    let found = |path: &str, text: &str| bare::calls(&[source(path, text)]).len();
    let by_name = "api.delete(name, &DeleteParams::default()).await";
    assert_eq!(found("crates/scheduler/src/a.rs", by_name), 1);
    assert_eq!(found("crates/kubelet/src/a.rs", by_name), 1);
    let by_uid = "DeleteParams { preconditions, ..DeleteParams::default() }";
    assert_eq!(found("crates/kubelet/src/a.rs", by_uid), 0);
}

#[test]
fn clients_wait_when_they_are_told_to() {
    for (text, wanted) in [
        ("let client = kube::Client::new(service, \"default\");", 1),
        (
            "use kube::{Api, Client};\nlet client = Client::try_from(config)?;",
            1,
        ),
        (
            "use kube::Client;\nlet client = Client::new(service, \"default\");",
            1,
        ),
        (
            "let builder = kube::client::ClientBuilder::try_from(config)?;",
            1,
        ),
        (
            "use kube::{Api, Client};\nlet client = http::Client::new(tls);",
            0,
        ),
        (
            "use kube::{Api, Client};\nlet client = RegistrationClient::new(dial);",
            0,
        ),
        (
            "use kube::Api;\nuse super::Client;\nlet client = Client::new(tls);",
            0,
        ),
        ("let client = throttle::client(config)?;", 0),
    ] {
        let found = bare::calls(&[source("crates/knarr/src/a.rs", text)]);
        assert_eq!(found.len(), wanted, "{text}: {found:?}");
    }
}
