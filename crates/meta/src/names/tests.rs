use expect_test::expect;

use super::*;

type Check = fn(&str) -> Vec<String>;

#[test]
fn valid_names() {
    let cases: &[(Check, &[&str])] = &[
        (dns1123_label, &["a", "a-b", "0", "9a"]),
        (dns1123_subdomain, &["a", "a.b-c", "1.2"]),
        (dns1035_label, &["a", "a-1"]),
        (qualified_name, &["a", "A_b.c", "x.y/Z", "a/b"]),
        (label_value, &["", "a", "A.b_c-9"]),
        (port_name, &["http", "h2-c", "1a"]),
        (config_map_key, &["a", ".a", "A_b.c"]),
        (env_var_name, &["A", "a b", "1x", "my.env-name"]),
        (ip, &["10.0.0.1", "fd00::1"]),
        (percent, &["0%", "100%"]),
        (wildcard_dns1123_subdomain, &["*.example.com"]),
        (c_identifier, &["_a1", "B"]),
    ];
    for (check, names) in cases {
        for name in *names {
            assert_eq!(check(name), Vec::<String>::new(), "{name}");
        }
    }
}

#[test]
fn invalid_names() {
    let long = "a".repeat(64);
    let cases: &[(Check, &str)] = &[
        (dns1123_label, ""),
        (dns1123_label, "A"),
        (dns1123_label, "-a"),
        (dns1123_label, &long),
        (dns1123_subdomain, "a..b"),
        (dns1035_label, "1a"),
        (qualified_name, ""),
        (qualified_name, "/a"),
        (qualified_name, "a/"),
        (qualified_name, "a/b/c"),
        (qualified_name, "A/b"),
        (label_value, "a b"),
        (port_name, "no--good-"),
        (port_name, "1234567890123456"),
        (config_map_key, ".."),
        (config_map_key, "..a"),
        (config_map_key, "a/b"),
        (env_var_name, "a=b"),
        (ip, "10.0.0.300"),
        (percent, "5"),
    ];
    let shown: Vec<String> = cases
        .iter()
        .flat_map(|(check, name)| {
            let messages = check(name);
            assert!(!messages.is_empty(), "{name}");
            messages
                .into_iter()
                .map(move |message| format!("{name}: {message}"))
        })
        .collect();
    expect![[r#"
        : a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        A: a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        -a: a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: must be no more than 63 characters
        a..b: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        1a: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
        : name part must be non-empty
        : name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        /a: prefix part must be non-empty
        a/: name part must be non-empty
        a/: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        a/b/c: a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')
        A/b: prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        a b: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
        no--good-: must not contain consecutive hyphens
        no--good-: must not begin or end with a hyphen
        1234567890123456: must be no more than 15 characters
        1234567890123456: must contain at least one letter (a-z)
        ..: must not be '..'
        ..a: must not start with '..'
        a/b: a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
        a=b: a valid environment variable name must consist only of printable ASCII characters other than '='
        10.0.0.300: must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
        5: a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"#]].assert_eq(&shown.join("\n"));
}

#[test]
fn generated_names() {
    let name = generate("web-");
    assert_eq!(name.len(), 9);
    assert!(name.starts_with("web-") && dns1123_label(&name).is_empty());
    assert_eq!(generate(&"x".repeat(80)).len(), 63);
    assert_ne!(generate("a"), generate("a"));
    assert_eq!(safe_encode("0123456789"), "456789bcdf");
}

#[test]
fn prefixes_may_end_in_a_dash() {
    assert_eq!(mask_trailing_dash("web-"), "weba");
    assert_eq!(mask_trailing_dash("-"), "-");
    assert_eq!(
        path_segment("a/b%", false),
        ["may not contain '/'", "may not contain '%'"]
    );
    assert_eq!(path_segment("..", false), ["may not be '..'"]);
    assert!(path_segment("system:node", false).is_empty());
}

#[test]
fn ranges_that_programs_read_differently_are_refused() {
    for clear in [
        "10.0.0.0/8",
        "0.0.0.0/0",
        "::/0",
        "2001:DB8::/64",
        "10.0.0.1/32",
        "::1/128",
    ] {
        assert_eq!(cidr(clear), [""; 0], "{clear}");
    }
    let zeros = "must not have leading 0s in IP or prefix length";
    let mapped = "must not have an IPv4-mapped IPv6 address";
    let bits = "must not have bits set beyond the prefix length";
    let invalid = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    for (text, message) in [
        ("010.0.0.0/8", zeros),
        ("10.0.0.0/08", zeros),
        ("::ffff:10.0.0.0/104", mapped),
        ("192.168.0.5/24", bits),
        ("10.0.0.1/0", bits),
        ("2001:db8::1/64", bits),
        ("10.0.0.0/33", invalid),
        ("10.0.0.0/", invalid),
        ("10.0.0/8", invalid),
        ("10.0.0.0/+8", invalid),
        ("::/129", invalid),
        ("0400.0.0.0/8", invalid),
        ("10..0.0/8", invalid),
        ("nowhere", invalid),
    ] {
        assert_eq!(cidr(text), [message], "{text}");
    }
    assert_eq!(ip("010.0.0.1"), ["must not have leading 0s"]);
}
