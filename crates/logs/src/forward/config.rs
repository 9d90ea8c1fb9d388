//! What a user writes to have logs forwarded: `--log-config FILE`, YAML.
//!
//! ```yaml
//! outputs:
//! - name: central
//!   fluentForward: {address: logs.example.com:24224}     # or one of those below
//!   namespaces: [shop, payments]                         # all but excludeNamespaces, unless given
//!   labelSelector: tier!=test
//!   annotationSelector: example.com/logs!=none
//!   podLinesPerSecond: 1000                              # more of a pod is left out, and counted
//! - {name: traces, otlp: {endpoint: "https://collector:4318", headers: {authorization: Bearer x}, caFile: ca.pem}}
//! - {name: loki, loki: {endpoint: "http://loki:3100", tenant: a}}
//! - {name: search, elasticsearch: {endpoint: "https://es:9200", index: knarr}}
//! - {name: disk, file: {path: /var/log/all.jsonl, maxBytes: 100Mi}}
//! ```

use std::{collections::BTreeSet, fs::File, io::Read, path::Path};

use knarr_meta::labels::Selector;
use serde::Deserialize;

use super::filter::Filter;
pub use super::output::Output;

/// Longest file, bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Outputs of a node: each holds a block and a batch in memory.
const MAX_OUTPUTS: usize = 8;

/// A configuration of forwarding.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Forwarding {
    #[serde(default)]
    pub outputs: Vec<Output>,
}

impl Forwarding {
    /// Reads a file.
    ///
    /// # Errors
    /// In a line, for its author: what cannot be read, is not known or makes no sense.
    pub fn read(path: &Path) -> Result<Self, String> {
        let mut text = String::new();
        let file = File::open(path).map_err(|error| error.to_string())?;
        let read = file.take(MAX_FILE_BYTES).read_to_string(&mut text);
        read.map_err(|error| error.to_string())?;
        Self::parse(&text)
    }

    /// As [`Self::read`], of its text.
    ///
    /// # Errors
    /// As there.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parsed: Option<Self> =
            serde_saphyr::from_str(text).map_err(|error| error.to_string().replace('\n', " "))?;
        let parsed = parsed.unwrap_or_default();
        if parsed.outputs.len() > MAX_OUTPUTS {
            return Err(format!("there are more than {MAX_OUTPUTS} outputs"));
        }
        let mut names = BTreeSet::new();
        for output in &parsed.outputs {
            let name = &output.name;
            if !is_label(name) {
                return Err(format!("output {name:?}: the name has to be a DNS label"));
            }
            if !names.insert(name) {
                return Err(format!("output {name}: there are two of this name"));
            }
            let checked = check(output);
            checked.map_err(|error| format!("output {name}: {error}"))?;
        }
        Ok(parsed)
    }

    /// Keys of annotations that filters ask for.
    pub(crate) fn annotations(&self) -> BTreeSet<String> {
        let selectors = self.outputs.iter().filter_map(|output| {
            let text = output.annotation_selector.as_deref()?;
            Selector::parse(text).ok()
        });
        selectors
            .flat_map(|selector| {
                let keys = selector.requirements().iter().map(|r| r.key().to_owned());
                keys.collect::<Vec<_>>()
            })
            .collect()
    }
}

fn check(output: &Output) -> Result<(), String> {
    Filter::new(output)?;
    output.receiver().map(|_| ())
}

fn is_label(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration, and the start of what is said against it.
    const CASES: &[(&str, &str)] = &[
        ("", ""),
        ("outputs: []", ""),
        (
            "outputs: [{name: a, fluentForward: {address: 'h:24224'}, namespaces: [x]}]",
            "",
        ),
        (
            "outputs: [{name: a, otlp: {endpoint: 'http://h:4318', headers: {authorization: x}}}]",
            "",
        ),
        (
            "outputs: [{name: a, loki: {endpoint: 'https://h', tenant: t}, podLinesPerSecond: 5}]",
            "",
        ),
        (
            "outputs: [{name: a, elasticsearch: {endpoint: 'http://h:9200', index: i}}]",
            "",
        ),
        (
            "outputs: [{name: a, file: {path: /x, maxBytes: 1Mi}, labelSelector: 'a in (b)'}]",
            "",
        ),
        (
            "outputs: [{name: a, file: {path: x}}]",
            "output a: file.path has to begin at the root",
        ),
        (
            "outputs: [{name: a, file: {path: /x, maxBytes: 0}}]",
            "output a: file.maxBytes has to be more than nothing",
        ),
        ("outputs: [{name: a}]", "output a: exactly one of"),
        (
            "outputs: [{name: a, file: {path: /x}, loki: {endpoint: 'http://h'}}]",
            "output a: exactly one of",
        ),
        (
            "outputs: [{name: A_b, file: {path: /x}}]",
            "output \"A_b\": the name has to be",
        ),
        (
            "outputs: [{name: a, file: {path: /x}}, {name: a, file: {path: /y}}]",
            "output a: there are two",
        ),
        (
            "outputs: [{name: a, fluentForward: {address: h}}]",
            "output a: fluentForward.address",
        ),
        (
            "outputs: [{name: a, otlp: {endpoint: 'ftp://h'}}]",
            "output a: endpoint ftp://h",
        ),
        (
            "outputs: [{name: a, otlp: {endpoint: 'http://h', headers: {'a b': c}}}]",
            "output a: \"a b\" is no header",
        ),
        (
            "outputs: [{name: a, otlp: {endpoint: 'http://h', caFile: /nowhere}}]",
            "output a: caFile /nowhere",
        ),
        (
            "outputs: [{name: a, file: {path: /x}, labelSelector: 'a=b=c'}]",
            "output a: labelSelector",
        ),
        (
            "outputs: [{name: a, file: {path: /x}, color: red}]",
            "color",
        ),
        ("sinks: []", "sinks"),
        ("outputs: [", ""),
    ];

    #[test]
    fn what_makes_no_sense_is_refused_in_a_line() {
        for (text, wanted) in CASES.iter().copied() {
            let parsed = Forwarding::parse(text);
            let said = parsed.as_ref().err().cloned().unwrap_or_default();
            assert!(said.contains(wanted), "{text}: {said}");
            assert_eq!(
                wanted.is_empty() && text != "outputs: [",
                parsed.is_ok(),
                "{text}: {said}"
            );
            assert!(!said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn annotations_are_kept_that_somebody_asks_for() {
        let text = "outputs: [{name: a, file: {path: /x}, annotationSelector: 'a.b/c!=d,e'}]";
        let keys = Forwarding::parse(text).unwrap().annotations();
        assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["a.b/c", "e"]);
    }
}
