use expect_test::expect;
use serde_json::json;

use super::endpoint_slice::KIND;
use crate::testing::{create_errors, created, row};

#[test]
fn slices() {
    let object = created(
        &KIND,
        json!({
            "metadata": {"name": "s"}, "addressType": "IPv4",
            "ports": [{"port": 80}, {"name": "b", "protocol": "UDP"}],
            "endpoints": [{"addresses": ["10.42.0.5"], "deprecatedTopology": {"a": "b"}}, {"addresses": ["10.42.0.6"]}],
        }),
    );
    assert_eq!(
        object["ports"][0],
        json!({"name": "", "port": 80, "protocol": "TCP"})
    );
    assert_eq!(object["endpoints"][0], json!({"addresses": ["10.42.0.5"]}));
    expect!["s | IPv4 | 80,b | 10.42.0.5,10.42.0.6 | <unknown>"].assert_eq(&row(&KIND, &object, 0));
    assert_eq!(create_errors(&KIND, object), "");
    let errors = create_errors(
        &KIND,
        json!({
            "addressType": "IPv4",
            "ports": [{"name": "a"}, {"name": "a", "protocol": "x"}],
            "endpoints": [{}, {"addresses": ["fd00::1", "169.254.0.1"], "hostname": "A.b", "nodeName": "_"}],
        }),
    );
    expect![[r#"
        endpoints[0].addresses: Required value: must contain at least 1 address
        endpoints[1].addresses[0]: Invalid value: "fd00::1": must be a valid IPv4 address
        endpoints[1].addresses[1]: Invalid value: "169.254.0.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)
        endpoints[1].nodeName: Invalid value: "_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        endpoints[1].hostname: Invalid value: "A.b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        ports[1].name: Duplicate value: "a"
        ports[1].protocol: Unsupported value: "x": supported values: "SCTP", "TCP", "UDP""#]].assert_eq(&errors);
    let hints = |zones: usize| {
        json!({
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.42.0.5"], "hints": {
                "forZones": vec![json!({"name": "a b"}); zones],
                "forNodes": [{"name": "n"}, {"name": "N"}],
            }}],
        })
    };
    expect![[r#"
        endpoints[0].hints.forZones[0].name: Invalid value: "a b": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
        endpoints[0].hints.forZones[1].name: Duplicate value: "a b"
        endpoints[0].hints.forZones[1].name: Invalid value: "a b": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
        endpoints[0].hints.forNodes[1].name: Invalid value: "N": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]].assert_eq(&create_errors(&KIND, hints(2)));
    expect![[r#"
        endpoints[0].hints.forZones: Too many: 9: must have at most 8 items
        endpoints[0].hints.forNodes[1].name: Invalid value: "N": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]].assert_eq(&create_errors(&KIND, hints(9)));
    expect![[r#"addressType: Unsupported value: "IPX": supported values: "FQDN", "IPv4", "IPv6""#]]
        .assert_eq(&create_errors(&KIND, json!({"addressType": "IPX"})));
}
