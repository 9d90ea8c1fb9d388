//! Kubeconfig files with everything embedded.

use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Error, cert::Credential, files};

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

pub(super) fn write(
    ca_pem: &str,
    credential: &Credential,
    server: &str,
    path: &Path,
) -> Result<(), Error> {
    let wanted = render(ca_pem, credential, server);
    if files::read(path)?.as_deref() == Some(wanted.as_bytes()) {
        return Ok(());
    }
    files::write(
        path,
        wanted.as_bytes(),
        files::PRIVATE,
        files::Durability::Synced,
    )
}
