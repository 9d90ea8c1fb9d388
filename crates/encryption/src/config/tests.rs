//! Upstream's own cases, and its words.

use super::*;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

fn with(resources: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n{resources}"
    )
}

fn rule(resources: &str, providers: &str) -> String {
    format!("- resources: {resources}\n  providers: {providers}\n")
}

fn refused(file: &str, reload: bool) -> String {
    parse(file.as_bytes(), reload).err().unwrap_or_default()
}

#[test]
fn what_upstream_takes_is_taken() {
    for resources in [
        "[secrets]",
        "[secrets, configmaps, pandas.awesome.bears.example]",
        "['*.apps', deployments.batch]",
        "['*.']",
        "['*.*']",
        "[events]",
    ] {
        let keys =
            format!("[{{aescbc: {{keys: [{{name: a, secret: {KEY}}}]}}}}, {{identity: {{}}}}]");
        let file = with(&rule(resources, &keys));
        assert_eq!(refused(&file, true), "", "{resources}");
    }
    let kms = "[{kms: {apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: 5s}}, {kms: {apiVersion: v2, name: b, endpoint: 'unix:///a', cachesize: null}}]";
    assert_eq!(refused(&with(&rule("[secrets]", kms)), true), "");
    let later = rule("['*.apps']", "[{identity: {}}]") + &rule("['*.*']", "[{identity: {}}]");
    assert_eq!(refused(&with(&later), false), "");
}

#[test]
fn resources_are_refused_in_upstreams_words() {
    let at = "resources[0].resources";
    for (resources, told) in [
        (
            "[]",
            format!("{at}: Required value: at least one {at} is required"),
        ),
        (
            "[Secrets]",
            format!(
                "{at}[0]: Invalid value: \"Secrets\": resource name should not contain capital letters"
            ),
        ),
        (
            "['*']",
            format!(
                "{at}[0]: Invalid value: \"*\": use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
            ),
        ),
        (
            "[apiserveripinfo]",
            format!(
                "{at}[0]: Invalid value: \"apiserveripinfo\": resources which do not have REST API/s cannot be encrypted"
            ),
        ),
        (
            "[events.events.k8s.io]",
            format!(
                "{at}[0]: Invalid value: \"events.events.k8s.io\": '*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
            ),
        ),
        (
            "['*.extensions']",
            format!(
                "{at}[0]: Invalid value: \"*.extensions\": 'extensions' group has been removed and cannot be used for encryption"
            ),
        ),
        (
            "['secrets.*']",
            format!(
                "{at}[0]: Invalid value: \"secrets.*\": encrypting the same resource across groups is not supported"
            ),
        ),
        (
            "[secrets, secrets]",
            format!(
                "{at}: Invalid value: [\"secrets\",\"secrets\"]: the same resource cannot be specified multiple times"
            ),
        ),
        (
            "[secrets, '*.']",
            format!(
                "{at}: Invalid value: [\"secrets\",\"*.\"]: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"
            ),
        ),
        (
            "[a.apps, '*.*']",
            format!(
                "{at}: Invalid value: [\"a.apps\",\"*.*\"]: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"
            ),
        ),
    ] {
        let file = with(&rule(resources, "[{identity: {}}]"));
        assert_eq!(refused(&file, false), told, "{resources}");
    }
    for (first, second, told) in [
        (
            "['*.apps']",
            "[deployments.apps]",
            "resource \"deployments.apps\" is masked by earlier rule \"*.apps\"",
        ),
        (
            "['*.*']",
            "[secrets]",
            "resource \"secrets\" is masked by earlier rule \"*.*\"",
        ),
        (
            "['*.']",
            "[pods]",
            "resource \"pods\" is masked by earlier rule \"*.\"",
        ),
        (
            "['*.*']",
            "['*.']",
            "resource \"*.\" is masked by earlier rule \"*.*\"",
        ),
    ] {
        let rules = rule(first, "[{identity: {}}]") + &rule(second, "[{identity: {}}]");
        assert_eq!(refused(&with(&rules), false), told);
    }
}

#[test]
fn providers_are_refused_in_upstreams_words() {
    let at = "resources[0].providers";
    for (providers, told) in [
        (
            "[]",
            format!("{at}: Required value: at least one {at} is required"),
        ),
        (
            "[{}]",
            format!(
                "{at}[0]: Invalid value: []: provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
            ),
        ),
        (
            "[{identity: {}, aesgcm: {keys: [{name: a, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}}]",
            format!(
                "{at}[0]: Invalid value: [\"aesgcm\",\"identity\"]: more than one provider specified in a single element, should split into different list elements"
            ),
        ),
        (
            "[{aesgcm: {keys: []}}]",
            format!("{at}[0].aesgcm.keys: Required value: at least one keys is required"),
        ),
        (
            "[{aescbc: {keys: [{secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}}]",
            format!(
                "{at}[0].aescbc.keys[0].name: Required value: name is a mandatory field for a key"
            ),
        ),
        (
            "[{aescbc: {keys: [{name: a}]}}]",
            format!(
                "{at}[0].aescbc.keys[0].secret: Required value: secret is a mandatory field for a key"
            ),
        ),
        (
            "[{aescbc: {keys: [{name: a, secret: '!'}]}}]",
            format!(
                "{at}[0].aescbc.keys[0].secret: Invalid value: \"REDACTED\": secrets must be base64 encoded"
            ),
        ),
        (
            "[{aesgcm: {keys: [{name: a, secret: YQ==}]}}]",
            format!(
                "{at}[0].aesgcm.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 1, expected one of [16 24 32]"
            ),
        ),
        (
            "[{secretbox: {keys: [{name: a, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}}]",
            format!(
                "{at}[0].secretbox.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 16, expected one of [32]"
            ),
        ),
        (
            "[{kms: {apiVersion: v2, endpoint: 'unix:///a'}}]",
            format!("{at}[0].kms.name: Required value: name is a mandatory field for a provider"),
        ),
        (
            "[{kms: {apiVersion: v2, name: 'a:b', endpoint: 'unix:///a'}}]",
            format!(
                "{at}[0].kms.name: Invalid value: \"a:b\": invalid KMS provider name a:b, must not contain ':'"
            ),
        ),
        (
            "[{kms: {apiVersion: v2, name: a, endpoint: 'unix:///a'}}, {kms: {apiVersion: v2, name: a, endpoint: 'unix:///b'}}]",
            format!(
                "{at}[1].kms.name: Invalid value: \"a\": duplicate KMS provider name a, names must be unique"
            ),
        ),
        (
            "[{kms: {apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: 0s}}]",
            format!(
                "{at}[0].kms.timeout: Invalid value: \"0s\": timeout should be a positive value"
            ),
        ),
        (
            "[{kms: {apiVersion: v2, name: a}}]",
            format!(
                "{at}[0].kms.endpoint: Invalid value: \"\": endpoint is a mandatory field for a kms"
            ),
        ),
        (
            "[{kms: {apiVersion: v2, name: a, endpoint: 'http://a'}}]",
            format!(
                "{at}[0].kms.endpoint: Invalid value: \"http://a\": unsupported scheme \"http\" for KMS provider, only unix is supported"
            ),
        ),
        (
            "[{kms: {apiVersion: v2, name: a, endpoint: '/a'}}]",
            format!(
                "{at}[0].kms.endpoint: Invalid value: \"/a\": unsupported scheme \"\" for KMS provider, only unix is supported"
            ),
        ),
        (
            "[{kms: {apiVersion: v2, name: a, endpoint: 'unix:///a', cachesize: 5}}]",
            format!("{at}[0].kms.cachesize: Invalid value: 5: cachesize is not supported in v2"),
        ),
        (
            "[{kms: {apiVersion: v3, name: a, endpoint: 'unix:///a'}}]",
            format!(
                "{at}[0].kms.apiVersion: Invalid value: \"v3\": unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported"
            ),
        ),
    ] {
        let file = with(&rule("[secrets]", providers));
        assert_eq!(refused(&file, false), told, "{providers}");
    }
    let old = with(&rule(
        "[secrets]",
        "[{kms: {name: a, endpoint: 'unix:///a'}}]",
    ));
    assert!(refused(&old, false).starts_with("KMSv1 is deprecated"));
}

#[test]
fn files_are_read_strictly() {
    assert_eq!(refused("", false), "the file is empty");
    let none = "apiVersion: v1\nkind: EncryptionConfig\nresources: []";
    assert_eq!(
        refused(none, false),
        "no kind \"EncryptionConfig\" is registered for version \"v1\""
    );
    let told = refused(&with("- resources: [secrets]\n  provider: []\n"), false);
    assert!(told.contains("unknown field `provider`"), "{told}");
    assert_eq!(
        refused(&with(" []"), false),
        "resources: Required value: at least one resources is required"
    );
    let told = refused("a: [\nsecret: MDEy", false);
    assert!(!told.is_empty() && !told.contains("MDEy"), "{told}");
}
