//! References to images, as far as a default asks: the grammar of Docker's `ParseNormalizedNamed`.

const LATEST: &str = "latest";
const MAX_TAG: usize = 128;
const MAX_NAME: usize = 255;
const DEFAULT_DOMAIN: &str = "docker.io";
const DEFAULT_PREFIX: &str = "library/";
/// Length of a name that would be an image's identifier.
const IDENTIFIER: usize = 64;
/// Algorithms of digests, and how many digits theirs have.
const ALGORITHMS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// The tag of an image, `latest` where it has neither tag nor digest. None where the reference is none, or has a digest alone.
pub(super) fn tag(image: &str) -> Option<&str> {
    if image.len() == IDENTIFIER && image.bytes().all(is_lower_hex) {
        return None;
    }
    let (domain, rest) = match image.split_once('/') {
        Some((domain, rest)) if is_domain_like(domain) => (Some(domain), rest),
        _ => (None, image),
    };
    let (name, digest) = match rest.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (rest, None),
    };
    let (path, tag) = match name.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (name, None),
    };
    let valid = domain.is_none_or(is_domain)
        && path.split('/').all(is_component)
        && full_length(domain, path) <= MAX_NAME
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest);
    match (valid, tag, digest) {
        (false, ..) | (true, None, Some(_)) => None,
        (true, None, None) => Some(LATEST),
        (true, Some(tag), _) => Some(tag),
    }
}

/// The length of a name with what it leaves out.
fn full_length(domain: Option<&str>, path: &str) -> usize {
    let official = domain.is_none_or(|domain| domain == DEFAULT_DOMAIN) && !path.contains('/');
    let prefix = if official { DEFAULT_PREFIX.len() } else { 0 };
    let domain = domain.unwrap_or(DEFAULT_DOMAIN).len();
    [1, prefix, path.len()]
        .into_iter()
        .fold(domain, usize::saturating_add)
}

/// Whether the first part of a name is a registry, and not a part of the path.
fn is_domain_like(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_domain(domain: &str) -> bool {
    let bracketed = domain
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((address, port)) => {
            let digits = |b: u8| b.is_ascii_hexdigit() || b == b':';
            let valid = !address.is_empty() && address.bytes().all(digits);
            (valid, (!port.is_empty()).then_some(port))
        }
        None => {
            let end = domain.find(':').unwrap_or(domain.len());
            let (host, port) = domain.split_at(end);
            (
                host.split('.').all(is_label),
                (!port.is_empty()).then_some(port),
            )
        }
    };
    let is_port = |port: &str| {
        let digits = port.strip_prefix(':').unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    };
    host && port.is_none_or(is_port)
}

fn is_label(label: &str) -> bool {
    let within = label
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-');
    !label.is_empty() && within && !label.starts_with('-') && !label.ends_with('-')
}

/// Letters and digits, with one dot, one or two underscores, or any number of dashes between them.
fn is_component(component: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = component
        .split(is_plain)
        .filter(|between| !between.is_empty());
    component.starts_with(is_plain)
        && component.ends_with(is_plain)
        && separators.all(|between| {
            matches!(between, "." | "_" | "__") || between.bytes().all(|b| b == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, digits)) = digest.split_once(':') else {
        return false;
    };
    ALGORITHMS.contains(&(algorithm, digits.len())) && digits.bytes().all(is_lower_hex)
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}
