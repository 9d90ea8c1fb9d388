use super::*;

#[test]
fn memory_is_read_from_status() {
    let status =
        "Name:\tknarr\nVmPeak:\t  200 kB\nVmRSS:\t   40960 kB\nRssAnon:\t   1024 kB\nThreads:\t3\n";
    assert_eq!(
        parse_status(status),
        Memory {
            rss: 40 << 20,
            anonymous: 1 << 20
        }
    );
    assert_eq!(parse_status("Name:\tkthreadd\n"), Memory::default());
    let own = memory(std::process::id());
    assert!(own.rss > own.anonymous && own.anonymous > 0, "{own:?}");
}

#[test]
fn parents_are_found_behind_odd_names() {
    assert_eq!(parent("12 (a) b (c) S 7 12 12 0"), Some(7));
    assert_eq!(parent("12 (knarr) R 1 12"), Some(1));
    assert_eq!(parent("nonsense"), None);
}

#[test]
fn descendants_are_members_in_any_order() {
    let mut found = HashSet::from([10]);
    close(&mut found, &[(13, 12), (12, 11), (11, 10), (20, 1)]);
    assert_eq!(found, HashSet::from([10, 11, 12, 13]));
}

#[test]
fn cpu_is_counted_by_thread() {
    let before = Cpu::from([
        (1, Duration::from_millis(5)),
        (2, Duration::from_millis(90)),
    ]);
    let after = Cpu::from([(1, Duration::from_millis(7)), (3, Duration::from_millis(1))]);
    assert_eq!(spent(&before, &after), Duration::from_millis(3));
    assert!(spent(&Cpu::new(), &cpu(std::process::id())) > Duration::ZERO);
}
