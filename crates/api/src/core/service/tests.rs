use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{KIND, keep_allocated};
use crate::{
    kind::Part,
    testing::{create_errors, created, pretty, row, update_errors, updated},
};

fn service(spec: Value) -> Value {
    json!({"metadata": {"name": "s", "namespace": "d", "creationTimestamp": "2025-12-31T22:00:00Z"}, "spec": spec})
}

fn check(spec: Value, expected: Expect) {
    expected.assert_eq(&create_errors(&KIND, service(spec)));
}

/// As the API server stores it after allocation.
fn allocated(mut spec: Value) -> Value {
    spec["clusterIP"] = json!("10.43.0.7");
    spec["ipFamilies"] = json!(["IPv4"]);
    spec["ipFamilyPolicy"] = json!("SingleStack");
    created(&KIND, service(spec))
}

#[test]
fn defaults() {
    let plain = created(
        &KIND,
        service(json!({"ports": [{"port": 80}, {"port": 81, "name": "b", "targetPort": "web"}]})),
    );
    expect![[r#"
        {
          "metadata": {
            "creationTimestamp": "2025-12-31T22:00:00Z",
            "name": "s",
            "namespace": "d"
          },
          "spec": {
            "internalTrafficPolicy": "Cluster",
            "ports": [
              {
                "port": 80,
                "protocol": "TCP",
                "targetPort": 80
              },
              {
                "name": "b",
                "port": 81,
                "protocol": "TCP",
                "targetPort": "web"
              }
            ],
            "sessionAffinity": "None",
            "type": "ClusterIP"
          },
          "status": {
            "loadBalancer": {}
          }
        }"#]]
    .assert_eq(&pretty(&plain));
    let spec = |spec: Value| created(&KIND, service(spec))["spec"].to_string();
    expect![[r#"{"externalTrafficPolicy":"Cluster","internalTrafficPolicy":"Cluster","sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":10800}},"type":"NodePort"}"#]].assert_eq(&spec(
        json!({"type": "NodePort", "sessionAffinity": "ClientIP"}),
    ));
    expect![[r#"{"allocateLoadBalancerNodePorts":true,"clusterIP":"10.43.0.9","clusterIPs":["10.43.0.9"],"externalTrafficPolicy":"Cluster","internalTrafficPolicy":"Cluster","sessionAffinity":"None","type":"LoadBalancer"}"#]].assert_eq(&spec(
        json!({"type": "LoadBalancer", "clusterIP": "10.43.0.9"}),
    ));
    expect![[r#"{"externalName":"a.b","sessionAffinity":"None","type":"ExternalName"}"#]]
        .assert_eq(&spec(
            json!({"type": "ExternalName", "externalName": "a.b"}),
        ));
}

#[test]
fn refused() {
    check(json!({}), expect!["spec.ports: Required value"]);
    check(json!({"clusterIP": "None"}), expect![[r#""#]]);
    check(
        json!({
            "ports": [{"port": 0, "protocol": "tcp"}, {"port": 80, "name": "A", "targetPort": "-"}, {"port": 80, "name": "A", "nodePort": 30000}],
            "selector": {"a": "b c"},
            "sessionAffinity": "Sticky",
            "externalIPs": ["x", "127.0.0.1"],
            "externalTrafficPolicy": "Local",
            "internalTrafficPolicy": "Some",
            "healthCheckNodePort": 5,
            "loadBalancerSourceRanges": ["10.0.0.0/40"],
            "loadBalancerClass": "a/b",
        }),
        expect![[r#"
            spec.ports[0].name: Required value
            spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
            spec.ports[0].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"
            spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive
            spec.ports[1].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.ports[1].targetPort: Invalid value: "-": must contain at least one letter (a-z)
            spec.ports[1].targetPort: Invalid value: "-": must not begin or end with a hyphen
            spec.ports[2].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.ports[2].name: Duplicate value: "A"
            spec.selector: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            spec.sessionAffinity: Unsupported value: "Sticky": supported values: "ClientIP", "None"
            spec.externalIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.externalIPs[1]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)
            spec.ports[2].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'
            spec.ports[2]: Duplicate value: {"port":80,"protocol":"TCP"}
            spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'
            spec.LoadBalancerSourceRanges[0]: Invalid value: "10.0.0.0/40": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
            spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'
            spec.healthCheckNodePort: Invalid value: 5: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'
            spec.internalTrafficPolicy: Unsupported value: "Some": supported values: "Cluster", "Local""#]],
    );
    check(
        json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80}]}),
        expect![[
            r#"spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services"#
        ]],
    );
    check(
        json!({"type": "ExternalName", "clusterIP": "10.43.0.1", "ipFamilies": ["IPv4"]}),
        expect![[r#"
            spec.clusterIPs: Forbidden: may not be set for ExternalName services
            spec.ipFamilies: Forbidden: may not be set for ExternalName services
            spec.externalName: Required value"#]],
    );
    check(
        json!({"type": "Odd", "ports": [{"port": 80}], "clusterIPs": ["x", "10.43.0.1", "y"], "ipFamilies": ["IPv5", "IPv4", "IPv4"]}),
        expect![[r#"
            spec.clusterIPs: Invalid value: ["x","10.43.0.1","y"]: must be empty when `clusterIP` is not specified
            spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"
            spec.ipFamilies[2]: Duplicate value: "IPv4"
            spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.clusterIPs[2]: Invalid value: "y": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.clusterIPs: Invalid value: ["x","10.43.0.1","y"]: may only hold up to 2 values
            spec.type: Unsupported value: "Odd": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#]],
    );
    check(
        json!({"ports": [{"port": 80}], "clusterIP": "10.43.0.1", "clusterIPs": ["10.43.0.1", "10.43.0.2"], "ipFamilies": ["IPv6"]}),
        expect![[r#"
            spec.clusterIPs: Invalid value: ["10.43.0.1","10.43.0.2"]: may specify no more than one IP for each IP family
            spec.clusterIPs[0]: Invalid value: "10.43.0.1": expected an IPv6 value as indicated by `ipFamilies[0]`"#]],
    );
    check(
        json!({"type": "LoadBalancer", "ports": [{"port": 10250}], "externalTrafficPolicy": "Local"}),
        expect!["spec.healthCheckNodePort: Required value"],
    );
}

#[test]
fn what_was_allocated_may_be_left_out() {
    let old = allocated(json!({"type": "NodePort", "ports": [
        {"name": "a", "port": 80, "nodePort": 30001}, {"name": "b", "port": 81, "nodePort": 30002}]}));
    let mut new = service(json!({"type": "NodePort", "ports": [
        {"name": "b", "port": 81}, {"name": "c", "port": 82, "nodePort": 30001}, {"name": "a", "port": 80}]}));
    keep_allocated(&mut new, &old);
    expect![[r#"{"clusterIP":"10.43.0.7","clusterIPs":["10.43.0.7"],"ports":[{"name":"b","nodePort":30002,"port":81},{"name":"c","nodePort":30001,"port":82},{"name":"a","port":80}],"type":"NodePort"}"#]].assert_eq(&new["spec"].to_string());
}

#[test]
fn node_ports_of_a_load_balancer_can_be_given_back() {
    let ports = json!([{"name": "a", "port": 80, "nodePort": 30001}]);
    let old = allocated(json!({"type": "LoadBalancer", "ports": ports}));
    let without = |allocates: Value| {
        let mut new = service(json!({
            "type": "LoadBalancer", "allocateLoadBalancerNodePorts": allocates, "ports": [{"name": "a", "port": 80}],
        }));
        keep_allocated(&mut new, &old);
        new["spec"]["ports"][0]["nodePort"].clone()
    };
    assert_eq!(without(json!(true)), 30001);
    assert_eq!(without(json!(false)), Value::Null);
}

#[test]
fn updates() {
    let old = allocated(json!({"ports": [{"port": 80}]}));
    let change = |field: &str, value: Value| {
        let mut new = old.clone();
        new["spec"][field] = value;
        update_errors(&KIND, new, &old, Part::Main)
    };
    expect![[r#"spec.clusterIPs[0]: Invalid value: ["10.43.0.8"]: may not change once set"#]]
        .assert_eq(&change("clusterIP", json!("10.43.0.8")));
    expect![[r#"spec.clusterIPs[0]: Invalid value: ["None"]: may not change once set"#]]
        .assert_eq(&change("clusterIP", json!("None")));
    expect![[r#"
        spec.ipFamilies[0]: Invalid value: ["IPv6"]: may not change once set
        spec.clusterIPs[0]: Invalid value: "10.43.0.7": expected an IPv6 value as indicated by `ipFamilies[0]`"#]].assert_eq(&change("ipFamilies", json!(["IPv6"])));
    expect![[r#""#]].assert_eq(&change("clusterIP", json!("")));
    let unset = |fields: &[&str]| {
        let mut new = old.clone();
        for field in fields {
            new["spec"][*field] = Value::Null;
        }
        update_errors(&KIND, new, &old, Part::Main)
    };
    expect![[r#""#]].assert_eq(&unset(&["clusterIP", "clusterIPs"]));
}

#[test]
fn type_changes_clear_what_no_longer_applies() {
    let old = allocated(
        json!({"type": "LoadBalancer", "loadBalancerClass": "a.b/c", "ports": [{"port": 80, "nodePort": 30001}]}),
    );
    let to = |kind: &str, more: Value| {
        let mut new = old.clone();
        new["spec"]["type"] = json!(kind);
        if let (Some(spec), Value::Object(more)) = (new["spec"].as_object_mut(), more) {
            spec.extend(more);
        }
        let new = updated(&KIND, new, &old, Part::Main);
        let errors = KIND.strategy.validate_update(&new, &old, Part::Main);
        format!("{}\n{}", new["spec"], crate::testing::lines(&errors))
    };
    expect![[r#"
        {"clusterIP":"10.43.0.7","clusterIPs":["10.43.0.7"],"internalTrafficPolicy":"Cluster","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","ports":[{"port":80,"protocol":"TCP","targetPort":80}],"sessionAffinity":"None","type":"ClusterIP"}
    "#]].assert_eq(&to("ClusterIP", json!({})));
    expect![[r#"
        {"clusterIP":"10.43.0.7","clusterIPs":["10.43.0.7"],"externalTrafficPolicy":"Cluster","internalTrafficPolicy":"Cluster","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","ports":[{"nodePort":30001,"port":80,"protocol":"TCP","targetPort":80}],"sessionAffinity":"None","type":"NodePort"}
    "#]].assert_eq(&to("NodePort", json!({})));
    expect![[r#"
        {"externalName":"a.b","ports":[{"port":80,"protocol":"TCP","targetPort":80}],"sessionAffinity":"None","type":"ExternalName"}
    "#]].assert_eq(&to("ExternalName", json!({"externalName": "a.b"})));
    expect![[r#"
        {"clusterIP":"10.43.0.7","clusterIPs":["10.43.0.7"],"externalTrafficPolicy":"Local","internalTrafficPolicy":"Cluster","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","ports":[{"port":80,"protocol":"TCP","targetPort":80}],"sessionAffinity":"None","type":"ClusterIP"}
        spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services"#]].assert_eq(&to("ClusterIP", json!({"externalTrafficPolicy": "Local"})));
}

#[test]
fn rows() {
    let rows = [
        allocated(json!({"ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}], "selector": {"a": "b", "c": "d"}})),
        allocated(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}], "externalIPs": ["1.2.3.4"]})),
        allocated(json!({"type": "LoadBalancer", "ports": [{"port": 80}]})),
        service(json!({"type": "ExternalName", "externalName": "a.b"})),
        created(&KIND, service(json!({"clusterIP": "None"}))),
    ]
    .map(|object| row(&KIND, &object, 1_767_225_600))
    .join("\n");
    expect![[r#"
        s | ClusterIP | 10.43.0.7 | <none> | 80/TCP,53/UDP | 120m | a=b,c=d
        s | NodePort | 10.43.0.7 | 1.2.3.4 | 80:30001/TCP | 120m | <none>
        s | LoadBalancer | 10.43.0.7 | <pending> | 80/TCP | 120m | <none>
        s | ExternalName | <none> | a.b | <none> | 120m | <none>
        s | ClusterIP | None | <none> | <none> | 120m | <none>"#]]
    .assert_eq(&rows);
}

#[test]
fn external_addresses_give_a_way_in() {
    let policy =
        |spec: Value| created(&KIND, service(spec))["spec"]["externalTrafficPolicy"].clone();
    let ports = json!([{"port": 80}]);
    assert_eq!(policy(json!({"ports": ports})), Value::Null);
    assert_eq!(
        policy(json!({"ports": ports, "externalIPs": ["1.2.3.4"]})),
        json!("Cluster")
    );
    check(
        json!({"ports": ports, "externalTrafficPolicy": "Local", "trafficDistribution": "Near"}),
        expect![[r#"
            spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services
            spec.trafficDistribution: Unsupported value: "Near": supported values: "PreferClose", "PreferSameZone", "PreferSameNode""#]],
    );
    check(
        json!({"ports": ports, "externalIPs": ["1.2.3.4"], "externalTrafficPolicy": "Some", "trafficDistribution": "PreferSameNode"}),
        expect![[
            r#"spec.externalTrafficPolicy: Unsupported value: "Some": supported values: "Cluster", "Local""#
        ]],
    );
}

#[test]
fn annotations() {
    let mut balanced = service(json!({"type": "LoadBalancer", "ports": [{"port": 80}]}));
    balanced["metadata"]["annotations"] = json!({
        "service.beta.kubernetes.io/load-balancer-source-ranges": " 10.0.0.0/8, nowhere,::/129",
        "service.kubernetes.io/topology-mode": "Auto",
        "service.kubernetes.io/topology-aware-hints": "Disabled",
    });
    expect![[r#"
        metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: "Auto": must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified
        metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Invalid value: "nowhere": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
        metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Invalid value: "::/129": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#]].assert_eq(&create_errors(&KIND, balanced.clone()));
    balanced["metadata"]["annotations"] =
        json!({"service.beta.kubernetes.io/load-balancer-source-ranges": " "});
    assert_eq!(create_errors(&KIND, balanced), "");
}

#[test]
fn balancer_status() {
    let status = |kind: &str, ingress: Value| {
        let old = allocated(json!({"type": kind, "ports": [{"port": 80}]}));
        let mut new = old.clone();
        new["status"] = json!({"loadBalancer": {"ingress": ingress}});
        update_errors(&KIND, new, &old, Part::Status)
    };
    assert_eq!(status("LoadBalancer", json!([{"ip": "1.2.3.4"}])), "");
    expect!["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"].assert_eq(&status("NodePort", json!([{"ip": "1.2.3.4"}])));
    expect![[r#"
        status.loadBalancer.ingress[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
        status.loadBalancer.ingress[1].ipMode: Unsupported value: "Tunnel": supported values: "Proxy", "VIP"
        status.loadBalancer.ingress[2].ipMode: Forbidden: may not be specified when `ip` is not set
        status.loadBalancer.ingress[2].hostname: Invalid value: "1.2.3.4": must be a DNS name, not an IP address
        status.loadBalancer.ingress[3].hostname: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        status.loadBalancer.ingress[4].hostname: Invalid value: "::ffff:10.0.0.1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        status.loadBalancer.ingress[4].hostname: Invalid value: "::ffff:10.0.0.1": must be a DNS name, not an IP address"#]].assert_eq(&status(
        "LoadBalancer",
        json!([{"ip": "x"}, {"ip": "::1", "ipMode": "Tunnel"}, {"hostname": "1.2.3.4", "ipMode": "VIP"}, {"hostname": "A"}, {"hostname": "::ffff:10.0.0.1"}]),
    ));
}
