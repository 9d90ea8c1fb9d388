//! An authority that signs requests.

use std::time::Duration;

use jiff::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};

use crate::{
    Certificate, Error, Request, der, pem,
    signing::{Form, SigningKey},
    usage,
};

/// Certificates are valid from this long before they are signed, for clients whose clocks are behind. Less than the shortest life
/// that can be asked for.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// A life shorter than this does not lose that time at its end.
const SHORT: Duration = Duration::from_secs(8 * 3600);

const KEY_USAGE: &[u32] = &[2, 5, 29, 15];
const SUBJECT_ALTERNATIVE_NAME: &[u32] = &[2, 5, 29, 17];
const BASIC_CONSTRAINTS: &[u32] = &[2, 5, 29, 19];
const AUTHORITY_KEY_IDENTIFIER: &[u32] = &[2, 5, 29, 35];
const EXTENDED_KEY_USAGE: &[u32] = &[2, 5, 29, 37];

/// What is signed beside what the request asks for: upstream's `PermissiveSigningPolicy`.
#[derive(Clone, Debug)]
pub struct Policy<'a> {
    /// As the API names them.
    pub usages: &'a [&'a str],
    pub life: Duration,
    pub now: Timestamp,
}

/// A certificate authority with its key.
pub struct Authority {
    certificate: Certificate,
    key: SigningKey,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the key.
        f.debug_struct("Authority")
            .field("not_after", &self.certificate.not_after)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// # Errors
    /// Where one of the two is damaged, the key is of a type that does not sign here, or it is not the certificate's.
    pub fn new(certificate_der: &[u8], key_pem: &str) -> Result<Authority, Error> {
        let certificate = Certificate::from_der(certificate_der)?;
        let key = SigningKey::from_pem(key_pem.as_bytes(), Form::Asn1)?;
        if key.public_key() != certificate.public_key {
            return Err(Error::AnothersKey);
        }
        Ok(Authority { certificate, key })
    }

    /// PEM of a certificate for who made the request: subject, names and key are the request's, all else is the policy's.
    ///
    /// # Errors
    /// Where the request is not signed by its own key, names unknown usages, or the authority has expired.
    pub fn sign(&self, request: &Request, policy: &Policy<'_>) -> Result<String, Error> {
        request.verify()?;
        let (not_before, not_after) = self.validity(policy)?;
        let algorithm = self.key.identifier();
        let signed = der::sequence(&[
            // Version 3.
            &der::tlv(0xa0, &der::unsigned(&[2])),
            &der::unsigned(&serial()?),
            &algorithm,
            &self.certificate.subject,
            &der::sequence(&[&der::time(not_before), &der::time(not_after)]),
            &request.subject,
            &request.public_key,
            &der::tlv(0xa3, &self.extensions(request, policy)?),
        ]);
        let signature = self.key.sign(&signed)?;
        let certificate = der::sequence(&[&signed, &algorithm, &der::bits(&signature)]);
        Ok(pem::encode(pem::CERTIFICATE, &certificate))
    }

    fn validity(&self, policy: &Policy<'_>) -> Result<(Timestamp, Timestamp), Error> {
        let (now, end) = (policy.now, self.certificate.not_after);
        let life = if policy.life < SHORT {
            policy.life
        } else {
            policy.life.saturating_sub(BACKDATE)
        };
        if now >= end {
            return Err(Error::SignerExpired(end.to_string()));
        }
        let not_before = now.saturating_sub(BACKDATE).unwrap_or(Timestamp::MIN);
        let not_after = now.saturating_add(life).unwrap_or(Timestamp::MAX);
        Ok((not_before, not_after.min(end)))
    }

    fn extensions(&self, request: &Request, policy: &Policy<'_>) -> Result<Vec<u8>, Error> {
        let (bits, purposes) = usage::of(policy.usages)?;
        let mut extensions = Vec::new();
        if bits != 0 {
            extensions.extend(der::extension(KEY_USAGE, true, &der::named_bits(bits)));
        }
        if !purposes.is_empty() {
            let purposes: Vec<Vec<u8>> = purposes.into_iter().map(der::oid).collect();
            let value = der::tlv(0x30, &purposes.concat());
            extensions.extend(der::extension(EXTENDED_KEY_USAGE, false, &value));
        }
        extensions.extend(der::extension(BASIC_CONSTRAINTS, true, &der::sequence(&[])));
        if let Some(id) = &self.certificate.key_id {
            let value = der::sequence(&[&der::tlv(0x80, id)]);
            extensions.extend(der::extension(AUTHORITY_KEY_IDENTIFIER, false, &value));
        }
        let names = names(request);
        if !names.is_empty() {
            // Nobody is named where the subject is empty.
            let critical = request.subject == der::sequence(&[]);
            let value = der::tlv(0x30, &names);
            extensions.extend(der::extension(SUBJECT_ALTERNATIVE_NAME, critical, &value));
        }
        Ok(der::sequence(&[&extensions]))
    }
}

/// The request's other names, in the order in which Go writes them.
fn names(request: &Request) -> Vec<u8> {
    let text = |tag, names: &[String]| {
        let names: Vec<Vec<u8>> = names
            .iter()
            .map(|name| der::tlv(tag, name.as_bytes()))
            .collect();
        names.concat()
    };
    let addresses: Vec<Vec<u8>> = request
        .ip_addresses
        .iter()
        .map(|bytes| der::tlv(0x87, bytes))
        .collect();
    [
        text(0x82, &request.dns_names),
        text(0x81, &request.email_addresses),
        addresses.concat(),
        text(0x86, &request.uris),
    ]
    .concat()
}

fn serial() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::Signing("no randomness for a serial number".to_owned()))?;
    // Not zero, and of one length.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(bytes)
}
