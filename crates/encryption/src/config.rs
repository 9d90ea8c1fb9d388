//! EncryptionConfiguration: its form and what it must be, as upstream has both.

mod validation;

use std::{path::Path, time::Duration};

use knarr_config::ConfigFile;
use knarr_meta::{duration, field};
use serde::Deserialize;
use serde_json::Value;

const VERSION: &str = "apiserver.config.k8s.io/v1";
const KIND: &str = "EncryptionConfiguration";
const FILE_BYTES: u64 = 4 << 20;
/// How long a plugin may take, where a file does not say.
const KMS_TIMEOUT: Duration = Duration::from_secs(3);
pub const KMS_V2: &str = "v2";

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct EncryptionConfiguration {
    pub api_version: String,
    pub kind: String,
    pub resources: Vec<ResourceConfiguration>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct ResourceConfiguration {
    pub resources: Vec<String>,
    pub providers: Vec<ProviderConfiguration>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfiguration {
    pub aesgcm: Option<KeysConfiguration>,
    pub aescbc: Option<KeysConfiguration>,
    pub secretbox: Option<KeysConfiguration>,
    pub identity: Option<IdentityConfiguration>,
    pub kms: Option<KmsConfiguration>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfiguration {}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct KeysConfiguration {
    pub keys: Vec<Key>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Key {
    pub name: String,
    pub secret: String,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct KmsConfiguration {
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    pub name: String,
    pub cachesize: Option<i32>,
    pub endpoint: String,
    pub timeout: Option<String>,
}

impl KmsConfiguration {
    /// The version that is meant: v1 where nothing is said.
    fn version(&self) -> &str {
        match &*self.api_version {
            "" => "v1",
            version => version,
        }
    }

    /// `None`: it says something, and that is no time.
    pub fn timeout(&self) -> Option<Duration> {
        let Some(text) = &self.timeout else {
            return Some(KMS_TIMEOUT);
        };
        let nanos = u64::try_from(duration::parse(text).ok()?).ok()?;
        Some(Duration::from_nanos(nanos)).filter(|timeout| !timeout.is_zero())
    }
}

/// A resource of a group; either may be `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupResource {
    pub group: String,
    pub resource: String,
}

impl GroupResource {
    /// `resource.group`, `resource`, `*.group`, `*.` and `*.*`.
    pub fn parse(text: &str) -> GroupResource {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        GroupResource {
            group: group.to_owned(),
            resource: resource.to_owned(),
        }
    }

    /// All resources of a group.
    pub fn all_of(group: &str) -> GroupResource {
        GroupResource {
            group: group.to_owned(),
            resource: "*".to_owned(),
        }
    }

    /// As a file has it.
    pub fn shown(&self) -> String {
        match (&*self.resource, &*self.group) {
            ("*", "") => "*.".to_owned(),
            (resource, "") => resource.to_owned(),
            (resource, group) => format!("{resource}.{group}"),
        }
    }
}

/// A file of this kind.
pub fn file(path: &Path) -> ConfigFile {
    ConfigFile::new(path, FILE_BYTES)
}

/// Parses and validates. `reload`: it will be read again while the server runs.
///
/// # Errors
/// All that is wrong, in upstream's words where it has them.
pub fn parse(text: &[u8], reload: bool) -> Result<EncryptionConfiguration, String> {
    if text.is_empty() {
        return Err("the file is empty".to_owned());
    }
    // The lines after the first show the file, which may have keys there.
    let told = |error: serde_saphyr::Error| {
        let text = error.to_string();
        text.lines().next().unwrap_or_default().to_owned()
    };
    let mut tree: Value = serde_saphyr::from_slice(text).map_err(told)?;
    knarr_config::drop_nulls(&mut tree);
    let file: EncryptionConfiguration =
        serde_json::from_value(tree).map_err(|error| format!("strict decoding error: {error}"))?;
    if file.kind != KIND || file.api_version != VERSION {
        return Err(format!(
            "no kind {:?} is registered for version {:?}",
            file.kind, file.api_version
        ));
    }
    let errors = validation::validate(&file, reload);
    if !errors.is_empty() {
        return Err(field::aggregate(&errors));
    }
    masked(&file)?;
    Ok(file)
}

/// Refuses what an earlier rule for more resources would keep from having an effect, and what was a plugin of another protocol.
fn masked(file: &EncryptionConfiguration) -> Result<(), String> {
    let mut seen: Vec<GroupResource> = Vec::new();
    for rule in &file.resources {
        let kms = rule.providers.iter().filter_map(|one| one.kms.as_ref());
        if kms.clone().any(|kms| kms.version() != KMS_V2) {
            return Err("KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  knarr has no KMSv1.".to_owned());
        }
        for resource in rule.resources.iter().map(|text| GroupResource::parse(text)) {
            for wider in [
                GroupResource::all_of(&resource.group),
                GroupResource::all_of("*"),
            ] {
                if seen.contains(&wider) {
                    return Err(format!(
                        "resource {:?} is masked by earlier rule {:?}",
                        resource.shown(),
                        wider.shown()
                    ));
                }
            }
            seen.push(resource);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
