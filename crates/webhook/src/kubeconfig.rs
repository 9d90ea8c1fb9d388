//! Servers that are named by a file in the form of a kubeconfig, as upstream names those of audit, authentication and authorization.

use std::{
    io,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_config::ConfigFile;
use serde::{Deserialize, de::DeserializeOwned};

use crate::Trust;

/// Most bytes of such a file, and of one that it names.
const FILE_BYTES: u64 = 1 << 20;

/// What the current context of such a file says.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    /// `https://host:port/path`
    pub server: String,
    /// Name that the server's certificate must have; empty: the host's.
    pub server_name: String,
    pub trust: Trust,
    pub identity: Option<Identity>,
    pub credentials: Option<Credentials>,
}

/// A client certificate with its key, PEM.
#[derive(Clone)]
pub struct Identity {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// What is sent with every request.
#[derive(Clone)]
pub enum Credentials {
    Token(String),
    /// Read anew for each request, because others rotate it.
    TokenFile(PathBuf),
    Basic {
        username: String,
        password: String,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

/// Why a file names no server.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is no kubeconfig that can be used: {why}")]
    Invalid { path: PathBuf, why: String },
}

impl From<knarr_config::Error> for KubeconfigError {
    fn from(error: knarr_config::Error) -> Self {
        match error {
            knarr_config::Error::Read { path, source } => Self::Read { path, source },
            knarr_config::Error::Invalid { path, why } => Self::Invalid { path, why },
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
struct File {
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
    contexts: Vec<NamedContext>,
    current_context: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
struct Cluster {
    server: String,
    tls_server_name: String,
    insecure_skip_tls_verify: bool,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    password: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
}

impl Kubeconfig {
    /// Reads a file and those that it names, which are relative to it.
    ///
    /// # Errors
    /// Where one cannot be read, or the current context names no server, one that is not `https`, or credentials by a program.
    pub fn read(path: &Path) -> Result<Kubeconfig, KubeconfigError> {
        let text = read(path)?;
        let invalid = |why: String| KubeconfigError::Invalid {
            path: path.to_owned(),
            why,
        };
        let reader = Reader { path };
        let file: File = parse(&text).map_err(invalid)?;
        let current = &file.current_context;
        let context = (file.contexts.iter()).find(|context| context.name == *current);
        let context = context
            .filter(|_| !current.is_empty())
            .ok_or_else(|| invalid(format!("context {current:?} does not exist")))?;
        let (cluster, user) = (&context.context.cluster, &context.context.user);
        let cluster = (file.clusters.iter())
            .find(|one| one.name == *cluster)
            .ok_or_else(|| invalid(format!("cluster {cluster:?} does not exist")))?;
        let none = User::default();
        let user = match user.as_str() {
            "" => &none,
            user => (file.users.iter())
                .find(|one| one.name == user)
                .map(|one| &one.user)
                .ok_or_else(|| invalid(format!("user {user:?} does not exist")))?,
        };
        let cluster = &cluster.cluster;
        if !cluster.server.starts_with("https://") {
            return Err(invalid(format!("server {:?} is not https", cluster.server)));
        }
        if cluster.proxy_url.is_some() {
            return Err(invalid("proxy-url is not supported".to_owned()));
        }
        Ok(Kubeconfig {
            server: cluster.server.clone(),
            server_name: cluster.tls_server_name.clone(),
            trust: reader.trust(cluster)?,
            identity: reader.identity(user)?,
            credentials: reader.credentials(user)?,
        })
    }
}

struct Reader<'p> {
    path: &'p Path,
}

impl Reader<'_> {
    fn invalid(&self, why: impl Into<String>) -> KubeconfigError {
        KubeconfigError::Invalid {
            path: self.path.to_owned(),
            why: why.into(),
        }
    }

    fn beside(&self, path: &Path) -> PathBuf {
        match self.path.parent() {
            Some(parent) => parent.join(path),
            None => path.to_owned(),
        }
    }

    /// What a field holds in base64, or the file that another one names.
    fn bytes(
        &self,
        data: Option<&String>,
        file: Option<&PathBuf>,
    ) -> Result<Option<Vec<u8>>, KubeconfigError> {
        match (data, file) {
            (Some(data), _) if !data.is_empty() => {
                let decoded = STANDARD.decode(data.trim());
                let decoded = decoded.map_err(|error| self.invalid(error.to_string()))?;
                Ok(Some(decoded))
            }
            (_, Some(file)) => read(&self.beside(file)).map(Some),
            _ => Ok(None),
        }
    }

    fn trust(&self, cluster: &Cluster) -> Result<Trust, KubeconfigError> {
        let bundle = self.bytes(
            cluster.certificate_authority_data.as_ref(),
            cluster.certificate_authority.as_ref(),
        )?;
        match (cluster.insecure_skip_tls_verify, bundle) {
            (true, Some(_)) => Err(self.invalid(
                "specifying a root certificates file with the insecure flag is not allowed",
            )),
            (true, None) => Ok(Trust::Unverified),
            (false, bundle) => Ok(Trust::Bundle(bundle.unwrap_or_default())),
        }
    }

    fn identity(&self, user: &User) -> Result<Option<Identity>, KubeconfigError> {
        let certificate = self.bytes(
            user.client_certificate_data.as_ref(),
            user.client_certificate.as_ref(),
        )?;
        let key = self.bytes(user.client_key_data.as_ref(), user.client_key.as_ref())?;
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some(Identity { certificate, key })),
            (None, None) => Ok(None),
            _ => Err(self.invalid("a client certificate and its key must be given together")),
        }
    }

    fn credentials(&self, user: &User) -> Result<Option<Credentials>, KubeconfigError> {
        if user.exec.is_some() || user.auth_provider.is_some() {
            return Err(
                self.invalid("credentials by a program (exec, auth-provider) are not supported")
            );
        }
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(file) = &user.token_file {
            return Ok(Some(Credentials::TokenFile(self.beside(file))));
        }
        if let Some(token) = given(&user.token) {
            return Ok(Some(Credentials::Token(token)));
        }
        Ok(given(&user.username).map(|username| Credentials::Basic {
            username,
            password: user.password.clone().unwrap_or_default(),
        }))
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    serde_saphyr::from_slice(text).map_err(|error| error.to_string())
}

/// A file within its limit.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, KubeconfigError> {
    Ok(ConfigFile::new(path, FILE_BYTES).read()?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GOOD: &str = r#"
apiVersion: v1
kind: Config
clusters:
- name: c
  cluster: {server: "https://127.0.0.1:8443/audit", certificate-authority: ca.pem}
users:
- name: u
  user: {token: secret}
contexts:
- name: x
  context: {cluster: c, user: u}
current-context: x
"#;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config");
        fs::write(&path, text).expect("a file");
        fs::write(directory.path().join("ca.pem"), "authority").expect("a file");
        (directory, path)
    }

    #[test]
    fn the_current_context_names_a_server() {
        let (_directory, path) = written(GOOD);
        let config = Kubeconfig::read(&path).expect("a kubeconfig");
        assert_eq!(config.server, "https://127.0.0.1:8443/audit");
        assert_eq!(config.trust, Trust::Bundle(b"authority".to_vec()));
        assert!(matches!(config.credentials, Some(Credentials::Token(token)) if token == "secret"));
    }

    #[test]
    fn what_names_none_is_refused() {
        for (from, to, wanted) in [
            ("current-context: x", "current-context: y", "context \"y\""),
            ("current-context: x", "", "context \"\""),
            ("cluster: c,", "cluster: d,", "cluster \"d\""),
            ("user: u", "user: v", "user \"v\""),
            ("https://", "http://", "is not https"),
            ("ca.pem", "gone.pem", "cannot read"),
            ("token: secret", "exec: {command: x}", "not supported"),
            ("token: secret", "client-key-data: eA==", "together"),
            ("token: secret", "client-key-data: '?'", "Invalid"),
        ] {
            let (_directory, path) = written(&GOOD.replace(from, to));
            let error = Kubeconfig::read(&path).expect_err(to).to_string();
            assert!(error.contains(wanted), "{to}: {error}");
        }
    }
}
