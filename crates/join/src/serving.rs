//! What the node's server shows, as it is at each handshake.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{Error, certificate::Certified, tls::provider};

/// The current certificate.
#[derive(Debug)]
pub(crate) struct Serving {
    current: ArcSwap<CertifiedKey>,
}

impl Serving {
    pub(crate) fn new(certified: &Certified) -> Result<Self, Error> {
        Ok(Self {
            current: ArcSwap::new(usable(certified)?),
        })
    }

    /// Shows another one from now on.
    pub(crate) fn replace(&self, certified: &Certified) -> Result<(), Error> {
        self.current.store(usable(certified)?);
        Ok(())
    }
}

fn usable(certified: &Certified) -> Result<Arc<CertifiedKey>, Error> {
    let key = CertifiedKey::from_der(certified.chain(), certified.key(), &provider())?;
    Ok(Arc::new(key))
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}
