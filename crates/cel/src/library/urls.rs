//! URLs.

use std::{collections::BTreeMap, fmt, sync::Arc};

use percent_encoding::percent_decode_str;

use super::{Other, Result, other};
use crate::{
    cost::Cost,
    eval::Error,
    value::{Map, Val},
};

/// An absolute URL, or a path of one, in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    /// With the port.
    host: String,
    path: String,
    query: String,
    text: String,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Url {
    /// As Go's `url.ParseRequestURI`: absolute, or a path from the root; without a fragment.
    pub fn parse(text: &str) -> Option<Url> {
        if text.is_empty() || text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return None;
        }
        let (scheme, rest) = match text.split_once(':') {
            _ if text.starts_with('/') => ("", text),
            Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
            _ => return None,
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
            Some(rest) => match rest.find('/') {
                Some(at) => rest.split_at(at),
                None => (rest, ""),
            },
            None => ("", rest),
        };
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        let port = host.rsplit(']').next().unwrap_or_default().split_once(':');
        let valid = !host.contains([' ', '<', '>'])
            && port.is_none_or(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        valid.then(|| Url {
            scheme: scheme.to_ascii_lowercase(),
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            text: text.to_owned(),
        })
    }

    /// Bytes of it as a text.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    fn host_and_port(&self) -> (&str, &str) {
        if let Some(rest) = self.host.strip_prefix('[') {
            let (name, after) = rest.split_once(']').unwrap_or((rest, ""));
            return (name, after.strip_prefix(':').unwrap_or_default());
        }
        self.host.split_once(':').unwrap_or((&self.host, ""))
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

pub fn call<'a>(name: &str, values: &[Val<'a>], cost: &mut Cost) -> Option<Result<'a>> {
    match values {
        [Val::Text(text)] => {
            let parsed = Url::parse(text.as_str());
            match name {
                "isURL" => Some(Ok(Val::Bool(parsed.is_some()))),
                "url" => Some(parsed.map(|url| other(Other::Url(url))).ok_or_else(|| {
                    Error::failed(format!(
                        "URL parse error during conversion from string: parse {:?}: invalid URI for request",
                        text.as_str().chars().take(200).collect::<String>()
                    ))
                })),
                _ => None,
            }
        }
        [Val::Other(value)] => match &**value {
            Other::Url(url) => of_url(name, url, cost),
            _ => None,
        },
        _ => None,
    }
}

fn of_url<'a>(name: &str, url: &Url, cost: &mut Cost) -> Option<Result<'a>> {
    let part = match name {
        "getScheme" => &url.scheme,
        "getHost" => &url.host,
        "getHostname" => url.host_and_port().0,
        "getPort" => url.host_and_port().1,
        "getEscapedPath" => &url.path,
        "getQuery" => return Some(query(&url.query, cost)),
        _ => return None,
    };
    Some(Val::text(part, cost).map_err(Into::into))
}

fn query<'a>(text: &str, cost: &mut Cost) -> Result<'a> {
    let decode = |text: &str| {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    let mut all: BTreeMap<String, Vec<Val<'a>>> = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        cost.make(name.len())?;
        // A name of its own is an entry with a list.
        cost.make_elements(3)?;
        let value = Val::text(decode(value), cost)?;
        all.entry(decode(name)).or_default().push(value);
    }
    let entries = all
        .into_iter()
        .map(|(name, values)| (Val::made_text(name), Val::list(values)));
    Ok(Val::Map(Map::Owned(Arc::new(entries.collect()))))
}
