//! Header blocks: name and value pairs, compressed as one zlib stream for each direction of a connection.

use std::collections::BTreeMap;

use bytes::Buf;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::dictionary;

/// Largest block, bytes when decompressed.
const MAX_BLOCK_BYTES: usize = 64 << 10;
/// Headers of one block.
const MAX_HEADERS: u32 = 256;

/// Names in lower case.
pub type Headers = BTreeMap<String, String>;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("decompress headers: {0}")]
    Compression(String),
    #[error("headers of more than {MAX_BLOCK_BYTES} bytes")]
    TooLong,
    #[error("headers are cut off")]
    Cut,
}

/// The client's blocks, in their order.
pub struct Decoder {
    stream: Decompress,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            stream: Decompress::new(true),
        }
    }
}

impl Decoder {
    pub fn decode(&mut self, block: &[u8]) -> Result<Headers, HeaderError> {
        let plain = self.decompress(block)?;
        parse(&plain)
    }

    fn decompress(&mut self, block: &[u8]) -> Result<Vec<u8>, HeaderError> {
        let failed = |error: flate2::DecompressError| HeaderError::Compression(error.to_string());
        let mut plain = Vec::with_capacity(1024);
        let start = self.stream.total_in();
        loop {
            let used = self.stream.total_in().saturating_sub(start) as usize;
            let before = plain.len();
            if before >= MAX_BLOCK_BYTES {
                return Err(HeaderError::TooLong);
            }
            plain.reserve(1024);
            let rest = &block[used.min(block.len())..];
            match self
                .stream
                .decompress_vec(rest, &mut plain, FlushDecompress::Sync)
            {
                Ok(Status::StreamEnd) => return Ok(plain),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.stream.set_dictionary(&dictionary()).map_err(failed)?;
                    continue;
                }
                Err(error) => return Err(failed(error)),
            }
            let consumed = self.stream.total_in().saturating_sub(start) as usize;
            let full = plain.len() == plain.capacity();
            if consumed >= block.len() && !full {
                return Ok(plain);
            }
            if consumed == used && plain.len() == before {
                return Err(HeaderError::Cut);
            }
        }
    }
}

fn parse(mut block: &[u8]) -> Result<Headers, HeaderError> {
    let count = block.try_get_u32().map_err(|_| HeaderError::Cut)?;
    if count > MAX_HEADERS {
        return Err(HeaderError::TooLong);
    }
    let mut headers = Headers::new();
    for _ in 0..count {
        let name = text(&mut block)?.to_ascii_lowercase();
        headers.insert(name, text(&mut block)?);
    }
    Ok(headers)
}

fn text(block: &mut &[u8]) -> Result<String, HeaderError> {
    let length = block.try_get_u32().map_err(|_| HeaderError::Cut)? as usize;
    let bytes = block.get(..length).ok_or(HeaderError::Cut)?;
    let text = String::from_utf8_lossy(bytes).into_owned();
    block.advance(length);
    Ok(text)
}

/// This side's blocks. All of them are empty: replies say nothing.
pub struct Encoder {
    stream: Compress,
}

impl Encoder {
    pub fn new() -> Result<Self, HeaderError> {
        let mut stream = Compress::new(Compression::fast(), true);
        stream
            .set_dictionary(&dictionary())
            .map_err(|error| HeaderError::Compression(error.to_string()))?;
        Ok(Self { stream })
    }

    /// A block without headers.
    pub fn empty(&mut self) -> Result<Vec<u8>, HeaderError> {
        // A count of zero; a dozen bytes with the stream's start and the flush's mark.
        let mut block = Vec::with_capacity(64);
        self.stream
            .compress_vec(&0u32.to_be_bytes(), &mut block, FlushCompress::Sync)
            .map_err(|error| HeaderError::Compression(error.to_string()))?;
        Ok(block)
    }
}

#[cfg(test)]
mod tests;
