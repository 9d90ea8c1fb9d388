//! Questions for a name of the cluster, over UDP and through the Service, as a pod's resolver sends them.
//!
//! The goal is of a core, so what counts is the processor time that the node's processes use for the answers, and not how fast one
//! client on the same two cores can ask.

use std::{
    net::{IpAddr, UdpSocket},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    netns, process,
    rows::{Effort, Measured, start::ABSENT},
    stats::{Latencies, millis},
    target::{Target, interrupted},
};

const SERVICE: &str = "/api/v1/namespaces/kube-system/services/kube-dns";
const NAME: &str = "kubernetes.default.svc.cluster.local";
const PORT: u16 = 53;
/// Questions on their way: what fits into a socket's buffer many times.
const WINDOW: u16 = 64;
const TIME: Duration = Duration::from_secs(4);
const TIME_QUICK: Duration = Duration::from_secs(1);
/// Asked one after the other.
const SINGLE: u16 = 2_000;
/// Nothing is lost on the way: an answer that does not come by then is none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const HEADER_BYTES: usize = 12;
/// Those of the longest answer that is not cut.
const ANSWER_BYTES: usize = 512;

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    let Some(cluster) = &target.cluster else {
        bail!(ABSENT)
    };
    let service = target.block_on(|| target.endpoint.get(SERVICE))?;
    let address = service["spec"]["clusterIP"].as_str().unwrap_or_default();
    let address: IpAddr = address.parse().context("the address of the DNS Service")?;
    let netns = cluster.namespace.path();
    let time = effort.pick(TIME, TIME_QUICK);
    let (load, latencies) = netns::within(Some(netns), || {
        let socket = socket(address)?;
        let latencies = one_by_one(&socket)?;
        Ok((many(&socket, time, cluster.pid(), netns)?, latencies))
    })?;
    let mut measured = Measured::default();
    let per_second = load.answers as f64 / load.elapsed.as_secs_f64();
    measured.value("dns", load.answers as f64 / load.spent.as_secs_f64());
    measured.value("dns-p50", millis(latencies.p50()));
    measured.note(format!(
        "dns: {} answers in {:.1} s of processor time; one client got {per_second:.0}/s with {WINDOW} questions on their way",
        load.answers,
        load.spent.as_secs_f64(),
    ));
    Ok(measured)
}

fn socket(address: IpAddr) -> Result<UdpSocket> {
    let any: IpAddr = match address {
        IpAddr::V4(_) => [0; 4].into(),
        IpAddr::V6(_) => [0; 16].into(),
    };
    let socket = UdpSocket::bind((any, 0)).context("cannot open a socket")?;
    socket.connect((address, PORT))?;
    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(socket)
}

fn one_by_one(socket: &UdpSocket) -> Result<Latencies> {
    let mut latencies = Vec::new();
    for id in 0..SINGLE {
        let started = Instant::now();
        socket.send(&question(id))?;
        let answered = receive(socket)?;
        ensure!(answered == id, "an answer to another question");
        latencies.push(started.elapsed());
    }
    Ok(Latencies::new(latencies))
}

struct Load {
    answers: u64,
    elapsed: Duration,
    /// Processor time of all of the node's processes.
    spent: Duration,
}

fn many(socket: &UdpSocket, time: Duration, pid: u32, netns: &Path) -> Result<Load> {
    let members = process::members(pid, netns);
    let look = || members.iter().map(|pid| (*pid, process::cpu(*pid)));
    let before: Vec<_> = look().collect();
    let started = Instant::now();
    let mut answers = 0;
    for id in 0..WINDOW {
        socket.send(&question(id))?;
    }
    while started.elapsed() < time {
        if interrupted().is_cancelled() {
            bail!("interrupted");
        }
        let id = receive(socket)?;
        answers += 1;
        socket.send(&question(id))?;
    }
    let elapsed = started.elapsed();
    let after = look().map(|(_, cpu)| cpu);
    let used = before.iter().zip(after);
    let spent = used.map(|((_, before), after)| process::spent(before, &after));
    let spent = spent.sum();
    for _ in 0..WINDOW {
        receive(socket)?;
    }
    Ok(Load {
        answers,
        elapsed,
        spent,
    })
}

/// Which question was answered, with an address.
fn receive(socket: &UdpSocket) -> Result<u16> {
    let mut bytes = [0; ANSWER_BYTES];
    let length = socket.recv(&mut bytes).context("no answer")?;
    let Some((&[a, b, _, flags, _, _, c, d, ..], _)) =
        bytes[..length].split_first_chunk::<HEADER_BYTES>()
    else {
        bail!("an answer of {length} bytes");
    };
    let (code, addresses) = (flags & 0xf, u16::from_be_bytes([c, d]));
    ensure!(
        code == 0 && addresses > 0,
        "an answer with code {code} and {addresses} records"
    );
    Ok(u16::from_be_bytes([a, b]))
}

/// For the address of IPv4, of which recursion is desired.
fn question(id: u16) -> Vec<u8> {
    let mut bytes = [id, 0x0100, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
    for label in NAME.split('.') {
        // A label has 63 bytes at most.
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}
