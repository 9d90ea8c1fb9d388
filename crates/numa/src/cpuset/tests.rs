use super::*;

#[test]
fn lists_are_read_and_written_as_the_kernel_does() {
    for (text, written, count) in [
        ("", "", 0),
        ("0", "0", 1),
        ("0-3,8", "0-3,8", 5),
        ("8,3,1-2\n", "1-3,8", 4),
        ("5-5", "5", 1),
    ] {
        let set: CpuSet = text.parse().unwrap();
        assert_eq!(
            (set.to_string().as_str(), set.len()),
            (written, count),
            "{text:?}"
        );
    }
    for text in ["a", "1-", "-1", "3-1", "1,,2", "0-99999999999", "1 2"] {
        assert_eq!(text.parse::<CpuSet>(), Err(ParseError(text.to_owned())));
    }
}
