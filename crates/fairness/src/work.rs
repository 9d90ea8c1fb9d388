//! How much work a request is.
//!
//! As upstream's `flowcontrol/request`: a list takes seats by what it loads, a write keeps seats for a while after its end by how
//! many watch what it has changed, a watch takes those of its list until it has begun.

use crate::Nanos;

/// Seats times nanoseconds, also as virtual time.
pub type SeatTime = i128;

/// Most seats of a list, and of a write.
pub const MAX_LIST_SEATS: u32 = 100;
pub const MAX_WRITE_SEATS: u32 = 10;
/// Bytes that a seat stands for in a list.
const BYTES_PER_SEAT: u64 = 100_000;
/// A list out of the cache is encoded piece by piece: it holds no more at once.
const STREAMED_BYTES: u64 = 1_000_000;
/// Watches that a seat stands for after a write.
const WATCHES_PER_SEAT: u32 = 10;
/// How long an event keeps such a seat.
const EVENT: Nanos = 5_000_000;

/// The work of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// While it is handled.
    pub initial_seats: u32,
    /// Afterwards, for `extra`.
    pub final_seats: u32,
    pub extra: Nanos,
}

impl Work {
    /// Of most requests.
    pub const ONE: Work = Work::of_seats(1);

    const fn of_seats(seats: u32) -> Work {
        Work {
            initial_seats: seats,
            final_seats: 0,
            extra: 0,
        }
    }

    /// Seats that are held: the most of either time.
    pub fn seats(&self) -> u32 {
        self.initial_seats.max(self.final_seats)
    }

    /// What it costs where its handling takes `estimate`.
    pub fn total(&self, estimate: Nanos) -> SeatTime {
        let part =
            |seats: u32, time: Nanos| SeatTime::from(seats).saturating_mul(SeatTime::from(time));
        part(self.initial_seats, estimate).saturating_add(part(self.final_seats, self.extra))
    }

    /// The same work afterwards by fewer seats for longer, where there are no more than `limit`.
    pub fn reshape(&mut self, limit: u32) {
        if self.final_seats <= limit || limit == 0 {
            return;
        }
        let all = u64::from(self.final_seats).saturating_mul(self.extra);
        self.extra = all.checked_div(u64::from(limit)).unwrap_or(0);
        self.final_seats = limit;
    }
}

/// What a list asks for, and of how much.
#[derive(Clone, Copy, Debug, Default)]
pub struct List {
    /// It is of one object by its name.
    pub single: bool,
    /// 0: none.
    pub limit: u64,
    /// A past state of the store: not out of the cache.
    pub past: bool,
    pub selects: bool,
    /// What is stored.
    pub objects: u64,
    pub bytes: u64,
}

impl List {
    /// Its work; `most` is what a request may take of its level (0: no matter).
    pub fn work(&self, most: u32) -> Work {
        let average = self.bytes.checked_div(self.objects).unwrap_or(0);
        let limited = match self.limit {
            0 => self.objects,
            limit => limit.min(self.objects),
        };
        let loaded = match (self.single, self.past && self.selects) {
            (true, _) => 1,
            (_, true) => limited.max(self.objects / 2),
            _ => limited,
        };
        let mut bytes = loaded.saturating_mul(average);
        if !self.past {
            bytes = bytes.min(STREAMED_BYTES);
        }
        let seats = u32::try_from(bytes.div_ceil(BYTES_PER_SEAT)).unwrap_or(u32::MAX);
        let most = within(most, MAX_LIST_SEATS);
        Work::of_seats(seats.clamp(1, most))
    }
}

/// The work of a write of what so many watch.
pub fn of_write(watches: u32, most: u32) -> Work {
    if watches < WATCHES_PER_SEAT {
        return Work::ONE;
    }
    let mut work = Work {
        initial_seats: 1,
        final_seats: watches.div_ceil(WATCHES_PER_SEAT),
        extra: EVENT,
    };
    work.reshape(within(most, MAX_WRITE_SEATS));
    work
}

fn within(most: u32, limit: u32) -> u32 {
    match most {
        0 => limit,
        most => most.min(limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_take_seats_by_what_they_load() {
        let of = |objects, bytes| List {
            objects,
            bytes,
            ..List::default()
        };
        let past = List {
            past: true,
            ..of(1000, 50_000_000)
        };
        for (list, most, seats) in [
            (of(0, 0), 0, 1),
            (of(10, 10_000), 0, 1),
            (of(1000, 250_000), 0, 3),
            // Out of the cache: in pieces.
            (of(10_000, 900_000_000), 0, 10),
            (of(10_000, 900_000_000), 8, 8),
            (
                List {
                    limit: 10,
                    ..of(1000, 50_000_000)
                },
                0,
                5,
            ),
            (
                List {
                    single: true,
                    ..of(1000, 50_000_000)
                },
                0,
                1,
            ),
            (past, 0, 100),
            (List { limit: 20, ..past }, 0, 10),
            (
                List {
                    limit: 20,
                    selects: true,
                    ..past
                },
                0,
                100,
            ),
        ] {
            assert_eq!(list.work(most).seats(), seats, "{list:?} {most}");
        }
    }

    #[test]
    fn writes_keep_seats_by_who_watches() {
        let of = |watches, most| {
            let work = of_write(watches, most);
            (work.initial_seats, work.final_seats, work.extra)
        };
        assert_eq!(of(9, 0), (1, 0, 0));
        assert_eq!(of(10, 0), (1, 1, EVENT));
        assert_eq!(of(95, 0), (1, 10, EVENT));
        assert_eq!(of(1000, 0), (1, 10, 10 * EVENT));
        assert_eq!(of(1000, 5), (1, 5, 20 * EVENT));
        assert_eq!(of_write(1000, 0).total(EVENT), 101 * SeatTime::from(EVENT));
    }
}
