//! Where a registry may send those who pull from it, by redirects and as the place of its tokens.
//!
//! A node reaches what a registry does not: its own loopback and, on its link, a cloud's metadata. So a registry that is
//! not there itself sends nobody there, nor from TLS to plain HTTP. Names are judged by what they resolve to, at the
//! moment of the connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Url, redirect};

/// As many as Go's client follows.
const MAX_REDIRECTS: usize = 10;
/// Programs that stand between this machine and registries may well run on it.
const PROXIES: [&str; 6] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Loopback,
    Link,
    Beyond,
}

/// Of one registry or mirror.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    /// Where the registry is, as far as its name says.
    home: Reach,
    secure: bool,
    /// Hosts that the administrator named.
    trusted: Vec<String>,
}

impl Guard {
    pub fn new(base: &Url) -> Self {
        let proxies = PROXIES.iter().filter_map(|name| std::env::var(name).ok());
        let proxies = proxies.filter_map(|proxy| {
            let url = Url::parse(&proxy).or_else(|_| Url::parse(&format!("http://{proxy}")));
            url.ok()?.host_str().map(str::to_owned)
        });
        let own = base.host_str().map(str::to_owned);
        Self(Arc::new(Rules {
            home: reach_of_host(base).unwrap_or(Reach::Beyond),
            secure: base.scheme() == "https",
            trusted: own.into_iter().chain(proxies).collect(),
        }))
    }

    /// The error is a message.
    pub fn check(&self, url: &Url) -> Result<(), String> {
        match url.scheme() {
            "https" => {}
            "http" if !self.0.secure => {}
            "http" => return Err(format!("the registry leads from TLS to {}", place(url))),
            _ => return Err(format!("the registry leads to {}", place(url))),
        }
        match reach_of_host(url) {
            Some(reach)
                if !self.allows(reach) && !self.trusts(url.host_str().unwrap_or_default()) =>
            {
                Err(format!(
                    "the registry leads to {}, which only this node reaches",
                    place(url)
                ))
            }
            _ => Ok(()),
        }
    }

    pub fn redirects(&self) -> redirect::Policy {
        let guard = self.clone();
        redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > MAX_REDIRECTS {
                return attempt.error(format!("more than {MAX_REDIRECTS} redirects"));
            }
            match guard.check(attempt.url()) {
                Ok(()) => attempt.follow(),
                Err(why) => attempt.error(why),
            }
        })
    }

    fn allows(&self, reach: Reach) -> bool {
        reach == Reach::Beyond || reach == self.0.home
    }

    fn trusts(&self, host: &str) -> bool {
        self.0.trusted.iter().any(|trusted| trusted == host)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found = tokio::net::lookup_host((host, 0)).await?;
            let trusted = guard.trusts(host);
            let good: Vec<SocketAddr> = found
                .filter(|address| trusted || guard.allows(reach(address.ip())))
                .collect();
            if good.is_empty() {
                let why = format!("{host} has no address but those that only this node reaches");
                return Err(io::Error::other(why).into());
            }
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}

/// A URL without what may be secret in it.
pub fn place(url: &Url) -> String {
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let host = url.host_str().unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

/// Of a URL that names an address, or a name that always means one.
fn reach_of_host(url: &Url) -> Option<Reach> {
    let host = url.host_str()?;
    if host == "localhost" || host.ends_with(".localhost") {
        return Some(Reach::Loopback);
    }
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse().ok().map(reach)
}

fn reach(address: IpAddr) -> Reach {
    match address.to_canonical() {
        address if address.is_loopback() || address.is_unspecified() => Reach::Loopback,
        IpAddr::V4(address) if address.is_link_local() => Reach::Link,
        IpAddr::V6(address) if address.is_unicast_link_local() => Reach::Link,
        _ => Reach::Beyond,
    }
}

#[cfg(test)]
mod tests;
