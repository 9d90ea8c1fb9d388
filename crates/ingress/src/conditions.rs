//! What a rule asks of a request beside its host and path.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Method};
use percent_encoding::percent_decode_str;
use regex::Regex;

/// Longest value that is compared with regular expressions.
pub const MAX_REGEX_VALUE_BYTES: usize = 4 << 10;
/// Parameters of a query that are looked at.
const MAX_PARAMETERS: usize = 256;

/// The part of a request's head that decides on its route.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// As [`crate::path::normalize`] makes it.
    pub path: &'a str,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    pub query: Option<&'a str>,
}

/// All of them have to hold.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    pub method: Option<Method>,
    pub headers: Vec<(HeaderName, Text)>,
    pub query: Vec<(String, Text)>,
    /// The path is of a service and this method of it.
    pub rpc: Option<String>,
}

/// How a text is compared.
#[derive(Clone, Debug)]
pub enum Text {
    Exact(String),
    Regex(Regex),
}

impl Text {
    fn is(&self, value: &str) -> bool {
        match self {
            Self::Exact(wanted) => wanted == value,
            Self::Regex(regex) => value.len() <= MAX_REGEX_VALUE_BYTES && regex.is_match(value),
        }
    }
}

impl Conditions {
    /// Greater ones are looked at first.
    pub fn rank(&self) -> (usize, bool, usize, usize) {
        let rpc = self.rpc.as_ref().map_or(0, String::len);
        (
            rpc,
            self.method.is_some(),
            self.headers.len(),
            self.query.len(),
        )
    }

    pub fn has_regex(&self) -> bool {
        let headers = self.headers.iter().map(|(_, text)| text);
        let mut all = headers.chain(self.query.iter().map(|(_, text)| text));
        all.any(|text| matches!(text, Text::Regex(_)))
    }

    pub fn hold(&self, head: &Head<'_>) -> bool {
        let method = self.method.as_ref();
        let rpc = self.rpc.as_deref();
        method.is_none_or(|method| method == head.method)
            && rpc.is_none_or(|rpc| method_of(head.path) == Some(rpc))
            && self.headers.iter().all(|(name, text)| {
                let value = value(head.headers, name);
                value.is_some_and(|value| text.is(&value))
            })
            && self.query.iter().all(|(name, text)| {
                let value = parameter(head.query.unwrap_or_default(), name);
                value.is_some_and(|value| text.is(&value))
            })
    }
}

/// The method of `/service/method`.
fn method_of(path: &str) -> Option<&str> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!service.is_empty() && !method.contains('/')).then_some(method)
}

/// A header's value; several lines are one list (RFC 9110, 5.3).
fn value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?.to_str().ok()?;
    let mut whole = Cow::Borrowed(first);
    for line in lines {
        let line = line.to_str().ok()?;
        whole = Cow::Owned(format!("{whole},{line}"));
    }
    Some(whole)
}

/// The first value of a query's parameter.
fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').take(MAX_PARAMETERS);
    pairs.find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key)? == name).then(|| decoded(value))?
    })
}

/// As forms write it. None of what is no UTF-8.
fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    let text = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(text.into_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn exact(text: &str) -> Text {
        Text::Exact(text.to_owned())
    }

    fn hold(conditions: &Conditions, path: &str, query: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.append("color", HeaderValue::from_static("blue"));
        headers.append("color", HeaderValue::from_static("green"));
        headers.insert("version", HeaderValue::from_static("two"));
        conditions.hold(&Head {
            path,
            method: &Method::GET,
            headers: &headers,
            query: Some(query),
        })
    }

    fn of_header(name: &'static str, text: Text) -> Conditions {
        Conditions {
            headers: vec![(HeaderName::from_static(name), text)],
            ..Conditions::default()
        }
    }

    fn of_query(name: &str, text: Text) -> Conditions {
        Conditions {
            query: vec![(name.to_owned(), text)],
            ..Conditions::default()
        }
    }

    #[test]
    fn what_holds() {
        let regex = |text: &str| Text::Regex(Regex::new(text).expect("an expression"));
        let method = |method| Conditions {
            method: Some(method),
            ..Conditions::default()
        };
        let rpc = |rpc: &str| Conditions {
            rpc: Some(rpc.to_owned()),
            ..Conditions::default()
        };
        let cases = [
            (Conditions::default(), "/", "", true),
            (method(Method::GET), "/", "", true),
            (method(Method::POST), "/", "", false),
            (of_header("version", exact("two")), "/", "", true),
            (of_header("version", exact("Two")), "/", "", false),
            (of_header("version", regex("^t.o$")), "/", "", true),
            (of_header("color", exact("blue,green")), "/", "", true),
            (of_header("color", exact("blue")), "/", "", false),
            (of_header("missing", exact("")), "/", "", false),
            (of_query("a", exact("b c")), "/", "x&a=b+c&a=d", true),
            (of_query("a", exact("b c")), "/", "%61=b%20c", true),
            (of_query("a", exact("d")), "/", "a=b&a=d", false),
            (of_query("a", regex("^b+$")), "/", "a=bbb", true),
            (of_query("A", exact("b")), "/", "a=b", false),
            (rpc("M"), "/s.S/M", "", true),
            (rpc("M"), "/s.S/m", "", false),
            (rpc("M"), "/s.S/x/M", "", false),
            (rpc("M"), "//M", "", false),
        ];
        for (conditions, path, query, expected) in cases {
            assert_eq!(
                hold(&conditions, path, query),
                expected,
                "{conditions:?} {path}?{query}"
            );
        }
        let many = format!("{}a=b", "x&".repeat(MAX_PARAMETERS));
        assert!(!hold(&of_query("a", exact("b")), "/", &many));
    }

    #[test]
    fn a_method_comes_before_any_number_of_headers() {
        let method = Conditions {
            method: Some(Method::GET),
            ..Conditions::default()
        };
        let header = of_header("a", exact("b"));
        let query = of_query("a", exact("b"));
        assert!(method.rank() > header.rank());
        assert!(header.rank() > query.rank());
        assert!(query.rank() > Conditions::default().rank());
    }
}
