use proptest::prelude::*;

use super::*;

fn source(pod: &str) -> Arc<Source> {
    Arc::new(Source {
        namespace: "default".to_owned(),
        pod: pod.to_owned(),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        ..Source::default()
    })
}

fn read(bytes: &[u8]) -> Vec<(String, i64, Vec<u8>)> {
    let mut decoder = Decoder::default();
    let mut read = Vec::new();
    while let Ok(Some(record)) = decoder.next(bytes) {
        read.push((record.source.pod.clone(), record.time, record.text.to_vec()));
    }
    read
}

proptest! {
    #[test]
    fn blocks_are_read_as_they_were_written(
        lines in prop::collection::vec((0..3_usize, any::<bool>(), any::<i64>(), any::<Vec<u8>>()), 0..40),
    ) {
        let sources = [source("a"), source("b"), source("c")];
        let mut builder = Builder::default();
        for (pod, err, time, text) in &lines {
            let stream = if *err { Stream::Stderr } else { Stream::Stdout };
            builder.push(&Record { source: sources[*pod].clone(), stream, time: *time, text });
        }
        let mut decoder = Decoder::default();
        for (pod, err, time, text) in &lines {
            let record = decoder.next(builder.bytes()).unwrap().unwrap();
            prop_assert_eq!(&record.source, &sources[*pod]);
            prop_assert_eq!(record.stream == Stream::Stderr, *err);
            prop_assert_eq!((record.time, record.text), (*time, &text[..]));
        }
        prop_assert_eq!(decoder.next(builder.bytes()), Ok(None));
        prop_assert_eq!(builder.summary().records as usize, lines.len());
    }

    #[test]
    fn torn_blocks_are_read_up_to_where_they_are_torn(cut in 0..400_usize) {
        let mut builder = Builder::default();
        let (a, b) = (source("a"), source("b"));
        for time in 0..10 {
            let source = if time % 3 == 0 { a.clone() } else { b.clone() };
            builder.push(&Record { source, stream: Stream::Stdout, time, text: b"a line of text" });
        }
        let whole = read(builder.bytes());
        let bytes = &builder.bytes()[..cut.min(builder.bytes().len())];
        let (mut again, at) = Builder::from_bytes(bytes);
        prop_assert!(at <= bytes.len());
        let some = read(again.bytes());
        prop_assert_eq!(&some[..], &whole[..some.len()]);
        again.push(&Record { source: source("c"), stream: Stream::Stdout, time: 7, text: b"more" });
        let more = read(again.bytes());
        prop_assert_eq!(more.len(), some.len() + 1);
        prop_assert_eq!(&more[some.len()], &("c".to_owned(), 7, b"more".to_vec()));
    }

    #[test]
    fn anything_may_be_in_a_file(bytes in any::<Vec<u8>>()) {
        read(&bytes);
    }
}
