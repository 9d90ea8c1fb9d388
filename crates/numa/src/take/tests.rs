use std::collections::BTreeMap;

use super::*;
use crate::Cpu;

/// Sockets, NUMA nodes in a socket (negative: sockets in a node), caches in a node, cores of a cache, threads of a core.
pub(crate) fn machine(shape: &str) -> Topology {
    let numbers: Vec<i64> = shape
        .split(',')
        .map(|number| number.parse().unwrap())
        .collect();
    let [sockets, nodes, caches, cores, threads] = numbers[..] else {
        panic!("{shape}");
    };
    let of_socket = nodes.max(1);
    let all = sockets * of_socket * caches * cores;
    let (mut core, mut node, mut cache) = (0, -1, -1);
    let mut cpus = BTreeMap::new();
    for socket in 0..sockets {
        for _ in 0..of_socket {
            node += i64::from(nodes > 0 || socket % -nodes == 0);
            for _ in 0..caches {
                cache += 1;
                for _ in 0..cores {
                    let number = |number: i64| usize::try_from(number).unwrap();
                    let place = Cpu {
                        core: number(core),
                        socket: number(socket),
                        node: number(node),
                        cache: number(cache),
                    };
                    cpus.extend((0..threads).map(|thread| (number(core + thread * all), place)));
                    core += 1;
                }
            }
        }
    }
    Topology::new(cpus)
}

/// Columns: the machine, how, the free CPUs, how many, upstream's choice. Where it looks at four of more nodes at once, upstream overwrites
/// the best choice with a later one of the same memory: no such line is here.
#[test]
fn upstream_takes_the_same() {
    for line in include_str!("upstream.tsv").lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [shape, how, free, wanted, taken] = columns[..] else {
            panic!("{line}");
        };
        let machine = machine(shape);
        let (free, wanted) = (free.parse().unwrap(), wanted.parse().unwrap());
        let made = match how {
            "packed" => packed(&machine, &free, wanted, false),
            "cache" => packed(&machine, &free, wanted, true),
            "spread1" => spread(&machine, &free, wanted, 1),
            _ => spread(&machine, &free, wanted, machine.per_group(Core)),
        };
        let made = made.map_or("-".to_owned(), |cpus| cpus.to_string());
        assert_eq!(made, taken, "{line}");
    }
}

#[test]
fn what_is_not_there_cannot_be_taken() {
    let machine = machine("1,1,1,2,1");
    let one: CpuSet = [1].into_iter().collect();
    let error = Error::TooFew { wanted: 2, free: 1 };
    assert_eq!(packed(&machine, &one, 2, false), Err(error.clone()));
    assert_eq!(spread(&machine, &one, 2, 1), Err(error));
    assert_eq!(spread(&machine, &one, 0, 1), Ok(CpuSet::new()));
}
