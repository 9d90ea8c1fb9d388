//! Labels of pods, of which many are held: a map of strings takes ten times the room of what is in it.

use std::collections::BTreeMap;

/// An object's labels, all in one text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Keys, in their order, each with its value behind it.
    text: Box<str>,
    /// Where each key and each value ends.
    ends: Box<[u32]>,
}

impl Labels {
    pub fn of(labels: Option<&BTreeMap<String, String>>) -> Self {
        let mut text = String::new();
        let mut ends = Vec::with_capacity(labels.map_or(0, BTreeMap::len) * 2);
        for (key, value) in labels.into_iter().flatten() {
            for part in [key, value] {
                text.push_str(part);
                // Nothing near 4 GiB is ever accepted; labels beyond that are none.
                let Ok(end) = u32::try_from(text.len()) else {
                    return Self::default();
                };
                ends.push(end);
            }
        }
        Self {
            text: text.into(),
            ends: ends.into(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&str> {
        let (mut low, mut high) = (0, self.ends.len() / 2);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.part(middle * 2).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(self.part(middle * 2 + 1)),
            }
        }
        None
    }

    fn part(&self, at: usize) -> &str {
        let end = |at: usize| self.ends.get(at).map_or(0, |end| *end as usize);
        let start = at.checked_sub(1).map_or(0, end);
        self.text.get(start..end(at)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_the_map_has() {
        for count in 0..6 {
            let name = |n: i32| "k".repeat(n as usize + 1);
            let map: BTreeMap<_, _> = (0..count)
                .map(|n| (name(n), if n == 2 { String::new() } else { n.to_string() }))
                .collect();
            let labels = Labels::of(Some(&map));
            assert_eq!(labels.is_empty(), map.is_empty());
            for n in 0..7 {
                let wanted = map.get(&name(n)).map(String::as_str);
                assert_eq!(labels.get(&name(n)), wanted, "{n} of {count}");
            }
        }
    }

    #[test]
    fn equal_text_is_not_equal_labels() {
        let of = |key: &str, value: &str| {
            Labels::of(Some(&BTreeMap::from([(key.to_owned(), value.to_owned())])))
        };
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_eq!(of("a", "b"), of("a", "b"));
        assert_eq!(Labels::of(None), Labels::default());
    }
}
