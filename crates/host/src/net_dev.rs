//! What went through the interfaces of a network namespace: `/proc/PID/net/dev`.

use std::{
    fs::File,
    io::{BufRead, BufReader},
};

/// Interfaces of a pod whose figures are kept: a container that may make links makes thousands.
pub const MAX_INTERFACES_OF_POD: usize = 32;
/// Those of a node, which has one for each of its pods.
pub const MAX_INTERFACES_OF_NODE: usize = 2_048;
/// Longest file that is read, bytes: some 16 000 interfaces.
const MAX_BYTES: u64 = 2 << 20;

/// One interface; counters since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub received: Traffic,
    pub sent: Traffic,
}

/// One direction of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
}

/// At most so many interfaces of such a file, without loopback: `first`, wherever it is, and others as they are listed. Lines that
/// are none are left out, and so is what is beyond the longest file that is read. Blocks as reading does.
#[must_use]
pub fn interfaces(file: impl BufRead, first: &str, most: usize) -> Vec<Interface> {
    let mut found = Vec::new();
    let mut own = None;
    for line in file.take(MAX_BYTES).lines().map_while(Result::ok) {
        match interface(&line) {
            Some(one) if one.name == first => own = Some(one),
            Some(one) if one.name != "lo" && found.len() < most => found.push(one),
            _ => {}
        }
        if own.is_some() && found.len() == most {
            break;
        }
    }
    own.into_iter().chain(found).take(most).collect()
}

/// As [`interfaces`], of the network of a process; none where it has ended.
#[must_use]
pub fn of_process(pid: i32, first: &str, most: usize) -> Vec<Interface> {
    let opened = File::open(format!("/proc/{pid}/net/dev"));
    opened.map_or_else(
        |_| Vec::new(),
        |file| interfaces(BufReader::new(file), first, most),
    )
}

fn interface(line: &str) -> Option<Interface> {
    let (name, rest) = line.split_once(':')?;
    let numbers: Vec<u64> = rest
        .split_whitespace()
        .map_while(|number| number.parse().ok())
        .collect();
    let traffic = |from: usize| match numbers.get(from..from + 4) {
        Some(&[bytes, packets, errors, dropped]) => Some(Traffic {
            bytes,
            packets,
            errors,
            dropped,
        }),
        _ => None,
    };
    // Eight columns each.
    Some(Interface {
        name: name.trim().to_owned(),
        received: traffic(0)?,
        sent: traffic(8)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_are_read() {
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0
  eth0:    1000      10    1    2    0     0          0         0     2000      20    3    4    0     0       0          0
 short: 1 2 3
";
        let received = Traffic {
            bytes: 1_000,
            packets: 10,
            errors: 1,
            dropped: 2,
        };
        let sent = Traffic {
            bytes: 2_000,
            packets: 20,
            errors: 3,
            dropped: 4,
        };
        let name = "eth0".to_owned();
        let wanted = Interface {
            name,
            received,
            sent,
        };
        assert_eq!(
            interfaces(text.as_bytes(), "eth0", MAX_INTERFACES_OF_POD),
            [wanted]
        );
    }

    #[test]
    fn a_pods_own_interface_is_found_among_any_number() {
        let line = |name: &str| format!("{name:>15}: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n");
        let mut text: String = (0..10_000)
            .map(|number| line(&format!("x{number}")))
            .collect();
        text.push_str(&line("eth0"));
        (0..100_000).for_each(|number| text.push_str(&line(&format!("y{number}"))));
        let found = interfaces(text.as_bytes(), "eth0", MAX_INTERFACES_OF_POD);
        assert_eq!(found.len(), MAX_INTERFACES_OF_POD);
        let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
        assert!(names.starts_with(&["eth0", "x0", "x1"]), "{names:?}");
    }
}
