//! How the seats of the server are divided among its priority levels.
//!
//! As upstream's `flowcontrol/conc_alloc.go` and `updateBorrowingLocked`: each level has its nominal part; every ten seconds those
//! that need less lend to those that need more.

/// Targets below this count as this: nothing is divided by zero.
const MIN_TARGET: f64 = 0.001;
/// Two sums that differ by less are the same.
const EPSILON: f64 = 1e-7;

/// How many seats a level may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// What its shares come to.
    pub nominal: u32,
    /// What is left where it lends all it may.
    pub min: u32,
    /// What it has where it borrows all it may.
    pub max: u32,
}

impl Limits {
    /// The limits of a level with so many of all `sum` shares of a server with `server` seats.
    pub fn new(
        server: u32,
        shares: u32,
        sum: f64,
        lendable_percent: u32,
        borrowing_percent: Option<u32>,
    ) -> Limits {
        let nominal = match sum > 0.0 {
            true => (f64::from(server) * f64::from(shares) / sum).ceil() as u32,
            false => 0,
        };
        let percent = |percent: u32| (f64::from(nominal) * f64::from(percent) / 100.0).round();
        let borrowing = borrowing_percent.map_or(server, |part| percent(part) as u32);
        Limits {
            nominal,
            min: nominal.saturating_sub(percent(lendable_percent) as u32),
            max: nominal.saturating_add(borrowing),
        }
    }

    /// What a level begins with: half of what it may lend is lent.
    pub fn initial(&self) -> u32 {
        self.nominal - (self.nominal - self.min) / 2
    }
}

/// A level that seats are to be found for.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub exempt: bool,
    pub limits: Limits,
    /// The most it could have used at any moment of the last period.
    pub high_watermark: u32,
    pub smoothed: f64,
    /// What it has.
    pub current: u32,
}

impl Claim {
    /// What it has at least: what it has needed, up to its nominal part.
    fn least(&self) -> u32 {
        let needed = match self.exempt {
            true => self.high_watermark,
            false => self.high_watermark.min(self.limits.nominal),
        };
        needed.max(self.limits.min)
    }

    /// What it would have if there were enough for all.
    pub fn target(&self) -> f64 {
        self.smoothed.max(f64::from(self.least()))
    }
}

/// What each level gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Adjustment {
    pub seats: Vec<u32>,
    /// How much of its target each level has that no limit of its own stands in the way of.
    pub fair_fraction: f64,
}

/// Divides the seats, of which there are as many as the nominal parts come to.
pub fn adjust(claims: &[Claim]) -> Adjustment {
    let total = claims.iter().map(|claim| claim.limits.nominal).sum::<u32>();
    let limited = || claims.iter().filter(|claim| !claim.exempt);
    let exempt: u32 = (claims.iter().filter(|claim| claim.exempt))
        .map(Claim::least)
        .fold(0, u32::saturating_add);
    let remaining = f64::from(total) - f64::from(exempt);
    let least: f64 = limited().map(|claim| f64::from(claim.least())).sum();
    let minimal: f64 = limited().map(|claim| f64::from(claim.limits.min)).sum();
    let (of_limited, fair_fraction): (Vec<u32>, f64) = if remaining <= minimal {
        (limited().map(|claim| claim.limits.min).collect(), 0.0)
    } else if remaining <= least {
        let part = (remaining - minimal) / (least - minimal);
        let seats = limited().map(|claim| {
            let wish = f64::from(claim.least() - claim.limits.min);
            claim.limits.min + (wish * part).round() as u32
        });
        (seats.collect(), 0.0)
    } else {
        let items: Vec<Item> = limited()
            .map(|claim| Item {
                target: claim.target(),
                low: f64::from(claim.least()),
                high: f64::from(claim.limits.max),
            })
            .collect();
        match divide(f64::from(total), &items) {
            Some((parts, fair)) => (parts.iter().map(|part| part.round() as u32).collect(), fair),
            // Nothing fits: all stays as it is.
            None => (limited().map(|claim| claim.current).collect(), 0.0),
        }
    };
    let mut of_limited = of_limited.into_iter();
    let seats = claims.iter().map(|claim| match claim.exempt {
        true => claim.least(),
        false => of_limited.next().unwrap_or(claim.current),
    });
    Adjustment {
        seats: seats.collect(),
        fair_fraction,
    }
}

/// One of those among whom a sum is divided: `target >= low >= 0`, `high >= low`.
#[derive(Clone, Copy, Debug)]
struct Item {
    target: f64,
    low: f64,
    high: f64,
}

impl Item {
    fn target(&self) -> f64 {
        self.target.max(MIN_TARGET)
    }

    fn part(&self, fair: f64) -> f64 {
        (fair * self.target()).clamp(self.low, self.high)
    }
}

/// Parts that come to `sum`: each is the same fraction of its target, or at the bound that the fraction is beyond. `None` where there
/// are none. Also the fraction.
fn divide(sum: f64, items: &[Item]) -> Option<(Vec<f64>, f64)> {
    let total = |fair: f64| items.iter().map(|item| item.part(fair)).sum::<f64>();
    let wrong = |item: &Item| item.low < 0.0 || item.high < item.low || item.target < item.low;
    let lows: f64 = items.iter().map(|item| item.low).sum();
    let highs: f64 = items.iter().map(|item| item.high).sum();
    if items.iter().any(wrong) || lows - sum > EPSILON || sum - highs > EPSILON {
        return None;
    }
    // The sum of all parts grows with the fraction, along lines that bend where one comes to a bound.
    let bounds = |item: &Item| [item.low / item.target(), item.high / item.target()];
    let mut bends: Vec<f64> = items.iter().flat_map(bounds).collect();
    bends.sort_by(f64::total_cmp);
    let mut below = 0.0;
    for bend in bends {
        if total(bend) >= sum {
            let (from, to) = (total(below), total(bend));
            let along = if to > from {
                (sum - from) / (to - from)
            } else {
                0.0
            };
            let fair = below + along * (bend - below);
            return Some((items.iter().map(|item| item.part(fair)).collect(), fair));
        }
        below = bend;
    }
    // All are as high as they may be.
    Some((items.iter().map(|item| item.high).collect(), below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(nominal: u32, min: u32, max: u32) -> Limits {
        Limits { nominal, min, max }
    }

    #[test]
    fn shares_become_seats() {
        // Upstream's defaults: 600 seats, 245 shares.
        for (shares, lend, expected) in [
            (30, 33, (74, 50, 674)),
            (40, 25, (98, 73, 698)),
            (10, 0, (25, 25, 625)),
            (40, 50, (98, 49, 698)),
            (100, 90, (245, 24, 845)),
            (20, 50, (49, 24, 649)),
            (5, 0, (13, 13, 613)),
            (0, 0, (0, 0, 600)),
        ] {
            let (nominal, min, max) = expected;
            let got = Limits::new(600, shares, 245.0, lend, None);
            assert_eq!(got, limits(nominal, min, max), "{shares}");
        }
        let bounded = Limits::new(100, 1, 2.0, 10, Some(20));
        assert_eq!(bounded, limits(50, 45, 60));
        assert_eq!(bounded.initial(), 48);
        assert_eq!(Limits::new(100, 0, 0.0, 0, None), limits(0, 0, 100));
    }

    #[test]
    fn a_sum_is_divided_fairly_within_bounds() {
        let item = |target, low, high| Item { target, low, high };
        let check = |sum: f64, items: &[Item], expected: Option<&[f64]>| {
            let got = divide(sum, items).map(|(parts, _)| {
                let rounded = parts.iter().map(|part| (part * 1000.0).round() / 1000.0);
                rounded.collect::<Vec<f64>>()
            });
            assert_eq!(got.as_deref(), expected, "{sum} {items:?}");
        };
        let same = [item(10.0, 0.0, 100.0), item(30.0, 0.0, 100.0)];
        check(20.0, &same, Some(&[5.0, 15.0]));
        check(80.0, &same, Some(&[20.0, 60.0]));
        check(200.0, &same, Some(&[100.0, 100.0]));
        check(201.0, &same, None);
        // One is held by its low bound, another by its high one.
        let held = [
            item(10.0, 8.0, 9.0),
            item(10.0, 1.0, 50.0),
            item(20.0, 0.0, 12.0),
        ];
        check(9.0, &held, Some(&[8.0, 1.0, 0.0]));
        check(41.0, &held, Some(&[9.0, 20.0, 12.0]));
        check(8.0, &held, None);
        // Who wants nothing has the rest where nobody else may have it.
        check(
            10.0,
            &[item(0.0, 0.0, 10.0), item(4.0, 0.0, 4.0)],
            Some(&[6.0, 4.0]),
        );
        check(1.0, &[item(1.0, 2.0, 3.0)], None);
        check(0.0, &[item(1.0, 0.0, 3.0)], Some(&[0.0]));
    }

    #[test]
    fn those_who_need_less_lend() {
        let claim = |limits, high_watermark, smoothed| Claim {
            exempt: false,
            limits,
            high_watermark,
            smoothed,
            current: 1,
        };
        let exempt = |high_watermark| Claim {
            exempt: true,
            ..claim(limits(0, 0, 600), high_watermark, 0.0)
        };
        let (busy, idle) = (limits(49, 24, 649), limits(245, 24, 845));
        // Nobody needs anything: as their minimal parts.
        let quiet = adjust(&[exempt(0), claim(busy, 0, 0.0), claim(idle, 0, 0.0)]);
        assert_eq!(quiet.seats, [0, 147, 147]);
        // One needs a lot: the other keeps its least.
        let one = adjust(&[exempt(3), claim(busy, 900, 900.0), claim(idle, 0, 0.0)]);
        assert_eq!(one.seats, [3, 270, 24]);
        assert!(one.fair_fraction > 0.29 && one.fair_fraction < 0.31);
        // What may not be lent stays; exempt requests take theirs before anybody.
        let both = adjust(&[
            exempt(200),
            claim(busy, 900, 900.0),
            claim(idle, 900, 900.0),
        ]);
        assert_eq!(both.seats, [200, 29, 65]);
        let all = adjust(&[
            exempt(290),
            claim(busy, 900, 900.0),
            claim(idle, 900, 900.0),
        ]);
        assert_eq!(all.seats, [290, 24, 24]);
    }
}
