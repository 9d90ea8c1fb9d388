//! Ranges of ports and addresses, without overlaps.

/// From the first to the last.
pub type Range<T = u32> = (T, T);

/// What ranges are of: ports, and addresses of either family.
pub trait Number: Copy + Ord {
    fn next(self) -> Option<Self>;
    fn previous(self) -> Option<Self>;
}

impl Number for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn previous(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

impl Number for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn previous(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

/// The same numbers in as few ranges as there can be, in order. Ranges that end before they begin have none.
pub fn merged<T: Number>(mut ranges: Vec<Range<T>>) -> Vec<Range<T>> {
    ranges.retain(|(first, last)| first <= last);
    ranges.sort_unstable();
    let mut merged: Vec<Range<T>> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if end.next().is_none_or(|next| first <= next) => {
                *end = last.max(*end);
            }
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// What is in `range` and in none of `holes`, which are [`merged`].
pub fn without<T: Number>((first, last): Range<T>, holes: &[Range<T>]) -> Vec<Range<T>> {
    let mut left = Vec::with_capacity(holes.len() + 1);
    let mut next = Some(first);
    for (start, end) in holes {
        let Some(from) = next.filter(|from| *from <= last) else {
            break;
        };
        if *end < from {
            continue;
        }
        if *start > last {
            break;
        }
        if *start > from {
            left.extend(start.previous().map(|before| (from, before)));
        }
        next = end.next();
    }
    if let Some(from) = next.filter(|from| *from <= last) {
        left.push((from, last));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ipv6_end_at_its_last_address() {
        const ALL: Range<u128> = (0, u128::MAX);
        assert_eq!(merged(vec![ALL, (7, u128::MAX)]), [ALL]);
        let half: u128 = 1 << 64;
        assert_eq!(
            merged(vec![(half, half * 2), (0, half - 1)]),
            [(0, half * 2)]
        );
        assert_eq!(without(ALL, &[(1, u128::MAX)]), [(0, 0)]);
        assert_eq!(
            without(ALL, &[(0, u128::MAX - 1)]),
            [(u128::MAX, u128::MAX)]
        );
    }

    #[test]
    fn ranges_are_merged_where_they_meet() {
        for (ranges, wanted) in [
            (vec![], vec![]),
            (vec![(5, 4)], vec![]),
            (vec![(8, 9), (1, 3), (4, 5)], vec![(1, 5), (8, 9)]),
            (vec![(1, 9), (2, 3)], vec![(1, 9)]),
            (vec![(0, u32::MAX), (7, u32::MAX)], vec![(0, u32::MAX)]),
        ] {
            assert_eq!(merged(ranges.clone()), wanted, "{ranges:?}");
        }
    }

    #[test]
    fn holes_are_left_out() {
        const ALL: Range = (0, u32::MAX);
        for (range, holes, wanted) in [
            ((1, 9), vec![], vec![(1, 9)]),
            ((1, 9), vec![(3, 4)], vec![(1, 2), (5, 9)]),
            ((1, 9), vec![(0, 2), (9, 12)], vec![(3, 8)]),
            ((1, 9), vec![(0, 20)], vec![]),
            ((5, 9), vec![(0, 3), (11, 12)], vec![(5, 9)]),
            (ALL, vec![ALL], vec![]),
            (ALL, vec![(1, u32::MAX)], vec![(0, 0)]),
        ] {
            assert_eq!(without(range, &holes), wanted, "{range:?} {holes:?}");
        }
    }
}
