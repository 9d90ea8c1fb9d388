//! The flags of authorization: upstream's names and defaults.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use knarr_authorizer::{Options, WebhookFlags};

use super::duration;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Authorization")]
pub struct AuthorizationFlags {
    /// An AuthorizationConfiguration: who is asked whether somebody may, in which order; read again when it changes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["authorization_mode", "authorization_webhook_config_file"])]
    pub authorization_config: Option<PathBuf>,

    /// Who is asked, in this order: Node, RBAC, Webhook [default: Node,RBAC]
    #[arg(long, value_name = "MODES", value_delimiter = ',')]
    pub authorization_mode: Vec<String>,

    /// The server that is asked in mode Webhook, in the form of a kubeconfig
    #[arg(long, value_name = "FILE")]
    pub authorization_webhook_config_file: Option<PathBuf>,

    /// How long a permission of that server is believed
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub authorization_webhook_cache_authorized_ttl: Duration,

    /// How long it is believed to permit something not
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub authorization_webhook_cache_unauthorized_ttl: Duration,
}

impl AuthorizationFlags {
    /// A process in the background has another directory.
    pub fn make_paths_absolute(&mut self) -> Result<()> {
        for (flag, path) in [
            ("--authorization-config", &mut self.authorization_config),
            (
                "--authorization-webhook-config-file",
                &mut self.authorization_webhook_config_file,
            ),
        ] {
            if let Some(path) = path {
                let absolute = std::path::absolute(&path);
                *path = absolute.with_context(|| format!("{flag} is not a path"))?;
            }
        }
        Ok(())
    }

    pub fn options(&self) -> Options {
        let webhook = self.authorization_webhook_config_file.as_ref();
        Options {
            config_file: self.authorization_config.clone(),
            modes: self.authorization_mode.clone(),
            webhook: webhook.map(|file| WebhookFlags {
                config_file: file.clone(),
                authorized_ttl: self.authorization_webhook_cache_authorized_ttl,
                unauthorized_ttl: self.authorization_webhook_cache_unauthorized_ttl,
            }),
        }
    }
}
