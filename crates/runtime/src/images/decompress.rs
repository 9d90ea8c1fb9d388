//! Archives and layers as they are sent: plain or compressed.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

/// Memory that a zstd stream may ask for, as a power of two, bytes: that of the builders' highest levels.
const MAX_ZSTD_WINDOW_LOG: u32 = 25;

/// A stream that may have been compressed.
pub struct Decompressed {
    inner: Box<dyn Read + Send>,
    compressed: bool,
}

impl Decompressed {
    pub fn is_compressed(&self) -> bool {
        self.compressed
    }
}

impl Read for Decompressed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

/// Looks at the first bytes, not at what a media type claims: gzip, zstd, also where it begins with a frame that is to be
/// skipped, or neither.
pub fn decompress(mut from: impl Read + Send + 'static) -> io::Result<Decompressed> {
    let mut magic = Vec::with_capacity(4);
    from.by_ref().take(4).read_to_end(&mut magic)?;
    let gzip = magic.starts_with(&[0x1f, 0x8b]);
    let zstd = matches!(
        magic[..],
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18]
    );
    if let Some(name) = other_compression(&magic) {
        let message =
            format!("it is compressed by {name}, which is not supported; use gzip or zstd");
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    let whole = io::Cursor::new(magic).chain(from);
    let inner: Box<dyn Read + Send> = if gzip {
        Box::new(MultiGzDecoder::new(whole))
    } else if zstd {
        let mut decoder = zstd::Decoder::new(whole)?;
        decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
        Box::new(decoder)
    } else {
        Box::new(whole)
    };
    Ok(Decompressed {
        inner,
        compressed: gzip || zstd,
    })
}

/// What else people compress archives with, by the first bytes.
fn other_compression(magic: &[u8]) -> Option<&'static str> {
    match magic {
        [b'B', b'Z', b'h', b'1'..=b'9'] => Some("bzip2"),
        [0xfd, b'7', b'z', b'X'] => Some("xz"),
        [0x04, 0x22, 0x4d, 0x18] => Some("lz4"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_is_told_by_the_content() {
        let zstd = zstd::encode_all(&b"content"[..], 1).unwrap();
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd].concat();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, b"content").unwrap();
        let all = [zstd, skipped, gzip.finish().unwrap(), b"content".to_vec()];
        for (index, bytes) in all.into_iter().enumerate() {
            let mut found = String::new();
            let mut plain = decompress(io::Cursor::new(bytes)).unwrap();
            plain.read_to_string(&mut found).unwrap();
            assert_eq!(found, "content", "{index}");
        }
    }

    #[test]
    fn other_compressions_are_told_by_their_names() {
        for (magic, name) in [
            (&b"BZh91AY&SY"[..], "bzip2"),
            (&b"\xfd7zXZ\0"[..], "xz"),
            (&b"\x04\x22\x4d\x18"[..], "lz4"),
        ] {
            let error = decompress(magic).err().map(|error| error.to_string());
            let wanted =
                format!("it is compressed by {name}, which is not supported; use gzip or zstd");
            assert_eq!(error, Some(wanted));
        }
    }
}
