//! Kubeconfig files with everything embedded.

use std::{
    os::unix::fs::{MetadataExt, chown},
    path::Path,
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Error, Role, cert::Credential, files};

/// Name of the context, the cluster and the user in the file.
const NAME: &str = "knarr";

fn render(ca_pem: &str, credential: &Credential, server: &str) -> String {
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: {NAME}\n  cluster:\n    server: {server}\n    certificate-authority-data: {ca}\n\
         users:\n\
         - name: {NAME}\n  user:\n    client-certificate-data: {cert}\n    client-key-data: {key}\n\
         contexts:\n\
         - name: {NAME}\n  context:\n    cluster: {NAME}\n    user: {NAME}\n\
         current-context: {NAME}\n",
        ca = BASE64_STANDARD.encode(ca_pem),
        cert = BASE64_STANDARD.encode(credential.cert_pem()),
        key = BASE64_STANDARD.encode(credential.key_pem()),
    )
}

/// A kubeconfig that was written, to be written again when its certificate is renewed.
pub(super) struct Written {
    pub(super) role: Role,
    server: String,
    text: String,
}

pub(super) fn write(
    ca_pem: &str,
    (role, credential): (Role, &Credential),
    server: &str,
    path: &Path,
) -> Result<Written, Error> {
    let text = render(ca_pem, credential, server);
    if files::read(path)?.as_deref() != Some(text.as_bytes()) {
        replace(path, &text)?;
    }
    Ok(Written {
        role,
        server: server.to_owned(),
        text,
    })
}

impl Written {
    /// Writes it with a new certificate. A file that somebody has changed or removed meanwhile is theirs.
    pub(super) fn renew(
        &mut self,
        ca_pem: &str,
        credential: &Credential,
        path: &Path,
    ) -> Result<(), Error> {
        let text = render(ca_pem, credential, &self.server);
        if files::read(path)?.as_deref() != Some(self.text.as_bytes()) {
            tracing::warn!(
                path = %path.display(),
                "the kubeconfig is not as knarr wrote it, and does not get the renewed certificate"
            );
            return Ok(());
        }
        replace(path, &text)?;
        self.text = text;
        Ok(())
    }
}

/// A new file, whose owner is that of the old one.
fn replace(path: &Path, text: &str) -> Result<(), Error> {
    let owner = std::fs::metadata(path).map(|file| (file.uid(), file.gid()));
    files::write(
        path,
        text.as_bytes(),
        files::PRIVATE,
        files::Durability::Synced,
    )?;
    let Ok((user, group)) = owner else {
        return Ok(());
    };
    chown(path, Some(user), Some(group)).map_err(|source| Error::Io {
        action: "give back",
        path: path.into(),
        source,
    })
}
