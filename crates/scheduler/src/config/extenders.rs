//! Extenders: servers that are asked which nodes a pod may go to, and how good they are.

use std::{collections::BTreeSet, fs, path::Path as FilePath, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_meta::{
    duration,
    field::{Error, ErrorList, Path},
    names,
};
use kube::config::AuthInfo;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::file::{self, ExtenderTls};

/// Upstream's `DefaultExtenderTimeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of a certificate's file.
const FILE_BYTES: u64 = 1 << 20;

/// How one is called, and for what.
#[derive(Clone, Debug)]
pub struct Extender {
    /// Without a slash at its end; a verb is appended to it.
    pub url: String,
    /// Verbs are empty where it is not asked.
    pub filter: String,
    pub prioritize: String,
    pub preempt: String,
    pub bind: String,
    pub weight: i64,
    pub timeout: Duration,
    /// It knows the nodes, and is told their names only.
    pub node_cache_capable: bool,
    /// It is only asked about pods that ask for one of these; empty: about all.
    pub managed: BTreeSet<String>,
    /// Where it does not answer, pods are scheduled without it.
    pub ignorable: bool,
    pub tls: Tls,
}

/// Who the server has to be, and who this is to it. PEM, empty where nothing is said.
#[derive(Clone, Default)]
pub struct Tls {
    pub insecure: bool,
    pub server_name: String,
    pub authorities: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("insecure", &self.insecure)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// Reads extenders; with them the resources that the scheduler itself leaves alone.
pub fn read(
    extenders: &[file::Extender],
    path: &Path,
    errors: &mut ErrorList,
) -> (Vec<Extender>, Vec<String>) {
    let mut managed = BTreeSet::new();
    let mut ignored = Vec::new();
    let mut all = Vec::with_capacity(extenders.len());
    for (index, extender) in extenders.iter().enumerate() {
        let path = path.index(index);
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            let detail = "must have a positive weight applied to it";
            errors.push(Error::invalid(
                &path.child("weight"),
                extender.weight,
                detail,
            ));
        }
        for (index, resource) in extender.managed_resources.iter().enumerate() {
            let path = path.child("managedResources").index(index).child("name");
            let name = resource.name.as_str();
            errors.extend(resource_name(name, &path));
            if !managed.insert(name) {
                let detail = "duplicate extender managed resource name";
                errors.push(Error::invalid(&path, name, detail));
            }
            if resource.ignored_by_scheduler {
                ignored.push(name.to_owned());
            }
        }
        all.extend(one(extender, &path, errors));
    }
    let binders = extenders.iter().filter(|e| !e.bind_verb.is_empty()).count();
    if binders > 1 {
        let found = format!("found {binders} extenders implementing bind");
        let detail = "only one extender can implement bind";
        errors.push(Error::invalid(path, found, detail));
    }
    (all, ignored)
}

fn one(from: &file::Extender, path: &Path, errors: &mut ErrorList) -> Option<Extender> {
    let before = errors.len();
    let url = from.url_prefix.trim_end_matches('/');
    if !url.starts_with("http://") && !url.starts_with("https://") {
        let detail = "must be a URL of http or https";
        errors.push(Error::invalid(&path.child("urlPrefix"), url, detail));
    }
    let timeout = timeout(from.http_timeout.as_deref(), path, errors);
    let tls = tls(from, &path.child("tlsConfig"), errors);
    (errors.len() == before).then(|| Extender {
        url: url.to_owned(),
        filter: from.filter_verb.clone(),
        prioritize: from.prioritize_verb.clone(),
        preempt: from.preempt_verb.clone(),
        bind: from.bind_verb.clone(),
        weight: from.weight,
        timeout,
        node_cache_capable: from.node_cache_capable,
        managed: from
            .managed_resources
            .iter()
            .map(|r| r.name.clone())
            .collect(),
        ignorable: from.ignorable,
        tls,
    })
}

fn timeout(text: Option<&str>, path: &Path, errors: &mut ErrorList) -> Duration {
    let Some(text) = text else {
        return DEFAULT_TIMEOUT;
    };
    let path = path.child("httpTimeout");
    match duration::parse(text).map(u64::try_from) {
        Ok(Ok(0)) => DEFAULT_TIMEOUT,
        Ok(Ok(nanos)) => Duration::from_nanos(nanos),
        Ok(Err(_)) => {
            errors.push(Error::invalid(&path, text, "must be zero or positive"));
            DEFAULT_TIMEOUT
        }
        Err(why) => {
            errors.push(Error::invalid(&path, text, why));
            DEFAULT_TIMEOUT
        }
    }
}

fn tls(from: &file::Extender, path: &Path, errors: &mut ErrorList) -> Tls {
    let empty = ExtenderTls::default();
    let config = from.tls_config.as_ref().unwrap_or(&empty);
    let mut pem = |data: &str, file: &FilePath, fields: [&'static str; 2]| {
        let read = if !data.is_empty() {
            let decoded = STANDARD.decode(data).map_err(|error| error.to_string());
            decoded.map_err(|why| (fields[0], why))
        } else if file.as_os_str().is_empty() {
            Ok(Vec::new())
        } else {
            bounded(file).map_err(|why| (fields[1], why))
        };
        read.unwrap_or_else(|(field, why)| {
            errors.push(Error::invalid_whole(&path.child(field), why));
            Vec::new()
        })
    };
    let authorities = pem(&config.ca_data, &config.ca_file, ["caData", "caFile"]);
    let certificate = pem(
        &config.cert_data,
        &config.cert_file,
        ["certData", "certFile"],
    );
    let key = pem(&config.key_data, &config.key_file, ["keyData", "keyFile"]);
    if certificate.is_empty() != key.is_empty() {
        let detail = "a client certificate and its key are given together";
        errors.push(Error::forbidden(path, detail));
    }
    if config.insecure && !authorities.is_empty() {
        let detail = "specifying a root certificates file with the insecure flag is not allowed";
        errors.push(Error::forbidden(path, detail));
    }
    let tls = Tls {
        // As upstream's `makeTransport` has it.
        insecure: config.insecure || (from.enable_https && authorities.is_empty()),
        server_name: config.server_name.clone(),
        authorities,
        certificate,
        key,
    };
    let authorities = match tls.authorities.is_empty() {
        true => Ok(()),
        false => certificates(&tls.authorities).map(drop),
    };
    if let Err(why) = authorities.and_then(|()| identity(&tls).map(drop)) {
        errors.push(Error::invalid_whole(path, why));
    }
    tls
}

/// The certificates of a PEM bundle.
///
/// # Errors
/// There is none, or one cannot be read.
pub fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let all = CertificateDer::pem_slice_iter(pem).map(|one| one.map(|one| one.to_vec()));
    let all: Vec<_> = all
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    match all.is_empty() {
        true => Err("no certificate is in it".to_owned()),
        false => Ok(all),
    }
}

/// What is shown to the server.
///
/// # Errors
/// The certificate or its key cannot be read.
pub fn identity(tls: &Tls) -> Result<AuthInfo, String> {
    if tls.certificate.is_empty() {
        return Ok(AuthInfo::default());
    }
    certificates(&tls.certificate)?;
    PrivateKeyDer::from_pem_slice(&tls.key).map_err(|error| error.to_string())?;
    // The key is kept by a type that only reads it.
    let tree = serde_json::json!({
        "client-certificate-data": STANDARD.encode(&tls.certificate),
        "client-key-data": STANDARD.encode(&tls.key),
    });
    serde_json::from_value(tree).map_err(|error| error.to_string())
}

fn bounded(file: &FilePath) -> Result<Vec<u8>, String> {
    let size = fs::metadata(file).map_err(|error| format!("{}: {error}", file.display()))?;
    if size.len() > FILE_BYTES {
        return Err(format!("{}: more than {FILE_BYTES} bytes", file.display()));
    }
    fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn resource_name(name: &str, path: &Path) -> ErrorList {
    let errors = names::qualified_name(name).into_iter();
    let errors: ErrorList = errors.map(|why| Error::invalid(path, name, why)).collect();
    if errors.is_empty() && !is_extended(name) {
        let detail = "is an invalid extended resource name";
        return vec![Error::invalid(path, name, detail)];
    }
    errors
}

/// Whether a resource is of nobody's but its domain's (upstream `IsExtendedResourceName`).
pub fn is_extended(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    let quota = format!("requests.{name}");
    !native && !name.starts_with("requests.") && names::qualified_name(&quota).is_empty()
}
