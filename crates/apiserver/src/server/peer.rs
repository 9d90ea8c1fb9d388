//! Who is at the other end of a connection.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, OnceLock},
};

use http::HeaderMap;
use knarr_auth::{
    Authenticated, UserInfo, bearer,
    front_proxy::{FrontProxies, FrontProxy, Verifier},
    request::{Authenticator, Credentials, Remarks},
};
use knarr_meta::status::Status;
use knarr_tasks::Connection;
use rustls_pki_types::CertificateDer;

use super::limits;

/// The other end.
pub enum Peer {
    /// A connection, with the client certificate TLS verified.
    Connection {
        certificate: Option<Vec<u8>>,
        /// It is a proxy's, whose requests say whose they are.
        proxy: Option<Proxied>,
        /// Whose certificate it is, found at the first request. A connection may outlive its certificate.
        known: OnceLock<Authenticated>,
        /// Its place among all.
        place: Connection,
        /// From where it came.
        address: IpAddr,
    },
    /// A component of this process.
    Local(Arc<UserInfo>),
}

/// Proxies that are believed, and what tells them from users.
pub struct Proxies {
    pub believed: Arc<FrontProxies>,
    pub verifier: Arc<Verifier>,
}

impl Proxies {
    /// The proxy whose certificates these are.
    pub fn find(&self, chain: &[CertificateDer<'_>]) -> Option<Proxied> {
        self.believed.find(chain).map(|proxy| Proxied {
            proxies: self.believed.clone(),
            proxy,
        })
    }

    /// Whether these certificates are a user's.
    pub fn is_users(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.verifier.is_users(chain)
    }
}

/// A connection of a front proxy.
pub struct Proxied {
    pub proxies: Arc<FrontProxies>,
    pub proxy: FrontProxy,
}

impl Peer {
    /// A connection, with the certificate of a user, or as a proxy's.
    pub fn connection(
        certificate: Option<Vec<u8>>,
        proxy: Option<Proxied>,
        place: Connection,
        address: IpAddr,
    ) -> Peer {
        Peer::Connection {
            certificate,
            proxy,
            known: OnceLock::new(),
            place,
            address,
        }
    }

    /// From where requests come.
    pub fn address(&self) -> IpAddr {
        match self {
            Peer::Connection { address, .. } => *address,
            Peer::Local(_) => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// A user may do what a request asks for: see [`Connection::is_of`].
    ///
    /// # Errors
    /// 429 where it has too many connections.
    pub fn is_of(&self, user: &str) -> Result<(), Status> {
        match self {
            Peer::Connection { place, .. } => place.is_of(user).map_err(|_| limits::too_many()),
            Peer::Local(_) => Ok(()),
        }
    }

    /// Who sends a request with these headers; `None`: nobody in particular.
    pub async fn user(
        &self,
        authenticator: &dyn Authenticator,
        headers: &HeaderMap,
        remarks: &dyn Remarks,
    ) -> Result<Option<Arc<UserInfo>>, Status> {
        let now = jiff::Timestamp::now().as_second();
        self.user_at(authenticator, headers, remarks, now).await
    }

    async fn user_at(
        &self,
        authenticator: &dyn Authenticator,
        headers: &HeaderMap,
        remarks: &dyn Remarks,
        now: i64,
    ) -> Result<Option<Arc<UserInfo>>, Status> {
        let (certificate, proxy, known) = match self {
            Peer::Local(user) => return Ok(Some(user.clone())),
            Peer::Connection {
                certificate,
                proxy,
                known,
                ..
            } => (certificate, proxy, known),
        };
        if let Some(Proxied { proxies, proxy }) = proxy
            && let Some(user) = proxies.user(proxy, headers, now)?
        {
            return Ok(Some(Arc::new(user)));
        }
        let bearer = bearer::token(headers)?;
        if let Some(known) = known.get().filter(|k| bearer.is_none() && k.holds(now)) {
            return Ok(Some(known.user.clone()));
        }
        let credentials = Credentials {
            client_certificate: certificate.as_deref(),
            bearer: bearer.as_deref(),
            remarks,
        };
        let Some(found) = authenticator.authenticate(credentials).await? else {
            return Ok(None);
        };
        let user = found.user.clone();
        if bearer.is_none() && certificate.is_some() {
            // Another request of this connection may have been first: it found the same.
            let _ = known.set(found);
        }
        Ok(Some(user))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio_util::sync::CancellationToken;

    use super::*;

    /// Knows one certificate, until second 10, and refuses it afterwards.
    #[derive(Default)]
    struct UntilTen(AtomicUsize);

    #[async_trait::async_trait]
    impl Authenticator for UntilTen {
        async fn authenticate(
            &self,
            _credentials: Credentials<'_>,
        ) -> Result<Option<Authenticated>, Status> {
            match self.0.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(Some(Authenticated {
                    user: Arc::default(),
                    valid: Some(0..=10),
                })),
                _ => Err(knarr_auth::bearer::unauthorized()),
            }
        }
    }

    #[tokio::test]
    async fn a_connection_outlives_its_certificate_but_not_its_rights() {
        let place = limits::connections().open(&CancellationToken::new());
        let peer = Peer::connection(Some(vec![1]), None, place, Ipv4Addr::LOCALHOST.into());
        let authenticator = UntilTen::default();
        let asked = async |now| {
            let answer = peer
                .user_at(&authenticator, &HeaderMap::new(), &(), now)
                .await;
            answer
                .map(|user| user.is_some())
                .map_err(|status| status.code)
        };
        assert_eq!(asked(5).await, Ok(true));
        assert_eq!(asked(10).await, Ok(true), "from memory");
        assert_eq!(asked(11).await, Err(401));
        assert_eq!(asked(12).await, Err(401));
    }
}
