//! Regular expressions of paths: compiled once, kept from one table to the next, and bounded in what they take for a host, a namespace
//! and in all. A request is compared with each of its host's, in time that grows with what they take and with its path.

use std::collections::{HashMap, HashSet};

use regex::{Regex, RegexBuilder};

/// What one may take compiled, in bytes, is found out by steps; the last is the limit.
const STEPS_BYTES: [usize; 5] = [1 << 10, 2 << 10, 4 << 10, 16 << 10, 64 << 10];
/// What all of a host, of a namespace and of everybody may take.
const HOST_BYTES: usize = 128 << 10;
const NAMESPACE_BYTES: usize = 1 << 20;
const ALL_BYTES: usize = 16 << 20;
/// How many of a namespace are looked at: also those that are none take time.
const NAMESPACE_COUNT: usize = 512;

/// One, with at most how many bytes it takes.
#[derive(Clone, Debug)]
pub struct Measured {
    pub regex: Regex,
    pub bytes: usize,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is none, or takes too much.
    Unusable,
    /// The host, the namespace or all together have too many.
    TooMany,
}

/// What a text is to be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// The beginning, in capital letters or not, as nginx does.
    Beginning,
    /// The whole, as it is.
    Whole,
}

/// Those that there are, by what they are made from.
#[derive(Debug, Default)]
pub struct Regexes(HashMap<(Form, String), Option<Measured>>);

impl Regexes {
    fn get(&mut self, key: (Form, String)) -> Option<Measured> {
        if let Some(known) = self.0.get(&key) {
            return known.clone();
        }
        let made = compile(&key.1, key.0);
        self.0.insert(key, made.clone());
        made
    }
}

/// Takes those for one table.
pub struct Taking<'r> {
    all: &'r mut Regexes,
    used: HashSet<(Form, String)>,
    by_host: HashMap<String, usize>,
    /// Bytes and number.
    by_namespace: HashMap<String, (usize, usize)>,
    bytes: usize,
}

impl<'r> Taking<'r> {
    pub fn new(all: &'r mut Regexes) -> Self {
        Self {
            all,
            used: HashSet::new(),
            by_host: HashMap::new(),
            by_namespace: HashMap::new(),
            bytes: 0,
        }
    }

    /// One for a host, of an object of a namespace.
    ///
    /// # Errors
    /// See [`Problem`].
    pub fn take(
        &mut self,
        namespace: &str,
        host: &str,
        text: &str,
        form: Form,
    ) -> Result<Measured, Problem> {
        let of_namespace = self.by_namespace.entry(namespace.to_owned()).or_default();
        if of_namespace.1 >= NAMESPACE_COUNT {
            return Err(Problem::TooMany);
        }
        of_namespace.1 = of_namespace.1.saturating_add(1);
        let key = (form, text.to_owned());
        self.used.insert(key.clone());
        let found = self.all.get(key).ok_or(Problem::Unusable)?;
        let of_host = self.by_host.entry(host.to_owned()).or_default();
        let sums = [
            (&mut *of_host, HOST_BYTES),
            (&mut of_namespace.0, NAMESPACE_BYTES),
            (&mut self.bytes, ALL_BYTES),
        ];
        let fits = |(sum, limit): &(&mut usize, usize)| sum.saturating_add(found.bytes) <= *limit;
        if !sums.iter().all(fits) {
            return Err(Problem::TooMany);
        }
        for (sum, _) in sums {
            *sum = sum.saturating_add(found.bytes);
        }
        Ok(found)
    }
}

impl Drop for Taking<'_> {
    /// Those that nobody has any more go.
    fn drop(&mut self) {
        let used = std::mem::take(&mut self.used);
        self.all.0.retain(|key, _| used.contains(key));
    }
}

fn compile(text: &str, form: Form) -> Option<Measured> {
    // By itself, too: a bracket too many would end the one that it is put into.
    regex_is_one(text)?;
    let (text, any_case) = match form {
        Form::Beginning => (format!("^(?:{text})"), true),
        Form::Whole => (format!("^(?:{text})$"), false),
    };
    STEPS_BYTES.into_iter().find_map(|bytes| {
        let regex = RegexBuilder::new(&text)
            .case_insensitive(any_case)
            .size_limit(bytes)
            .dfa_size_limit(bytes)
            .build();
        regex.ok().map(|regex| Measured { regex, bytes })
    })
}

fn regex_is_one(text: &str) -> Option<()> {
    let most = STEPS_BYTES.into_iter().max()?;
    RegexBuilder::new(text)
        .size_limit(most)
        .build()
        .is_ok()
        .then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_they_take_is_bounded_for_each() {
        let mut all = Regexes::default();
        let mut taking = Taking::new(&mut all);
        let small = taking
            .take("a", "h", "/api(/|$)(.*)", Form::Beginning)
            .expect("one");
        assert!(small.regex.is_match("/API/x") && small.bytes <= STEPS_BYTES[3]);
        let whole = taking.take("a", "h", "/api", Form::Whole).expect("one");
        assert!(whole.regex.is_match("/api") && !whole.regex.is_match("/API"));
        assert!(!whole.regex.is_match("/api/x"));
        let huge = "/(?-i:[ab]*a[ab]{100000})";
        for text in ["/(", "/a)|(?:.*", huge] {
            let taken = taking.take("a", "h", text, Form::Beginning);
            assert_eq!(taken.err(), Some(Problem::Unusable));
        }
        let large = |number: usize| format!("/(?-i:[ab]{{350}}){number}");
        let taken = |taking: &mut Taking<'_>, namespace: &str, hosts: usize| {
            let one = |number: usize| {
                let host = format!("{namespace}-{}", number % hosts);
                let text = large(number);
                taking.take(namespace, &host, &text, Form::Beginning).ok()
            };
            let found: Vec<Measured> = (0..200).filter_map(one).collect();
            found.iter().map(|found| found.bytes).sum::<usize>()
        };
        let of_host = taken(&mut taking, "b", 1);
        assert!(
            of_host <= HOST_BYTES && of_host > HOST_BYTES / 2,
            "{of_host}"
        );
        let of_namespace = taken(&mut taking, "c", 100);
        assert!(of_namespace <= NAMESPACE_BYTES, "{of_namespace}");
        assert!(of_namespace > NAMESPACE_BYTES / 2, "{of_namespace}");
        let mut bad = || taking.take("d", "h", "/(", Form::Beginning).err();
        let refused = (0..).find(|_| bad() == Some(Problem::TooMany));
        assert_eq!(refused, Some(NAMESPACE_COUNT));
        drop(taking);
        // They are kept for the next table, and no longer.
        let key = (Form::Beginning, "/api(/|$)(.*)".to_owned());
        assert!(all.0.contains_key(&key));
        drop(Taking::new(&mut all));
        assert!(all.0.is_empty());
    }
}
