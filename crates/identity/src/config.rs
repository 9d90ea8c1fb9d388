//! AuthenticationConfiguration: a file, or what flags say in its place.

pub mod expressions;
mod file;
mod flags;
mod validation;

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::Arc,
};

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

/// Reads a file. `own`: issuers that nobody else may be.
pub fn read(path: &Path, own: &[String]) -> Result<Configured, Error> {
    let unreadable = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let invalid = |why| Error::Invalid {
        path: path.to_owned(),
        why,
    };
    if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES {
        return Err(invalid(format!("more than {FILE_BYTES} bytes")));
    }
    let text = fs::read(path).map_err(unreadable)?;
    let file = file::parse(&text).map_err(invalid)?;
    configured(file, own).map_err(invalid)
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

/// Changes with what is in a file; that of one that cannot be read is always the same.
pub fn fingerprint(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    let small = fs::metadata(path).is_ok_and(|found| found.len() <= FILE_BYTES);
    if small && let Ok(text) = fs::read(path) {
        text.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
