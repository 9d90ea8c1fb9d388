//! What an administrator says of pods in all namespaces: PodSecurityConfiguration.

use std::collections::BTreeSet;

use knarr_meta::{
    field::{self, Error, Path},
    names,
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    metrics::Metrics,
    policy::{Level, LevelVersion, Policy, Version},
};

const KIND: &str = "PodSecurityConfiguration";
const VERSIONS: [&str; 3] = [
    "pod-security.admission.config.k8s.io/v1",
    "pod-security.admission.config.k8s.io/v1beta1",
    "pod-security.admission.config.k8s.io/v1alpha1",
];

/// Of all namespaces, and who is exempt.
#[derive(Debug, Default)]
pub struct Settings {
    pub defaults: Policy,
    usernames: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    runtime_classes: BTreeSet<String>,
    pub metrics: Metrics,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    defaults: Defaults,
    exemptions: Exemptions,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Defaults {
    enforce: String,
    enforce_version: String,
    audit: String,
    audit_version: String,
    warn: String,
    warn_version: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Exemptions {
    usernames: Vec<String>,
    namespaces: Vec<String>,
    runtime_classes: Vec<String>,
}

impl Settings {
    /// # Errors
    /// What upstream's validation finds, in its words.
    pub fn parse(tree: Value) -> Result<Settings, String> {
        let file: File = serde_json::from_value(tree)
            .map_err(|error| format!("strict decoding error: {error}"))?;
        if file.kind != KIND || !VERSIONS.contains(&&*file.api_version) {
            return Err(format!(
                "no kind {:?} is registered for version {:?}",
                file.kind, file.api_version
            ));
        }
        let mut errors = Vec::new();
        let said = &file.defaults;
        let defaults = Policy {
            enforce: mode("enforce", &said.enforce, &said.enforce_version, &mut errors),
            warn: mode("warn", &said.warn, &said.warn_version, &mut errors),
            audit: mode("audit", &said.audit, &said.audit_version, &mut errors),
        };
        let exempt = file.exemptions;
        let namespaces = set(
            "namespaces",
            exempt.namespaces,
            names::dns1123_label,
            &mut errors,
        );
        let classes = set(
            "runtimeClasses",
            exempt.runtime_classes,
            names::dns1123_subdomain,
            &mut errors,
        );
        let named = |name: &str| match name {
            "" => vec!["username must not be empty".to_owned()],
            _ => Vec::new(),
        };
        let usernames = set("usernames", exempt.usernames, named, &mut errors);
        match errors.is_empty() {
            true => Ok(Settings {
                defaults,
                usernames,
                namespaces,
                runtime_classes: classes,
                metrics: Metrics::default(),
            }),
            false => Err(field::aggregate(&errors)),
        }
    }

    pub fn exempts_namespace(&self, name: &str) -> bool {
        self.namespaces.contains(name)
    }

    pub fn exempts_user(&self, name: &str) -> bool {
        self.usernames.contains(name)
    }

    pub fn exempts_runtime_class(&self, name: &str) -> bool {
        self.runtime_classes.contains(name)
    }
}

/// A level and a version, of which what is not said is the default.
fn mode(name: &'static str, level: &str, version: &str, errors: &mut Vec<Error>) -> LevelVersion {
    let mut asked = LevelVersion::DEFAULT;
    let path = Path::new("defaults");
    if !level.is_empty() {
        match Level::parse(level) {
            Some(level) => asked.level = level,
            None => {
                let why = "must be one of privileged, baseline, restricted";
                errors.push(Error::invalid(&path.child(name), level, why));
            }
        }
    }
    if !version.is_empty() {
        match Version::parse(version) {
            Some(version) => asked.version = version,
            None => {
                let path = path.child(format!("{name}-version"));
                let why = "must be \"latest\" or \"v1.x\"";
                errors.push(Error::invalid(&path, version, why));
            }
        }
    }
    asked
}

fn set(
    name: &'static str,
    items: Vec<String>,
    wrong: impl Fn(&str) -> Vec<String>,
    errors: &mut Vec<Error>,
) -> BTreeSet<String> {
    let path = Path::new("exemptions").child(name);
    let mut set = BTreeSet::new();
    for (n, item) in items.into_iter().enumerate() {
        let why = wrong(&item);
        if !why.is_empty() {
            errors.push(Error::invalid(&path.index(n), item, why.join(", ")));
        } else if set.contains(&item) {
            errors.push(Error::duplicate(&path.index(n), item));
        } else {
            set.insert(item);
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(mut said: Value) -> Result<Settings, String> {
        said["apiVersion"] = json!(VERSIONS[0]);
        said["kind"] = json!(KIND);
        Settings::parse(said)
    }

    #[test]
    fn what_is_said_counts_and_the_rest_is_privileged() {
        let said = json!({
            "defaults": {"enforce": "baseline", "enforce-version": "v1.30", "warn": "restricted"},
            "exemptions": {"namespaces": ["kube-system"], "runtimeClasses": ["kata"]},
        });
        let settings = with(said).expect("settings");
        assert_eq!(settings.defaults.enforce.to_string(), "baseline:v1.30");
        assert_eq!(settings.defaults.warn.to_string(), "restricted:latest");
        assert_eq!(settings.defaults.audit.to_string(), "privileged:latest");
        assert!(settings.exempts_namespace("kube-system") && !settings.exempts_namespace("a"));
        assert!(settings.exempts_runtime_class("kata") && !settings.exempts_user("kata"));
    }

    #[test]
    fn what_is_wrong_is_told_in_upstreams_words() {
        for (said, told) in [
            (
                json!({"defaults": {"enforce": "strict"}}),
                "defaults.enforce: Invalid value: \"strict\": must be one of privileged, baseline, restricted",
            ),
            (
                json!({"defaults": {"warn-version": "1.2"}}),
                "defaults.warn-version: Invalid value: \"1.2\": must be \"latest\" or \"v1.x\"",
            ),
            (
                json!({"exemptions": {"usernames": [""]}}),
                "exemptions.usernames[0]: Invalid value: \"\": username must not be empty",
            ),
            (
                json!({"exemptions": {"namespaces": ["a", "a"]}}),
                "exemptions.namespaces[1]: Duplicate value: \"a\"",
            ),
            (
                json!({"exemption": {}}),
                "strict decoding error: unknown field `exemption`",
            ),
        ] {
            let refused = with(said).expect_err("refused");
            assert!(refused.starts_with(told), "{refused}");
        }
        let other = json!({"apiVersion": "v1", "kind": KIND});
        assert!(Settings::parse(other).is_err());
    }
}
