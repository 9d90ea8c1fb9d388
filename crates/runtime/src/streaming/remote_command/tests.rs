use super::*;

fn check(chunks: &[&str], expected: &[(u16, u16)]) {
    let mut sizes = Sizes::default();
    let read: Vec<(u16, u16)> = chunks
        .iter()
        .flat_map(|chunk| sizes.push(chunk.as_bytes()))
        .map(|size| (size.width, size.height))
        .collect();
    assert_eq!(read, expected, "{chunks:?}");
}

#[test]
fn sizes_from_a_stream() {
    check(&[r#"{"Width":80,"Height":24}"#], &[(80, 24)]);
    check(&["{\"Width\":80,\"Height\":24}\n"], &[(80, 24)]);
    check(&[r#"{"Width":8"#, r#"0,"Height":24}"#], &[(80, 24)]);
    check(
        &[r#"{"Width":1,"Height":2}{"Width":3,"Hei"#, r#"ght":4}"#],
        &[(1, 2), (3, 4)],
    );
    check(&["rubbish", r#"{"Width":1,"Height":2}"#], &[(1, 2)]);
    check(&[r#"{"Width":70000,"Height":2}"#], &[]);
    let endless = "{".to_owned() + &" ".repeat(MAX_SIZE_BYTES);
    check(&[&endless, r#"{"Width":1,"Height":2}"#], &[(1, 2)]);
}
