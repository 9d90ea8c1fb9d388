//! What annotations say of an Ingress: our own, and those of ingress-nginx that mean the same here.

use std::{collections::BTreeMap, time::Duration};

use crate::sources::Range;

/// Longest path that requests are rewritten to.
const MAX_TARGET_BYTES: usize = 1 << 10;

/// Prefixes, of which the first one counts where both name an option.
const PREFIXES: [&str; 2] = ["ingress.knarr.dev/", "nginx.ingress.kubernetes.io/"];
/// Of a request, unless the Ingress says otherwise: they are passed on as they come, but somebody has to end them.
const DEFAULT_BODY_BYTES: u64 = 1 << 30;
/// Between two signs of life of a backend, ingress-nginx's default.
const DEFAULT_READ_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_READ_TIMEOUT: Duration = Duration::from_secs(86_400);
/// Options that keep somebody out: an Ingress that has one which is not understood is not served at all.
const GUARDS: [&str; 4] = ["auth-", "denylist-", "satisfy", "enable-global-auth"];

/// What is to be done with an Ingress' requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether plain requests for hosts with a certificate are sent to HTTPS.
    pub ssl_redirect: bool,
    /// The same for hosts without one: TLS ends before us.
    pub force_ssl_redirect: bool,
    /// Instead of the path; `$1` to `$9` are groups of the path's regular expression.
    pub rewrite_target: Option<String>,
    /// Paths of type ImplementationSpecific are regular expressions.
    pub use_regex: bool,
    /// Status and address of an answer without a backend.
    pub redirect: Option<(u16, String)>,
    /// Where requests for `/` are sent.
    pub app_root: Option<String>,
    /// Longest body of a request; none has no limit.
    pub body_bytes: Option<u64>,
    pub read_timeout: Duration,
    /// Who may ask; everybody where it is empty.
    pub sources: Vec<Range>,
    /// Backends speak HTTP/2 without TLS.
    pub h2c: bool,
    /// Other namespaces may have paths of this one's hosts.
    pub share_host: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ssl_redirect: true,
            force_ssl_redirect: false,
            rewrite_target: None,
            use_regex: false,
            redirect: None,
            app_root: None,
            body_bytes: Some(DEFAULT_BODY_BYTES),
            read_timeout: DEFAULT_READ_TIMEOUT,
            sources: Vec::new(),
            h2c: false,
            share_host: false,
        }
    }
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    pub options: Options,
    /// Annotations that are not understood, or whose values are not.
    pub ignored: Vec<String>,
    /// The one because of which the Ingress must not be served.
    pub refused: Option<String>,
}

/// Reads an Ingress' annotations.
pub fn parse(annotations: &BTreeMap<String, String>) -> Parsed {
    let mut parsed = Parsed::default();
    let mut code = None;
    // In reverse, so that what counts is read last.
    for prefix in PREFIXES.into_iter().rev() {
        for (name, value) in annotations {
            let Some(option) = name.strip_prefix(prefix) else {
                continue;
            };
            let value = value.trim();
            if matches!(option, "permanent-redirect-code" | "temporal-redirect-code") {
                code = redirect_code(value);
            }
            if set(&mut parsed.options, option, value).is_some() {
                continue;
            }
            parsed.ignored.push(name.clone());
            let guards = GUARDS.iter().any(|guard| option.starts_with(guard));
            if guards || is_sources(option) {
                parsed.refused.get_or_insert_with(|| name.clone());
            }
        }
    }
    if let (Some((status, _)), Some(code)) = (&mut parsed.options.redirect, code) {
        *status = code;
    }
    parsed
}

fn is_sources(option: &str) -> bool {
    matches!(option, "whitelist-source-range" | "allowlist-source-range")
}

/// None of what is not understood.
fn set(options: &mut Options, option: &str, value: &str) -> Option<()> {
    match option {
        "ssl-redirect" => options.ssl_redirect = value.parse().ok()?,
        "force-ssl-redirect" => options.force_ssl_redirect = value.parse().ok()?,
        "use-regex" => options.use_regex = value.parse().ok()?,
        "share-host" => options.share_host = value.parse().ok()?,
        "rewrite-target" => {
            let is_target = |v: &String| v.starts_with('/') && v.len() <= MAX_TARGET_BYTES;
            options.rewrite_target = Some(value.to_owned()).filter(is_target);
            options.rewrite_target.as_ref()?;
        }
        "app-root" => {
            options.app_root = Some(value.to_owned()).filter(|v| v.starts_with('/'));
            options.app_root.as_ref()?;
        }
        "permanent-redirect" => options.redirect = Some((301, location(value)?)),
        "temporal-redirect" => options.redirect = Some((302, location(value)?)),
        "permanent-redirect-code" | "temporal-redirect-code" => {
            redirect_code(value)?;
        }
        "proxy-body-size" => options.body_bytes = Some(bytes(value)?).filter(|bytes| *bytes != 0),
        "proxy-read-timeout" => options.read_timeout = seconds(value)?,
        "backend-protocol" => match value.to_ascii_uppercase().as_str() {
            "HTTP" => options.h2c = false,
            "GRPC" | "H2C" => options.h2c = true,
            _ => return None,
        },
        option if is_sources(option) => {
            let ranges = value.split(',').map(|range| range.trim().parse().ok());
            options.sources = ranges.collect::<Option<_>>()?;
        }
        _ => return None,
    }
    Some(())
}

fn redirect_code(value: &str) -> Option<u16> {
    value.parse().ok().filter(|code| (300..=308).contains(code))
}

fn location(value: &str) -> Option<String> {
    let absolute = value.starts_with("http://") || value.starts_with("https://");
    let usable = absolute && http::HeaderValue::from_str(value).is_ok();
    usable.then(|| value.to_owned())
}

/// nginx' sizes: bytes, or with `k`, `m` or `g`.
fn bytes(value: &str) -> Option<u64> {
    let (number, shift) = match value.to_ascii_lowercase().chars().last()? {
        'k' => (&value[..value.len() - 1], 10),
        'm' => (&value[..value.len() - 1], 20),
        'g' => (&value[..value.len() - 1], 30),
        _ => (value, 0),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn seconds(value: &str) -> Option<Duration> {
    let value = value.strip_suffix('s').unwrap_or(value);
    let duration = Duration::from_secs(value.parse().ok()?);
    (!duration.is_zero() && duration <= MAX_READ_TIMEOUT).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Parsed {
        let pairs = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        parse(&pairs.collect())
    }

    #[test]
    fn options_of_both_prefixes() {
        let read = parsed(&[
            ("nginx.ingress.kubernetes.io/proxy-body-size", "8m"),
            ("nginx.ingress.kubernetes.io/ssl-redirect", "true"),
            ("ingress.knarr.dev/ssl-redirect", "false"),
            ("nginx.ingress.kubernetes.io/proxy-read-timeout", "3600"),
            (
                "nginx.ingress.kubernetes.io/whitelist-source-range",
                "10.0.0.0/8, 192.0.2.1",
            ),
            (
                "nginx.ingress.kubernetes.io/permanent-redirect",
                "https://example.com/",
            ),
            ("nginx.ingress.kubernetes.io/permanent-redirect-code", "308"),
            ("cert-manager.io/issuer", "x"),
        ]);
        assert_eq!(read.ignored, Vec::<String>::new());
        let options = read.options;
        assert_eq!(options.body_bytes, Some(8 << 20));
        assert!(!options.ssl_redirect);
        assert_eq!(options.read_timeout, Duration::from_secs(3600));
        assert_eq!(options.sources.len(), 2);
        assert_eq!(
            options.redirect,
            Some((308, "https://example.com/".to_owned()))
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let cases = [
            ("nginx.ingress.kubernetes.io/enable-cors", "true", false),
            ("nginx.ingress.kubernetes.io/proxy-body-size", "much", false),
            (
                "nginx.ingress.kubernetes.io/proxy-body-size",
                "99999999999g",
                false,
            ),
            (
                "nginx.ingress.kubernetes.io/backend-protocol",
                "HTTPS",
                false,
            ),
            (
                "nginx.ingress.kubernetes.io/permanent-redirect",
                "javascript:x",
                false,
            ),
            ("nginx.ingress.kubernetes.io/rewrite-target", "x", false),
            // Whom these keep out must stay out.
            ("nginx.ingress.kubernetes.io/auth-type", "basic", true),
            (
                "nginx.ingress.kubernetes.io/whitelist-source-range",
                "10.0.0.0/8,x",
                true,
            ),
            (
                "nginx.ingress.kubernetes.io/denylist-source-range",
                "10.0.0.0/8",
                true,
            ),
        ];
        for (name, value, refused) in cases {
            let read = parsed(&[(name, value)]);
            assert_eq!(read.ignored, [name], "{value}");
            assert_eq!(read.refused.is_some(), refused, "{name}");
        }
    }

    #[test]
    fn no_limit() {
        let read = parsed(&[("ingress.knarr.dev/proxy-body-size", "0")]);
        assert_eq!(read.options.body_bytes, None);
    }
}
