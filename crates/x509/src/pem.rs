//! PEM as Go's `encoding/pem` reads and writes it: text between blocks is skipped, and so is what only looks like a block.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Label of certificates.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// Label of certificate requests.
pub const REQUEST: &str = "CERTIFICATE REQUEST";
/// Label of private keys in PKCS#8.
pub const PRIVATE_KEY: &str = "PRIVATE KEY";

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
const LINE: usize = 64;

/// A block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub label: String,
    pub has_headers: bool,
    pub der: Vec<u8>,
}

/// The blocks of a text, in order. Every line is looked at once, whatever the text pretends to be.
pub fn blocks(text: &[u8]) -> impl Iterator<Item = Block> {
    // Blocks are ASCII: what is not can only stand between them.
    let text = String::from_utf8_lossy(text).into_owned();
    let mut at = 0;
    std::iter::from_fn(move || next(&text, &mut at))
}

/// A block whose end was not seen yet.
struct Open<'t> {
    label: &'t str,
    has_headers: bool,
    body: String,
}

/// The next block from `at` on, which is where it ends then.
fn next(text: &str, at: &mut usize) -> Option<Block> {
    let mut open: Option<Open<'_>> = None;
    while let Some(rest) = text.get(*at..).filter(|rest| !rest.is_empty()) {
        let (line, length) = match rest.find('\n') {
            Some(end) => (rest.get(..end)?, end.saturating_add(1)),
            None => (rest, rest.len()),
        };
        *at = at.saturating_add(length);
        let line = line.trim_end();
        if line.starts_with(BEGIN) {
            // A block that another one begins in is none.
            open = label(line, BEGIN).map(|label| Open {
                label,
                has_headers: false,
                body: String::new(),
            });
        } else if line.starts_with(END) {
            let ended = open.take().filter(|o| label(line, END) == Some(o.label));
            if let Some(block) = ended.and_then(close) {
                return Some(block);
            }
        } else if let Some(open) = &mut open {
            if open.body.is_empty() && line.contains(':') {
                open.has_headers = true;
            } else {
                open.body
                    .extend(line.chars().filter(|c| !c.is_ascii_whitespace()));
            }
        }
    }
    None
}

fn label<'l>(line: &'l str, prefix: &str) -> Option<&'l str> {
    line.strip_prefix(prefix)?.strip_suffix(DASHES)
}

fn close(open: Open<'_>) -> Option<Block> {
    let der = STANDARD.decode(open.body).ok()?;
    Some(Block {
        label: open.label.to_owned(),
        has_headers: open.has_headers,
        der,
    })
}

/// One block, in lines of 64 characters.
pub fn encode(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = format!("{BEGIN}{label}{DASHES}\n");
    for line in base64.as_bytes().chunks(LINE) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("{END}{label}{DASHES}\n"));
    text
}

#[cfg(test)]
mod tests;
