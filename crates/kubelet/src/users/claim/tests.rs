use super::*;
use crate::users::UNIT;

struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn registry(&self) -> PathBuf {
        self.0.path().join("registry")
    }

    fn kubelet(&self, name: &str) -> PathBuf {
        let owner = self.0.path().join(name);
        fs::create_dir_all(&owner).unwrap();
        owner
    }

    fn claim_of(&self, name: &str, all: Range) -> Result<Claimed, String> {
        let wish = Wish {
            owner: &self.kubelet(name),
            all,
            ids_per_pod: UNIT,
            pods: 110,
        };
        claim(&self.registry(), wish)
    }

    fn claim(&self, name: &str) -> Claimed {
        let claimed = self.claim_of(name, Range::default_for(UNIT)).unwrap();
        assert!(!claimed.moved);
        claimed
    }

    /// Has the kubelet give a pod ids.
    fn run_pod(&self, name: &str) -> PathBuf {
        let pod = self.kubelet(name).join("pods/u1");
        fs::create_dir_all(&pod).unwrap();
        fs::write(pod.join("userns"), "{}").unwrap();
        pod
    }

    fn boot(&self) {
        fs::remove_dir_all(self.registry()).unwrap();
        let now = fs::read_to_string(BOOT).unwrap();
        for entry in fs::read_dir(self.0.path()).unwrap() {
            let own = entry.unwrap().path().join(OWN);
            let text = fs::read_to_string(&own).unwrap_or_default();
            if !text.is_empty() {
                fs::write(own, text.replace(now.trim(), "before")).unwrap();
            }
        }
    }
}

#[test]
fn kubelets_of_a_machine_have_ids_of_their_own_and_keep_them() {
    let machine = Machine::new();
    let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let claims: Vec<Claimed> = names.iter().map(|name| machine.claim(name)).collect();
    let ranges: Vec<Range> = claims.iter().map(|claimed| claimed.range).collect();
    for (at, range) in ranges.iter().enumerate() {
        assert_eq!(range.check(UNIT, 110), Ok(()));
        assert!(Range::default_for(UNIT).holds(range), "{range:?}");
        let mut others = ranges.iter().skip(at + 1);
        assert!(others.all(|other| !range.overlaps(other)));
    }
    // Started anew, in another order, and after a boot once more.
    drop(claims);
    for _ in 0..2 {
        for (name, range) in names.iter().zip(&ranges).rev() {
            assert_eq!(machine.claim(name).range, *range);
        }
        machine.boot();
    }
}

#[test]
fn a_claim_holds_while_its_kubelet_or_a_pod_is_there() {
    let machine = Machine::new();
    let few = Range {
        first: UNIT,
        length: 200 * UNIT,
    };
    let claimed = machine.claim_of("a", few).unwrap();
    assert_eq!(claimed.range, few);
    let refused = || {
        let error = machine.claim_of("b", few).unwrap_err();
        let owner = machine.kubelet("a").display().to_string();
        assert!(error.starts_with("no 7208960 ids are left"), "{error}");
        assert!(error.contains(&owner), "{error}");
    };
    refused();
    let pod = machine.run_pod("a");
    drop(claimed);
    refused();
    fs::remove_dir_all(pod).unwrap();
    assert_eq!(machine.claim_of("b", few).unwrap().range, few);
}

/// Only a boot can take a claim away from one that has pods.
#[test]
fn one_that_finds_its_ids_taken_after_a_boot_has_others() {
    let machine = Machine::new();
    let all = Range {
        first: UNIT,
        length: 3 * 256 * UNIT,
    };
    let first = machine.claim_of("a", all).unwrap().range;
    machine.run_pod("a");
    machine.boot();
    let others = ["b", "c"].map(|name| machine.claim_of(name, all).unwrap());
    let again = machine.claim_of("a", all).unwrap();
    let is_taken = others.iter().any(|other| other.range.overlaps(&first));
    assert_eq!(again.moved, is_taken);
    assert_eq!(again.range == first, !is_taken);
    assert!(
        others
            .iter()
            .all(|other| !other.range.overlaps(&again.range))
    );
}

#[test]
fn who_claims_at_the_same_time_gets_something_else() {
    let machine = Machine::new();
    let claims: Vec<Claimed> = std::thread::scope(|scope| {
        let claim = |number: u32| {
            let machine = &machine;
            scope.spawn(move || machine.claim(&number.to_string()))
        };
        let threads: Vec<_> = (0..8).map(claim).collect();
        threads.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let mut firsts: Vec<u32> = claims.iter().map(|claimed| claimed.range.first).collect();
    firsts.sort_unstable();
    firsts.dedup();
    assert_eq!(firsts.len(), 8);
}
