//! What an administrator says of plugins: an AdmissionConfiguration, as upstream's `--admission-control-config-file` names it.
//!
//! What it says of a plugin whose configuration cannot be honoured is refused by name: a rule that is not enforced is worse than none.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use knarr_config::ConfigFile;
use serde::Deserialize;
use serde_json::Value;

use crate::pod_security::Settings;

const FILE_BYTES: u64 = 4 << 20;
const KIND: &str = "AdmissionConfiguration";
const VERSIONS: [&str; 2] = ["apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1"];
const POD_SECURITY: &str = "PodSecurity";

/// What all plugins were told.
#[derive(Debug, Default)]
pub struct Configuration {
    pub pod_security: Arc<Settings>,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[derive(Default)]
struct File {
    api_version: String,
    kind: String,
    plugins: Vec<Plugin>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Plugin {
    name: String,
    path: String,
    configuration: Option<Value>,
}

impl Configuration {
    /// # Errors
    /// Where it cannot be read, means nothing, or says something that cannot be honoured.
    pub fn read(path: &Path) -> Result<Configuration, knarr_config::Error> {
        let base = path.parent().unwrap_or(Path::new("/"));
        ConfigFile::new(path, FILE_BYTES).parse(|text| parse(text, base))
    }

    /// Appends what plugins have counted, in Prometheus' text form.
    pub fn render(&self, out: &mut String) {
        self.pod_security.metrics.render(out);
    }
}

fn parse(text: &[u8], base: &Path) -> Result<Configuration, String> {
    let file: File = strict(tree(text)?)?;
    if file.kind != KIND || !VERSIONS.contains(&&*file.api_version) {
        return Err(format!(
            "no kind {:?} is registered for version {:?}",
            file.kind, file.api_version
        ));
    }
    let mut configuration = Configuration::default();
    let mut seen = BTreeSet::new();
    for plugin in file.plugins {
        let name = plugin.name.clone();
        if !seen.insert(name.clone()) {
            return Err(format!("plugin {name:?} is configured twice"));
        }
        let told = |why: String| format!("plugin {name:?}: {why}");
        let Some(settings) = said(plugin, base).map_err(told)? else {
            continue;
        };
        match &*name {
            POD_SECURITY => {
                let settings = Settings::parse(settings).map_err(told)?;
                configuration.pod_security = Arc::new(settings);
            }
            _ => {
                return Err(format!(
                    "plugin {name:?}: knarr has no configuration of this plugin; of {POD_SECURITY} it has"
                ));
            }
        }
    }
    Ok(configuration)
}

/// What is said of a plugin, here or in a file of its own.
fn said(plugin: Plugin, base: &Path) -> Result<Option<Value>, String> {
    if plugin.configuration.is_some() {
        return Ok(plugin.configuration);
    }
    if plugin.path.is_empty() {
        return Ok(None);
    }
    let file = ConfigFile::new(&base.join(&plugin.path), FILE_BYTES);
    let read = file.parse(tree).map_err(|error| error.to_string())?;
    Ok(Some(read))
}

fn tree(text: &[u8]) -> Result<Value, String> {
    let mut tree: Value = serde_saphyr::from_slice(text).map_err(|error| error.to_string())?;
    knarr_config::drop_nulls(&mut tree);
    Ok(tree)
}

/// A field that nobody knows may have been meant to keep somebody out.
fn strict<T: serde::de::DeserializeOwned>(tree: Value) -> Result<T, String> {
    serde_json::from_value(tree).map_err(|error| format!("strict decoding error: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Configuration, String> {
        parse(text.as_bytes(), Path::new("/"))
    }

    fn with(plugins: &str) -> String {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n{plugins}"
        )
    }

    const SETTINGS: &str = "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\nexemptions: {usernames: [ann]}\n";

    #[test]
    fn plugins_are_told_in_the_file_or_in_one_beside_it() {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::write(home.path().join("pods.yaml"), SETTINGS).expect("a file");
        let path = home.path().join("config");
        std::fs::write(&path, with("- {name: PodSecurity, path: pods.yaml}")).expect("a file");
        let beside = Configuration::read(&path).expect("a configuration");
        let inline = SETTINGS.replace('\n', "\n    ");
        let inside = read(&with(&format!(
            "- name: PodSecurity\n  configuration:\n    {inline}\n"
        )));
        let inside = inside.expect("a configuration");
        for read in [beside, inside] {
            assert!(read.pod_security.exempts_user("ann"));
            assert!(!read.pod_security.exempts_user("ben"));
        }
        assert!(
            !read(&with("- name: PodSecurity"))
                .expect("nothing")
                .pod_security
                .exempts_user("ann")
        );
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (file, told) in [
            (
                "kind: AdmissionConfiguration".to_owned(),
                "no kind \"AdmissionConfiguration\" is registered for version \"\"",
            ),
            (
                with("- {name: EventRateLimit, configuration: {limits: []}}"),
                "plugin \"EventRateLimit\": knarr has no configuration of this plugin; of PodSecurity it has",
            ),
            (
                with("- {name: PodSecurity}\n- {name: PodSecurity}"),
                "plugin \"PodSecurity\" is configured twice",
            ),
            (
                with("- {name: PodSecurity, config: {}}"),
                "strict decoding error: unknown field `config`",
            ),
            (
                with("- {name: PodSecurity, path: /nowhere/at/all}"),
                "plugin \"PodSecurity\": cannot read /nowhere/at/all",
            ),
        ] {
            let refused = read(&file).expect_err("refused");
            assert!(refused.starts_with(told), "{refused}");
        }
    }
}
