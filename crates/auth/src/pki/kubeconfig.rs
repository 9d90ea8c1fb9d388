//! Kubeconfig files with everything embedded. What their users choose by kubectl, the namespace, stays theirs.

use std::{
    os::unix::fs::{MetadataExt, chown},
    path::Path,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{Error, Role, cert::Credential, files};

/// Name of the context, the cluster and the user in the file.
const NAME: &str = "knarr";

fn render(ca_pem: &str, credential: &Credential, server: &str, chosen: &Chosen) -> String {
    let namespace = chosen.namespace.as_ref().map(|name| {
        // In JSON, which YAML has whole, a name is a string whatever it looks like.
        format!("    namespace: {}\n", Value::from(name.as_str()))
    });
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: {NAME}\n  cluster:\n    server: {server}\n    certificate-authority-data: {ca}\n\
         users:\n\
         - name: {NAME}\n  user:\n    client-certificate-data: {cert}\n    client-key-data: {key}\n\
         contexts:\n\
         - name: {NAME}\n  context:\n    cluster: {NAME}\n    user: {NAME}\n{namespace}\
         current-context: {NAME}\n",
        namespace = namespace.unwrap_or_default(),
        ca = BASE64_STANDARD.encode(ca_pem),
        cert = BASE64_STANDARD.encode(credential.cert_pem()),
        key = BASE64_STANDARD.encode(credential.key_pem()),
    )
}

/// What a user has chosen in a file of ours: `kubectl config set-context --current --namespace=...`.
#[derive(Default)]
struct Chosen {
    namespace: Option<String>,
}

/// What a file says apart from what its user has chosen, and that; kubectl writes whole files anew, in an order of its own.
fn parse(text: &[u8]) -> Option<(Value, Chosen)> {
    let mut file: Value = serde_saphyr::from_str(str::from_utf8(text).ok()?).ok()?;
    // Of old versions of kubectl, which always write it.
    if file
        .get("preferences")
        .is_some_and(|preferences| *preferences == serde_json::json!({}))
    {
        file.as_object_mut()?.remove("preferences");
    }
    let contexts = file.get_mut("contexts").and_then(Value::as_array_mut);
    let mut contexts = contexts.into_iter().flatten();
    let own = contexts.find(|context| context.get("name").is_some_and(|name| name == NAME));
    let fields = own.and_then(|own| own.get_mut("context")?.as_object_mut());
    let namespace = fields.and_then(|fields| match fields.remove("namespace")? {
        Value::String(namespace) if !namespace.is_empty() => Some(namespace),
        _ => None,
    });
    Some((file, Chosen { namespace }))
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
    let (found, chosen) = found(path)?;
    let text = render(ca_pem, credential, server, &chosen);
    if found.is_none() || found != content(&text) {
        replace(path, &text)?;
    }
    Ok(Written {
        role,
        server: server.to_owned(),
        text,
    })
}

fn found(path: &Path) -> Result<(Option<Value>, Chosen), Error> {
    let text = files::read(path)?;
    Ok(match text.as_deref().and_then(parse) {
        Some((content, chosen)) => (Some(content), chosen),
        None => (None, Chosen::default()),
    })
}

fn content(text: &str) -> Option<Value> {
    parse(text.as_bytes()).map(|(content, _)| content)
}

impl Written {
    /// Writes it with a new certificate. A file that somebody has changed or removed meanwhile is theirs.
    pub(super) fn renew(
        &mut self,
        ca_pem: &str,
        credential: &Credential,
        path: &Path,
    ) -> Result<(), Error> {
        let (found, chosen) = found(path)?;
        let text = render(ca_pem, credential, &self.server, &chosen);
        if found.is_none() || found != content(&self.text) {
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
