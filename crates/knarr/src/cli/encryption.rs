//! The flags of encryption at rest: upstream's names.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Encryption at rest")]
pub struct EncryptionFlags {
    /// An EncryptionConfiguration: which resources are encrypted in the store, and with what (identity, aescbc, aesgcm, secretbox, KMS v2)
    /// [default: Secrets, with a key of the cluster's own; none in an etcd whose Secrets are not encrypted]
    #[arg(long, value_name = "FILE")]
    pub encryption_provider_config: Option<PathBuf>,

    /// Whether that file is read again when it changes; one that cannot be used changes nothing
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = false,
        num_args = 0..=1,
        default_missing_value = "true",
        action = clap::ArgAction::Set,
        hide_possible_values = true
    )]
    pub encryption_provider_config_automatic_reload: bool,
}

impl EncryptionFlags {
    /// Files are found from wherever the process is by then.
    pub fn make_paths_absolute(&mut self) -> Result<()> {
        if let Some(path) = &mut self.encryption_provider_config {
            let absolute = std::path::absolute(&path);
            *path = absolute.context("--encryption-provider-config is not a path")?;
        }
        Ok(())
    }

    /// `server`: who this server is among those of its cluster.
    pub fn options(&self, server: &str) -> knarr_encryption::Options {
        knarr_encryption::Options {
            config_file: self.encryption_provider_config.clone(),
            plain: false,
            reload: self.encryption_provider_config_automatic_reload,
            server: server.to_owned(),
        }
    }

    /// # Errors
    /// Where one flag says something of another that is not given, in upstream's words.
    pub fn check(&self) -> Result<()> {
        anyhow::ensure!(
            self.encryption_provider_config.is_some()
                || !self.encryption_provider_config_automatic_reload,
            "--encryption-provider-config-automatic-reload must be set with --encryption-provider-config"
        );
        Ok(())
    }
}
