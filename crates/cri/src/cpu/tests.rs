use super::*;

#[test]
fn weights_follow_shares() {
    // As libcontainer's, which sets a container's first weight: an update must not change what is the same.
    let shares = [0, 2, 102, 512, 1_024, 2_048, 262_144, 1 << 20];
    assert_eq!(shares.map(weight), [1, 1, 17, 59, 100, 174, 10_000, 10_000]);
}
