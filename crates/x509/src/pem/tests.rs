use super::*;

fn labels(text: &str) -> Vec<(String, bool, Vec<u8>)> {
    blocks(text.as_bytes())
        .map(|block| (block.label, block.has_headers, block.der))
        .collect()
}

#[test]
fn blocks_are_found_between_other_text() {
    let one = encode("A B", b"one");
    let two = encode("C", &[0; 100]);
    assert!(two.lines().all(|line| line.len() <= LINE));
    let text = format!("first\n{one}between\r\n{two}{one}after");
    let found = labels(&text);
    assert_eq!(found.len(), 3);
    assert_eq!(found[0], ("A B".to_owned(), false, b"one".to_vec()));
    assert_eq!(found[1].2, vec![0; 100]);
    assert_eq!(labels(&text.replace('\n', "\r\n")).len(), 3);
}

#[test]
fn what_only_looks_like_a_block_is_skipped() {
    let good = encode("X", b"good");
    let cases = [
        "x -----BEGIN X-----\nZ29vZA==\n-----END X-----\n",
        "-----BEGIN X-----\nnot base64!\n-----END X-----\n",
        "-----BEGIN X----\nZ29vZA==\n-----END X----\n",
        "-----BEGIN X-----\nZ29vZA==\n-----END Y-----\n",
    ];
    for case in cases {
        assert_eq!(labels(case), [], "{case}");
        assert_eq!(labels(&format!("{good}{case}")).len(), 1, "{case}");
    }
    let headers = "-----BEGIN X-----\nProc-Type: 4\nb: c\n\nZ29vZA==\n-----END X-----\n";
    assert_eq!(labels(headers), [("X".to_owned(), true, b"good".to_vec())]);
    assert_eq!(labels(""), []);
    assert_eq!(labels("-----BEGIN "), []);
}

#[test]
fn blocks_within_blocks_are_found_and_cost_no_more() {
    let good = encode("X", b"good");
    let nested = format!("-----BEGIN Y-----\nAAAA\n{good}-----END Y-----\n");
    assert_eq!(labels(&nested), [("X".to_owned(), false, b"good".to_vec())]);
    // Looked at from each beginning to the end, this would take minutes.
    let begun = "-----BEGIN X-----\n".repeat(60_000);
    assert_eq!(labels(&begun), []);
    assert_eq!(labels(&format!("{begun}-----END Y-----\n")), []);
    assert_eq!(labels(&format!("{begun}{good}")).len(), 1);
}
