//! What a pod receives and sends in a second, held down on the node's end of its link.
//!
//! ```text
//! to the pod    the node's end -> token bucket -> the pod
//! from the pod  the node's end -> all of it, before anybody has seen it -> a link of its own -> token bucket -> as if it came in just now
//! ```
//!
//! A bucket is a queue of what leaves by a link, and what a pod sends only comes in by its link: hence the second one, an "intermediate
//! functional block". Policies, translation and routes see packets as they see those of other pods.

use futures::StreamExt;
use rtnetlink::{
    Handle, LinkIfb,
    packet_core::{
        DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage,
        NetlinkPayload,
    },
    packet_route::{
        RouteNetlinkMessage,
        tc::{TcAttribute, TcHandle, TcMessage, TcOption},
    },
};

use super::link::{connect, index_of};
use crate::{
    bandwidth::{ANY_BURST, Bandwidth},
    result::PluginError,
    rtnl::is_errno,
};

/// How long a packet may wait in a queue that is full: upstream's.
const LATENCY_MILLIS: u64 = 25;
/// Where nobody says how much may come at once: what comes in this time.
const BURST_MILLIS: u64 = 50;
/// And packets at least.
const BURST_PACKETS: u64 = 4;
const QUEUE_PACKETS: u64 = 16;
/// Of a packet where the network has no MTU of its own.
const MTU: u32 = 1_500;
const HEADER_BYTES: u32 = 18;

// The kernel's `linux/pkt_sched.h`.
const TBF: &str = "tbf";
const TBF_PARAMETERS: u16 = 1;
const TBF_RATE64: u16 = 4;
const TBF_BURST: u16 = 6;
const LINK_LAYER_ETHERNET: u8 = 1;
const INGRESS_PARENT: u32 = 0xffff_0000;
const ALL_PROTOCOLS: u16 = 0x0003;

/// Holds a pod to its bandwidth. `link` is the node's end of its link, `beside` the name of the one that what it sends goes by.
pub(super) async fn attach(
    bandwidth: &Bandwidth,
    link: &str,
    beside: &str,
    mtu: Option<u32>,
) -> Result<(), PluginError> {
    let node = connect()?;
    let packet = u64::from(mtu.unwrap_or(MTU).saturating_add(HEADER_BYTES));
    let index = there(&node, link).await?;
    if bandwidth.ingress_rate > 0 {
        let bucket = Bucket::new(bandwidth.ingress_rate, bandwidth.ingress_burst, packet);
        add_bucket(&node, index, &bucket).await?;
    }
    if bandwidth.egress_rate > 0 {
        let mut made = LinkIfb::new(beside).up();
        if let Some(mtu) = mtu {
            made = made.mtu(mtu);
        }
        let added = node.link().add(made.build()).execute().await;
        added.map_err(|error| lacking("ifb", error))?;
        let second = there(&node, beside).await?;
        let bucket = Bucket::new(bandwidth.egress_rate, bandwidth.egress_burst, packet);
        add_bucket(&node, second, &bucket).await?;
        let device = device(index)?;
        let ingress = node.qdisc().add(device).ingress().execute().await;
        ingress.map_err(|error| lacking("sch_ingress", error))?;
        let redirect = node.traffic_filter(device).add();
        let redirect = redirect
            .parent(INGRESS_PARENT)
            .protocol(ALL_PROTOCOLS.to_be());
        let redirect = redirect.redirect(second).map_err(failed)?.execute().await;
        redirect.map_err(|error| lacking("cls_u32 and act_mirred", error))?;
    }
    Ok(())
}

/// A token bucket, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    /// A second.
    rate: u64,
    /// At once.
    burst: u32,
    /// Beside it, what may wait.
    limit: u32,
}

impl Bucket {
    /// Of bits, and of the longest packet's bytes.
    fn new(rate: u64, burst: u64, packet: u64) -> Self {
        let rate = rate / 8;
        let during = |millis: u64| rate.saturating_mul(millis) / 1000;
        let burst = match burst {
            // Of what comes at once nobody would notice the rate for half a gigabyte.
            0 | ANY_BURST.. => during(BURST_MILLIS),
            told => told / 8,
        };
        let burst = burst.max(packet.saturating_mul(BURST_PACKETS));
        let waiting = during(LATENCY_MILLIS).max(packet.saturating_mul(QUEUE_PACKETS));
        let at_most = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            rate: rate.max(1),
            burst: at_most(burst),
            limit: at_most(burst.saturating_add(waiting)),
        }
    }

    /// `struct tc_tbf_qopt`: two rates of twelve bytes, of which the second is none, and three numbers, of which the kernel reckons what
    /// is 0 from the burst.
    fn parameters(&self) -> Vec<u8> {
        let mut bytes = vec![0, LINK_LAYER_ETHERNET];
        bytes.resize(8, 0);
        let rate = u32::try_from(self.rate).unwrap_or(u32::MAX);
        bytes.extend(rate.to_ne_bytes());
        bytes.resize(24, 0);
        bytes.extend(self.limit.to_ne_bytes());
        bytes.resize(36, 0);
        bytes
    }

    fn options(&self) -> Vec<TcOption> {
        let option = |kind, bytes: Vec<u8>| TcOption::Other(DefaultNla::new(kind, bytes));
        let mut options = vec![
            option(TBF_PARAMETERS, self.parameters()),
            option(TBF_BURST, self.burst.to_ne_bytes().to_vec()),
        ];
        if u32::try_from(self.rate).is_err() {
            options.push(option(TBF_RATE64, self.rate.to_ne_bytes().to_vec()));
        }
        options
    }
}

/// What leaves by a link goes through the bucket.
async fn add_bucket(node: &Handle, index: u32, bucket: &Bucket) -> Result<(), PluginError> {
    let mut message = TcMessage::with_index(device(index)?);
    message.header.parent = TcHandle::ROOT;
    message.header.handle = TcHandle { major: 1, minor: 0 };
    message.attributes = vec![
        TcAttribute::Kind(TBF.to_owned()),
        TcAttribute::Options(bucket.options()),
    ];
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let mut answers = node.clone().request(request).map_err(failed)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
        {
            return Err(lacking("sch_tbf", rtnetlink::Error::NetlinkError(error)));
        }
    }
    Ok(())
}

async fn there(node: &Handle, name: &str) -> Result<u32, PluginError> {
    let found = index_of(node, name).await?;
    found.ok_or_else(|| PluginError::new(PluginError::KERNEL, format!("{name} has vanished")))
}

/// As queues name links.
fn device(index: u32) -> Result<i32, PluginError> {
    i32::try_from(index).map_err(failed)
}

/// Says which part of the kernel would have done it.
fn lacking(module: &str, error: rtnetlink::Error) -> PluginError {
    use nix::libc::{ENOENT, EOPNOTSUPP};
    if is_errno(&error, ENOENT) || is_errno(&error, EOPNOTSUPP) {
        return failed(format!("this kernel has no {module} ({error})"));
    }
    failed(format!("{module}: {error}"))
}

fn failed(error: impl std::fmt::Display) -> PluginError {
    PluginError::new(
        PluginError::KERNEL,
        format!("cannot limit the pod's bandwidth: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_a_moment_and_some_packets() {
        let bucket = |rate, burst| Bucket::new(rate, burst, 1_518);
        let megabyte = bucket(8_000_000, ANY_BURST);
        assert_eq!(
            (megabyte.rate, megabyte.burst, megabyte.limit),
            (1_000_000, 50_000, 75_000)
        );
        let slow = bucket(1_000, ANY_BURST);
        assert_eq!((slow.rate, slow.burst, slow.limit), (125, 6_072, 30_360));
        assert_eq!(bucket(8_000_000, 800_000).burst, 100_000);
        let fast = bucket(1_000_000_000_000_000, ANY_BURST);
        assert_eq!((fast.burst, fast.limit), (u32::MAX, u32::MAX));
        assert_eq!(fast.options().len(), 3);
        assert_eq!(slow.options().len(), 2);
    }
}
