use super::*;

/// What kubectl 1.27 sends first on `kubectl exec`, without the SYN_STREAM's own fields.
const KUBECTL_ERROR_STREAM: &[u8] = &[
    0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2, 0x62, 0x60, 0x60, 0x60, 0x04, 0xa7, 0xb3, 0x92, 0xa2, 0xd4,
    0xc4, 0x5c, 0x68, 0x51, 0xc2, 0x9a, 0x0a, 0x0a, 0x68, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff,
];

#[test]
fn the_dictionary_is_the_one_of_the_protocol() {
    let dictionary = dictionary();
    assert_eq!(dictionary.len(), 1423);
    let mut stream = Compress::new(Compression::fast(), true);
    // Its checksum is the third to sixth byte of every connection.
    assert_eq!(stream.set_dictionary(&dictionary).unwrap(), 0xe3c6_a7c2);
}

#[test]
fn a_block_of_kubectl() {
    let headers = Decoder::default().decode(KUBECTL_ERROR_STREAM).unwrap();
    assert_eq!(
        headers,
        Headers::from([("streamtype".to_owned(), "error".to_owned())])
    );
}

/// A client's blocks of one connection.
struct Client(Compress);

impl Client {
    fn new() -> Self {
        let mut stream = Compress::new(Compression::best(), true);
        stream.set_dictionary(&dictionary()).unwrap();
        Self(stream)
    }

    fn block(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut block = Vec::with_capacity(plain.len() + 256);
        self.0
            .compress_vec(plain, &mut block, FlushCompress::Sync)
            .unwrap();
        block
    }
}

fn plain(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        plain.extend((text.len() as u32).to_be_bytes());
        plain.extend(text.as_bytes());
    }
    plain
}

#[test]
fn blocks_continue_one_stream() {
    let (mut client, mut decoder) = (Client::new(), Decoder::default());
    for port in 0..50 {
        let port = port.to_string();
        let block = client.block(&plain(&[("StreamType", "data"), ("port", &port)]));
        let headers = decoder.decode(&block).unwrap();
        assert_eq!(headers["streamtype"], "data");
        assert_eq!(headers["port"], port);
    }
    let long = "x".repeat(20_000);
    let block = client.block(&plain(&[("long", &long)]));
    assert_eq!(decoder.decode(&block).unwrap()["long"], long);
}

#[test]
fn blocks_that_are_refused() {
    let check = |plain: &[u8], expected: HeaderError| {
        let block = Client::new().block(plain);
        assert_eq!(Decoder::default().decode(&block), Err(expected));
    };
    check(&[0, 0], HeaderError::Cut);
    check(&[0, 0, 0, 1, 0, 0, 0, 9, b'a'], HeaderError::Cut);
    check(&[0xff, 0xff, 0xff, 0xff], HeaderError::TooLong);
    check(&vec![0; MAX_BLOCK_BYTES + 4096], HeaderError::TooLong);
    let rubbish = Decoder::default().decode(b"this is not zlib");
    assert!(
        matches!(rubbish, Err(HeaderError::Compression(_))),
        "{rubbish:?}"
    );
}

#[test]
fn replies_are_read_by_a_decoder() {
    let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::default());
    for _ in 0..3 {
        let block = encoder.empty().unwrap();
        assert_eq!(decoder.decode(&block), Ok(Headers::new()));
    }
}
