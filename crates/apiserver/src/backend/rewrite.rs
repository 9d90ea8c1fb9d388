//! Links and redirects that mean the proxied server itself go through the proxy again, as with upstream's proxy transport.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Response, header};
use knarr_auth::escape;
use knarr_meta::status::Status;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::Location;

/// What Go's `URL.EscapedPath` does not leave as it is.
const ILLEGAL: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Says what becomes of the URLs of one answer.
pub struct Rewriter {
    /// What the proxied server's paths need in front to be the client's, unescaped and escaped.
    prefix: String,
    escaped_prefix: String,
    /// `host:port` of the proxied server.
    server: String,
    /// `Host` of the client's request; empty where it sent none.
    asked: String,
}

impl Rewriter {
    pub fn new(location: &Location<'_>, server: String, client: &HeaderMap) -> Rewriter {
        let asked = client.get(header::HOST).and_then(|host| host.to_str().ok());
        Rewriter {
            prefix: location.prefix().to_owned(),
            escaped_prefix: escape::path(location.prefix()),
            server,
            asked: asked.unwrap_or_default().to_owned(),
        }
    }

    /// The URL to give the client instead. `None`: as it is, since it is relative, of another host, or no URL.
    pub fn url(&self, given: &str) -> Option<String> {
        let url = Reference::parse(given)?;
        let host = url.host.unwrap_or_default();
        if !host.is_empty() && host != self.server && host != self.asked {
            return None;
        }
        let mut to = String::new();
        // The client has come by this host: it stays.
        if !host.is_empty() && host == self.asked {
            to.push_str(url.before_path);
        }
        let decoded = percent_decode_str(url.path).decode_utf8_lossy();
        if !decoded.starts_with(&self.prefix) {
            to.push_str(&self.escaped_prefix);
        }
        to.extend(utf8_percent_encode(url.path, ILLEGAL));
        to.push_str(url.after_path);
        Some(to)
    }

    /// Rewrites the `Location` header.
    pub fn location<B>(&self, response: &mut Response<B>) -> Result<(), Status> {
        let given = response.headers().get(header::LOCATION);
        let given = given.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let Some(to) = given
            .as_ref()
            .map(Cow::as_ref)
            .and_then(|url| self.url(url))
        else {
            return Ok(());
        };
        let to = HeaderValue::from_str(&to).map_err(Status::internal)?;
        response.headers_mut().insert(header::LOCATION, to);
        Ok(())
    }
}

/// A URL reference with an absolute path, in the parts that matter here.
struct Reference<'a> {
    /// Scheme and authority, with their punctuation.
    before_path: &'a str,
    host: Option<&'a str>,
    path: &'a str,
    /// Query and fragment, with their punctuation.
    after_path: &'a str,
}

impl<'a> Reference<'a> {
    /// `None` for what is relative, opaque, or refused by Go's parser.
    fn parse(text: &'a str) -> Option<Self> {
        if text.bytes().any(|b| b.is_ascii_control()) {
            return None;
        }
        let end = text.find(['?', '#']).unwrap_or(text.len());
        let (whole, after_path) = text.split_at(end);
        let hierarchy = match whole.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => rest,
            _ => whole,
        };
        let (host, path) = match hierarchy.strip_prefix("//") {
            // Without a scheme, three slashes begin a path.
            Some(rest) if hierarchy.len() < whole.len() || !rest.starts_with('/') => {
                let (host, path) = rest.split_at(rest.find('/')?);
                (Some(host), path)
            }
            _ => (None, hierarchy),
        };
        let before_path = &whole[..whole.len() - path.len()];
        (path.starts_with('/') && has_good_escapes(path)).then_some(Reference {
            before_path,
            host,
            path,
            after_path,
        })
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// Every `%` is followed by two hexadecimal digits.
fn has_good_escapes(path: &str) -> bool {
    let mut pieces = path.split('%').skip(1).map(str::as_bytes);
    pieces.all(|piece| piece.len() >= 2 && piece[..2].iter().all(u8::is_ascii_hexdigit))
}
