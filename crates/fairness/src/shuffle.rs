//! Shuffle sharding: a flow has a hand of queues of its own, so that two flows rarely have all of them in common.
//!
//! As upstream's `util/shufflesharding`.

/// Most cards in a hand; validation lets nobody ask for more: a hash has 60 bits.
pub const MAX_HAND: usize = 15;

/// Deals hands out of a deck of `deck` cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dealer {
    deck: u32,
    hand: usize,
}

/// The cards of a hand, all different.
#[derive(Clone, Copy, Debug)]
pub struct Hand {
    cards: [u32; MAX_HAND],
    size: usize,
}

impl Hand {
    /// The cards in the order in which they were dealt.
    pub fn cards(&self) -> &[u32] {
        &self.cards[..self.size]
    }
}

impl Dealer {
    /// `hand` cards of `deck`; at least one of either, and no more in the hand than there are.
    pub fn new(deck: u32, hand: u32) -> Dealer {
        let deck = deck.max(1);
        Dealer {
            deck,
            hand: (hand.clamp(1, deck) as usize).min(MAX_HAND),
        }
    }

    /// The hand of a hash.
    pub fn deal(&self, mut hash: u64) -> Hand {
        let mut rest = [0u32; MAX_HAND];
        let mut cards = [0u32; MAX_HAND];
        for (taken, rest) in rest.iter_mut().take(self.hand).enumerate() {
            let left = u64::from(self.deck) - taken as u64;
            *rest = (hash % left) as u32;
            hash /= left;
        }
        for (index, card) in cards.iter_mut().take(self.hand).enumerate() {
            // Of the cards that are still there the n-th one: those that were dealt before it do not count.
            *card = rest[index];
            for dealt in rest[..index].iter().rev() {
                if *card >= *dealt {
                    *card += 1;
                }
            }
        }
        Hand {
            cards,
            size: self.hand,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use super::*;

    #[test]
    fn hands_have_different_cards_and_all_of_them_come() {
        for (deck, size) in [(1, 1), (4, 4), (64, 6), (128, 6), (512, 3)] {
            let dealer = Dealer::new(deck, size);
            let mut seen = HashMap::<u32, usize>::new();
            let mut random = fastrand::Rng::with_seed(7);
            for _ in 0..20_000 {
                let hand = dealer.deal(random.u64(..));
                let cards: BTreeSet<u32> = hand.cards().iter().copied().collect();
                assert_eq!(cards.len(), size as usize, "{hand:?}");
                assert!(cards.iter().all(|card| *card < deck), "{hand:?}");
                for card in cards {
                    *seen.entry(card).or_default() += 1;
                }
            }
            assert_eq!(seen.len(), deck as usize);
            let wanted = 20_000 * size as usize / deck as usize;
            let fair = seen.values().all(|n| *n > wanted / 2 && *n < wanted * 2);
            assert!(fair, "{deck}: {seen:?}");
        }
    }

    #[test]
    fn deals_as_upstream() {
        // Hash 9 of a deck of 4: remainders 1 (of 4), 2 (of 3), 0 (of 2).
        assert_eq!(Dealer::new(4, 3).deal(9).cards(), [1, 3, 0]);
        assert_eq!(Dealer::new(0, 9).deal(5).cards(), [0]);
    }
}
