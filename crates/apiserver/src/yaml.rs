//! YAML as upstream's `sigs.k8s.io/yaml` reads and writes it: 1.1 where the two versions differ.
//!
//! `yes` and `off` are booleans and `0644` is octal; strings that look like either are written in quotes.

mod keys;

use knarr_api::schema;
use knarr_meta::patch::MAX_DEPTH;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::Value;
use serde_saphyr::{
    DefaultMessageFormatter, DuplicateKeyPolicy, MessageFormatter, budget, options, ser_options,
};

use self::keys::Keys;

/// Longer keys are no simple keys of YAML, which take up to 1024 characters.
const KEY_BYTES: usize = 1000;

/// The parser nests with its document, and takes tens of kilobytes a level where nothing is optimized. So many are read on the stack
/// of the request; deeper ones on a stack that is made for [`MAX_DEPTH`].
const LEVELS_HERE: usize = 16;
const STACK_BYTES: usize = 32 << 20;

/// What a document may have beyond what its length explains: aliases repeat.
const SLACK: usize = 10_000;

/// Parses a document; those that follow it are not looked at. What it may use grows with its length and no faster.
pub fn parse(text: &[u8]) -> Result<Value, String> {
    read(text, DuplicateKeyPolicy::LastWins).map_err(|error| problem(&error))
}

/// What is wrong with a document, as upstream's parser tells it: a line counts from the second on.
fn problem(error: &serde_saphyr::Error) -> String {
    let what = DefaultMessageFormatter.format_message(error.without_snippet());
    match error.location().map(|location| location.line()) {
        Some(line) if line > 1 => format!("line {line}: {what}"),
        _ => what.into_owned(),
    }
}

/// Reads a document as [`parse`], and where `look` asks for it, what upstream says of a key that it has twice in one mapping.
pub fn document(text: &[u8], look: bool) -> Result<(Value, Option<String>), String> {
    if let Some(tree) = plain_json(text) {
        return Ok((tree, None));
    }
    let tree = parse(text)?;
    let twice = if look { duplicate(text) } else { None };
    Ok((tree, twice))
}

/// A JSON object on one line, as programs send configurations, where YAML reads the same in many more steps. `None` for whatever both
/// might read in different ways (most escapes, fractions, tabs, merge keys), and for keys that are there twice.
fn plain_json(text: &[u8]) -> Option<Value> {
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    if !line.starts_with(b"{") || !is_plain_text(line) {
        return None;
    }
    let (tree, twice) = schema::parse::tree(line).ok()?;
    (twice.is_empty() && is_plain(&tree)).then_some(tree)
}

/// Whether YAML has no other view of a text's characters and escapes.
fn is_plain_text(line: &[u8]) -> bool {
    let mut escaped = false;
    line.iter().all(|byte| {
        let plain = match escaped {
            true => matches!(byte, b'"' | b'\\' | b'n' | b't'),
            false => matches!(byte, b' '..=b'~') && *byte != b'<',
        };
        escaped = !escaped && *byte == b'\\';
        plain
    })
}

/// Whether YAML has no other view of a tree's numbers and keys.
fn is_plain(tree: &Value) -> bool {
    match tree {
        Value::Number(number) => number.is_i64(),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(map) => map
            .iter()
            .all(|(key, value)| key.len() <= KEY_BYTES && is_plain(value)),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// How that begins which upstream says of a document; a line each follows.
pub const UNMARSHAL_ERRORS: &str = "yaml: unmarshal errors:\n";

/// What upstream says of a document that has keys twice in one mapping.
fn duplicate(text: &[u8]) -> Option<String> {
    let refused = read::<Value>(text, DuplicateKeyPolicy::Error).err()?;
    let serde_saphyr::Error::DuplicateMappingKey { .. } = refused.without_snippet() else {
        return None;
    };
    let Keys(twice) = read(text, DuplicateKeyPolicy::PassThrough).ok()?;
    let lines = twice.iter().map(|(line, key)| {
        let key = knarr_meta::field::quote(key);
        format!("  line {line}: key {key} already set in map")
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    (!twice.is_empty()).then(|| format!("{UNMARSHAL_ERRORS}{lines}"))
}

/// A stream up to the line that ends its first document. Such a line is at no other place: whatever is within a document has something
/// before it.
fn first_document(text: &[u8]) -> &[u8] {
    let mut at = 0;
    let mut has_content = false;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let bare = line.trim_ascii();
        let marks = |mark: &[u8]| {
            let rest = line.strip_prefix(mark);
            rest.is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
        };
        if marks(b"...") || (has_content && marks(b"---")) {
            return &text[..at];
        }
        // The line that begins a document may have something in it.
        let begins = marks(b"---");
        has_content |=
            begins || !(bare.is_empty() || bare.starts_with(b"#") || bare.starts_with(b"%"));
        at += line.len();
    }
    text
}

fn read<T>(text: &[u8], duplicates: DuplicateKeyPolicy) -> Result<T, serde_saphyr::Error>
where
    T: DeserializeOwned + Send,
{
    let text = first_document(text);
    let read = || {
        let limits = budget! {
            max_reader_input_bytes: Some(text.len()),
            max_depth: MAX_DEPTH,
            max_nodes: text.len() + SLACK,
            max_events: 2 * text.len() + SLACK,
            max_total_scalar_bytes: text.len() + SLACK,
        };
        let options = options! {
            budget: limits,
            duplicate_keys: duplicates,
            legacy_octal_numbers: true,
        };
        serde_saphyr::from_slice_with_options(text, options)
    };
    if most_levels(text) <= LEVELS_HERE {
        return read();
    }
    let read = knarr_tasks::waiting(|| knarr_tasks::caught_on_stack(STACK_BYTES, read));
    read.unwrap_or_else(|_| Err(serde_saphyr::Error::custom("the document cannot be read")))
}

/// More levels than a document has: each is opened by a bracket, or is further to the right than the one around it.
fn most_levels(text: &[u8]) -> usize {
    let brackets = text
        .iter()
        .filter(|byte| matches!(byte, b'{' | b'['))
        .count();
    let lines = text.split(|byte| *byte == b'\n');
    let column = lines.map(|line| {
        let marks = |byte: &&u8| matches!(byte, b' ' | b'-' | b'?' | b'\t');
        line.iter().take_while(marks).count()
    });
    brackets + column.max().unwrap_or_default()
}

/// Writes a document.
pub fn write(value: &Value) -> String {
    let options = ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(value, options).unwrap_or_else(|error| {
        tracing::error!(%error, "a tree cannot be written as YAML");
        String::new()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_scalars_as_upstream() {
        for (text, wanted) in [
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("n", json!(false)),
            ("\"yes\"", json!("yes")),
            ("'off'", json!("off")),
            ("true", json!(true)),
            ("~", json!(null)),
            ("0644", json!(420)),
            ("0x1F", json!(31)),
            ("-7", json!(-7)),
            ("1.5", json!(1.5)),
            ("yesterday", json!("yesterday")),
            ("2001-12-14", json!("2001-12-14")),
        ] {
            let document = format!("a: {text}\n");
            assert_eq!(
                parse(document.as_bytes()),
                Ok(json!({"a": wanted})),
                "{text}"
            );
        }
        assert_eq!(parse(b"a: 1\na: 2\n"), Ok(json!({"a": 2})));
        assert!(parse(b"a: [1\n").is_err());
        assert!(parse(b"a: \xff\n").is_err());
    }

    #[test]
    fn a_line_of_json_is_read_as_yaml_reads_it() {
        let long = format!("{{\"{}\":1}}", "k".repeat(KEY_BYTES + 1));
        for (text, plain) in [
            ("{}", true),
            ("{ }\n", true),
            (r#"{"a":1,"b":-7,"c":null,"d":true}"#, true),
            (
                r#"{"a":["yes","0644","~","1.5","null","2001-12-14",""],"b":{"on":{},"off":[]}}"#,
                true,
            ),
            (
                r#"{"a":"x: y # z - {w} [v] & * ! | > ' % @ `","---":"...", "k: v" : "a,b"}"#,
                true,
            ),
            (r#"{"a":9223372036854775807,"b":0}"#, true),
            (r#"{"a":"\u0041\/"}"#, false),
            (r#"{"a":"\n \n\t \\n \" \\"}"#, true),
            (r#"{"a\"b":"\b"}"#, false),
            (r#"{"a":1.5}"#, false),
            (r#"{"a":1e3}"#, false),
            (r#"{"a":9223372036854775808}"#, false),
            (r#"{"<<":{"a":1},"b":2}"#, false),
            (r#"{"a":1,"a":2}"#, false),
            ("{\"a\":\"\u{e9}\"}", false),
            ("{\"a\":\n1}", false),
            ("{\t\"a\":1}", false),
            ("[1]", false),
            ("\"a\"", false),
            ("{a: 1}", false),
            ("{\"a\":1}\n\n", false),
            ("{\"a\":1} x", false),
            (&long, false),
        ] {
            let read = plain_json(text.as_bytes());
            assert_eq!(read.is_some(), plain, "{text}");
            if let Some(read) = read {
                assert_eq!(Ok(read), parse(text.as_bytes()), "{text}");
                assert_eq!(duplicate(text.as_bytes()), None, "{text}");
            }
        }
        let told = "yaml: unmarshal errors:\n  line 1: key \"a\" already set in map";
        let twice = document(br#"{"a":1,"a":2}"#, true);
        assert_eq!(twice, Ok((json!({"a": 2}), Some(told.to_owned()))));
        let unasked = document(br#"{"a":1,"a":2}"#, false);
        assert_eq!(unasked, Ok((json!({"a": 2}), None)));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let nested = "mapping values are not allowed in this context";
        for (text, wanted) in [
            ("a: b: c", nested.to_owned()),
            ("a: 1\nb: c: d\n", format!("line 2: {nested}")),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(wanted), "{text}");
        }
        let open = parse(b"a: 1\nb: [\n").unwrap_err();
        assert!(!open.contains('\n') && open.starts_with("line "), "{open}");
    }

    #[test]
    fn the_first_document_counts() {
        for (text, wanted) in [
            ("a: 1\n---\na: 2\n", json!({"a": 1})),
            ("# c\n---\na: 1\n---\nb: [\n", json!({"a": 1})),
            ("%YAML 1.1\n--- \na: 1\n...\nb: [", json!({"a": 1})),
            ("--- {a: 1}\n---\n", json!({"a": 1})),
            ("a: |\n  x\n  ---\n  y\n", json!({"a": "x\n---\ny\n"})),
            ("a: ----\nb: ---x\n", json!({"a": "----", "b": "---x"})),
            ("---\n---\na: 1\n", json!(null)),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(wanted), "{text}");
        }
        let twice = "a: 1\nb: 1\nb: 2\n";
        let told = "yaml: unmarshal errors:\n  line 3: key \"b\" already set in map";
        assert_eq!(duplicate(twice.as_bytes()).as_deref(), Some(told));
        assert_eq!(duplicate(b"a: 1\n---\na: 2\n"), None);
        let more =
            "m:\n  a: 1\n  b: {c: 1, c: 2}\n  a: 2\nl:\n- x: 1\n  x:\n    y: 1\n    y: 2\nm: 3\n";
        let told = "yaml: unmarshal errors:\n  line 3: key \"c\" already set in map\n  line 4: key \"a\" already set in map\n  line 9: key \"y\" already set in map\n  line 8: key \"x\" already set in map\n  line 10: key \"m\" already set in map";
        assert_eq!(duplicate(more.as_bytes()).as_deref(), Some(told));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let value = json!({
            "text": ["yes", "off", "y", "0644", "1", "1.5", "null", "~", "", " x ", "a: b", "two\nlines\n", "1:30", "2001-12-14", "#", "-"],
            "yes": {"on": true, "empty": {}, "none": []},
            "numbers": [1, -1, 1.5, u64::MAX],
            "long": "word ".repeat(50),
        });
        let text = write(&value);
        assert_eq!(parse(text.as_bytes()), Ok(value.clone()), "{text}");
        assert!(text.contains("\"yes\"") || text.contains("'yes'"), "{text}");
    }

    /// Custom resource definitions have schemas of forty levels and more.
    #[test]
    fn documents_may_be_as_deep_as_objects() {
        let flow = |levels: usize| format!("{}1{}", "{a: ".repeat(levels), "}".repeat(levels));
        let lists = |levels: usize| format!("{}1", "- ".repeat(levels));
        let block = |levels: usize| -> String {
            let lines = (0..levels).map(|level| format!("{}a:\n", " ".repeat(level)));
            lines.collect::<String>() + &" ".repeat(levels) + "1"
        };
        for (form, made) in [
            ("flow", &flow as &dyn Fn(usize) -> String),
            ("lists", &lists),
            ("block", &block),
        ] {
            for levels in [1, 15, 17, 40, MAX_DEPTH - 1] {
                let tree = parse(made(levels).as_bytes());
                assert_eq!(tree.map(|tree| depth(&tree)), Ok(levels), "{form}");
                let twice = match form {
                    "flow" => format!("{{z: 1, z: {}}}", made(levels - 1)),
                    "lists" => format!("z: 1\nz:\n {}", made(levels - 1)),
                    _ => format!("{}\na: 1\n", made(levels)),
                };
                assert!(duplicate(twice.as_bytes()).is_some(), "{form} {levels}");
            }
            let refused = parse(made(MAX_DEPTH + 2).as_bytes());
            assert!(refused.is_err(), "{form}");
        }
    }

    fn depth(tree: &Value) -> usize {
        let inner = match tree {
            Value::Object(map) => map.values().map(depth).max(),
            Value::Array(items) => items.iter().map(depth).max(),
            _ => return 0,
        };
        1 + inner.unwrap_or_default()
    }

    #[test]
    fn aliases_cannot_grow_a_document_without_end() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let before = format!("*a{}", n - 1);
            let many = vec![before; 8].join(", ");
            bomb.push_str(&format!("a{n}: &a{n} [{many}]\n"));
        }
        assert!(parse(bomb.as_bytes()).is_err());
        let deep = "[".repeat(10_000);
        assert!(parse(deep.as_bytes()).is_err());
    }
}
