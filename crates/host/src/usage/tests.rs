use std::io;

use super::*;

fn files(directory: &Path, files: &[(&str, &str)]) -> io::Result<()> {
    for (name, text) in files {
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}

#[test]
fn version_1_counts_in_several_files() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    files(
        home.path(),
        &[
            ("cpuacct.usage", "2500000000\n"),
            ("cpuacct.stat", "user 150\nsystem 90\n"),
            (
                "cpu.stat",
                "nr_periods 10\nnr_throttled 4\nthrottled_time 7\n",
            ),
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.max_usage_in_bytes", "1200\n"),
            ("memory.failcnt", "3\n"),
            (
                "memory.stat",
                "cache 1\nrss 2\ninactive_file 1\ntotal_cache 300\ntotal_rss 600\ntotal_rss_huge 5\ntotal_mapped_file 9\n\
                 total_swap 0\ntotal_pgfault 70\ntotal_pgmajfault 2\ntotal_inactive_file 250\n",
            ),
            ("cgroup.procs", "7\n0\n9\n"),
            ("pids.current", "11\n"),
        ],
    )?;
    let group = Group::legacy(|_| Some(home.path().to_owned()));
    let cpu = Cpu {
        total: 2_500_000_000,
        user: 1_500_000_000,
        system: 900_000_000,
        periods: 10,
        throttled_periods: 4,
        throttled: 7,
    };
    assert_eq!(group.cpu(), Some(cpu));
    let memory = Memory {
        usage: 1_000,
        working_set: 750,
        rss: 600,
        cache: 300,
        mapped_file: 9,
        swap: Some(0),
        limit: None,
        most: Some(1_200),
        failures: 3,
        page_faults: 70,
        major_page_faults: 2,
    };
    assert_eq!(group.memory(), Some(memory));
    assert_eq!(group.threads(), Some(11));
    assert!(group.processes().eq([7, 9]));
    let bare = Group::legacy(|_| None);
    assert_eq!(
        (bare.cpu(), bare.memory(), bare.threads()),
        (None, None, None)
    );
    Ok(())
}

#[test]
fn version_2_counts_in_microseconds() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    files(
        home.path(),
        &[
            (
                "cpu.stat",
                "usage_usec 2500\nuser_usec 1500\nsystem_usec 1000\nnr_periods 1\nnr_throttled 1\nthrottled_usec 6\n",
            ),
            ("memory.current", "1000\n"),
            ("memory.max", "max\n"),
            ("memory.swap.current", "40\n"),
            ("memory.events", "low 0\nmax 5\noom 1\n"),
            ("memory.stat", "anon 600\nfile 300\ninactive_file 1001\n"),
        ],
    )?;
    let group = Group::unified(home.path());
    let cpu = group.cpu().expect("has figures");
    assert_eq!((cpu.total, cpu.throttled), (2_500_000, 6_000));
    let memory = group.memory().expect("has figures");
    assert_eq!((memory.usage, memory.working_set), (1_000, 0));
    assert_eq!((memory.limit, memory.most), (None, None));
    assert_eq!((memory.swap, memory.failures), (Some(40), 5));
    files(home.path(), &[("memory.max", "2000\n")])?;
    assert_eq!(group.memory().and_then(|memory| memory.limit), Some(2_000));
    Ok(())
}

#[test]
fn a_machine_is_counted_from_its_own_file() {
    let text = "MemTotal:  1000 kB\nMemFree:  400 kB\nInactive(file): 100 kB\nAnonPages: 5 kB\n";
    let memory = Memory::of_host(text).expect("has figures");
    assert_eq!(memory.usage, 600 << 10);
    assert_eq!(memory.working_set, 500 << 10);
    assert_eq!((memory.rss, memory.swap), (5 << 10, None));
    assert_eq!(Memory::of_host("MemFree: 1 kB\n"), None);
}
