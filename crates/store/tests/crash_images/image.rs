//! What may be on a disk that lost power.

use crate::record::Step;

const SECTOR: usize = 512;

/// A piece of a write, within one sector.
struct Piece {
    at: usize,
    bytes: Vec<u8>,
}

/// A file as the disk has it for sure, and what it may have of it beyond that.
pub struct Disk {
    durable: Vec<u8>,
    /// By write, in order.
    unsynced: Vec<Vec<Piece>>,
}

/// How much of the unsynced writes an image has.
enum Kept {
    Nothing,
    Everything,
    /// The first ones, the last of them torn.
    Prefix,
    /// Each write or not.
    Writes,
    /// Each sector or not.
    Sectors,
}

impl Disk {
    pub fn new(durable: Vec<u8>) -> Disk {
        Disk {
            durable,
            unsynced: Vec::new(),
        }
    }

    /// After `step` has returned.
    pub fn apply(&mut self, step: Step) {
        match step {
            Step::Acknowledged(_) => {}
            Step::Sync => {
                for piece in std::mem::take(&mut self.unsynced).into_iter().flatten() {
                    put(&mut self.durable, &piece);
                }
            }
            Step::Write { at, bytes, durable } => {
                let pieces = pieces(at, &bytes);
                match durable {
                    true => pieces
                        .iter()
                        .for_each(|piece| put(&mut self.durable, piece)),
                    false => self.unsynced.push(pieces),
                }
            }
        }
    }

    /// An image of the moment at which `step` was under way.
    pub fn image(&self, step: &Step, random: &mut fastrand::Rng) -> Vec<u8> {
        let under_way = match step {
            Step::Write { at, bytes, .. } => pieces(*at, bytes),
            Step::Sync | Step::Acknowledged(_) => Vec::new(),
        };
        let writes: Vec<&Vec<Piece>> = self.unsynced.iter().chain([&under_way]).collect();
        let kept = match random.u8(..8) {
            0 => Kept::Nothing,
            1 => Kept::Everything,
            2 => Kept::Prefix,
            3 => Kept::Writes,
            _ => Kept::Sectors,
        };
        let mut image = self.durable.clone();
        let end = random.usize(..=writes.len());
        for (n, write) in writes.into_iter().enumerate() {
            let whole = random.bool();
            for piece in write {
                let keep = match kept {
                    Kept::Nothing => false,
                    Kept::Everything => true,
                    Kept::Prefix => n < end || (n == end && random.bool()),
                    Kept::Writes => whole,
                    Kept::Sectors => random.bool(),
                };
                if keep {
                    put(&mut image, piece);
                }
            }
        }
        image
    }
}

fn pieces(at: usize, bytes: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut done = 0;
    while done < bytes.len() {
        let begin = at + done;
        let length = (SECTOR - begin % SECTOR).min(bytes.len() - done);
        pieces.push(Piece {
            at: begin,
            bytes: bytes[done..done + length].to_vec(),
        });
        done += length;
    }
    pieces
}

/// Writes a piece; what it skips beyond the end is zero.
fn put(file: &mut Vec<u8>, piece: &Piece) {
    let end = piece.at + piece.bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[piece.at..end].copy_from_slice(&piece.bytes);
}
