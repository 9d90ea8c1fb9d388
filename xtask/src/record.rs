//! What passes and what does not, as a file that is kept with the sources: a row for each thing that is tried, and how a
//! new run differs from it.
//!
//! The file is tab-separated and sorted: the key's columns, `state`, `seconds`, `reason`. A failure stands in it with its
//! reason, so that it is the list of what is to be done; a run is well when nothing is worse than the file says.

use std::{collections::BTreeMap, fmt, fs, io::ErrorKind, path::Path};

use anyhow::{Context, Result, bail, ensure};

/// A reason is a sentence, not a log.
const REASON_CHARS: usize = 240;
/// A recorded duration stands until a run is this much off, so that a new record shows what has changed and not the weather.
const SECONDS_FACTOR: f64 = 2.0;
const SECONDS_SLACK: f64 = 1.0;
const COLUMNS: [&str; 3] = ["state", "seconds", "reason"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Pass,
    Fail,
    /// Was not tried: this machine lacks what it needs.
    Skip,
}

impl State {
    fn parse(text: &str) -> Option<Self> {
        [Self::Pass, Self::Fail, Self::Skip]
            .into_iter()
            .find(|state| state.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What became of one thing that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub state: State,
    pub seconds: f64,
    /// Empty for a pass.
    pub reason: String,
}

/// What identifies a row: as many columns as the record has for it.
pub type Key<const KEYS: usize> = [String; KEYS];

/// Outcomes by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record<const KEYS: usize> {
    rows: BTreeMap<Key<KEYS>, Outcome>,
}

/// How a run differs from the record.
#[derive(Debug, Default, PartialEq)]
pub struct Changes<const KEYS: usize> {
    /// Passed and does no more (or was not heard of), or fails and the record does not know it.
    pub regressions: Vec<Key<KEYS>>,
    /// Passes, and the record does not say so.
    pub passes: Vec<Key<KEYS>>,
}

impl<const KEYS: usize> Record<KEYS> {
    /// The record in a file; an empty one where there is no file.
    pub fn load(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// Reads a file's text, its first line being the columns' names.
    pub fn parse(text: &str) -> Result<Self> {
        let mut record = Self::default();
        for (index, line) in text.lines().enumerate().skip(1) {
            let number = index + 1;
            let (key, outcome) = parse_row(line).with_context(|| format!("line {number}"))?;
            ensure!(
                record.rows.insert(key, outcome).is_none(),
                "line {number} repeats a key"
            );
        }
        Ok(record)
    }

    /// Writes the record, with these names for the key's columns.
    pub fn save(&self, path: &Path, columns: [&str; KEYS]) -> Result<()> {
        fs::write(path, self.text(columns))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn text(&self, columns: [&str; KEYS]) -> String {
        let names: Vec<&str> = columns.into_iter().chain(COLUMNS).collect();
        let mut text = names.join("\t") + "\n";
        for (key, outcome) in &self.rows {
            let seconds = format!("{:.1}", outcome.seconds);
            let last = [outcome.state.as_str(), &seconds, &outcome.reason];
            let cells: Vec<&str> = key.iter().map(String::as_str).chain(last).collect();
            // A pass has no reason: no line ends with a tab.
            text.push_str(cells.join("\t").trim_end());
            text.push('\n');
        }
        text
    }

    /// Takes an outcome in. Of two for one key the worse stands: what failed once has failed.
    pub fn add(&mut self, key: Key<KEYS>, outcome: Outcome) {
        let key = key.map(|cell| one_line(&cell));
        let outcome = Outcome {
            reason: one_line(&outcome.reason)
                .chars()
                .take(REASON_CHARS)
                .collect(),
            ..outcome
        };
        let failed = self.rows.get(&key).is_some_and(|o| o.state == State::Fail);
        if !failed {
            self.rows.insert(key, outcome);
        }
    }

    pub fn get(&self, key: &Key<KEYS>) -> Option<&Outcome> {
        self.rows.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key<KEYS>, &Outcome)> {
        self.rows.iter()
    }

    /// How many outcomes have this state.
    pub fn count(&self, state: State) -> usize {
        self.rows.values().filter(|o| o.state == state).count()
    }

    /// How `run` differs from this record. It tried the keys for which `covered` holds, whether it tells of them or not.
    pub fn changes(&self, run: &Self, covered: impl Fn(&Key<KEYS>) -> bool) -> Changes<KEYS> {
        let mut changes = Changes::default();
        for (key, outcome) in &run.rows {
            let known = self.rows.get(key).map(|outcome| outcome.state);
            match outcome.state {
                State::Pass if known != Some(State::Pass) => changes.passes.push(key.clone()),
                State::Fail if known != Some(State::Fail) => changes.regressions.push(key.clone()),
                State::Skip if known == Some(State::Pass) => changes.regressions.push(key.clone()),
                State::Pass | State::Fail | State::Skip => {}
            }
        }
        let silent = self.rows.iter().filter(|(key, outcome)| {
            outcome.state == State::Pass && covered(key) && !run.rows.contains_key(*key)
        });
        changes
            .regressions
            .extend(silent.map(|(key, _)| key.clone()));
        changes.regressions.sort();
        changes
    }

    /// Makes this the record of `run`, which tried the keys for which `covered` holds. The reason of a failure that was
    /// known stays: somebody looked at it.
    pub fn update(&mut self, run: Self, covered: impl Fn(&Key<KEYS>) -> bool) {
        let mut old = std::mem::take(&mut self.rows);
        for (key, mut outcome) in run.rows {
            if let Some(known) = old.remove(&key) {
                outcome.seconds = settled(known.seconds, outcome.seconds);
                if known.state == outcome.state && !known.reason.is_empty() {
                    outcome.reason = known.reason;
                }
            }
            self.rows.insert(key, outcome);
        }
        old.retain(|key, _| !covered(key));
        self.rows.append(&mut old);
    }
}

fn parse_row<const KEYS: usize>(line: &str) -> Result<(Key<KEYS>, Outcome)> {
    let mut cells = line.split('\t').map(str::to_owned);
    let key: Vec<String> = cells.by_ref().take(KEYS).collect();
    let (Ok(key), Some(state), Some(seconds)) = (key.try_into(), cells.next(), cells.next()) else {
        bail!(
            "a row has {KEYS} columns for its key, {}",
            COLUMNS.join(", ")
        );
    };
    let outcome = Outcome {
        state: State::parse(&state).with_context(|| format!("no state is called {state:?}"))?,
        seconds: seconds
            .parse()
            .with_context(|| format!("{seconds:?} is no duration"))?,
        reason: cells.next().unwrap_or_default(),
    };
    ensure!(cells.next().is_none(), "more columns than names");
    Ok((key, outcome))
}

fn settled(known: f64, now: f64) -> f64 {
    let near = now <= known * SECONDS_FACTOR + SECONDS_SLACK
        && known <= now * SECONDS_FACTOR + SECONDS_SLACK;
    if near { known } else { now }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
