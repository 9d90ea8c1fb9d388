//! `--oidc-*`: one issuer, as upstream makes a configuration of these flags.

use std::path::PathBuf;

use knarr_config::ConfigFile;

use super::file::{
    AuthenticationConfiguration, ClaimMappings, ClaimValidationRule, Issuer, JwtAuthenticator,
    PrefixedClaimOrExpression,
};
use crate::Error;

/// A prefix that stands for none.
const NO_PREFIX: &str = "-";
const CA_BYTES: u64 = 1 << 20;

/// What the flags say; empty where they are not given.
#[derive(Clone, Debug, Default)]
pub struct OidcFlags {
    pub issuer_url: String,
    pub client_id: String,
    pub ca_file: Option<PathBuf>,
    /// Upstream's default is `sub`.
    pub username_claim: String,
    pub username_prefix: String,
    pub groups_claim: String,
    pub groups_prefix: String,
    /// `key=value`
    pub required_claims: Vec<String>,
}

impl OidcFlags {
    /// # Errors
    /// Where a flag is missing or has no sense, or the authority cannot be read.
    pub fn file(&self) -> Result<AuthenticationConfiguration, Error> {
        if self.issuer_url.is_empty() || self.client_id.is_empty() {
            let why = "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set";
            return Err(Error::Flags(why.to_owned()));
        }
        let username_prefix = match &*self.username_prefix {
            NO_PREFIX => String::new(),
            // Names of an issuer are not mistaken for those of another; mail addresses are nobody else's.
            "" if self.username_claim != "email" => format!("{}#", self.issuer_url),
            prefix => prefix.to_owned(),
        };
        let mut groups = PrefixedClaimOrExpression::default();
        if !self.groups_claim.is_empty() {
            groups.claim.clone_from(&self.groups_claim);
            groups.prefix = Some(self.groups_prefix.clone());
        }
        let authenticator = JwtAuthenticator {
            issuer: Issuer {
                url: self.issuer_url.clone(),
                certificate_authority: self.authority()?,
                audiences: vec![self.client_id.clone()],
                ..Issuer::default()
            },
            claim_mappings: ClaimMappings {
                username: PrefixedClaimOrExpression {
                    claim: self.username_claim.clone(),
                    prefix: Some(username_prefix),
                    ..PrefixedClaimOrExpression::default()
                },
                groups,
                ..ClaimMappings::default()
            },
            claim_validation_rules: self.rules()?,
            ..JwtAuthenticator::default()
        };
        Ok(AuthenticationConfiguration {
            jwt: vec![authenticator],
            ..AuthenticationConfiguration::default()
        })
    }

    fn rules(&self) -> Result<Vec<ClaimValidationRule>, Error> {
        let rules = self.required_claims.iter().map(|pair| {
            let (claim, value) = pair.split_once('=').ok_or_else(|| {
                Error::Flags(format!("--oidc-required-claim: {pair} is no key=value"))
            })?;
            Ok(ClaimValidationRule {
                claim: claim.to_owned(),
                required_value: value.to_owned(),
                ..ClaimValidationRule::default()
            })
        });
        rules.collect()
    }

    fn authority(&self) -> Result<String, Error> {
        let Some(path) = &self.ca_file else {
            return Ok(String::new());
        };
        let file = ConfigFile::new(path, CA_BYTES);
        Ok(file.parse_text(|text| Ok(text.to_owned()))?)
    }
}
