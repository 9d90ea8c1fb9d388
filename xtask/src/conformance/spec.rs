//! The suite's specs, and which of them a run is about.

use std::{path::Path, process::Command, str::FromStr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use knarr_testkit::run as run_program;
use regex::Regex;

use crate::record::{Key, Record, State};

/// The suite reads all its specs to list them.
const LIST_DEADLINE: Duration = Duration::from_secs(120);
/// What `--wider` leaves out: what needs a cloud, features that are off by default, or a cluster to itself for long.
const NOT_WIDER: &str = r"\[(Feature|FeatureGate|Alpha|Beta|Disruptive|Flaky|Deprecated|Slow|Driver|LinuxOnly|Windows|sig-windows|sig-cloud-provider)\b";

/// A spec, by the name under which the suite and the conformance list know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    pub name: String,
}

impl Spec {
    /// `node` of `[sig-node] Pods ...`.
    pub fn sig(&self) -> &str {
        sig(&self.name)
    }

    /// Its row in the record.
    pub fn key(&self) -> Key<1> {
        [self.name.clone()]
    }

    /// Whether nothing else may run beside it.
    pub fn is_serial(&self) -> bool {
        self.name.contains("[Serial]")
    }

    /// The pattern by which the suite runs this spec and no other.
    pub fn focus(&self) -> String {
        // The suite matches its own title, a space and the name.
        format!(" {}$", regex::escape(&self.name))
    }

    /// The name as a file's.
    pub fn file_name(&self) -> String {
        let mut name: String = self
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        while name.contains("--") {
            name = name.replace("--", "-");
        }
        name.truncate(FILE_NAME_BYTES);
        name.trim_matches('-').to_owned()
    }
}

/// File systems allow 255 bytes, and an ending is added.
const FILE_NAME_BYTES: usize = 200;

/// `node` of `[sig-node] Pods ...`; `other` where a name does not say.
pub fn sig(name: &str) -> &str {
    name.strip_prefix("[sig-")
        .and_then(|rest| rest.split_once(']'))
        .map_or("other", |(sig, _)| sig)
}

/// The conformance specs, as the suite itself lists them.
pub fn conformance(e2e: &Path) -> Result<Vec<Spec>> {
    let mut command = Command::new(e2e);
    command.arg("-list-conformance-tests");
    let text = run_program(command, LIST_DEADLINE)?.success()?;
    let entries: Vec<serde_json::Value> =
        serde_yaml_ng::from_str(&text).context("the list of conformance specs")?;
    entries
        .iter()
        .map(|entry| {
            let name = entry["codename"]
                .as_str()
                .context("a spec without a name")?;
            Ok(Spec {
                name: name.to_owned(),
            })
        })
        .collect()
}

/// Every spec that a cluster without cloud and special features can be asked.
pub fn all(e2e: &Path) -> Result<Vec<Spec>> {
    let mut command = Command::new(e2e);
    command.arg("-list-tests");
    let text = run_program(command, LIST_DEADLINE)?.success()?;
    let left_out = Regex::new(NOT_WIDER)?;
    let specs: Vec<Spec> = names(&text)
        .filter(|name| !left_out.is_match(name))
        .map(|name| Spec {
            name: name.to_owned(),
        })
        .collect();
    if specs.is_empty() {
        bail!("the suite lists no specs");
    }
    Ok(specs)
}

/// A feature by the name that the suite's labels have: `HPA` of `[Feature:HPA]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature(String);

impl FromStr for Feature {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        // It is part of a file's name.
        ensure!(
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "a feature's name has letters and digits only: HPA"
        );
        Ok(Self(name.to_owned()))
    }
}

impl Feature {
    /// The name as a file's.
    pub fn file_name(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    fn is_of(&self, spec: &str) -> bool {
        spec.contains(&format!("[Feature:{}]", self.0))
    }
}

/// Every spec of a feature, whatever else it wants.
pub fn of_feature(e2e: &Path, feature: &Feature) -> Result<Vec<Spec>> {
    let mut command = Command::new(e2e);
    command.arg("-list-tests");
    let text = run_program(command, LIST_DEADLINE)?.success()?;
    let specs: Vec<Spec> = names(&text)
        .filter(|name| feature.is_of(name))
        .map(|name| Spec {
            name: name.to_owned(),
        })
        .collect();
    ensure!(
        !specs.is_empty(),
        "the suite has no spec of the feature {}; names are written as in its labels ([Feature:HPA])",
        feature.0
    );
    Ok(specs)
}

/// The names in what `-list-tests` prints: a source position, a colon and the name, one a line.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let start = line.find("[sig-")?;
        Some(line[start..].trim_end())
    })
}

/// Which specs a run is about.
#[derive(Clone, Copy)]
pub struct Choice<'a> {
    pub sigs: &'a [String],
    pub focus: Option<&'a Regex>,
    pub skip: Option<&'a Regex>,
    /// Only those that are recorded to pass within this time.
    pub fast: Option<Duration>,
}

impl Choice<'_> {
    pub fn of(&self, specs: Vec<Spec>, record: &Record<1>) -> Vec<Spec> {
        specs
            .into_iter()
            .filter(|spec| self.takes(spec, record))
            .collect()
    }

    pub fn takes(&self, spec: &Spec, record: &Record<1>) -> bool {
        let name = &spec.name;
        let sig = self.sigs.is_empty() || self.sigs.iter().any(|sig| sig == spec.sig());
        let fast = self.fast.is_none_or(|limit| {
            record.get(&spec.key()).is_some_and(|known| {
                known.state == State::Pass && known.seconds < limit.as_secs_f64()
            })
        });
        sig && fast
            && self.focus.is_none_or(|focus| focus.is_match(name))
            && !self.skip.is_some_and(|skip| skip.is_match(name))
    }

    /// An error where a flag names a group that has no specs: a slip of the pen would pass as success.
    pub fn check(&self, specs: &[Spec]) -> Result<()> {
        for sig in self.sigs {
            ensure!(
                specs.iter().any(|spec| spec.sig() == sig),
                "no spec is of sig-{sig}"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
