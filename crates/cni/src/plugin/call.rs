//! What a plugin is called with: the variables of the specification, whoever sets them, and a configuration.

use std::path::PathBuf;

use crate::result::PluginError;

/// The variables of a call. A process has them in its environment; a runtime of this program passes them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    /// `CNI_COMMAND`.
    pub command: String,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`; empty where the namespace is gone.
    pub netns: PathBuf,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_ARGS`: `KEY=VALUE;…`.
    pub args: String,
}

/// What a call that is about one interface is about.
pub(super) struct Request {
    pub container_id: String,
    pub netns: Option<PathBuf>,
    pub ifname: String,
}

impl Call {
    /// As this process was called.
    pub fn of_process() -> Self {
        let text = |name| std::env::var(name).unwrap_or_default();
        Self {
            command: text("CNI_COMMAND"),
            container_id: text("CNI_CONTAINERID"),
            netns: std::env::var_os("CNI_NETNS").unwrap_or_default().into(),
            ifname: text("CNI_IFNAME"),
            args: text("CNI_ARGS"),
        }
    }

    pub(super) fn command(&self) -> Result<&str, PluginError> {
        given("CNI_COMMAND", &self.command)
    }

    pub(super) fn request(&self) -> Result<Request, PluginError> {
        Ok(Request {
            container_id: given("CNI_CONTAINERID", &self.container_id)?.to_owned(),
            netns: Some(self.netns.clone()).filter(|netns| !netns.as_os_str().is_empty()),
            ifname: given("CNI_IFNAME", &self.ifname)?.to_owned(),
        })
    }

    /// One of the runtime's `CNI_ARGS`.
    pub(super) fn argument(&self, name: &str) -> Option<String> {
        let mut pairs = self.args.split(';').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        Some(value.to_owned()).filter(|v| !v.is_empty() && v.chars().all(plain))
    }
}

fn given<'a>(name: &str, value: &'a str) -> Result<&'a str, PluginError> {
    if value.is_empty() {
        let text = format!("required environment variable {name} is missing");
        return Err(PluginError::new(PluginError::INVALID_ENVIRONMENT, text));
    }
    Ok(value)
}
