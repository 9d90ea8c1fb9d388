//! Keys, certificates and kubeconfigs as kubeadm makes them: RSA of 2048 bits, in PKCS#1.

use std::{
    fs, net::IpAddr, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration,
};

use anyhow::{Context, Result};
use knarr_testkit::{NODE_IP, run_with_input};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::json;

use super::component::{API_URL, NODE, SERVICE_IP};

/// Below the cluster's directory.
pub const FOLDER: &str = "pki";
/// The administrator's kubeconfig, below the cluster's directory.
pub const ADMIN: &str = "admin.kubeconfig";

/// For a key: two primes are looked for.
const KEY_DEADLINE: Duration = Duration::from_secs(60);

/// What a client's certificate says, and its kubeconfig's name.
struct Client {
    file: &'static str,
    user: String,
    group: Option<&'static str>,
}

/// Makes all below `dir`.
pub fn make(dir: &Path) -> Result<()> {
    let folder = dir.join(FOLDER);
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;

    let cluster = Authority::make(&folder, "ca", "kubernetes")?;
    let server_names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        NODE,
        "127.0.0.1",
        NODE_IP,
        SERVICE_IP,
    ];
    cluster.issue("apiserver", "kube-apiserver", None, &server_names)?;
    cluster.issue(
        "apiserver-kubelet-client",
        "kube-apiserver-kubelet-client",
        Some("system:masters"),
        &[],
    )?;
    for client in clients() {
        cluster.issue(client.file, &client.user, client.group, &[])?;
        kubeconfig(dir, &client)?;
    }

    let front_proxy = Authority::make(&folder, "front-proxy-ca", "front-proxy-ca")?;
    front_proxy.issue("front-proxy-client", "front-proxy-client", None, &[])?;

    let tokens = Key::generate()?;
    write(&folder, "sa.key", &tokens.pem)?;
    write(&folder, "sa.pub", &tokens.pair.public_key_pem())
}

/// Makes a certificate of a kubelet's server in a cluster of ours, and its key, below `folder`: `name` with the endings `crt` and
/// `key`. `authority` is the folder of the cluster's.
pub fn kubelet_server(folder: &Path, name: &str, authority: &Path) -> Result<()> {
    let read = |file: &str| {
        let path = authority.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let signer = KeyPair::from_pem(&read("ca.key")?)?;
    let authority = Authority {
        folder,
        issuer: Issuer::from_ca_cert_pem(&read("ca.crt")?, signer)?,
    };
    let user = format!("system:node:{NODE}");
    authority.issue(name, &user, Some("system:nodes"), &[NODE, NODE_IP])
}

/// A key, and its file.
struct Key {
    pair: KeyPair,
    pem: String,
}

impl Key {
    /// By OpenSSL: `ring` makes no RSA keys.
    fn generate() -> Result<Self> {
        let made = openssl(&["genrsa", "2048"], "")?;
        let pkcs8 = openssl(&["pkcs8", "-topk8", "-nocrypt"], &made)?;
        Ok(Self {
            pair: KeyPair::from_pem(&pkcs8)?,
            pem: openssl(&["pkey", "-traditional"], &made)?,
        })
    }
}

fn openssl(arguments: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new("openssl");
    command.args(arguments);
    run_with_input(command, input.as_bytes(), KEY_DEADLINE)?.success()
}

fn clients() -> Vec<Client> {
    let client = |file, user: &str, group| Client {
        file,
        user: user.to_owned(),
        group,
    };
    vec![
        client("admin", "kubernetes-admin", Some("system:masters")),
        client("controller-manager", "system:kube-controller-manager", None),
        client("scheduler", "system:kube-scheduler", None),
        client("proxy", "system:kube-proxy", None),
        client(
            "kubelet",
            &format!("system:node:{NODE}"),
            Some("system:nodes"),
        ),
    ]
}

struct Authority<'a> {
    folder: &'a Path,
    issuer: Issuer<'static, KeyPair>,
}

impl<'a> Authority<'a> {
    fn make(folder: &'a Path, file: &str, name: &str) -> Result<Self> {
        let key = Key::generate()?;
        let mut params = named(name, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        let certificate = params.self_signed(&key.pair)?;
        write(folder, &format!("{file}.crt"), &certificate.pem())?;
        write(folder, &format!("{file}.key"), &key.pem)?;
        Ok(Self {
            folder,
            issuer: Issuer::new(params, key.pair),
        })
    }

    /// A certificate for a server with these names, or for a client if there are none.
    fn issue(&self, file: &str, user: &str, group: Option<&str>, names: &[&str]) -> Result<()> {
        let key = Key::generate()?;
        let mut params = named(user, group);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![match names {
            [] => ExtendedKeyUsagePurpose::ClientAuth,
            _ => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into()?),
            });
        }
        let certificate = params.signed_by(&key.pair, &self.issuer)?;
        write(self.folder, &format!("{file}.crt"), &certificate.pem())?;
        write(self.folder, &format!("{file}.key"), &key.pem)
    }
}

fn named(user: &str, group: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(group) = group {
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
    }
    params.distinguished_name.push(DnType::CommonName, user);
    params
}

/// JSON, which YAML is a superset of.
fn kubeconfig(dir: &Path, client: &Client) -> Result<()> {
    let path = |file: &str| dir.join(FOLDER).join(file);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "upstream",
            "cluster": {"server": API_URL, "certificate-authority": path("ca.crt")},
        }],
        "users": [{
            "name": client.user,
            "user": {
                "client-certificate": path(&format!("{}.crt", client.file)),
                "client-key": path(&format!("{}.key", client.file)),
            },
        }],
        "contexts": [{
            "name": "upstream",
            "context": {"cluster": "upstream", "user": client.user},
        }],
        "current-context": "upstream",
    });
    let file = format!("{}.kubeconfig", client.file);
    write(dir, &file, &serde_json::to_string_pretty(&config)?)
}

fn write(folder: &Path, file: &str, text: &str) -> Result<()> {
    let path = folder.join(file);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(fs::set_permissions(
        &path,
        fs::Permissions::from_mode(0o600),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelets_server_is_the_nodes_by_the_word_of_the_authority() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let key = KeyPair::generate().unwrap();
        let mut params = named("knarr", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).unwrap();
        write(dir, "ca.crt", &own.pem()).unwrap();
        write(dir, "ca.key", &key.serialize_pem()).unwrap();
        kubelet_server(dir, "server", dir).unwrap();
        let path = |file: &str| dir.join(file).display().to_string();
        let (ca, server) = (path("ca.crt"), path("server.crt"));
        openssl(&["verify", "-CAfile", &ca, &server], "").unwrap();
        let shown = openssl(&["x509", "-in", &server, "-noout", "-text"], "").unwrap();
        for wanted in [
            "O = system:nodes, CN = system:node:node",
            "DNS:node, IP Address:192.0.2.1",
            "TLS Web Server Authentication",
        ] {
            assert!(shown.contains(wanted), "{wanted}: {shown}");
        }
    }
}
