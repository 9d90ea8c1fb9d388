use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;

/// What upstream has made of a seed 1, 2, 3, …, as in the tests of ciphers.
const STORED_OF_SEED: &str = "jMNywjzRELLjEl8xUE0p0eWkqGeGdrn6Y7Kq60J0ibUArK7AID9iJRIZXTEqtexsgI+wx9zW7oJjm6YzrlfZRS3R2pBte68Sdl+/tqrWabqCz2/bb6QRASA97jskb4w=";

fn source() -> Source {
    Source {
        kind: SEED,
        key_id: "1".to_owned(),
        encrypted: b"sealed".to_vec(),
        annotations: BTreeMap::from([("a.example.com".to_owned(), b"x".to_vec())]),
    }
}

#[test]
fn what_is_stored_is_upstreams_message() {
    let mut out = Vec::new();
    encode(&mut out, &source(), b"data".to_vec());
    let expected =
        b"\x0a\x04data\x12\x011\x1a\x06sealed\x22\x12\x0a\x0da.example.com\x12\x01x\x28\x01";
    assert_eq!(out, expected);
    let object = decode(&out).expect("an object");
    assert_eq!(object.encrypted_data, b"data");
    assert_eq!(Source::of(&object).digest(), source().digest());
}

#[test]
fn limits_are_upstreams() {
    let told = |change: fn(&mut Source)| {
        let mut source = source();
        change(&mut source);
        check(&source).err().unwrap_or_default()
    };
    assert_eq!(told(|_| {}), "");
    assert_eq!(
        told(|source| source.kind = 2),
        "unknown encryptedDEKSourceType: 2"
    );
    assert_eq!(
        told(|source| source.encrypted.clear()),
        "failed to validate encrypted DEK source: encrypted DEK source is empty"
    );
    assert_eq!(
        told(|source| source.encrypted = vec![0; 1025]),
        "failed to validate encrypted DEK source: encrypted DEK source is 1025 bytes, which exceeds the max size of 1024"
    );
    assert_eq!(
        told(|source| source.key_id.clear()),
        "failed to validate key id: keyID is empty"
    );
    assert_eq!(
        told(|source| source.key_id = "a".repeat(1025)),
        "failed to validate key id: keyID is 1025 bytes, which exceeds the max size of 1024"
    );
    assert_eq!(
        told(|source| {
            source
                .annotations
                .insert("b.c".to_owned(), vec![0; 32 << 10]);
        }),
        "failed to validate annotations: total size of annotations is 32785, which exceeds the max size of 32768"
    );
    for name in ["", "nodots", "UPPER.case", "a_b.c"] {
        let mut source = source();
        source.annotations.insert(name.to_owned(), Vec::new());
        let told = check(&source).err().unwrap_or_default();
        assert!(
            told.starts_with("failed to validate annotations: "),
            "{name}: {told}"
        );
    }
    assert!(decode(b"\x0a").is_err());
    assert_eq!(
        decode(b"").err().as_deref(),
        Some("encrypted data is empty")
    );
}

#[test]
fn upstreams_values_are_read() {
    let seed: Vec<u8> = (1..=32).collect();
    let stored = STANDARD.decode(STORED_OF_SEED).expect("base64");
    let dek = Dek::new(SEED, &seed).expect("a seed");
    let opened = dek.open(&stored, b"/registry/secrets/default/a");
    let plain = br#"{"kind":"Secret","apiVersion":"v1"}"#;
    assert_eq!(opened.as_deref(), Ok(plain.as_slice()));
    assert!(dek.open(&stored, b"/elsewhere").is_err());
    assert!(
        dek.open(&stored[..31], b"/registry/secrets/default/a")
            .is_err()
    );
    // Of a server before v1.29: the plaintext is the key.
    let old = Dek::new(AES_GCM_KEY, &seed).expect("a key");
    let sealed = old.seal(b"x", b"/a").expect("sealed");
    assert_eq!(old.open(&sealed, b"/a").as_deref(), Ok(b"x".as_slice()));
    assert!(Dek::new(AES_GCM_KEY, b"short").is_err() && Dek::new(SEED, b"short").is_err());
}
