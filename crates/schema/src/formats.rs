//! The formats of strings and numbers that are checked; others are documentation.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use knarr_meta::names;
use regex::Regex;

use crate::Type;

const OF_STRINGS: &[&str] = &[
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8slongname",
    "k8sshortname",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// Whether a format means something for a type; `None`: the type is not said, or there are two.
pub fn is_checked(ty: Option<Type>, format: &str) -> bool {
    match ty {
        None | Some(Type::String) => OF_STRINGS.contains(&format.replace('-', "").as_str()),
        Some(Type::Integer) => matches!(format, "int32" | "int64"),
        Some(Type::Number) => matches!(format, "float" | "double"),
        Some(_) => false,
    }
}

fn matches(pattern: &'static LazyLock<Option<Regex>>, text: &str) -> bool {
    pattern
        .as_ref()
        .is_some_and(|pattern| pattern.is_match(text))
}

macro_rules! pattern {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new($text).ok());
    };
}

pattern!(
    UUID,
    r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$"
);
pattern!(
    UUID3,
    r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$"
);
pattern!(
    UUID4,
    r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"
);
pattern!(
    UUID5,
    r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"
);
pattern!(OBJECT_ID, "^[0-9a-fA-F]{24}$");
pattern!(
    BASE64,
    "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$"
);
pattern!(SSN, "^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$");
pattern!(HEX_COLOR, "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$");
pattern!(
    RGB_COLOR,
    r"^rgb\(\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*\)$"
);
pattern!(
    CREDIT_CARD,
    "^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$"
);
pattern!(
    DATE_TIME,
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[tT ]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?([zZ]|[+-][0-9]{2}:[0-9]{2})$"
);
pattern!(
    DURATION,
    r"^[+-]?(0|([0-9]*(\.[0-9]*)?(ns|us|µs|μs|ms|s|m|h))+)$"
);
pattern!(
    LONG_DURATION,
    r"^(([0-9]+)\s*(?i:ns|nanosecond|us|µs|microsecond|ms|milli|millisecond|s|sec|second|m|min|minute|h|hr|hour|d|day|w|wk|week)s?\s*)+$"
);
pattern!(
    HOST_LABEL,
    r"^[a-zA-Z0-9\p{L}]([a-zA-Z0-9\p{L}-]*[a-zA-Z0-9\p{L}])?$"
);

/// Whether a text has a format of those that are checked.
pub fn validates(format: &str, text: &str) -> bool {
    match format.replace('-', "").as_str() {
        "bsonobjectid" => matches(&OBJECT_ID, text),
        "byte" => matches(&BASE64, text),
        "cidr" => names::cidr(text).is_empty(),
        "creditcard" => is_credit_card(text),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "datetime" => is_date_time(text),
        "duration" => is_duration(text),
        "email" => is_email(text),
        "hexcolor" => matches(&HEX_COLOR, text),
        "hostname" => is_hostname(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "k8slongname" => names::dns1123_subdomain(text).is_empty(),
        "k8sshortname" => names::dns1123_label(text).is_empty(),
        "mac" => is_mac(text),
        "rgbcolor" => matches(&RGB_COLOR, text),
        "ssn" => matches(&SSN, text),
        "uri" => is_request_uri(text),
        "uuid" => matches(&UUID, text),
        "uuid3" => matches(&UUID3, text),
        "uuid4" => matches(&UUID4, text),
        "uuid5" => matches(&UUID5, text),
        // A password is any text.
        _ => true,
    }
}

fn is_date_time(text: &str) -> bool {
    let date = text
        .get(..10)
        .is_some_and(|date| date.parse::<jiff::civil::Date>().is_ok());
    let Some(Some(time)) = DATE_TIME.as_ref().map(|pattern| pattern.captures(text)) else {
        return false;
    };
    let part = |group: usize| time.get(group).and_then(|m| m.as_str().parse::<u32>().ok());
    date && part(1) < Some(24) && part(2) < Some(60) && part(3) < Some(60)
}

fn is_duration(text: &str) -> bool {
    let digits = text.bytes().any(|byte| byte.is_ascii_digit());
    digits && (matches(&DURATION, text) || matches(&LONG_DURATION, text))
}

/// An address, or a name with an address in angle brackets.
fn is_email(text: &str) -> bool {
    let address = match text.rsplit_once('<') {
        Some((_, rest)) => match rest.strip_suffix('>') {
            Some(address) => address,
            None => return false,
        },
        None => text.trim(),
    };
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    let atom = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c))
    };
    let dotted = |text: &str| text.split('.').all(atom);
    let quoted = local.len() > 1 && local.starts_with('"') && local.ends_with('"');
    (quoted || dotted(local))
        && (dotted(domain) || (domain.starts_with('[') && domain.ends_with(']')))
}

fn is_hostname(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text
            .strip_suffix('.')
            .unwrap_or(text)
            .split('.')
            .all(|label| label.len() <= 63 && matches(&HOST_LABEL, label))
}

fn is_mac(text: &str) -> bool {
    let (width, parts): (usize, Vec<&str>) = match text {
        _ if text.contains(':') => (2, text.split(':').collect()),
        _ if text.contains('-') => (2, text.split('-').collect()),
        _ => (4, text.split('.').collect()),
    };
    let hex = |part: &&str| part.len() == width && part.bytes().all(|b| b.is_ascii_hexdigit());
    matches!(parts.len() * width, 12 | 16 | 40) && parts.iter().all(hex)
}

/// An absolute URI or an absolute path.
fn is_request_uri(text: &str) -> bool {
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let letter = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let rest_of_scheme = scheme
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let port_is_number = rest.strip_prefix("//").is_none_or(|authority| {
        let host = authority.split(['/', '?', '#']).next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        let port = host.rsplit(']').next().unwrap_or_default().rsplit_once(':');
        port.is_none_or(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
    });
    letter && rest_of_scheme && port_is_number
}

/// Digits, without what may stand between them.
fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

fn is_credit_card(text: &str) -> bool {
    let digits = digits(text);
    let plain: String = digits
        .iter()
        .filter_map(|digit| char::from_digit(*digit, 10))
        .collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match place % 2 {
            0 => *digit,
            _ if *digit > 4 => digit * 2 - 9,
            _ => digit * 2,
        })
        .sum();
    matches(&CREDIT_CARD, &plain) && sum.is_multiple_of(10)
}

fn is_isbn10(text: &str) -> bool {
    let plain = text.replace(['-', ' '], "");
    let value = |(place, c): (usize, char)| match c {
        'X' if place == 9 => Some(10),
        c => c.to_digit(10),
    };
    let values: Option<Vec<u32>> = plain.chars().enumerate().map(value).collect();
    values.is_some_and(|values| {
        let weighted = values.iter().zip(1..);
        values.len() == 10 && weighted.map(|(value, weight)| value * weight).sum::<u32>() % 11 == 0
    })
}

fn is_isbn13(text: &str) -> bool {
    let plain = text.replace(['-', ' '], "");
    let values: Option<Vec<u32>> = plain.chars().map(|c| c.to_digit(10)).collect();
    values.is_some_and(|values| {
        let weights = [1, 3].into_iter().cycle();
        let weighted = values.iter().zip(weights);
        values.len() == 13 && weighted.map(|(value, weight)| value * weight).sum::<u32>() % 10 == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        for (format, good, bad) in [
            ("date", "2026-02-28", "2026-02-30"),
            (
                "date-time",
                "2026-01-02T03:04:05.6Z",
                "2026-01-02T25:04:05Z",
            ),
            ("duration", "1h30m", "1x"),
            ("duration", "2 days", ""),
            ("email", "a.b@example.com", "a.b"),
            ("hostname", "a.example.com", "-a"),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0"),
            ("mac", "01:23:45:67:89:ab", "01:23"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
            ("uri", "https://example.com:80/a?b", "example"),
            ("uri", "/a", "http://a:b/"),
            ("byte", "YQ==", "YQ"),
            ("hexcolor", "#fff", "#ff"),
            ("rgbcolor", "rgb(1,2,255)", "rgb(1,2,256)"),
            ("isbn", "0321751043", "0321751044"),
            ("isbn13", "978-0321751041", "978-0321751042"),
            ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
            ("ssn", "111-11-1111", "111-11"),
            ("bsonobjectid", "507f1f77bcf86cd799439011", "507f"),
            ("k8s-short-name", "a-b", "a.b"),
            ("k8s-long-name", "a.b", "A"),
        ] {
            assert!(is_checked(Some(Type::String), format), "{format}");
            assert!(validates(format, good), "{format} {good}");
            assert!(!validates(format, bad), "{format} {bad}");
        }
        assert!(!is_checked(Some(Type::String), "int32"));
        assert!(
            is_checked(Some(Type::Integer), "int32") && !is_checked(Some(Type::Object), "date")
        );
    }
}
