//! In what way an input was answered: answers that differ in their numbers and names only are of one shape.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Of a longer text the beginning counts.
const BYTES: usize = 96;

/// The shape of an answer.
pub fn of(text: &str) -> u64 {
    let mut shape = String::new();
    let mut quoted = false;
    for char in text.chars() {
        if shape.len() >= BYTES {
            break;
        }
        let class = match char {
            '"' => {
                quoted = !quoted;
                '"'
            }
            _ if quoted => continue,
            '0'..='9' => '0',
            _ if char.is_ascii() => char,
            _ => 'x',
        };
        if class != '0' || !shape.ends_with('0') {
            shape.push(class);
        }
    }
    exact(shape)
}

/// A shape of its own for each value: for what was made to be one.
pub fn exact(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The shape of a text that is data: which characters follow each other.
pub fn of_data(text: &str) -> u64 {
    let mut classes = String::new();
    for char in text.chars() {
        let class = match char {
            'a'..='z' => 'a',
            'A'..='Z' => 'A',
            '0'..='9' => '0',
            _ if char.is_ascii() => char,
            _ => 'x',
        };
        if !classes.ends_with(class) {
            classes.push(class);
        }
    }
    exact(classes.get(..24).unwrap_or(&classes))
}
