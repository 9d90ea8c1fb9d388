//! What upstream's v1.37 has stored is read. The program that made these values had the keys 1, 2, 3, … of each length.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;

const PLACE: &[u8] = b"/registry/secrets/default/a";
const PLAIN: &[u8] = br#"{"kind":"Secret","apiVersion":"v1"}"#;

const STORED: [(Kind, usize, &str); 7] = [
    (
        Kind::AesGcm,
        16,
        "HKXZml9F2bfrISKo2D4NVMdDneEXi4e0Ooi+eVhO/BmCHgKA1vGz2PCOy6ma2ZNP4ycEAYE/WyXs2gxTn/83",
    ),
    (
        Kind::AesCbc,
        16,
        "jYkYNmO6BUtKKE61Ubv5J/3ZS7cBU+E1WI2gaHDoPhxOq9f6WBEThYU2CKYb0GNhuCRUT9TzowhailsSj3KXkQ==",
    ),
    (
        Kind::AesGcm,
        24,
        "ZibYGBbKP+RMdkcilN7ymjddjfPkvv+aGmDhQvdVF3yX6NO3gkDeFKA77ZucHqBhvlN1RFCQ40Ra1bMctePu",
    ),
    (
        Kind::AesCbc,
        24,
        "+B5wvQ9LB8SAY/uAKiIhqnrLTQqWbt5mS7x9WUQaHYk+3niIUtyXvrzzzeOFBfyo7n7qGv+wr6dvTYQC5KgQMQ==",
    ),
    (
        Kind::AesGcm,
        32,
        "YOVqS/FAo8lHdEmkWANGGyQ5UMMQAFsO8hg2d4PHg2f0xwKQzIFc0S3tI2qCRGeo8uxViMGiWAAG4t2KSoa9",
    ),
    (
        Kind::AesCbc,
        32,
        "5Gc8vVthHW1V1ltzt3zzGSuE9S3HC9Sz83iiKe03WbDJe+h/b+2n/j6orHDalFmK965p9LBuL/ybODH0iCvm6Q==",
    ),
    (
        Kind::Secretbox,
        32,
        "j2xl6fH0Q5ABtKggSOqGVF2FZ+K12LJ97+PhmB+/6pMb0SKwOrv0qzq2k1No8SDbADm3nF+wZOKQ2unzM9fdTNMLA+MNcr6IH8TX",
    ),
];

fn key(length: usize) -> Vec<u8> {
    (1..=length).map(|n| n as u8).collect()
}

fn cipher(kind: Kind, length: usize) -> Cipher {
    Cipher::new(kind, &key(length)).expect("a key")
}

#[test]
fn upstreams_values_are_read() {
    for (kind, length, stored) in STORED {
        let stored = STANDARD.decode(stored).expect("base64");
        let opened = cipher(kind, length).open(&stored, PLACE);
        assert_eq!(opened.as_deref(), Ok(PLAIN), "{kind:?} {length}");
    }
}

#[test]
fn what_is_sealed_can_be_opened_and_nothing_else() {
    for (kind, length, _) in STORED {
        let (cipher, told) = (cipher(kind, length), format!("{kind:?} {length}"));
        for plain in [b"".as_slice(), b"0123456789abcdef", PLAIN] {
            let (mut one, mut other) = (Vec::new(), Vec::new());
            cipher.seal(&mut one, plain, PLACE).expect("sealed");
            cipher.seal(&mut other, plain, PLACE).expect("sealed");
            assert_ne!(one, other, "{told}");
            assert_eq!(cipher.open(&one, PLACE).as_deref(), Ok(plain), "{told}");
            assert!(cipher.open(&one[..one.len() - 1], PLACE).is_err(), "{told}");
            assert!(cipher.open(&one[..3], PLACE).is_err(), "{told}");
            if kind == Kind::AesGcm {
                assert!(cipher.open(&one, b"/elsewhere").is_err(), "{told}");
            }
            if kind != Kind::AesCbc {
                let at = one.len() - 1;
                one[at] ^= 1;
                assert!(cipher.open(&one, PLACE).is_err(), "{told}");
            }
        }
        assert!(cipher.open(b"", PLACE).is_err());
    }
}

#[test]
fn keys_of_other_lengths_are_none() {
    for kind in [Kind::AesGcm, Kind::AesCbc, Kind::Secretbox] {
        for length in [0, 1, 15, 31, 33, 64] {
            assert!(Cipher::new(kind, &key(length)).is_none(), "{kind:?}");
        }
    }
    assert!(Cipher::new(Kind::Secretbox, &key(24)).is_none());
}

#[test]
fn padding_is_checked_as_upstream_does() {
    // CBC with what is no padding: decrypted by the same key, encrypted block by block.
    let cipher = cipher(Kind::AesCbc, 16);
    let mut sealed = Vec::new();
    cipher.seal(&mut sealed, &[7; 16], PLACE).expect("sealed");
    // Without the block of padding the last byte is 7, and so are the six before it.
    let cut = &sealed[..32];
    assert_eq!(cipher.open(cut, PLACE).as_deref(), Ok([7; 9].as_slice()));
    let mut sealed = Vec::new();
    cipher.seal(&mut sealed, &[0; 16], PLACE).expect("sealed");
    let none = cipher.open(&sealed[..32], PLACE);
    assert_eq!(none, Err("invalid PKCS7 data (empty or not padded)"));
    let mut sealed = Vec::new();
    let mixed: Vec<u8> = (0..16).collect();
    cipher.seal(&mut sealed, &mixed, PLACE).expect("sealed");
    let none = cipher.open(&sealed[..32], PLACE);
    assert_eq!(none, Err("invalid padding on input"));
    assert!(cipher.open(&sealed[..16], PLACE).is_err());
}
