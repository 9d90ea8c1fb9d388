use super::*;

/// What is kept says the same as what is found anew, by which nodes are together.
#[test]
fn what_is_kept_is_what_would_be_found() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut labels = Labels::default();
    let mut nodes: Vec<HashMap<&str, String>> = vec![HashMap::new(); 12];
    for step in 0..600 {
        let slot = random.usize(..nodes.len());
        let key = ["zone", "host"][random.usize(..2)];
        match random.u8(..4) {
            0 => nodes[slot].clear(),
            1 => drop(nodes[slot].remove(key)),
            _ => drop(nodes[slot].insert(key, random.u8(..5).to_string())),
        }
        let value = |wanted: &str| nodes[slot].get(wanted).map(String::as_str);
        labels.set(slot, value);
        for key in ["zone", "host"] {
            let all = || {
                let nodes = nodes.iter().enumerate();
                nodes.map(|(slot, labels)| (slot, labels.get(key).map(String::as_str)))
            };
            let kept = labels.get(key, all);
            for (a, one) in nodes.iter().enumerate() {
                assert_eq!(kept.of(a).is_some(), one.contains_key(key), "step {step}");
                for (b, other) in nodes.iter().enumerate() {
                    let together = kept.of(a) == kept.of(b);
                    assert_eq!(together, one.get(key) == other.get(key), "step {step}");
                }
            }
            // Numbers are given again: values that come and go leave nothing.
            assert!(kept.bound() <= 5 + 1, "step {step}: {}", kept.bound());
        }
    }
    assert_eq!(labels.kept.len(), 2);
}

#[test]
fn the_label_asked_for_least_recently_goes() {
    let mut labels = Labels::default();
    let ask = |labels: &mut Labels, key: &str| {
        let found = labels.get(key, || [(0, Some("x"))].into_iter());
        assert_eq!(found.of(0), Some(0));
        labels.kept.iter().any(|kept| kept.key == "k1")
    };
    for n in 0..LABELS_MAX {
        ask(&mut labels, &format!("k{n}"));
    }
    assert!(ask(&mut labels, "k0"));
    assert!(!ask(&mut labels, "more"), "k1 was asked for least recently");
    assert_eq!(labels.kept.len(), LABELS_MAX);
}
