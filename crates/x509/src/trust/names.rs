//! What Go says of a certificate that names somebody else.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, Error as TlsError, OtherError,
    pki_types::{CertificateDer, ServerName},
};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
};

/// Most names that are told.
const MAX_NAMES: usize = 100;

/// In Go's words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongName(String);

/// A refusal of a certificate for its names tells them; any other is as it was.
pub fn explained(
    error: TlsError,
    certificate: &CertificateDer<'_>,
    server: &ServerName<'_>,
) -> TlsError {
    let of_names = matches!(
        error,
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    );
    match x509_parser::parse_x509_certificate(certificate) {
        Ok((_, certificate)) if of_names => {
            let why = WrongName(text(&certificate, &server.to_str()));
            TlsError::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
        }
        _ => error,
    }
}

fn text(certificate: &X509Certificate<'_>, host: &str) -> String {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let mut has_extension = false;
    for extension in certificate.extensions() {
        let ParsedExtension::SubjectAlternativeName(alternatives) = extension.parsed_extension()
        else {
            continue;
        };
        has_extension = true;
        for alternative in &alternatives.general_names {
            match alternative {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                _ => {}
            }
        }
    }
    let common = certificate.subject().iter_common_name().next();
    let common = common
        .and_then(|name| name.as_str().ok())
        .unwrap_or_default();
    if !has_extension && common.eq_ignore_ascii_case(host) {
        return "certificate relies on legacy Common Name field, use SANs instead".to_owned();
    }
    if host.parse::<IpAddr>().is_ok() {
        if addresses.is_empty() {
            return format!(
                "cannot validate certificate for {host} because it doesn't contain any IP SANs"
            );
        }
        return told(&addresses, "IP SANs", host);
    }
    match names.is_empty() {
        true => format!("certificate is not valid for any names, but wanted to match {host}"),
        false => told(&names, "names", host),
    }
}

fn told(names: &[String], what: &str, host: &str) -> String {
    match names.len() >= MAX_NAMES {
        true => format!(
            "certificate is valid for {} {what}, but none matched {host}",
            names.len()
        ),
        false => format!("certificate is valid for {}, not {host}", names.join(", ")),
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        _ => return None,
    };
    Some(address.to_string())
}
