use std::fs;

use super::*;

#[test]
fn the_first_file_in_lexical_order_wins() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("20-b.conf"), r#"{"name":"b","type":"x"}"#).unwrap();
    fs::write(
        dir.path().join("10-a.conflist"),
        r#"{"cniVersion":"1.1.0","name":"a","plugins":[{"type":"one"},{"type":"two"}]}"#,
    )
    .unwrap();
    fs::write(dir.path().join("00-ignored.txt"), "not a configuration").unwrap();
    let list = NetworkConfigList::load_first(dir.path()).unwrap();
    assert_eq!((list.name.as_str(), list.plugins.len()), ("a", 2));
    assert_eq!(list.cni_version, "1.1.0");
}

#[test]
fn a_single_plugin_becomes_a_list_of_one() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("20-b.conf"), r#"{"name":"b","type":"x"}"#).unwrap();
    let list = NetworkConfigList::load_first(dir.path()).unwrap();
    assert_eq!(list.plugins[0]["type"], "x");
    assert_eq!(list.cni_version, crate::CNI_VERSION);
}

#[test]
fn errors_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        NetworkConfigList::load_first(dir.path()),
        Err(Error::None(_))
    ));
    fs::write(dir.path().join("a.conf"), r#"{"name":"b"}"#).unwrap();
    assert!(matches!(
        NetworkConfigList::load_first(dir.path()),
        Err(Error::NoType { index: 0, .. })
    ));
}
