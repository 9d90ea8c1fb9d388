//! The query string, decoded once, with upstream's rules for each type of parameter.

use std::borrow::Cow;

use knarr_meta::status::Status;

use crate::escape::{self, Form};

/// Parameters in their order. Everybody who judges or serves a request reads these; nobody decodes a second time.
#[derive(Clone, Debug, Default)]
pub struct Query<'a> {
    raw: &'a str,
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    /// 400 for what Go's `url.ParseQuery` calls an error. Upstream drops such pairs and goes on: what a client took for a
    /// restriction of its request would be gone.
    pub fn parse(raw: &'a str) -> Result<Query<'a>, Status> {
        let mut pairs = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            if pair.contains(';') {
                return Err(Status::bad_request("invalid semicolon separator in query"));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((
                escape::decode(name, Form::Query)?,
                escape::decode(value, Form::Query)?,
            ));
        }
        Ok(Query { raw, pairs })
    }

    /// As it was sent, to be passed on to another server.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// The first value, as Go's `url.Values.Get`; empty where absent.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_and_types() {
        let query =
            Query::parse("labelSelector=app%3Dweb%2Ctier+in+%28a%29&watch=&limit=5&watch=0&x")
                .unwrap();
        assert_eq!(query.get("labelSelector"), "app=web,tier in (a)");
        assert!(query.flag("watch"));
        assert!(query.flag("x"));
        assert!(!query.flag("absent"));
        assert_eq!(query.integer("limit").unwrap(), Some(5));
        assert_eq!(query.integer("absent").unwrap(), None);
        let word = Query::parse("limit=a").unwrap();
        assert_eq!(word.integer("limit").unwrap_err().code, 400);
        assert_eq!(query.all("watch").collect::<Vec<_>>(), ["", "0"]);
    }

    #[test]
    fn the_first_of_many_counts_whatever_its_form() {
        for (raw, wanted) in [
            ("field&field=b", ""),
            ("field=a&field=b", "a"),
            ("f%69eld=a&field=b", "a"),
            ("field=b&f%69eld=a", "b"),
            ("Field=a&field=b", "b"),
        ] {
            assert_eq!(Query::parse(raw).unwrap().get("field"), wanted, "{raw}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_decode() {
        for (raw, why) in [
            ("a=%zz", "invalid URL escape \"%zz\""),
            ("a=%4", "invalid URL escape \"%4\""),
            ("%=1", "invalid URL escape \"%\""),
            ("a=%ff", "not valid UTF-8"),
            ("a=1;b=2", "invalid semicolon separator in query"),
        ] {
            let status = Query::parse(raw).unwrap_err();
            assert_eq!(status.code, 400, "{raw}");
            assert!(status.message.contains(why), "{}", status.message);
        }
    }
}
