//! Headers that are set, added and removed.

use http::{HeaderMap, HeaderName, HeaderValue};

#[derive(Clone, Debug, Default)]
pub struct HeaderChange {
    pub set: Vec<(HeaderName, HeaderValue)>,
    pub add: Vec<(HeaderName, HeaderValue)>,
    pub remove: Vec<HeaderName>,
}

impl HeaderChange {
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_change() {
        let pair = |name, value| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        let mut headers: HeaderMap = [pair("a", "1"), pair("b", "1"), pair("c", "1")]
            .into_iter()
            .collect();
        let change = HeaderChange {
            set: vec![pair("a", "2")],
            add: vec![pair("b", "2"), pair("d", "2")],
            remove: vec![HeaderName::from_static("c")],
        };
        change.apply(&mut headers);
        let values = |name: &str| {
            let values = headers.get_all(name).iter();
            values
                .map(|value| value.to_str().expect("a text").to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(values("a"), ["2"]);
        assert_eq!(values("b"), ["1", "2"]);
        assert_eq!(values("c"), [""; 0]);
        assert_eq!(values("d"), ["2"]);
    }
}
