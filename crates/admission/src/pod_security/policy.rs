//! What a namespace asks for by its labels. Upstream's `pod-security-admission/api`.

use std::fmt;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object,
    status::Status,
};
use serde::Deserialize;
use serde_json::Value;

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const ENFORCE_VERSION: &str = "pod-security.kubernetes.io/enforce-version";
const AUDIT: &str = "pod-security.kubernetes.io/audit";
const AUDIT_VERSION: &str = "pod-security.kubernetes.io/audit-version";
const WARN: &str = "pod-security.kubernetes.io/warn";
const WARN_VERSION: &str = "pod-security.kubernetes.io/warn-version";

/// How strict a policy is; later ones are stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    pub fn parse(text: &str) -> Option<Level> {
        match text {
            "privileged" => Some(Level::Privileged),
            "baseline" => Some(Level::Baseline),
            "restricted" => Some(Level::Restricted),
            _ => None,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })
    }
}

/// The release whose rules count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// v1.N. One that is yet to come has the latest rules.
    Minor(u64),
    Latest,
}

impl Version {
    pub fn parse(text: &str) -> Option<Version> {
        if text == "latest" {
            return Some(Version::Latest);
        }
        let minor = text.strip_prefix("v1.")?;
        let digits = minor.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || (minor.len() > 1 && minor.starts_with('0')) {
            return None;
        }
        // Of upstream's range.
        let minor: i64 = minor.parse().ok()?;
        u64::try_from(minor).ok().map(Version::Minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Latest => f.write_str("latest"),
            Version::Minor(minor) => write!(f, "v1.{minor}"),
        }
    }
}

impl Default for LevelVersion {
    fn default() -> Self {
        LevelVersion::DEFAULT
    }
}

/// Which checks a pod has to pass; shown as `restricted:v1.30`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelVersion {
    pub level: Level,
    pub version: Version,
}

impl LevelVersion {
    /// What a namespace has that asks for nothing, where no administrator says otherwise.
    pub const DEFAULT: LevelVersion = LevelVersion {
        level: Level::Privileged,
        version: Version::Latest,
    };
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level, self.version)
    }
}

/// What a namespace asks for in each mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub enforce: LevelVersion,
    pub audit: LevelVersion,
    pub warn: LevelVersion,
}

impl Policy {
    pub fn fully_privileged(&self) -> bool {
        let modes = [self.enforce, self.audit, self.warn];
        modes.iter().all(|mode| mode.level == Level::Privileged)
    }

    /// Whether both ask for the same; of what is privileged the version does not matter.
    pub fn is_equivalent(&self, other: &Policy) -> bool {
        let same = |one: LevelVersion, other: LevelVersion| {
            one == other || (one.level == Level::Privileged && other.level == Level::Privileged)
        };
        same(self.enforce, other.enforce)
            && same(self.audit, other.audit)
            && same(self.warn, other.warn)
    }
}

/// The labels of a namespace that matter here.
#[derive(Debug, Default, Deserialize)]
pub struct Labels {
    #[serde(rename = "pod-security.kubernetes.io/enforce")]
    enforce: Option<String>,
    #[serde(rename = "pod-security.kubernetes.io/enforce-version")]
    enforce_version: Option<String>,
    #[serde(rename = "pod-security.kubernetes.io/audit")]
    audit: Option<String>,
    #[serde(rename = "pod-security.kubernetes.io/audit-version")]
    audit_version: Option<String>,
    #[serde(rename = "pod-security.kubernetes.io/warn")]
    warn: Option<String>,
    #[serde(rename = "pod-security.kubernetes.io/warn-version")]
    warn_version: Option<String>,
}

impl Labels {
    /// Those of a namespace in a request.
    ///
    /// # Errors
    /// 400 where one is not a string.
    pub fn of(namespace: &Value) -> Result<Labels, Status> {
        match object::at(namespace, &["metadata", "labels"]) {
            None | Some(Value::Null) => Ok(Labels::default()),
            Some(labels) => Labels::deserialize(labels)
                .map_err(|_| Status::bad_request("failed to decode namespace")),
        }
    }

    /// What they ask for, of which the rest is as `defaults` say, with what is wrong with them: of a label that cannot be read, pods feel the strictest level while audit
    /// and warn say nothing, and the latest version. Upstream's `PolicyToEvaluate`.
    pub fn policy(&self, defaults: &Policy) -> (Policy, ErrorList) {
        let mut errors = ErrorList::new();
        let enforce = mode(
            (ENFORCE, &self.enforce),
            (ENFORCE_VERSION, &self.enforce_version),
            (defaults.enforce, Level::Restricted),
            &mut errors,
        );
        let audit = mode(
            (AUDIT, &self.audit),
            (AUDIT_VERSION, &self.audit_version),
            (defaults.audit, Level::Privileged),
            &mut errors,
        );
        let mut warn = mode(
            (WARN, &self.warn),
            (WARN_VERSION, &self.warn_version),
            (defaults.warn, Level::Privileged),
            &mut errors,
        );
        // Who enforces is warned of the same, unless the labels say otherwise.
        let enforced = self.enforce.as_deref().and_then(Level::parse);
        if let (None, Some(level)) = (&self.warn, enforced)
            && level > warn.level
        {
            warn.level = level;
            if self.warn_version.is_none() {
                warn.version = enforce.version;
            }
        }
        let policy = Policy {
            enforce,
            audit,
            warn,
        };
        (policy, errors)
    }
}

impl Labels {
    /// The modes other than privileged that labels ask for, as upstream's warning of an exempt namespace has them.
    pub fn asked(&self, policy: &Policy) -> String {
        let modes = [
            (
                "enforce",
                policy.enforce,
                &self.enforce,
                &self.enforce_version,
            ),
            ("audit", policy.audit, &self.audit, &self.audit_version),
            ("warn", policy.warn, &self.warn, &self.warn_version),
        ];
        let asked = modes.iter().filter(|(_, mode, level, version)| {
            mode.level != Level::Privileged && (level.is_some() || version.is_some())
        });
        let asked: Vec<String> = asked
            .map(|(name, mode, ..)| format!("{name}={mode}"))
            .collect();
        asked.join(", ")
    }
}

type Label<'l> = (&'static str, &'l Option<String>);

/// One mode, from its default; a level that cannot be read is `otherwise`.
fn mode(
    (level_key, level): Label<'_>,
    (version_key, version): Label<'_>,
    (mut asked, otherwise): (LevelVersion, Level),
    errors: &mut ErrorList,
) -> LevelVersion {
    let mut refuse = |key: &str, value: &str, why: &str| {
        let path = Path::new("metadata").child("labels").key(key);
        errors.push(Error::invalid(&path, value, why));
    };
    if let Some(text) = level.as_deref() {
        asked.level = Level::parse(text).unwrap_or_else(|| {
            let why = "must be one of privileged, baseline, restricted";
            refuse(level_key, text, why);
            otherwise
        });
    }
    if let Some(text) = version.as_deref() {
        asked.version = Version::parse(text).unwrap_or_else(|| {
            refuse(version_key, text, "must be \"latest\" or \"v1.x\"");
            Version::Latest
        });
    }
    asked
}
