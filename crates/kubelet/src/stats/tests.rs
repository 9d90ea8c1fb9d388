use knarr_client::fake;
use serde_json::json;

use super::*;
use crate::{
    config::Config,
    testing::{self, fake::Fake},
};

/// A container as the runtime tells of it.
fn container(cpu: u64) -> Container {
    let value = |value| Some(v1::UInt64Value { value });
    let at = testing::at(100);
    Container {
        name: "c".to_owned(),
        id: "c-0".to_owned(),
        image: "i".to_owned(),
        created: testing::at(50),
        stats: v1::ContainerStats {
            cpu: Some(v1::CpuUsage {
                timestamp: at,
                usage_core_nano_seconds: value(cpu),
                ..Default::default()
            }),
            memory: Some(v1::MemoryUsage {
                timestamp: at,
                working_set_bytes: value(4_096),
                ..Default::default()
            }),
            ..Default::default()
        },
        nano_cores: Some(7),
    }
}

fn usage() -> Usage {
    let group = |total| Group {
        at: testing::at(100),
        cpu: Some(usage::Cpu {
            total,
            ..Default::default()
        }),
        nano_cores: None,
        memory: Some(usage::Memory {
            working_set: 8_192,
            ..Default::default()
        }),
        pressures: usage::Pressures::default(),
    };
    Usage {
        node: group(5_500_000_000),
        all_pods: group(2_500_000_000),
        interfaces: Vec::new(),
        pods: vec![Pod {
            name: "p".to_owned(),
            namespace: "n".to_owned(),
            uid: "u".to_owned(),
            created: testing::at(49),
            host_network: false,
            path: "/kubepods/podu".to_owned(),
            group: group(2_500_000_000),
            interfaces: Vec::new(),
            containers: vec![container(1_500_000_000)],
        }],
    }
}

/// Those lines that are samples.
fn samples(text: &str) -> Vec<&str> {
    let lines = text.lines();
    lines.filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn metrics_server_finds_its_families() {
    let text = resource(Some(&usage()));
    let wanted = [
        "container_cpu_usage_seconds_total{container=\"c\",namespace=\"n\",pod=\"p\"} 1.5 100000",
        "container_memory_working_set_bytes{container=\"c\",namespace=\"n\",pod=\"p\"} 4096 100000",
        "container_start_time_seconds{container=\"c\",namespace=\"n\",pod=\"p\"} 50",
        "node_cpu_usage_seconds_total 5.5 100000",
        "pod_cpu_usage_seconds_total{namespace=\"n\",pod=\"p\"} 2.5 100000",
        "node_memory_working_set_bytes 8192 100000",
        "pod_memory_working_set_bytes{namespace=\"n\",pod=\"p\"} 8192 100000",
        "resource_scrape_error 0",
    ];
    assert_eq!(samples(&text), wanted);
    assert_eq!(samples(&resource(None)), ["resource_scrape_error 1"]);
}

#[test]
fn a_rate_is_of_two_points() {
    let stats = Stats::default();
    let at = |seconds: i64| testing::at(seconds);
    assert_eq!(stats.rate("a", at(100), 1_000), None);
    // Too near to say anything new.
    assert_eq!(stats.rate("a", at(100) + 1, 2_000), None);
    assert_eq!(stats.rate("a", at(102), 2_001_000), Some(1_000_000));
    assert_eq!(stats.rate("a", at(102), 2_001_000), Some(1_000_000));
    // Begun anew, or a clock that was set back.
    assert_eq!(stats.rate("a", at(104), 5), None);
    assert_eq!(stats.rate("a", at(103), 5_000), None);
    stats.forget(&usage());
    assert!(stats.rates.lock().is_empty());
}

#[tokio::test]
async fn those_who_ask_at_once_share_a_collection() {
    let dir = tempfile::tempdir().unwrap();
    Fake::default().serve(&dir.path().join("cri.sock"));
    let (client, _server) = fake::client();
    let ctx = testing::context(client, Config::default(), dir.path()).await;
    let asked = (0..8).map(|_| ctx.stats.usage(&ctx));
    let found = futures::future::join_all(asked).await;
    let first = found[0].as_ref().expect("collected").clone();
    for other in &found {
        assert!(Arc::ptr_eq(&first, other.as_ref().expect("collected")));
    }
    assert!(first.pods.is_empty());
    assert!(first.node.memory.is_some());
    let summary = summary(&ctx, true).await.expect("collected");
    assert_eq!(summary["node"]["nodeName"], json!("n1"));
    assert!(summary["node"]["memory"]["workingSetBytes"].as_u64() > Some(0));
    let text = cadvisor(&ctx).await.expect("collected");
    let cores = samples(&text)
        .into_iter()
        .find(|line| line.starts_with("machine_cpu_cores "));
    assert!(cores.is_some(), "{text}");
}

#[test]
fn pressures_are_told_where_there_are_any() {
    let stall = |total| usage::Stall {
        total,
        avg10: 1.5,
        ..Default::default()
    };
    let pressure = usage::Pressure {
        some: stall(3_000_000),
        full: stall(7),
    };
    let data = |total| {
        Some(v1::PsiData {
            total,
            avg10: 1.5,
            ..Default::default()
        })
    };
    let psi = v1::PsiStats {
        some: data(3_000_000),
        full: data(7),
    };
    let told = |total: u64| json!({ "total": total, "avg10": 1.5, "avg60": 0.0, "avg300": 0.0 });
    let wanted = json!({ "full": told(7), "some": told(3_000_000) });
    let group = Group {
        cpu: Some(usage::Cpu::default()),
        memory: Some(usage::Memory::default()),
        pressures: usage::Pressures {
            cpu: Some(pressure),
            memory: Some(pressure),
            io: Some(pressure),
        },
        ..Default::default()
    };
    let mut one = container(1);
    one.stats.cpu.as_mut().unwrap().psi = Some(psi);
    one.stats.memory.as_mut().unwrap().psi = Some(psi);
    one.stats.io = Some(v1::IoUsage {
        timestamp: testing::at(100),
        psi: Some(psi),
    });
    for told in [summary::group(&group, None), summary::of_container(&one)] {
        for part in ["cpu", "memory", "io"] {
            assert_eq!(told[part]["psi"], wanted, "{part}: {told:?}");
        }
    }
    let bare = [
        summary::group(&usage().node, None),
        summary::of_container(&container(1)),
    ];
    for told in bare {
        assert_eq!(told["cpu"].get("psi"), None);
        assert_eq!(told.get("io"), None);
    }
}
