//! A part of many.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    str::FromStr,
};

/// From none to all, as `5%` or `0.05`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share(f64);

impl Share {
    pub const NONE: Self = Self(0.0);

    /// As a fraction, 0 to 1.
    pub fn fraction(self) -> f64 {
        self.0
    }

    pub fn is_none(self) -> bool {
        self.0 <= 0.0
    }

    /// Whether one of many is in it: the same answer each time for one name and seed.
    pub fn has(self, seed: u64, name: &str) -> bool {
        random(seed, name).f64() < self.0
    }
}

/// What chance decides about one of many, again and again the same.
pub(crate) fn random(seed: u64, name: &str) -> fastrand::Rng {
    let mut hasher = DefaultHasher::new();
    (seed, name).hash(&mut hasher);
    fastrand::Rng::with_seed(hasher.finish())
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is no share such as 5% or 0.05");
        let (number, whole) = match text.strip_suffix('%') {
            Some(percent) => (percent, 100.0),
            None => (text, 1.0),
        };
        let number: f64 = number.trim().parse().map_err(|_| error())?;
        let fraction = number / whole;
        match (0.0..=1.0).contains(&fraction) {
            true => Ok(Self(fraction)),
            false => Err(error()),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read() {
        for (text, expected) in [
            ("0", Some(0.0)),
            ("5%", Some(0.05)),
            ("0.5", Some(0.5)),
            ("100%", Some(1.0)),
            ("101%", None),
            ("-1%", None),
            ("NaN", None),
            ("", None),
            ("%", None),
        ] {
            let share = text.parse::<Share>().ok().map(Share::fraction);
            assert_eq!(share, expected, "{text}");
        }
    }

    #[test]
    fn as_many_are_chosen_as_was_said_and_always_the_same() {
        let names: Vec<String> = (0..10_000).map(|n| format!("sim-{n}")).collect();
        let share = Share(0.1);
        let chosen = |seed| -> Vec<bool> { names.iter().map(|n| share.has(seed, n)).collect() };
        let count = chosen(7).iter().filter(|is| **is).count();
        assert!((800..1200).contains(&count), "{count}");
        assert_eq!(chosen(7), chosen(7));
        assert_ne!(chosen(7), chosen(8));
        assert!(!names.iter().any(|name| Share::NONE.has(1, name)));
        assert!(names.iter().all(|name| Share(1.0).has(1, name)));
    }
}
