//! Which pages of other origins may read answers (the Fetch standard, 3.3).

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// Who may, and what.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    /// `*`, or origins whose host may begin with `*.` or be `*`.
    pub origins: Vec<String>,
    pub credentials: bool,
    /// Empty ones are none, `*` all.
    pub methods: Vec<String>,
    pub headers: Vec<String>,
    pub expose: Vec<String>,
    pub max_age_seconds: u32,
}

/// Whether a browser asks beforehand.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

impl Cors {
    /// What is answered to a browser that asks beforehand; none of another request.
    pub fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<HeaderMap> {
        if !is_preflight(method, headers) {
            return None;
        }
        let mut answer = HeaderMap::new();
        if !self.allow(headers, &mut answer) {
            return Some(answer);
        }
        let asked = [
            (
                header::ACCESS_CONTROL_ALLOW_METHODS,
                &self.methods,
                header::ACCESS_CONTROL_REQUEST_METHOD,
            ),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                &self.headers,
                header::ACCESS_CONTROL_REQUEST_HEADERS,
            ),
        ];
        for (name, allowed, wanted) in asked {
            match is_all(allowed) {
                // With credentials an asterisk would mean itself.
                true => answer.extend(headers.get(wanted).map(|wanted| (name, wanted.clone()))),
                false => list(&mut answer, name, allowed),
            }
        }
        answer.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from(self.max_age_seconds),
        );
        Some(answer)
    }

    /// Says in an answer's headers who may read it.
    pub fn mark(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        let mut asked = HeaderMap::new();
        asked.extend(origin.map(|origin| (header::ORIGIN, origin.clone())));
        for name in [
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
        ] {
            answer.remove(name);
        }
        self.allow(&asked, answer);
    }

    fn allow(&self, asked: &HeaderMap, answer: &mut HeaderMap) -> bool {
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = asked.get(header::ORIGIN) else {
            return false;
        };
        let text = origin.to_str().unwrap_or_default();
        if !self.origins.iter().any(|allowed| is_of(allowed, text)) {
            return false;
        }
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            answer.insert(
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        list(answer, header::ACCESS_CONTROL_EXPOSE_HEADERS, &self.expose);
        true
    }
}

fn is_all(allowed: &[String]) -> bool {
    allowed.iter().any(|one| one == "*")
}

fn list(answer: &mut HeaderMap, name: HeaderName, values: &[String]) {
    if values.is_empty() {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(&values.join(", ")) {
        answer.insert(name, value);
    }
}

/// Whether an origin is one of those that are allowed.
fn is_of(allowed: &str, origin: &str) -> bool {
    if allowed == "*" {
        return true;
    }
    let split = |text: &str| -> Option<(String, String)> {
        let (scheme, rest) = text.split_once("://")?;
        Some((scheme.to_ascii_lowercase(), rest.to_ascii_lowercase()))
    };
    let (Some((wanted, host)), Some((scheme, found))) = (split(allowed), split(origin)) else {
        return false;
    };
    let Some(suffix) = host.strip_prefix('*') else {
        return wanted == scheme && host == found;
    };
    // A star alone is every host, at the port that follows it.
    let port = |text: &str| text.split_once(':').map(|(_, port)| port.to_owned());
    wanted == scheme
        && port(suffix) == port(&found)
        && found.len() > suffix.len()
        && found.ends_with(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = lines.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        pairs.collect()
    }

    fn texts(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn origins() {
        let cases = [
            ("*", "https://a", true),
            ("https://www.foo.com", "https://www.foo.com", true),
            ("https://www.foo.com", "https://WWW.foo.com", true),
            ("https://www.foo.com", "http://www.foo.com", false),
            ("https://www.foo.com", "https://www.foo.com:8443", false),
            ("https://*.bar.com", "https://a.b.bar.com", true),
            ("https://*.bar.com", "https://bar.com", false),
            ("https://*.bar.com", "https://foobar.com", false),
            ("https://*", "https://a:1", false),
            ("https://*:1", "https://a:1", true),
            ("https://*", "https://a", true),
            ("https://*", "null", false),
        ];
        for (allowed, origin, expected) in cases {
            assert_eq!(is_of(allowed, origin), expected, "{allowed} {origin}");
        }
    }

    #[test]
    fn what_browsers_are_told() {
        let cors = Cors {
            origins: texts(&["https://foo.com"]),
            credentials: true,
            methods: texts(&["GET", "OPTIONS"]),
            headers: texts(&["*"]),
            expose: texts(&["x-a", "x-b"]),
            max_age_seconds: 5,
        };
        let asked = headers(&[
            ("origin", "https://foo.com"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "x-c"),
        ]);
        let told = cors.preflight(&Method::OPTIONS, &asked).expect("an answer");
        let expected = headers(&[
            ("vary", "Origin"),
            ("access-control-allow-origin", "https://foo.com"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "x-a, x-b"),
            ("access-control-allow-methods", "GET, OPTIONS"),
            ("access-control-allow-headers", "x-c"),
            ("access-control-max-age", "5"),
        ]);
        assert_eq!(told, expected);
        assert!(cors.preflight(&Method::GET, &asked).is_none());
        let other = headers(&[
            ("origin", "https://bar.com"),
            ("access-control-request-method", "GET"),
        ]);
        let told = cors.preflight(&Method::OPTIONS, &other).expect("an answer");
        assert_eq!(told, headers(&[("vary", "Origin")]));
        // What the backend says of it does not count.
        let mut answer = headers(&[("access-control-allow-origin", "*")]);
        cors.mark(None, &mut answer);
        assert_eq!(answer, headers(&[("vary", "Origin")]));
    }
}
