//! The list of differences that are meant.
//!
//! A line is a difference, or several of one reason: document, place (`*` stands for any text), side that has it (`upstream`,
//! `knarr` or `both`), where upstream's source says it, why it is so here.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use super::compare::Difference;

const HEAD: &str = "document\tplace\tside\tsource\twhy";

/// The list.
pub struct Known(Vec<Line>);

struct Line {
    text: String,
    document: String,
    place: String,
    side: String,
}

/// What a comparison means.
pub struct Outcome<'d> {
    /// Differences that no line has.
    pub unknown: Vec<&'d Difference>,
    /// Lines that are no difference any more.
    pub gone: Vec<String>,
    /// How many differences lines have.
    pub known: usize,
}

impl Known {
    pub fn load(path: &Path) -> Result<Known> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Known::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Known> {
        let mut lines = text.lines();
        ensure!(lines.next() == Some(HEAD), "the first line is not {HEAD:?}");
        lines.map(Line::parse).collect::<Result<_>>().map(Known)
    }

    /// Compares what was found with the list.
    pub fn against<'d>(&self, found: &'d [Difference]) -> Outcome<'d> {
        let (known, unknown): (Vec<&Difference>, Vec<&Difference>) = found
            .iter()
            .partition(|difference| self.0.iter().any(|line| line.is(difference)));
        let is_gone = |line: &&Line| !known.iter().any(|difference| line.is(difference));
        let gone = self.0.iter().filter(is_gone);
        Outcome {
            gone: gone.map(|line| line.text.clone()).collect(),
            known: known.len(),
            unknown,
        }
    }
}

impl Line {
    fn parse(text: &str) -> Result<Line> {
        let columns: Vec<&str> = text.split('\t').collect();
        let [document, place, side, source, why] = columns[..] else {
            anyhow::bail!("not five columns: {text}");
        };
        ensure!(!source.is_empty() && !why.is_empty(), "no reason: {text}");
        ensure!(
            ["upstream", "knarr", "both"].contains(&side),
            "no side: {text}"
        );
        Ok(Line {
            text: text.to_owned(),
            document: document.to_owned(),
            place: place.to_owned(),
            side: side.to_owned(),
        })
    }

    fn is(&self, difference: &Difference) -> bool {
        self.document == difference.document()
            && self.side == difference.side.name()
            && matches(&self.place, &difference.below())
    }
}

/// Whether a text is what a pattern says.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use knarr_testkit::image;
    use serde_json::json;

    use super::*;
    use crate::discovery::{LIST, compare};

    /// More would not be a list of exceptions.
    const MOST: usize = 20;

    #[test]
    fn the_list_is_short_and_every_line_has_its_reason() {
        let known = Known::load(&image::workspace().join(LIST)).unwrap();
        assert!(known.0.len() <= MOST, "{} lines", known.0.len());
    }

    #[test]
    fn patterns_match_whole_places() {
        for (pattern, text, wanted) in [
            ("a b", "a b", true),
            ("a b", "a b c", false),
            ("a * c", "a b b c", true),
            ("a *", "a ", true),
            ("* c", "b d", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn new_differences_and_old_lines_are_told() {
        let known = Known::parse(&format!(
            "{HEAD}\nv2\tpaths *\tupstream\tsource.go\tnot here\nv2\tinfo\tboth\tsource.go\tanother\n"
        ))
        .unwrap();
        let upstream = json!({"v2": {"paths": {"/a": 1}, "other": 1}});
        let found = compare::trees(&upstream, &json!({"v2": {"paths": {}}}));
        let outcome = known.against(&found);
        assert_eq!(outcome.known, 1);
        assert_eq!(outcome.unknown.len(), 1);
        assert_eq!(outcome.unknown[0].below(), "other");
        assert_eq!(outcome.gone, ["v2\tinfo\tboth\tsource.go\tanother"]);
        for bad in [
            "",
            "v2",
            &format!("{HEAD}\nv2\tx\tboth\t\twhy"),
            &format!("{HEAD}\nv2\tx\tno\ts\tw"),
        ] {
            assert!(Known::parse(bad).is_err(), "{bad}");
        }
    }
}
