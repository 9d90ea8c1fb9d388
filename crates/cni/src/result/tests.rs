use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{InstanceId, NetworkConfigList, plugin::ipam::Subnet};

/// JSON as a plugin of somebody else's may answer it: our keys with any values.
fn json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        4 => prop::sample::select(vec![
            "cniVersion", "interfaces", "ips", "routes", "dns", "name", "mac", "sandbox", "address", "gateway",
            "interface", "dst", "gw", "code", "msg", "details", "plugins", "type",
        ])
        .prop_map(str::to_owned),
        1 => ".{0,8}",
    ];
    let text = prop_oneof![
        prop::sample::select(vec![
            "10.42.0.5/32",
            "::1/128",
            "/",
            "10.42.0.5",
            "1.0.0",
            "eth0"
        ])
        .prop_map(str::to_owned),
        ".{0,12}".prop_map(String::from),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((key.clone(), inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// A result is understood or refused, and what was understood is read again as it is written.
    #[test]
    fn no_answer_panics(answer in json()) {
        if let Ok(result) = serde_json::from_value::<CniResult>(answer.clone()) {
            prop_assert!(result.addresses().len() <= result.ips.len());
            let written = serde_json::to_value(&result).unwrap();
            let read: CniResult = serde_json::from_value(written).unwrap();
            prop_assert_eq!(read.addresses(), result.addresses());
        }
        if let Ok(error) = serde_json::from_value::<PluginError>(answer.clone()) {
            prop_assert!(error.to_string().contains("code"));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..512)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.conf");
        std::fs::write(&path, &bytes).unwrap();
        let _ = NetworkConfigList::load(&path);
        let _ = serde_json::from_slice::<CniResult>(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = text.parse::<InstanceId>();
        let _ = text.parse::<Subnet>();
    }

    #[test]
    fn no_configuration_panics(list in json()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.conf");
        std::fs::write(&path, list.to_string()).unwrap();
        let _ = NetworkConfigList::load(&path);
    }
}
