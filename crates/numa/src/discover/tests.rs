use super::*;

/// Files that are made up.
struct Made(BTreeMap<String, String>);

impl Files for Made {
    fn read(&self, path: &str) -> Option<String> {
        self.0.get(path).cloned()
    }

    fn list(&self, path: &str) -> Vec<String> {
        let below = format!("{path}/");
        let names = self
            .0
            .keys()
            .filter_map(|key| key.strip_prefix(&below)?.split('/').next());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.dedup();
        names
    }
}

fn files(files: &[(&str, &str)]) -> Made {
    let files = files.iter();
    Made(
        files
            .map(|(path, text)| ((*path).to_owned(), format!("{text}\n")))
            .collect(),
    )
}

#[test]
fn a_machine_of_two_nodes() {
    let mut made = files(&[
        ("devices/system/cpu/online", "0-2,4-7"),
        ("devices/system/node/node0/cpulist", "0-1,4-5"),
        ("devices/system/node/node1/cpulist", "2-3,6-7"),
        ("devices/system/node/node0/distance", "10 21"),
        ("devices/system/node/node1/distance", "21 10"),
        (
            "devices/system/node/node0/meminfo",
            "Node 0 MemTotal:       2048 kB\nNode 0 MemFree: 1 kB",
        ),
        (
            "devices/system/node/node1/meminfo",
            "Node 1 MemTotal:       4096 kB",
        ),
        (
            "devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages",
            "3",
        ),
    ]);
    for cpu in 0..8 {
        let path = format!("devices/system/cpu/cpu{cpu}");
        let mut put = |file: &str, text: String| made.0.insert(format!("{path}/{file}"), text);
        put("topology/physical_package_id", (cpu % 4 / 2).to_string());
        put("topology/core_id", (cpu % 2).to_string());
        put("cache/index0/level", "1".to_owned());
        put("cache/index3/level", "3".to_owned());
        put("cache/index3/id", (cpu % 4 / 2 + 4).to_string());
    }
    let found = machine(&made, 0);
    let place = |cpu: usize| {
        let cpu = found.topology.cpu(cpu).unwrap();
        (cpu.core, cpu.socket, cpu.node, cpu.cache)
    };
    assert_eq!(
        (place(0), place(4), place(5)),
        ((0, 0, 0, 4), (0, 0, 0, 4), (1, 0, 0, 4))
    );
    assert_eq!((place(2), place(7)), ((2, 1, 1, 5), (7, 1, 1, 5)));
    assert_eq!(found.topology.all().to_string(), "0-2,4-7", "CPU 3 is off");
    assert_eq!(found.nodes.distances[&1], [21, 10]);
    assert_eq!(
        found.memory[&0],
        BTreeMap::from([("memory".to_owned(), 2 << 20)])
    );
    assert_eq!(found.memory[&1]["hugepages-2Mi"], 6 << 20);
}

#[test]
fn a_machine_that_says_little() {
    let found = machine(&files(&[("devices/system/cpu/online", "0-1")]), 77);
    assert_eq!(found.nodes.numbers, [0]);
    assert_eq!(
        found.memory,
        BTreeMap::from([(0, BTreeMap::from([("memory".to_owned(), 77)]))])
    );
    let cpu = |cpu: usize| *found.topology.cpu(cpu).unwrap();
    assert_eq!(
        (cpu(0).core, cpu(1).core, cpu(1).socket, cpu(1).cache),
        (0, 1, 0, 0)
    );
}

#[test]
fn sizes_are_quantities() {
    let sizes = [4, 64, 2048, 1 << 20, 3 << 20].map(quantity);
    assert_eq!(sizes, ["4Ki", "64Ki", "2Mi", "1Gi", "3Gi"]);
}

#[test]
fn this_machine_has_the_cpus_that_it_has() {
    let found = machine(&Sys::default(), 1);
    assert!(!found.topology.all().is_empty() && !found.memory.is_empty());
}
