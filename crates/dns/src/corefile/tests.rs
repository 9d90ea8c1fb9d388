use super::*;

fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    files.iter().map(owned).collect()
}

/// Blocks, plugins and properties, a line each.
fn shown(text: &str, others: &[(&str, &str)]) -> Vec<String> {
    let blocks = match parse("Corefile", text, &files(others)) {
        Ok(blocks) => blocks,
        Err(error) => return vec![error.to_string()],
    };
    let mut lines = Vec::new();
    for block in blocks {
        lines.push(format!("{:?}", block.line.words));
        for directive in block.directives {
            lines.push(format!(" {:?}", directive.line.words));
            let properties = directive.block.iter();
            lines.extend(properties.map(|property| format!("  {:?}", property.words)));
        }
    }
    lines
}

#[test]
fn blocks_have_plugins_and_plugins_have_properties() {
    let text = r#"
        # The cluster's names.
        .:53 example.com,
        example.org {
            errors # each
            rewrite name "a b" "say \"so\"" b#c
            forward . /etc/resolv.conf {
                max_concurrent 1000
            }
        }
        other.example.com {
        }
    "#;
    assert_eq!(
        shown(text, &[]),
        [
            r#"[".:53", "example.com,", "example.org"]"#,
            r#" ["errors"]"#,
            r#" ["rewrite", "name", "a b", "say \"so\"", "b#c"]"#,
            r#" ["forward", ".", "/etc/resolv.conf"]"#,
            r#"  ["max_concurrent", "1000"]"#,
            r#"["other.example.com"]"#,
        ]
    );
}

#[test]
fn files_of_the_same_map_are_imported() {
    let others = [
        ("a.override", "log\nhosts {\n10.0.0.1 a\n}\n"),
        ("b.override", "cache 30\n"),
        ("c.server", "example.com {\nerrors\n}\n"),
    ];
    let text = ".:53 {\nimport /etc/coredns/custom/*.override\n}\nimport custom/*.server\nimport custom/*.none\n";
    assert_eq!(
        shown(text, &others),
        [
            r#"[".:53"]"#,
            r#" ["log"]"#,
            r#" ["hosts"]"#,
            r#"  ["10.0.0.1", "a"]"#,
            r#" ["cache", "30"]"#,
            r#"["example.com"]"#,
            r#" ["errors"]"#,
        ]
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, told) in [
        ("}", "Corefile:1: a brace closes nothing"),
        (".:53 {\nerrors", "Corefile:1: a block is not closed"),
        (".:53 {\ncache {\n}\n", "Corefile:1: a block is not closed"),
        (".:53", "Corefile:1: a server block has no braces"),
        (
            "errors\n.:53 {\n}",
            "Corefile:1: a server block has no braces",
        ),
        (
            ". {\nforward . 1.2.3.4 {\nx {\n}\n}\n}",
            "Corefile:3: a property has no block of its own",
        ),
        (
            ". { errors }",
            "Corefile:1: \"{\" stands within a line or has no blank",
        ),
        (
            ". {\nbind {$IP}\n}",
            "Corefile:2: \"{$IP}\" names a variable of the environment, and there is none",
        ),
        (
            ". {\nlog \"a\n}",
            "Corefile:2: a quote is not closed on its line",
        ),
        (
            "import none",
            "Corefile:1: there is no file \"none\" to import",
        ),
        (
            ". {\nimport x y\n}",
            "Corefile:2: import takes one file or pattern",
        ),
        (
            ". {\nimport a.*.*\n}",
            "Corefile:2: a pattern has one asterisk and no other signs",
        ),
    ] {
        assert_eq!(shown(text, &[]), [told], "{text}");
    }
    let own = [("a", "import a")];
    let told = shown(". {\nimport a\n}", &own);
    assert_eq!(told, ["a:1: a is imported and imports itself"]);
}

/// Files that import each other end, whatever they say.
#[test]
fn imports_of_whole_blocks_have_an_end() {
    let told = shown("import a", &[("a", "import b"), ("b", "import a")]);
    assert_eq!(told, ["b:1: files are imported too deep"]);
}
