//! What was found: differences by their cause, each with the requests that show it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::image::workspace;

use super::{
    client::{Answer, Request},
    known::Known,
    objects::Example,
};

/// The differences that are known.
pub const KNOWN: &str = "docs/differences/validation.tsv";
/// Everything that was found, below the folder of the run.
const FILE: &str = "report.txt";
/// Requests that are shown of a difference.
const SHOWN_REQUESTS: usize = 3;
const SHOWN_CHARS: usize = 3000;
/// New differences that are printed; the file has all.
const PRINTED: usize = 60;

#[derive(Default)]
struct Group {
    count: usize,
    known: bool,
    requests: Vec<String>,
}

pub struct Report {
    known: Known,
    groups: BTreeMap<(String, String), Group>,
    requests: usize,
    refused: usize,
    same: usize,
}

impl Report {
    pub fn new() -> Result<Self> {
        Ok(Self {
            known: Known::load(&workspace().join(KNOWN))?,
            groups: BTreeMap::new(),
            requests: 0,
            refused: 0,
            same: 0,
        })
    }

    /// Takes in what was found about one request.
    pub fn note(
        &mut self,
        example: &Example,
        request: &Request,
        theirs: &Answer,
        ours: &Answer,
        differences: Vec<String>,
    ) {
        self.requests += 1;
        self.refused += usize::from(theirs.code >= 400);
        self.same += usize::from(differences.is_empty());
        // A code differs because of something else that does.
        let several = differences.len() > 1;
        for difference in differences {
            if several && difference.starts_with("code ") {
                continue;
            }
            let known = self.known.has(&example.kind, &difference);
            let group = self
                .groups
                .entry((example.kind.clone(), difference))
                .or_default();
            group.count += 1;
            group.known = known;
            if group.requests.len() < SHOWN_REQUESTS {
                group.requests.push(shown(request, theirs, ours));
            }
        }
    }

    /// Writes the report below `folder` and says what is new.
    ///
    /// # Errors
    /// Where something differs that is not known to.
    pub fn finish(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let file = folder.join(FILE);
        fs::write(&file, self.text()).with_context(|| file.display().to_string())?;
        let new: Vec<_> = self
            .groups
            .iter()
            .filter(|(_, group)| !group.known)
            .collect();
        let mut out = io::stdout();
        for ((kind, difference), group) in new.iter().take(PRINTED) {
            writeln!(out, "{:4} {kind}: {difference}", group.count)?;
        }
        for row in self.known.unseen() {
            writeln!(out, "not seen in this run: {row}")?;
        }
        writeln!(
            out,
            "{} requests, of which upstream refused {}; {} answered alike; the rest is in {}",
            self.requests,
            self.refused,
            self.same,
            file.display()
        )?;
        ensure!(
            new.is_empty(),
            "{} difference(s) that {KNOWN} does not know",
            new.len()
        );
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for ((kind, difference), group) in &self.groups {
            let known = if group.known { " (known)" } else { "" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "## {} {kind}: {difference}{known}", group.count);
            for request in &group.requests {
                let _ = writeln!(text, "{request}");
            }
        }
        text
    }
}

fn shown(request: &Request, theirs: &Answer, ours: &Answer) -> String {
    let answer = |answer: &Answer| {
        let body = match answer.body.is_null() {
            true => String::from_utf8_lossy(&answer.bytes).into_owned(),
            false => answer.body.to_string(),
        };
        format!("{} {}", answer.code, short(&body))
    };
    format!(
        "{} {} {}\n  {}\n  body: {}\n  upstream: {}\n  knarr: {}",
        request.verb,
        request.method,
        request.path,
        request.label,
        short(&String::from_utf8_lossy(&request.body)),
        answer(theirs),
        answer(ours)
    )
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::objects;

    #[test]
    fn a_new_difference_fails_and_is_written() {
        let examples = objects::all().unwrap();
        let mut report = Report::new().unwrap();
        let request = Request::new("create", "POST", "/a".to_owned());
        let answer = Answer::default();
        report.note(&examples[0], &request, &answer, &answer, Vec::new());
        let folder = tempfile::tempdir().unwrap();
        report.finish(folder.path()).unwrap();
        let found = vec![
            "code 201 | 422".to_owned(),
            "object nowhere: 1 | 2".to_owned(),
        ];
        report.note(&examples[0], &request, &answer, &answer, found);
        let error = report.finish(folder.path()).unwrap_err();
        assert!(error.to_string().starts_with("1 difference(s)"), "{error}");
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(
            text.contains("## 1 ConfigMap: object nowhere: 1 | 2\ncreate POST /a"),
            "{text}"
        );
    }
}
