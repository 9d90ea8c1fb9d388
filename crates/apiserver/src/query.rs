//! The query string, decoded once, with upstream's rules for each type of parameter.

use std::borrow::Cow;

use knarr_meta::status::Status;
use percent_encoding::percent_decode_str;

/// Parameters in their order.
#[derive(Clone, Debug, Default)]
pub struct Query<'a> {
    raw: &'a str,
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    pub fn parse(raw: &'a str) -> Query<'a> {
        let pairs = raw.split('&').filter(|p| !p.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Query {
            raw,
            pairs: pairs.collect(),
        }
    }

    /// As it was sent.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// The first value; empty where absent.
    pub fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or("")
    }

    pub fn find(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| &**v)
    }

    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.pairs
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, v)| &**v)
    }

    /// As upstream reads booleans: present without a value is true, and so is everything but `false` and `0`.
    pub fn flag(&self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or(false)
    }

    pub fn optional_flag(&self, name: &str) -> Option<bool> {
        self.find(name)
            .map(|v| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// A number; absent and empty are `None`, anything else is a 400.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, Status> {
        match self.get(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Status::bad_request(format!(
                    "strconv.ParseInt: parsing \"{text}\": invalid syntax"
                ))
            }),
        }
    }

    /// The value still percent-encoded; empty where absent.
    pub fn raw_value(&self, name: &str) -> &'a str {
        let mut pairs = self.raw.split('&').filter_map(|p| p.split_once('='));
        pairs.find(|(n, _)| *n == name).map_or("", |(_, v)| v)
    }
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_and_types() {
        let query =
            Query::parse("labelSelector=app%3Dweb%2Ctier+in+%28a%29&watch=&limit=5&watch=0&x");
        assert_eq!(query.get("labelSelector"), "app=web,tier in (a)");
        assert!(query.flag("watch"));
        assert!(query.flag("x"));
        assert!(!query.flag("absent"));
        assert_eq!(query.integer("limit").unwrap(), Some(5));
        assert_eq!(query.integer("absent").unwrap(), None);
        assert_eq!(
            Query::parse("limit=a").integer("limit").unwrap_err().code,
            400
        );
        assert_eq!(
            query.raw_value("labelSelector"),
            "app%3Dweb%2Ctier+in+%28a%29"
        );
        assert_eq!(query.all("watch").collect::<Vec<_>>(), ["", "0"]);
    }
}
