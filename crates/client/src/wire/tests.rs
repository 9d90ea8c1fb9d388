use super::*;
use k8s_openapi::api::core::v1::ConfigMap;

fn cut(chunks: &[&str]) -> Vec<String> {
    let mut lines = Lines::default();
    let mut found = Vec::new();
    for chunk in chunks {
        lines
            .push(Bytes::copy_from_slice(chunk.as_bytes()))
            .expect("short lines");
        while let Some(line) = lines.next() {
            found.push(String::from_utf8(line.to_vec()).expect("text"));
        }
    }
    found
}

#[test]
fn lines_are_cut_wherever_chunks_end() {
    let cases: [(&[&str], &[&str]); 6] = [
        (&["a\n"], &["a"]),
        (&["a\nb\n"], &["a", "b"]),
        (&["a", "b\nc", "\n"], &["ab", "c"]),
        (&["", "\n", "\r\n", "a\n"], &["a"]),
        (&["a\nb", "c", "d\ne\n"], &["a", "bcd", "e"]),
        (&["unfinished"], &[]),
    ];
    for (chunks, expected) in cases {
        assert_eq!(cut(chunks), expected, "{chunks:?}");
    }
}

#[test]
fn a_line_over_the_limit_is_refused() {
    let mut lines = Lines::default();
    lines
        .push(Bytes::from(vec![b'x'; MAX_LINE_BYTES]))
        .expect("at the limit");
    assert!(lines.next().is_none());
    assert!(lines.push(Bytes::from_static(b"x")).is_err());
}

#[test]
fn a_broken_object_does_not_hide_the_others() {
    let body =
        br#"{"kind":"ConfigMapList","metadata":{"resourceVersion":"7","continue":"c"},"items":[
        {"metadata":{"name":"a","managedFields":[{"manager":"m"}]}},
        {"metadata":"broken"},
        {"metadata":{"name":"b"},"data":{"k":"v"}}]}"#;
    let page = list::<ConfigMap>(body).expect("a list");
    let own = |held: &Held<ConfigMap>| match held {
        Held::Own(map) => map.clone(),
        Held::Shared(..) => panic!("off the wire"),
    };
    let items: Vec<_> = page.items.iter().map(own).collect();
    let names: Vec<_> = items
        .iter()
        .map(|map| map.metadata.name.as_deref().unwrap_or_default())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        (page.revision.as_str(), page.continue_token.as_deref()),
        ("7", Some("c"))
    );
    assert!(
        items[0].metadata.managed_fields.is_none(),
        "nobody reads them"
    );
}

#[test]
fn null_items_and_an_empty_continue_are_an_empty_last_page() {
    let page =
        list::<ConfigMap>(br#"{"metadata":{"resourceVersion":"1","continue":""},"items":null}"#)
            .expect("a list");
    assert!(page.items.is_empty() && page.continue_token.is_none());
}

#[test]
fn events_by_type() {
    let describe = |line: &str| match event::<ConfigMap>(line.as_bytes()) {
        Ok(WatchEvent::Applied(map)) => {
            format!("applied {}", map.metadata.name.unwrap_or_default())
        }
        Ok(WatchEvent::Deleted(map)) => {
            format!("deleted {}", map.metadata.name.unwrap_or_default())
        }
        Ok(WatchEvent::Bookmark(at)) => format!("bookmark {at}"),
        Ok(WatchEvent::Error(status)) => format!("error {}", status.code),
        Ok(WatchEvent::Skipped) => "skipped".to_owned(),
        Err(_) => "unreadable".to_owned(),
    };
    let cases = [
        (
            r#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}"#,
            "applied a",
        ),
        (
            r#"{"type":"MODIFIED","object":{"metadata":{"name":"a"}}}"#,
            "applied a",
        ),
        (
            r#"{"type":"DELETED","object":{"metadata":{"name":"a"}}}"#,
            "deleted a",
        ),
        (
            r#"{"object":{"kind":"ConfigMap","metadata":{"resourceVersion":"9"}},"type":"BOOKMARK"}"#,
            "bookmark 9",
        ),
        (
            r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"m"}}"#,
            "error 410",
        ),
        (r#"{"type":"ADDED","object":{"metadata":3}}"#, "skipped"),
        (r#"{"type":"SOMETHING","object":{}}"#, "skipped"),
        ("nonsense", "unreadable"),
    ];
    for (line, expected) in cases {
        assert_eq!(describe(line), expected, "{line}");
    }
}
