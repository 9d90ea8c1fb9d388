//! The differences that are known: `docs/differences/validation.tsv`, a row for each cause.
//!
//! Columns: `kinds`, a pattern of the kind's name; `difference`, a pattern of the difference in the report's words;
//! `upstream`, where upstream's source has it; `why`. Both patterns are regular expressions that match the whole.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;

const COLUMNS: &str = "kinds\tdifference\tupstream\twhy";
/// More would be a list that nobody reads.
const ROWS: usize = 20;

struct Row {
    kinds: Regex,
    difference: Regex,
    text: String,
    seen: bool,
}

/// The rows of the file.
pub struct Known {
    rows: Vec<Row>,
}

impl Known {
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        ensure!(lines.next() == Some(COLUMNS), "the columns are {COLUMNS:?}");
        let rows = lines.map(row).collect::<Result<Vec<_>>>()?;
        ensure!(
            rows.len() <= ROWS,
            "{} rows are more than {ROWS}",
            rows.len()
        );
        Ok(Self { rows })
    }

    /// Whether a difference is known; its row has been seen then.
    pub fn has(&mut self, kind: &str, difference: &str) -> bool {
        let mut known = false;
        for row in &mut self.rows {
            if row.kinds.is_match(kind) && row.difference.is_match(difference) {
                row.seen = true;
                known = true;
            }
        }
        known
    }

    /// Rows that no difference of this run fits.
    pub fn unseen(&self) -> impl Iterator<Item = &str> {
        self.rows
            .iter()
            .filter(|row| !row.seen)
            .map(|row| row.text.as_str())
    }
}

fn row(line: &str) -> Result<Row> {
    let cells: Vec<&str> = line.split('\t').collect();
    let [kinds, difference, upstream, why] = cells[..] else {
        bail!("{line:?} has {} columns", cells.len());
    };
    ensure!(
        !upstream.is_empty() && !why.is_empty(),
        "{line:?} lacks a reason"
    );
    let whole = |pattern: &str| {
        Regex::new(&format!("^(?:{pattern})$")).with_context(|| format!("{pattern} is no pattern"))
    };
    Ok(Row {
        kinds: whole(kinds)?,
        difference: whole(difference)?,
        text: format!("{kinds} {difference}"),
        seen: false,
    })
}

#[cfg(test)]
mod tests {
    use knarr_testkit::image::workspace;

    use super::*;
    use crate::validation::report::KNOWN;

    #[test]
    fn rows_fit_whole_differences() {
        let text = format!("{COLUMNS}\nPod|Node\tobject spec\\.a: .*\tpkg/a.go\tbecause\n");
        let mut known = Known::parse(&text).unwrap();
        assert_eq!(known.unseen().count(), 1);
        assert!(!known.has("Pods", "object spec.a: 1 | 2"));
        assert!(!known.has("Pod", "an object spec.a: 1 | 2"));
        assert!(known.has("Node", "object spec.a: 1 | 2"));
        assert_eq!(known.unseen().count(), 0);
    }

    #[test]
    fn a_row_needs_its_reason() {
        for row in [
            "Pod\ta\tpkg/a.go",
            "Pod\ta\tpkg/a.go\t",
            "Pod\t(\tpkg/a.go\tbecause",
        ] {
            assert!(
                Known::parse(&format!("{COLUMNS}\n{row}\n")).is_err(),
                "{row}"
            );
        }
    }

    #[test]
    fn the_list_can_be_read() {
        Known::load(&workspace().join(KNOWN)).unwrap();
    }
}
