//! Certificate requests (PKCS#10).

use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
    x509::X509Name,
};

use crate::{Error, PublicKey, pem, public_key};

const MALFORMED: Error = Error::Malformed("certificate request");

/// A request, read. Its signature is not verified until [`Request::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    der: Vec<u8>,
    /// The last one where there are several, as Go has it; empty where there is none.
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub email_addresses: Vec<String>,
    /// Four or sixteen bytes each.
    pub ip_addresses: Vec<Vec<u8>>,
    pub uris: Vec<String>,
    pub key: PublicKey,
    /// DER of the SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    /// DER of the subject.
    pub(crate) subject: Vec<u8>,
}

impl Request {
    /// The first PEM block, which must be a request. Upstream's `ParseCSR`.
    ///
    /// # Errors
    /// [`Error::BlockType`] and [`Error::Malformed`].
    pub fn from_pem(text: &[u8]) -> Result<Request, Error> {
        match pem::blocks(text).next() {
            Some(block) if block.label == pem::REQUEST => Request::from_der(&block.der),
            _ => Err(Error::BlockType(pem::REQUEST)),
        }
    }

    /// # Errors
    /// [`Error::Malformed`], also where a name in it is not text.
    pub fn from_der(der: &[u8]) -> Result<Request, Error> {
        let (rest, parsed) = X509CertificationRequest::from_der(der).map_err(|_| MALFORMED)?;
        if !rest.is_empty() {
            return Err(MALFORMED);
        }
        let info = &parsed.certification_request_info;
        let (common_name, organizations) = names(&info.subject)?;
        let mut request = Request {
            der: der.to_vec(),
            common_name,
            organizations,
            dns_names: Vec::new(),
            email_addresses: Vec::new(),
            ip_addresses: Vec::new(),
            uris: Vec::new(),
            key: public_key::kind(&info.subject_pki),
            public_key: info.subject_pki.raw.to_vec(),
            subject: info.subject.as_raw().to_vec(),
        };
        for extension in parsed.requested_extensions().into_iter().flatten() {
            match extension {
                ParsedExtension::SubjectAlternativeName(names) => {
                    for name in &names.general_names {
                        request.add(name)?;
                    }
                }
                ParsedExtension::ParseError { .. } => return Err(MALFORMED),
                _ => {}
            }
        }
        Ok(request)
    }

    fn add(&mut self, name: &GeneralName<'_>) -> Result<(), Error> {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.email_addresses.push((*name).to_owned()),
            GeneralName::URI(uri) => self.uris.push((*uri).to_owned()),
            GeneralName::IPAddress(bytes) if matches!(bytes.len(), 4 | 16) => {
                self.ip_addresses.push(bytes.to_vec());
            }
            GeneralName::IPAddress(_) | GeneralName::Invalid(..) => return Err(MALFORMED),
            // Go reads no others.
            _ => {}
        }
        Ok(())
    }

    /// Whether who made the request has the key.
    ///
    /// # Errors
    /// [`Error::Signature`], and [`Error::UnsupportedAlgorithm`] where that cannot be told.
    pub fn verify(&self) -> Result<(), Error> {
        let (_, parsed) = X509CertificationRequest::from_der(&self.der).map_err(|_| MALFORMED)?;
        let info = &parsed.certification_request_info;
        public_key::verify(
            &info.subject_pki,
            &parsed.signature_algorithm,
            info.raw,
            &parsed.signature_value.data,
        )
    }
}

/// Common name and organizations. A name that cannot be read might be read by somebody else.
fn names(subject: &X509Name<'_>) -> Result<(String, Vec<String>), Error> {
    let mut common_name = String::new();
    for name in subject.iter_common_name() {
        name.as_str()
            .map_err(|_| MALFORMED)?
            .clone_into(&mut common_name);
    }
    let organizations = subject
        .iter_organization()
        .map(|name| name.as_str().map(ToOwned::to_owned).map_err(|_| MALFORMED))
        .collect::<Result<_, _>>()?;
    Ok((common_name, organizations))
}
