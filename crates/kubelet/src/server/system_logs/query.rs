//! What of the services' logs is asked for (upstream's `kubelet_server_journal.go`).

use jiff::Timestamp;
use knarr_meta::field::{Error, Path};

use crate::logs::read::pairs;

const MAX_SERVICES: usize = 4;
const MAX_NAME: usize = 256;
const MAX_LINES: i64 = 100_000;
/// A pattern is compiled by the journal; a longer one is none that a person writes.
const MAX_PATTERN: usize = 4096;

/// A query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub services: Vec<String>,
    pub files: Vec<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    lines: Option<i64>,
    boot: Option<i64>,
    pattern: String,
}

/// As upstream puts several together.
fn joined(errors: Vec<Error>) -> Result<(), String> {
    let mut texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    match texts.len() {
        0 => Ok(()),
        1 => Err(texts.remove(0)),
        _ => Err(format!("[{}]", texts.join(", "))),
    }
}

impl Query {
    /// Reads a URL's query; nothing if it asks for nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(query: &str) -> Result<Option<Self>, String> {
        let all = pairs(query);
        let first = |name: &str| {
            let mut values = all.iter().filter(|(key, _)| key == name);
            let first = values.next().map(|(_, value)| value.clone());
            first.filter(|value| !value.is_empty())
        };
        let mut own = Self::default();
        let mut errors = Vec::new();
        let asked: Vec<String> = all
            .iter()
            .filter(|(key, _)| key == "query")
            .map(|(_, value)| value.clone())
            .collect();
        for one in &asked {
            // What looks like a path is one.
            if one.contains(['/', '\\']) {
                own.files.push(one.replace('\\', "/"));
            } else if !one.trim().is_empty() {
                own.services.push(one.clone());
            }
        }
        if !asked.is_empty() && own.files.is_empty() && own.services.is_empty() {
            errors.push(Error::invalid(
                &Path::new("query"),
                asked,
                "may not be empty",
            ));
        }
        for (name, time) in [("sinceTime", &mut own.since), ("untilTime", &mut own.until)] {
            let Some(text) = first(name) else { continue };
            match text.parse() {
                Ok(parsed) => *time = Some(parsed),
                Err(_) => errors.push(Error::invalid(
                    &Path::new(name),
                    text,
                    "invalid time format",
                )),
            }
        }
        for (name, number) in [("boot", &mut own.boot), ("tailLines", &mut own.lines)] {
            let Some(text) = first(name) else { continue };
            match text.parse() {
                Ok(parsed) => *number = Some(parsed),
                Err(_) => {
                    let why = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
                    errors.push(Error::invalid(&Path::new(name), text, why));
                }
            }
        }
        own.pattern = first("pattern").unwrap_or_default();
        joined(errors)?;
        Ok((own != Self::default()).then_some(own))
    }

    /// Whether anything but names is said.
    pub(super) fn has_options(&self) -> bool {
        let names_alone = Self {
            services: self.services.clone(),
            files: self.files.clone(),
            ..Self::default()
        };
        *self != names_alone
    }

    /// # Errors
    /// What cannot be asked for.
    pub(super) fn validate(&self) -> Result<(), String> {
        let query = Path::new("query");
        let mut errors = Vec::new();
        for name in &self.services {
            let safe = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
            if name.len() > MAX_NAME {
                let why = format!("length must be less than {MAX_NAME}");
                errors.push(Error::invalid(&query, name.clone(), why));
            } else if !name.chars().all(safe) || name.starts_with('-') {
                let why = "input contains unsupported characters";
                errors.push(Error::invalid(&query, name.clone(), why));
            }
        }
        if self.services.len() > MAX_SERVICES {
            errors.push(Error::too_many(&query, self.services.len(), MAX_SERVICES));
        }
        let files = || self.files.clone();
        match (self.files.len(), self.services.len()) {
            (0, 0) => errors.push(Error::required(&query, "cannot be empty with options")),
            (1.., 1..) => {
                let both = format!("[{}], [{}]", self.files.join(" "), self.services.join(" "));
                let why = "cannot specify a file and service";
                errors.push(Error::invalid(&query, both, why));
            }
            (2.., 0) => {
                let why = "cannot specify more than one file";
                errors.push(Error::invalid(&query, files(), why));
            }
            (1, 0) if self.has_options() => {
                let why = "cannot specify file with options";
                errors.push(Error::invalid(&query, files(), why));
            }
            _ => {}
        }
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since > until
        {
            let why = "must be after `sinceTime`";
            errors.push(Error::invalid(
                &Path::new("untilTime"),
                until.to_string(),
                why,
            ));
        }
        if let Some(boot) = self.boot.filter(|boot| *boot > 0) {
            errors.push(Error::invalid(
                &Path::new("boot"),
                boot,
                "must be less than 1",
            ));
        }
        if let Some(lines) = self.lines.filter(|lines| !(0..=MAX_LINES).contains(lines)) {
            let why = format!("must be between 0 and {MAX_LINES}, inclusive");
            errors.push(Error::invalid(&Path::new("tailLines"), lines, why));
        }
        if self.pattern.len() > MAX_PATTERN {
            let why = format!("length must be less than {MAX_PATTERN}");
            errors.push(Error::invalid(
                &Path::new("pattern"),
                self.pattern.len() as i64,
                why,
            ));
        }
        joined(errors)
    }

    /// What `journalctl` is told.
    pub(super) fn arguments(&self, services: &[&String]) -> Vec<String> {
        let time = |time: Timestamp| time.strftime("%Y-%-m-%-d %-H:%-M:%-S").to_string();
        let mut all: Vec<String> = ["--utc", "--no-pager", "--output=short-precise"]
            .map(str::to_owned)
            .into();
        all.extend(self.since.map(|since| format!("--since={}", time(since))));
        all.extend(self.until.map(|until| format!("--until={}", time(until))));
        if let Some(lines) = self.lines {
            all.extend(["--pager-end".to_owned(), format!("--lines={lines}")]);
        }
        all.extend(services.iter().map(|service| format!("--unit={service}")));
        if !self.pattern.is_empty() {
            all.push(format!("--grep={}", self.pattern));
        }
        if let Some(boot) = self.boot {
            all.extend(["--boot".to_owned(), boot.to_string()]);
        }
        all
    }
}
