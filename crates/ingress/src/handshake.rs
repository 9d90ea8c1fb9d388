//! Which certificate a client is shown, by where it connects and whom it asks for.

use std::{collections::HashMap, fmt, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    certificates::{self, Error, Shown},
    tables::{Place, Tables},
};

/// Handshakes of all ports that speak TLS.
pub struct Handshakes {
    shown: Arc<Shown>,
    tables: Arc<ArcSwap<Tables>>,
    /// One for each port, so that no session of one is taken for another's.
    made: Mutex<HashMap<Place, TlsAcceptor>>,
}

impl Handshakes {
    pub fn new(shown: Arc<Shown>, tables: Arc<ArcSwap<Tables>>) -> Arc<Self> {
        Arc::new(Self {
            shown,
            tables,
            made: Mutex::default(),
        })
    }

    /// What speaks with who connects to this address of ours: none where TLS is not spoken.
    ///
    /// # Errors
    /// When nothing is served there, or TLS is not usable.
    pub fn at(&self, local: IpAddr, port: u16) -> Result<Option<TlsAcceptor>, Unserved> {
        let tables = self.tables.load();
        let (place, served) = tables.at(local, port).ok_or(Unserved::Nothing)?;
        if !served.tls {
            return Ok(None);
        }
        let mut made = self.made.lock();
        if let Some(known) = made.get(&place) {
            return Ok(Some(known.clone()));
        }
        // Those of ports that there were are not kept.
        made.retain(|place, _| tables.get(*place).is_some());
        let resolver = Resolver {
            shown: self.shown.clone(),
            tables: self.tables.clone(),
            place,
        };
        let config = certificates::server_config(Arc::new(resolver))?;
        let acceptor = TlsAcceptor::from(config);
        made.insert(place, acceptor.clone());
        Ok(Some(acceptor))
    }
}

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
pub enum Unserved {
    #[error("nothing is served at this address")]
    Nothing,
    #[error(transparent)]
    Tls(#[from] Error),
}

struct Resolver {
    shown: Arc<Shown>,
    tables: Arc<ArcSwap<Tables>>,
    place: Place,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        f.debug_struct("Resolver")
            .field("place", place)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = hello.server_name().unwrap_or_default();
        self.of(&host.to_ascii_lowercase())
    }
}

impl Resolver {
    fn of(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        let tables = self.tables.load();
        let served = tables.get(self.place)?;
        // A listener's hosts are its own; one for all hosts comes after Ingresses' certificates.
        let first = served.table.sites(host).first();
        let of_listener = first.is_some_and(|site| site.isolated);
        let other = served.ingresses && !(of_listener && served.table.names(host));
        if other && let Some(named) = self.shown.named(host) {
            return Some(named);
        }
        let own = served.certificate(host).cloned();
        own.or_else(|| served.ingresses.then(|| self.shown.other()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::{Site, Table};

    #[test]
    fn who_is_shown_what() {
        let shown = Shown::new().expect("certificates");
        let listener = shown.other();
        let tables = Arc::new(ArcSwap::<Tables>::default());
        let local: IpAddr = [192, 0, 2, 1].into();
        let handshakes = Handshakes::new(shown.clone(), tables.clone());
        assert!(matches!(handshakes.at(local, 443), Err(Unserved::Nothing)));
        let mut now = Tables::default();
        now.add_ingresses(443, true, Table::default());
        let site = Site::listener(vec![listener.clone()]);
        now.add_sites((None, 8443), true, [("a".to_owned(), site)].into_iter());
        now.add_sites(
            (None, 8080),
            false,
            [(String::new(), Site::default())].into_iter(),
        );
        tables.store(Arc::new(now));
        assert!(handshakes.at(local, 443).is_ok_and(|tls| tls.is_some()));
        assert!(handshakes.at(local, 8080).is_ok_and(|tls| tls.is_none()));
        let at = |port| Resolver {
            shown: shown.clone(),
            tables: tables.clone(),
            place: (None, port),
        };
        assert!(at(443).of("a").is_some(), "the default one");
        assert!(
            at(8443)
                .of("a")
                .is_some_and(|found| Arc::ptr_eq(&found, &listener))
        );
        assert!(at(8443).of("b").is_none(), "nobody's host");
        assert!(at(8080).of("a").is_none());
    }
}
