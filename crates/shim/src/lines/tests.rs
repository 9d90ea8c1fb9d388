use super::{Lines, MAX_LINE_BYTES, timestamp};

fn cut(parts: &[&[u8]]) -> String {
    let mut lines = Lines::new("stdout");
    let mut out = Vec::new();
    for part in parts {
        lines.cut(part, "T", &mut out);
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn lines_are_cut_at_newlines_across_reads() {
    assert_eq!(cut(&[b"a\nb"]), "T stdout F a\n");
    assert_eq!(
        cut(&[b"a\nb", b"c\n\n"]),
        "T stdout F a\nT stdout F bc\nT stdout F \n"
    );
}

#[test]
fn what_ends_without_a_newline_stays_without_one() {
    let mut lines = Lines::new("stdout");
    let mut out = Vec::new();
    lines.cut(b"a\nb", "T", &mut out);
    assert_eq!(lines.rest("T"), b"T stdout P b\n");
    assert!(lines.partial.is_empty());
}

#[test]
fn a_long_line_is_written_in_parts() {
    let long = vec![b'x'; MAX_LINE_BYTES + 3];
    let out = cut(&[&long, b"y\n"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("T stdout P x"));
    assert_eq!(lines[0].len(), "T stdout P ".len() + MAX_LINE_BYTES);
    assert_eq!(lines[1], "T stdout F xxxy");
}

#[test]
fn a_line_of_exactly_the_limit_is_whole() {
    let mut line = vec![b'x'; MAX_LINE_BYTES];
    line.push(b'\n');
    let out = cut(&[&line]);
    assert!(out.starts_with("T stdout F x"));
    assert_eq!(out.lines().count(), 1);
}

#[test]
fn timestamps() {
    assert_eq!(timestamp(0), "1970-01-01T00:00:00.000000000Z");
    assert_eq!(
        timestamp(1_709_210_096_000_000_007),
        "2024-02-29T12:34:56.000000007Z"
    );
    assert_eq!(
        timestamp(1_735_689_599_999_999_999),
        "2024-12-31T23:59:59.999999999Z"
    );
}
