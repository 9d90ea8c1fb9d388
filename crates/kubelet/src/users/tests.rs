use serde_json::json;

use super::*;

const RANGE: Range = Range {
    first: 2 * UNIT,
    length: 3 * UNIT,
};

fn pod(uid: &str, host_users: Option<bool>) -> Pod {
    let mut pod = crate::testing::pod(json!({ "containers": [{ "name": "a" }] }));
    pod.metadata.uid = Some(uid.to_owned());
    if let Some(spec) = &mut pod.spec {
        spec.host_users = host_users;
    }
    pod
}

fn load(dir: &Path) -> Result<Users, String> {
    Users::load(dir, &dir.join("registry"), RANGE, UNIT, 3)
}

/// First id on the host.
fn first(users: &Users, uid: &str) -> Result<u32, String> {
    Ok(users.of(&pod(uid, Some(false)))?.uids[0].host_id)
}

#[test]
fn pods_have_ranges_of_their_own_and_keep_them() {
    let dir = tempfile::tempdir().unwrap();
    let users = load(dir.path()).unwrap();
    let (a, b) = (first(&users, "a").unwrap(), first(&users, "b").unwrap());
    assert_eq!((a, b), (2 * UNIT, 3 * UNIT));
    assert_eq!(first(&users, "a"), Ok(a));
    // After a restart.
    let users = load(dir.path()).unwrap();
    assert_eq!(first(&users, "b"), Ok(b));
    assert_eq!(first(&users, "a"), Ok(a));
    assert_eq!(first(&users, "c"), Ok(4 * UNIT));
    let full = "create user namespace: could not find an empty slot to allocate a user namespace";
    assert_eq!(first(&users, "d"), Err(full.to_owned()));
    users.release("b");
    assert_eq!(first(&users, "d"), Ok(b));
}

#[test]
fn what_was_given_back_is_given_out_again_last() {
    let dir = tempfile::tempdir().unwrap();
    let users = load(dir.path()).unwrap();
    let mut given = Vec::new();
    for uid in ["a", "b", "c", "d"] {
        given.push(first(&users, uid).unwrap() / UNIT);
        users.release(uid);
    }
    assert_eq!(given, [2, 3, 4, 2]);
}

/// What is not on disk any more may have been given back just now.
#[test]
fn after_a_restart_those_behind_come_first() {
    let dir = tempfile::tempdir().unwrap();
    let users = load(dir.path()).unwrap();
    let (a, b) = (first(&users, "a").unwrap(), first(&users, "b").unwrap());
    fs::remove_dir_all(dir.path().join("pods/a")).unwrap();
    let users = load(dir.path()).unwrap();
    assert_eq!(first(&users, "c"), Ok(b + UNIT));
    assert_eq!(first(&users, "d"), Ok(a));
}

#[test]
fn pods_have_the_nodes_users_unless_they_say_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let users = load(dir.path()).unwrap();
    for asked in [None, Some(true)] {
        let users = users.of(&pod("a", asked)).unwrap();
        assert_eq!(users.mode(), NamespaceMode::Node);
        assert!(users.uids.is_empty() && users.gids.is_empty());
    }
    assert!(!dir.path().join("pods/a").exists());
    let own = users.of(&pod("a", Some(false))).unwrap();
    assert_eq!(own.mode(), NamespaceMode::Pod);
    assert_eq!(own.uids, own.gids);
    assert_eq!((own.uids[0].container_id, own.uids[0].length), (0, UNIT));
    let mut mounts = [v1::Mount::default()];
    map_owners(&mut mounts, &own);
    assert_eq!(mounts[0].uid_mappings, own.uids);
    assert_eq!(mounts[0].gid_mappings, own.gids);
}

#[test]
fn the_file_is_upstreams() {
    let dir = tempfile::tempdir().unwrap();
    let users = load(dir.path()).unwrap();
    first(&users, "a").unwrap();
    let file = dir.path().join("pods/a/userns");
    let mapping = json!([{ "hostId": 131_072, "containerId": 0, "length": 65_536 }]);
    let written: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        written,
        json!({ "uidMappings": mapping, "gidMappings": mapping })
    );
    let of = |host: u64, container: u64, length: u64| json!([{ "hostId": host, "containerId": container, "length": length }]);
    let good = of(131_072, 0, 65_536);
    for (uids, gids, why) in [
        (json!([]), json!([]), "no more than one mapping allowed."),
        (good.clone(), of(196_608, 0, 65_536), "should be identical"),
        (
            of(131_072, 1, 65_536),
            of(131_072, 1, 65_536),
            "UID 0 must be mapped",
        ),
        (
            of(131_072, 0, 9),
            of(131_072, 0, 9),
            "wrong user namespace length 9",
        ),
        (
            of(65_536, 0, 65_536),
            of(65_536, 0, 65_536),
            "id 65536 is out of range",
        ),
        (
            of(131_073, 0, 65_536),
            of(131_073, 0, 65_536),
            "wrong user namespace offset",
        ),
        (
            json!("?"),
            json!([]),
            "invalid user namespace mappings file",
        ),
    ] {
        let text = json!({ "uidMappings": uids, "gidMappings": gids }).to_string();
        fs::write(&file, text).unwrap();
        let error = load(dir.path()).unwrap_err();
        assert!(error.contains(why), "{error}");
        assert!(error.starts_with("record pod mappings for existing pod \"a\": "));
    }
    let text = json!({ "uidMappings": good, "gidMappings": good }).to_string();
    fs::write(&file, &text).unwrap();
    fs::create_dir_all(dir.path().join("pods/b")).unwrap();
    fs::write(dir.path().join("pods/b/userns"), text).unwrap();
    let error = load(dir.path()).unwrap_err();
    assert!(error.contains("already taken"), "{error}");
    // Which file is in the way.
    assert!(error.ends_with("/userns)"), "{error}");
}

#[test]
fn subordinate_ids_are_one_range_that_does_for_all_pods() {
    let default = Range::default_for(UNIT);
    assert_eq!((default.first, default.length), (UNIT, u32::MAX - UNIT + 1));
    for (output, wanted) in [
        ("0: kubelet 65536 2147483648\n", Ok((65_536, 2_147_483_648))),
        ("", Err("invalid line")),
        ("0: kubelet 1 2\n1: kubelet 3 4\n", Err("only one line")),
        ("0: kubelet one 2\n", Err("error parsing line")),
    ] {
        let parsed = Range::parse(output).map(|range| (range.first, range.length));
        match (parsed, wanted) {
            (Ok(parsed), Ok(wanted)) => assert_eq!(parsed, wanted),
            (Err(error), Err(wanted)) => assert!(error.contains(wanted), "{error}"),
            other => panic!("{output:?}: {other:?}"),
        }
    }
    for (first, length, why) in [
        (UNIT, 3 * UNIT, ""),
        (UNIT + 1, 3 * UNIT, "is not a multiple"),
        (0, 3 * UNIT, "must be greater or equal to 65536"),
        (UNIT, 3 * UNIT + 1, "length 196609 is not a multiple"),
        (UNIT, 2 * UNIT, "are not enough to support 3 pods"),
    ] {
        let checked = Range { first, length }.check(UNIT, 3);
        let error = checked.err().unwrap_or_default();
        assert_eq!(error.is_empty(), why.is_empty(), "{error}");
        assert!(error.contains(why), "{error}");
    }
}

/// Each with a claim of its own, and a pod.
#[test]
fn pods_of_two_kubelets_of_a_machine_share_no_ids() {
    let dir = tempfile::tempdir().unwrap();
    let registry = dir.path().join("registry");
    let kubelet = |name: &str| {
        let root = dir.path().join(name);
        fs::create_dir_all(&root).unwrap();
        let users = Users::load(&root, &registry, Range::default_for(UNIT), UNIT, 110);
        users.unwrap()
    };
    let (a, b) = (kubelet("a"), kubelet("b"));
    let own = first(&a, "u1").unwrap();
    assert_ne!(own, first(&b, "u2").unwrap());
    drop(a);
    assert_eq!(first(&kubelet("a"), "u1"), Ok(own));
}

/// As those have that were made before kubelets claimed.
#[test]
fn a_pod_keeps_ids_that_are_not_of_the_claim() {
    let dir = tempfile::tempdir().unwrap();
    let before = Users::unrestricted(dir.path().join("pods"));
    assert_eq!(first(&before, "old"), Ok(UNIT));
    let registry = dir.path().join("registry");
    let load = || Users::load(dir.path(), &registry, Range::default_for(UNIT), UNIT, 110).unwrap();
    let users = load();
    assert_eq!(first(&users, "old"), Ok(UNIT));
    let new = first(&users, "new").unwrap();
    assert_eq!(new, users.range.first);
    assert!(new > UNIT);
    assert_eq!(first(&load(), "next"), Ok(new + UNIT));
}
