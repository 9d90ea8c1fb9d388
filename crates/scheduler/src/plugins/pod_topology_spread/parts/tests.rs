use super::Fewest;

/// Preemption and nominations change the pods of one part: two parts are enough to know the fewest.
#[test]
fn the_fewest_are_known_while_one_part_changes() {
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..500 {
        let mut counts: Vec<i64> = (0..random.usize(1..6)).map(|_| random.i64(0..5)).collect();
        let mut fewest = Fewest::default();
        for (part, count) in counts.iter().enumerate() {
            fewest.update(part, *count);
        }
        assert_eq!(fewest.count(), counts.iter().copied().min(), "{counts:?}");
        let part = random.usize(..counts.len());
        for _ in 0..6 {
            let by = if random.bool() { 1 } else { -1 };
            counts[part] = (counts[part] + by).max(0);
            fewest.update(part, counts[part]);
            assert_eq!(fewest.count(), counts.iter().copied().min(), "{counts:?}");
        }
    }
    assert_eq!(Fewest::default().count(), None);
}
