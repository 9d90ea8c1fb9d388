use expect_test::expect;
use serde_json::{Value, json};

use super::endpoint_slice::KIND;
use crate::{
    kind::Part,
    testing::{create_errors, created, row, update_errors},
};

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
        endpoints[0].addresses: Required value
        endpoints[1].addresses: Invalid value: "fd00::1": must be an IPv4 address
        endpoints[1].addresses[1]: Invalid value: "169.254.0.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)
        endpoints[1].nodeName: Invalid value: "_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        endpoints[1].hostname: Invalid value: "A.b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        ports[1].name: Duplicate value: "a"
        ports[1].protocol: Unsupported value: "x": supported values: "SCTP", "TCP", "UDP""#]].assert_eq(&errors);
    let pointers = json!({
        "addressType": "IPv4", "ports": [{"appProtocol": ""}],
        "endpoints": [{"addresses": ["10.42.0.5"], "hostname": "", "nodeName": ""}],
    });
    expect![[r#"
        endpoints[0].nodeName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        endpoints[0].hostname: Invalid value: "": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        ports[0].appProtocol: Invalid value: "": name part must be non-empty
        ports[0].appProtocol: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]].assert_eq(&create_errors(&KIND, pointers));
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

#[test]
fn addresses() {
    let errors = |address_type: &str, addresses: Value| {
        let slice = json!({"addressType": address_type, "endpoints": [{"addresses": addresses}]});
        create_errors(&KIND, slice)
    };
    let four = json!([
        "",
        "a",
        "010.0.0.1",
        "::ffff:10.0.0.1",
        "fd00::1",
        "127.0.0.1",
        null
    ]);
    expect![[r#"
        endpoints[0].addresses[0]: Invalid value: "": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
        endpoints[0].addresses[1]: Invalid value: "a": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
        endpoints[0].addresses[2]: Invalid value: "010.0.0.1": must not have leading 0s
        endpoints[0].addresses[3]: Invalid value: "::ffff:10.0.0.1": must not be an IPv4-mapped IPv6 address
        endpoints[0].addresses: Invalid value: "fd00::1": must be an IPv4 address
        endpoints[0].addresses[5]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)
        endpoints[0].addresses[6]: Invalid value: "": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#]].assert_eq(&errors("IPv4", four));
    let six = json!(["10.0.0.1", "FD00::1", "fe80::1", "fd00::1"]);
    expect![[r#"
        endpoints[0].addresses: Invalid value: "10.0.0.1": must be an IPv6 address
        endpoints[0].addresses[1]: Invalid value: "FD00::1": must be in canonical form ("fd00::1")
        endpoints[0].addresses[2]: Invalid value: "fe80::1": may not be in the link-local range (169.254.0.0/16, fe80::/10)"#]].assert_eq(&errors("IPv6", six));
    let long = format!("a.{}", "b".repeat(64));
    let names = json!(["", "a", "a.b.", "A.b", long]);
    expect![[r#"
        endpoints[0].addresses[0]: Required value
        endpoints[0].addresses[1]: Invalid value: "a": should be a domain with at least two segments separated by dots
        endpoints[0].addresses[3]: Invalid value: "A.b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        endpoints[0].addresses[4]: Invalid value: "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb": must be no more than 63 characters"#]].assert_eq(&errors("FQDN", names));
}

#[test]
fn what_is_stored_may_be_wrong() {
    let old = json!({
        "metadata": {"name": "s"}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["010.0.0.1"]}],
    });
    let errors = |change: fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        update_errors(&KIND, new, &old, Part::Main)
    };
    assert_eq!(errors(|new| new["ports"] = json!([{"port": 80}])), "");
    let wrong = errors(|new| new["endpoints"][0]["hostname"] = json!("a"));
    expect![[r#"endpoints[0].addresses[0]: Invalid value: "010.0.0.1": must not have leading 0s"#]]
        .assert_eq(&wrong);
    const IMMUTABLE: &str = "addressType: Invalid value: null: field is immutable";
    assert_eq!(errors(|new| new["addressType"] = json!("IPv6")), IMMUTABLE);
    assert_eq!(
        errors(|new| new["addressType"] = json!("IPX")),
        format!(
            "addressType: Unsupported value: \"IPX\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"\n{IMMUTABLE}"
        )
    );
    assert_eq!(
        errors(|new| new["addressType"] = json!("")),
        format!("addressType: Required value\n{IMMUTABLE}")
    );
}
