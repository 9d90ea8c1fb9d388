//! Times as Go's `time.Parse` reads them by the layout of RFC 3339, with what it says of those that are none: which part of the
//! layout the rest of the text does not fit.

use std::fmt::Write as _;

const SECONDS: &str = "2006-01-02T15:04:05Z07:00";
const MICROS: &str = "2006-01-02T15:04:05.000000Z07:00";

/// What may stand behind the seconds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fraction {
    /// Nothing, or any number of digits.
    Any,
    /// Six digits.
    Micros,
}

/// The time with two digits for each number and a capital T: Go takes one digit for days and hours, too.
pub(super) fn check(text: &str, fraction: Fraction) -> Result<String, String> {
    let mut reader = Reader {
        text,
        rest: text,
        layout: match fraction {
            Fraction::Any => SECONDS,
            Fraction::Micros => MICROS,
        },
    };
    reader.time(fraction)
}

struct Reader<'t> {
    text: &'t str,
    rest: &'t str,
    layout: &'static str,
}

impl<'t> Reader<'t> {
    fn time(&mut self, fraction: Fraction) -> Result<String, String> {
        let year = self.year()?;
        self.skip("-")?;
        let month = self.number("01", "month", 1..=12, false)?;
        self.skip("-")?;
        let day = self.number("02", "day", 0..=99, false)?;
        self.skip("T")?;
        let hour = self.number("15", "hour", 0..=23, true)?;
        self.skip(":")?;
        let minute = self.number("04", "minute", 0..=59, false)?;
        self.skip(":")?;
        let second = self.number("05", "second", 0..=59, false)?;
        let digits = match fraction {
            Fraction::Any => self.any_digits(),
            Fraction::Micros => self.six_digits()?,
        };
        let zone = self.zone()?;
        if !self.rest.is_empty() {
            return Err(self.said(&format!("extra text: {}", quote(self.rest))));
        }
        if day < 1 || day > days_of(year, month) {
            return Err(self.said("day out of range"));
        }
        Ok(format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{digits}{zone}"
        ))
    }

    fn year(&mut self) -> Result<u32, String> {
        let digits = self.rest.get(..4);
        let year = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let year = year.and_then(|year| year.parse().ok());
        let year = year.ok_or_else(|| self.unfit("2006", self.rest))?;
        self.rest = &self.rest[4..];
        Ok(year)
    }

    fn skip(&mut self, wanted: &str) -> Result<(), String> {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(self.unfit(wanted, self.rest)),
        }
    }

    /// Two digits, or one where that will do.
    fn number(
        &mut self,
        element: &str,
        name: &str,
        range: std::ops::RangeInclusive<u32>,
        one_digit: bool,
    ) -> Result<u32, String> {
        let digits = self.rest.bytes().take(2);
        let count = digits.take_while(u8::is_ascii_digit).count();
        if count == 0 || (count == 1 && !one_digit) {
            return Err(self.unfit(element, self.rest));
        }
        let (number, rest) = self.rest.split_at(count);
        self.rest = rest;
        let number = number.parse().unwrap_or_default();
        match range.contains(&number) {
            true => Ok(number),
            false => Err(self.said(&format!("{name} out of range"))),
        }
    }

    fn any_digits(&mut self) -> String {
        let Some(fraction) = self.rest.strip_prefix(['.', ',']) else {
            return String::new();
        };
        let count = fraction
            .bytes()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if count == 0 {
            return String::new();
        }
        let (digits, rest) = fraction.split_at(count);
        self.rest = rest;
        // More than nanoseconds are read by nobody.
        format!(".{}", &digits[..count.min(9)])
    }

    fn six_digits(&mut self) -> Result<String, String> {
        let digits = self.rest.strip_prefix(['.', ',']).and_then(|r| r.get(..6));
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let digits = digits.ok_or_else(|| self.unfit(".000000", self.rest))?;
        self.rest = &self.rest[7..];
        Ok(format!(".{digits}"))
    }

    fn zone(&mut self) -> Result<String, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok("Z".to_owned());
        }
        let unfit = || self.unfit("Z07:00", self.rest);
        let zone = self.rest.get(..6).ok_or_else(unfit)?;
        let two = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse::<u32>().ok(),
            false => None,
        };
        let parts = (zone.get(1..3).and_then(two)).zip(zone.get(4..6).and_then(two));
        let (hours, minutes) = parts.ok_or_else(unfit)?;
        if !zone.starts_with(['+', '-']) || zone.as_bytes().get(3) != Some(&b':') {
            return Err(unfit());
        }
        self.rest = &self.rest[6..];
        if hours > 24 {
            return Err(self.said("time zone offset hour out of range"));
        }
        if minutes > 60 {
            return Err(self.said("time zone offset minute out of range"));
        }
        Ok(zone.to_owned())
    }

    fn unfit(&self, element: &str, rest: &str) -> String {
        format!(
            "parsing time {} as {}: cannot parse {} as {}",
            quote(self.text),
            quote(self.layout),
            quote(rest),
            quote(element)
        )
    }

    fn said(&self, what: &str) -> String {
        format!("parsing time {}: {what}", quote(self.text))
    }
}

fn days_of(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A text as that package of Go's quotes it.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                quoted.push('\\');
                quoted.push(char::from(byte));
            }
            b' '..=b'~' => quoted.push(char::from(byte)),
            other => _ = write!(quoted, "\\x{other:02x}"),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_time_is_told_as_go_tells_it() {
        let unfit = |text: &str, rest: &str, element: &str| {
            format!(
                "parsing time \"{text}\" as \"{SECONDS}\": cannot parse \"{rest}\" as \"{element}\""
            )
        };
        let said = |text: &str, what: &str| format!("parsing time \"{text}\": {what}");
        let cases = [
            ("", unfit("", "", "2006")),
            ("2026-01-01", unfit("2026-01-01", "", "T")),
            ("2026-1-01", unfit("2026-1-01", "1-01", "01")),
            (
                "2026-01-01T00:00:00",
                unfit("2026-01-01T00:00:00", "", "Z07:00"),
            ),
            (
                "2026-13-01T00:00:00Z",
                said("2026-13-01T00:00:00Z", "month out of range"),
            ),
            (
                "2026-02-29T00:00:00Z",
                said("2026-02-29T00:00:00Z", "day out of range"),
            ),
            (
                "2026-01-01T00:00:60Z",
                said("2026-01-01T00:00:60Z", "second out of range"),
            ),
            (
                "2026-01-01T00:00:00Zx",
                said("2026-01-01T00:00:00Zx", "extra text: \"x\""),
            ),
        ];
        for (text, wanted) in cases {
            assert_eq!(check(text, Fraction::Any), Err(wanted));
        }
        assert_eq!(quote("\"ü"), "\"\\\"\\xc3\\xbc\"");
    }

    #[test]
    fn one_digit_will_do_for_hours() {
        let taken = check("2026-01-01T5:00:00.5+02:00", Fraction::Any).unwrap();
        assert_eq!(taken, "2026-01-01T05:00:00.5+02:00");
        assert!(check("2026-01-01T00:00:00Z", Fraction::Micros).is_err());
        assert!(check("2026-01-01T00:00:00.123456Z", Fraction::Micros).is_ok());
    }
}
