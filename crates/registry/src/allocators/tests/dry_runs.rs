//! What a dry run is given, and what a change may share.

use super::*;

#[tokio::test]
async fn a_dry_run_takes_nothing_and_makes_things_up() {
    let allocators = small(&Fake::new());
    let spec = json!({"type": "NodePort", "clusterIP": "10.9.0.4", "ports": [{"port": 1, "nodePort": 30001}]});
    create(&allocators, service("a", spec)).await.unwrap();
    let dry = async |spec: Value| {
        let mut wanted = service("b", spec);
        let took = allocators.before_create(&mut wanted, true).await;
        let result = match took {
            Ok(took) => {
                took.undo().await;
                Ok(wanted["spec"].take())
            }
            Err(status) => Err(status.message),
        };
        assert_eq!(taken(&allocators), (1, 1));
        result
    };
    // Whose an address is, nobody asks; a port is another matter.
    let spec = dry(json!({"clusterIP": "10.9.0.4"})).await.unwrap();
    assert_eq!(spec["clusterIPs"], json!(["10.9.0.4"]));
    let spec = dry(json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 5}, {"port": 2}]}));
    let spec = spec.await.unwrap();
    assert_eq!(spec["clusterIP"], "10.9.0.0");
    assert_eq!(spec["ports"][1]["nodePort"], 6);
    let spec = dry(json!({"type": "NodePort", "ports": [{"port": 1}]})).await;
    assert_eq!(spec.unwrap()["ports"][0]["nodePort"], 32769);
    // Nobody looks at what a port is, but who takes it.
    let negative = json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": -1}]});
    let spec = dry(negative.clone()).await.unwrap();
    assert_eq!(spec["ports"][0]["nodePort"], -1);
    let refused = create(&allocators, service("c", negative)).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("provided port is not in the valid range"),
        "{refused}"
    );
    let refused = dry(json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30001}]})).await;
    let why = "provided port is already allocated";
    assert!(refused.unwrap_err().ends_with(why));
    let refused = dry(json!({"clusterIP": "10.8.0.1"})).await.unwrap_err();
    assert!(
        refused.ends_with("is not in the valid range. The range of valid IPs is 10.9.0.0/28"),
        "{refused}"
    );
}

#[tokio::test]
async fn two_ports_of_a_change_have_no_node_port_in_common() {
    let allocators = small(&Fake::new());
    let ports = json!([{"port": 80, "protocol": "TCP", "nodePort": 30001}]);
    let spec = json!({"type": "NodePort", "ports": ports});
    let made = create(&allocators, service("a", spec)).await.unwrap();
    let ports = json!([
        {"port": 80, "protocol": "TCP", "nodePort": 30001},
        {"port": 81, "protocol": "TCP", "nodePort": 30001},
    ]);
    let spec = json!({"type": "NodePort", "ports": ports});
    let refused = update(&allocators, &made, service("a", spec)).await;
    assert_eq!(refused.unwrap_err(), "duplicate nodePort: {TCP 30001}");
}
