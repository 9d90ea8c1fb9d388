//! The policy: which requests are audited, how much of them is told, and at which stages.

mod file;
mod rule;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use knarr_auth::{UserInfo, request::RequestInfo};
use knarr_config::ConfigFile;

use self::rule::Rule;
use crate::{Level, Stage};

/// Most bytes of a policy file.
const FILE_BYTES: u64 = 4 << 20;

/// A policy that was read and checked.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    otherwise: Decision,
}

/// What the policy says of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub level: Level,
    pub omit: Stages,
    pub omit_managed_fields: bool,
}

/// A set of stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages(u8);

impl Stages {
    pub fn contains(self, stage: Stage) -> bool {
        self.0 & Stages::bit(stage) != 0
    }

    fn bit(stage: Stage) -> u8 {
        match stage {
            Stage::RequestReceived => 1,
            Stage::ResponseStarted => 2,
            Stage::ResponseComplete => 4,
            Stage::Panic => 8,
        }
    }

    fn union(self, other: Stages) -> Stages {
        Stages(self.0 | other.0)
    }
}

impl FromIterator<Stage> for Stages {
    fn from_iter<I: IntoIterator<Item = Stage>>(stages: I) -> Stages {
        let all = stages.into_iter().map(Stages::bit);
        Stages(all.fold(0, |all, bit| all | bit))
    }
}

/// Why a policy file is none, in upstream's words.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("failed to read file path {path:?}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{why}: from file {}", path.display())]
    Invalid { path: PathBuf, why: String },
}

impl From<knarr_config::Error> for PolicyError {
    fn from(error: knarr_config::Error) -> Self {
        match error {
            knarr_config::Error::Read { path, source } => Self::Read { path, source },
            knarr_config::Error::Invalid { path, why } => Self::Invalid { path, why },
        }
    }
}

impl Policy {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it cannot be read, is no `audit.k8s.io/v1` Policy, has a rule that means nothing, or no rules.
    pub fn read(path: &Path) -> Result<Policy, PolicyError> {
        Ok(ConfigFile::new(path, FILE_BYTES).parse(Policy::parse)?)
    }

    /// Parses the text of a file; the error says why it is none.
    pub fn parse(text: &[u8]) -> Result<Policy, String> {
        file::parse(text)
    }

    /// What the first rule that matches says. `user` is absent where nobody could be authenticated.
    pub fn evaluate(&self, user: Option<&UserInfo>, info: &RequestInfo<'_>) -> Decision {
        let rule = self.rules.iter().find(|rule| rule.matches(user, info));
        rule.map_or(self.otherwise, |rule| rule.decision)
    }
}
