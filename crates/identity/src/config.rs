//! AuthenticationConfiguration: a file, or what flags say in its place.

pub mod expressions;
mod file;
mod flags;
mod validation;

use std::{path::Path, sync::Arc};

use knarr_config::ConfigFile;
use knarr_meta::field;

pub use self::flags::OidcFlags;
use crate::{Configured, Error, issuer::Issuer};

const FILE_BYTES: u64 = 4 << 20;

/// Who may ask without saying who.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anonymous {
    enabled: bool,
    /// Empty: everywhere.
    paths: Vec<String>,
}

impl Anonymous {
    pub fn allows(&self, path: &str) -> bool {
        self.enabled && (self.paths.is_empty() || self.paths.iter().any(|one| one == path))
    }
}

/// A file of this kind.
pub fn file(path: &Path) -> ConfigFile {
    ConfigFile::new(path, FILE_BYTES)
}

/// Reads a file. `own`: issuers that nobody else may be.
pub fn read(file: &ConfigFile, own: &[String]) -> Result<Configured, Error> {
    Ok(file.parse(|text| configured(file::parse(text)?, own))?)
}

/// What flags say.
pub fn of_flags(flags: &OidcFlags, own: &[String]) -> Result<Configured, Error> {
    let file = flags.file()?;
    configured(file, own).map_err(Error::Flags)
}

fn configured(
    file: file::AuthenticationConfiguration,
    own: &[String],
) -> Result<Configured, String> {
    let (settings, errors) = validation::validate(&file, own);
    if !errors.is_empty() {
        return Err(field::aggregate(&errors));
    }
    let issuers = settings.into_iter().map(|one| Arc::new(Issuer::new(one)));
    let anonymous = file.anonymous.map(|anonymous| Anonymous {
        enabled: anonymous.enabled,
        paths: anonymous
            .conditions
            .into_iter()
            .map(|one| one.path)
            .collect(),
    });
    Ok(Configured {
        issuers: issuers.collect(),
        anonymous,
        ..Configured::default()
    })
}

#[cfg(test)]
mod tests;
