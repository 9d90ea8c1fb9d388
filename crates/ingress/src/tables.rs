//! What each port serves: Ingresses theirs, on all addresses, and Gateways those of their listeners.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use rustls::sign::CertifiedKey;

use crate::routes::{Site, Table};

/// A port of an address that is a Gateway's own, or of those that are shared.
pub type Place = (Option<IpAddr>, u16);

/// What a port serves.
#[derive(Clone, Debug, Default)]
pub struct Served {
    pub table: Table,
    pub tls: bool,
    /// Ingresses are served there.
    pub ingresses: bool,
}

/// All ports.
#[derive(Debug, Default)]
pub struct Tables(HashMap<Place, Arc<Served>>);

impl Tables {
    /// Serves Ingresses on a port.
    pub fn add_ingresses(&mut self, port: u16, tls: bool, table: Table) {
        let served = Served {
            table,
            tls,
            ingresses: true,
        };
        self.0.insert((None, port), Arc::new(served));
    }

    /// Serves a Gateway's hosts beside what is served already.
    pub fn add_sites(
        &mut self,
        place: Place,
        tls: bool,
        sites: impl Iterator<Item = (String, Site)>,
    ) {
        let served = self.0.entry(place).or_default();
        let served = Arc::make_mut(served);
        served.tls = tls;
        for (pattern, site) in sites {
            served.table.add(&pattern, Arc::new(site));
        }
    }

    /// What is served to who connects to this address of ours.
    pub fn at(&self, local: IpAddr, port: u16) -> Option<(Place, &Arc<Served>)> {
        let own = (Some(local.to_canonical()), port);
        let shared = (None, port);
        [own, shared]
            .into_iter()
            .find_map(|place| Some((place, self.0.get(&place)?)))
    }

    pub fn get(&self, place: Place) -> Option<&Arc<Served>> {
        self.0.get(&place)
    }
}

impl Served {
    /// Whether what a client has connected for is not what it asks for: it could have been shown another certificate.
    pub fn is_misdirected(&self, connected: &str, host: &str) -> bool {
        let (one, other) = (self.table.sites(connected), self.table.sites(host));
        let isolated = one.iter().chain(other).any(|site| site.isolated);
        isolated && !std::ptr::eq(one, other)
    }

    /// The site that decides on a host if it is a Gateway's.
    pub fn listener(&self, host: &str) -> Option<&Arc<Site>> {
        self.table.sites(host).iter().find(|site| site.isolated)
    }

    /// The certificate of a Gateway's listener for a host.
    pub fn certificate(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        let certificates = &self.listener(host)?.certificates;
        let named = certificates.iter().find(|one| names(one, host));
        named.or_else(|| certificates.first())
    }
}

/// Whether a certificate is for a host.
fn names(certificate: &CertifiedKey, host: &str) -> bool {
    let Some(der) = certificate.cert.first() else {
        return false;
    };
    let parsed = rustls::server::ParsedCertificate::try_from(der);
    let name = rustls_pki_types::ServerName::try_from(host);
    match (parsed, name) {
        (Ok(parsed), Ok(name)) => rustls::client::verify_server_name(&parsed, &name).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site::listener(Vec::new())
    }

    #[test]
    fn addresses_of_their_own() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let (own, shared) = (ip("198.51.100.1"), ip("192.0.2.1"));
        let mut tables = Tables::default();
        tables.add_ingresses(80, false, Table::default());
        tables.add_sites((None, 80), false, [("a".to_owned(), site())].into_iter());
        tables.add_sites(
            (Some(own), 443),
            true,
            [(String::new(), site())].into_iter(),
        );
        let place = |local, port| tables.at(local, port).map(|(place, _)| place);
        assert_eq!(place(own, 443), Some((Some(own), 443)));
        assert_eq!(
            place(ip("::ffff:198.51.100.1"), 443),
            Some((Some(own), 443))
        );
        assert_eq!(place(shared, 443), None);
        assert_eq!(place(own, 80), Some((None, 80)));
        let (_, plain) = tables.at(shared, 80).expect("a table");
        assert!(plain.ingresses && !plain.tls && plain.listener("a").is_some());
        assert!(tables.at(own, 443).is_some_and(|(_, served)| served.tls));
    }

    #[test]
    fn requests_by_the_wrong_connection() {
        let mut tables = Tables::default();
        let hosts = ["a.example", "*.example", ""];
        let sites = hosts.map(|host| (host.to_owned(), site()));
        tables.add_sites((None, 443), true, sites.into_iter());
        let served = tables.get((None, 443)).expect("a table");
        let cases = [
            ("a.example", "a.example", false),
            ("a.example", "b.example", true),
            ("b.example", "c.example", false),
            ("b.example", "other", true),
            ("other", "another", false),
        ];
        for (connected, host, expected) in cases {
            assert_eq!(
                served.is_misdirected(connected, host),
                expected,
                "{connected} {host}"
            );
        }
    }

    #[test]
    fn certificates_by_name() {
        let made = |host: &str| {
            let made =
                rcgen::generate_simple_self_signed([host.to_owned()]).expect("a certificate");
            let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
            let provider = rustls::crypto::ring::default_provider();
            let chain = vec![made.cert.der().clone()];
            let key = CertifiedKey::from_der(chain, key.into(), &provider);
            Arc::new(key.expect("a key"))
        };
        let (first, second) = (made("a.example"), made("b.example"));
        let mut tables = Tables::default();
        let listener = Site::listener(vec![first.clone(), second.clone()]);
        tables.add_sites((None, 443), true, [(String::new(), listener)].into_iter());
        let served = tables.get((None, 443)).expect("a table");
        for (host, expected) in [("a.example", &first), ("b.example", &second), ("c", &first)] {
            let found = served.certificate(host).expect("a certificate");
            assert!(Arc::ptr_eq(found, expected), "{host}");
        }
    }
}
