//! The flags of authentication: upstream's names and defaults.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use knarr_auth::{front_proxy, tokens::VerificationKey};
use knarr_identity::{OidcFlags, Options, TokenWebhookOptions};

use super::duration;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Authentication")]
pub struct IdentityFlags {
    /// An AuthenticationConfiguration: issuers of tokens, and who may ask without saying who; read again when it changes
    #[arg(long, value_name = "FILE")]
    pub authentication_config: Option<PathBuf>,

    /// The URL of an OpenID issuer whose tokens are believed
    #[arg(
        long,
        value_name = "URL",
        requires = "oidc_client_id",
        conflicts_with = "authentication_config"
    )]
    pub oidc_issuer_url: Option<String>,

    /// For whom tokens of the OpenID issuer must be meant
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    pub oidc_client_id: Option<String>,

    /// Who vouches for the OpenID issuer's server [default: the authorities of this machine]
    #[arg(long, value_name = "FILE", requires = "oidc_issuer_url")]
    pub oidc_ca_file: Option<PathBuf>,

    /// The claim that names a user
    #[arg(long, value_name = "CLAIM", default_value = "sub")]
    pub oidc_username_claim: String,

    /// What is put before names; - is nothing [default: the issuer's URL and #, unless names are mail addresses]
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub oidc_username_prefix: String,

    /// The claim that names a user's groups
    #[arg(
        long,
        value_name = "CLAIM",
        default_value = "",
        hide_default_value = true
    )]
    pub oidc_groups_claim: String,

    /// What is put before groups
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "",
        hide_default_value = true
    )]
    pub oidc_groups_prefix: String,

    /// A claim and the value that it must have; any number of them
    #[arg(long, value_name = "CLAIM=VALUE", requires = "oidc_issuer_url")]
    pub oidc_required_claim: Vec<String>,

    /// Tokens and whose they are: token,user,uid,"group1,group2" a line
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,

    /// The server that is asked whose a token is, in the form of a kubeconfig
    #[arg(long, value_name = "FILE")]
    pub authentication_token_webhook_config_file: Option<PathBuf>,

    /// Public keys, PEM, by which service-account tokens hold that another key than the cluster's has signed; any number of files
    #[arg(long, value_name = "FILE")]
    pub service_account_key_file: Vec<PathBuf>,

    /// Who issues service-account tokens, an https URL; of several the first is in new tokens, and tokens of the others hold
    /// [default: https://kubernetes.default.svc. and the cluster's domain]
    #[arg(long, value_name = "URL", value_parser = issuer)]
    pub service_account_issuer: Vec<String>,

    /// Authorities, PEM, of front proxies, whose headers say on whose behalf they ask
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,

    /// Common names that certificates of front proxies may have, a list [default: any]
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        requires = "requestheader_client_ca_file"
    )]
    pub requestheader_allowed_names: Vec<String>,

    /// Headers that name the user, the first that is there
    #[arg(
        long,
        value_name = "HEADER",
        value_delimiter = ',',
        default_value = "X-Remote-User"
    )]
    pub requestheader_username_headers: Vec<String>,

    /// Headers with the user's uid, the first that is there
    #[arg(
        long,
        value_name = "HEADER",
        value_delimiter = ',',
        default_value = "X-Remote-Uid"
    )]
    pub requestheader_uid_headers: Vec<String>,

    /// Headers with the user's groups
    #[arg(
        long,
        value_name = "HEADER",
        value_delimiter = ',',
        default_value = "X-Remote-Group"
    )]
    pub requestheader_group_headers: Vec<String>,

    /// What names of headers with more about the user begin with
    #[arg(
        long,
        value_name = "PREFIX",
        value_delimiter = ',',
        default_value = "X-Remote-Extra-"
    )]
    pub requestheader_extra_headers_prefix: Vec<String>,

    /// How long the answer of that server is believed
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub authentication_token_webhook_cache_ttl: Duration,
}

/// As upstream checks one that has a scheme.
fn issuer(text: &str) -> Result<String, String> {
    let url: http::Uri = text.parse().map_err(|_| "is no URL".to_owned())?;
    match url.scheme_str() {
        Some("https") if url.query().is_none() => Ok(text.to_owned()),
        _ => Err("must be an https URL without a query".to_owned()),
    }
}

impl IdentityFlags {
    /// Front proxies that are believed, if any are.
    pub fn front_proxies(&self) -> Result<Option<front_proxy::Options>> {
        let Some(file) = &self.requestheader_client_ca_file else {
            return Ok(None);
        };
        let ca = std::fs::read(file)
            .with_context(|| format!("--requestheader-client-ca-file {}", file.display()))?;
        Ok(Some(front_proxy::Options {
            ca,
            allowed_names: self.requestheader_allowed_names.clone(),
            username_headers: self.requestheader_username_headers.clone(),
            uid_headers: self.requestheader_uid_headers.clone(),
            group_headers: self.requestheader_group_headers.clone(),
            extra_prefixes: self.requestheader_extra_headers_prefix.clone(),
        }))
    }

    /// Reads the files of keys.
    pub fn token_keys(&self) -> Result<Vec<VerificationKey>> {
        let mut keys = Vec::new();
        for file in &self.service_account_key_file {
            let of_file = || format!("--service-account-key-file {}", file.display());
            let pem = std::fs::read(file).with_context(of_file)?;
            keys.extend(VerificationKey::parse(&pem).with_context(of_file)?);
        }
        Ok(keys)
    }

    /// A process in the background has another directory.
    pub fn make_paths_absolute(&mut self) -> Result<()> {
        let paths = [
            ("--authentication-config", &mut self.authentication_config),
            ("--oidc-ca-file", &mut self.oidc_ca_file),
            ("--token-auth-file", &mut self.token_auth_file),
            (
                "--authentication-token-webhook-config-file",
                &mut self.authentication_token_webhook_config_file,
            ),
            (
                "--requestheader-client-ca-file",
                &mut self.requestheader_client_ca_file,
            ),
        ];
        for (flag, path) in paths {
            if let Some(path) = path {
                let absolute = std::path::absolute(&path);
                *path = absolute.with_context(|| format!("{flag} is not a path"))?;
            }
        }
        for path in &mut self.service_account_key_file {
            let absolute = std::path::absolute(&path);
            *path = absolute.context("--service-account-key-file is not a path")?;
        }
        Ok(())
    }

    pub fn options(&self) -> Options {
        let oidc = self.oidc_issuer_url.as_ref().map(|url| OidcFlags {
            issuer_url: url.clone(),
            client_id: self.oidc_client_id.clone().unwrap_or_default(),
            ca_file: self.oidc_ca_file.clone(),
            username_claim: self.oidc_username_claim.clone(),
            username_prefix: self.oidc_username_prefix.clone(),
            groups_claim: self.oidc_groups_claim.clone(),
            groups_prefix: self.oidc_groups_prefix.clone(),
            required_claims: self.oidc_required_claim.clone(),
        });
        let webhook = self.authentication_token_webhook_config_file.as_ref();
        let webhook = webhook.map(|file| TokenWebhookOptions {
            config_file: file.clone(),
            cache_ttl: self.authentication_token_webhook_cache_ttl,
        });
        Options {
            config_file: self.authentication_config.clone(),
            oidc,
            token_file: self.token_auth_file.clone(),
            token_webhook: webhook,
        }
    }
}
