//! Where things are in a stored object's bytes, found in one pass: nobody who writes them out looks again.

use std::ops::Range;

pub const METADATA: &[u8] = b"\"metadata\":{";
const MANAGED_FIELDS: &[u8] = b"\"managedFields\":[";

/// Places in the JSON of one state. Objects have less than 4 GiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout {
    /// Where the members of the metadata object begin.
    members: u32,
    /// Where the metadata object's closing brace is.
    end: u32,
    /// `managedFields` among the members, with a comma that belongs to them; empty if nowhere.
    managed: (u32, u32),
}

impl Layout {
    /// `None` unless the object begins with its kind, and its metadata come within `head` bytes after kind and apiVersion.
    pub fn of(json: &[u8], head: usize) -> Option<Self> {
        if !json.starts_with(b"{\"kind\":\"") {
            return None;
        }
        let window = &json[..json.len().min(head + METADATA.len())];
        let at = window.windows(METADATA.len()).position(|w| w == METADATA)?;
        if !json[..at].ends_with(b"\",") {
            return None;
        }
        let members = at + METADATA.len();
        let (end, managed) = scan(json, members)?;
        let place = |at: usize| u32::try_from(at).ok();
        Some(Self {
            members: place(members)?,
            end: place(end)?,
            managed: (place(managed.start)?, place(managed.end)?),
        })
    }

    pub fn members(self) -> usize {
        self.members as usize
    }

    pub fn end(self) -> usize {
        self.end as usize
    }

    pub fn managed(self) -> Range<usize> {
        self.managed.0 as usize..self.managed.1 as usize
    }
}

/// The closing brace of the object whose members begin at `members`, and its `managedFields` with a comma that belongs to them. Names
/// of other objects' members, and texts, may read alike.
fn scan(json: &[u8], members: usize) -> Option<(usize, Range<usize>)> {
    let (mut depth, mut at) = (1usize, members);
    let (mut begun, mut managed) = (None, members..members);
    loop {
        match json.get(at)? {
            b'"' => {
                if depth == 1 && json[at..].starts_with(MANAGED_FIELDS) {
                    begun = Some(at);
                }
                at = closing_quote(json, at)?;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some((at, managed));
                }
                // What ends first after the name is the name's value.
                if depth == 1
                    && let Some(start) = begun.take()
                {
                    managed = with_comma(json, start..at + 1, members);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// A member's bytes with the comma after it, or that before it where it is the last.
fn with_comma(json: &[u8], member: Range<usize>, members: usize) -> Range<usize> {
    if json.get(member.end) == Some(&b',') {
        member.start..member.end + 1
    } else if member.start == members {
        member
    } else {
        member.start - 1..member.end
    }
}

/// Index of the quote that closes the one at `open`.
fn closing_quote(json: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}
