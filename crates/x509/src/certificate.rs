//! Certificates, as far as the API judges them.

use jiff::Timestamp;
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, x509::X509Name,
};

use crate::Error;

const MALFORMED: Error = Error::Malformed("certificate");

/// A certificate, read. Nothing is said of who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// By its basic constraints.
    pub is_ca: bool,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// The last one where there are several, as Go has it; empty where there is none that can be read.
    pub common_name: String,
    /// Groups, of a client.
    pub organizations: Vec<String>,
    /// By its extended key usage: whether a server shows it, or a client.
    pub is_server: bool,
    pub is_client: bool,
    /// Who signed it, by its word.
    pub issuer_name: String,
    pub dns_names: Vec<String>,
    pub email_addresses: Vec<String>,
    /// Four or sixteen bytes each.
    pub ip_addresses: Vec<Vec<u8>>,
    /// DER of the SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    /// DER of the subject.
    pub(crate) subject: Vec<u8>,
    /// DER of the issuer.
    issuer: Vec<u8>,
    pub(crate) key_id: Option<Vec<u8>>,
}

impl Certificate {
    /// # Errors
    /// [`Error::Malformed`].
    pub fn from_der(der: &[u8]) -> Result<Certificate, Error> {
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| MALFORMED)?;
        if !rest.is_empty() {
            return Err(MALFORMED);
        }
        let time = |seconds| Timestamp::from_second(seconds).map_err(|_| MALFORMED);
        let basic = parsed.basic_constraints().map_err(|_| MALFORMED)?;
        let names = parsed.subject_alternative_name().map_err(|_| MALFORMED)?;
        let names = || names.iter().flat_map(|names| &names.value.general_names);
        let text =
            |pick: fn(&GeneralName<'_>) -> Option<String>| names().filter_map(pick).collect();
        let key_id = parsed.iter_extensions().find_map(|extension| {
            use x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier;
            match extension.parsed_extension() {
                SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            }
        });
        let usage = parsed.extended_key_usage().map_err(|_| MALFORMED)?;
        let usage = usage.map(|usage| usage.value);
        let organizations = parsed.subject().iter_organization();
        Ok(Certificate {
            common_name: common_name(parsed.subject()),
            organizations: organizations
                .filter_map(|name| name.as_str().ok().map(str::to_owned))
                .collect(),
            is_server: usage.is_some_and(|usage| usage.server_auth),
            is_client: usage.is_some_and(|usage| usage.client_auth),
            issuer_name: common_name(parsed.issuer()),
            is_ca: basic.is_some_and(|basic| basic.value.ca),
            not_before: time(parsed.validity().not_before.timestamp())?,
            not_after: time(parsed.validity().not_after.timestamp())?,
            dns_names: text(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            }),
            email_addresses: text(|name| match name {
                GeneralName::RFC822Name(name) => Some((*name).to_owned()),
                _ => None,
            }),
            ip_addresses: names()
                .filter_map(|name| match name {
                    GeneralName::IPAddress(bytes) => Some(bytes.to_vec()),
                    _ => None,
                })
                .collect(),
            public_key: parsed.public_key().raw.to_vec(),
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            key_id,
        })
    }

    /// Whether it names this authority as who signed it. No signature is looked at.
    #[must_use]
    pub fn names_issuer(&self, authority: &Certificate) -> bool {
        self.issuer == authority.subject
    }
}

fn common_name(name: &X509Name<'_>) -> String {
    let last = name.iter_common_name().last();
    let last = last.and_then(|name| name.as_str().ok());
    last.unwrap_or_default().to_owned()
}
