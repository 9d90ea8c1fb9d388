//! Content codings of pages that are looked into.

use std::io::{Result, Write};

use bytes::Bytes;
use flate2::{
    Compression,
    write::{DeflateDecoder, DeflateEncoder, GzEncoder, MultiGzDecoder},
};
use http::{HeaderMap, header};

/// Decodes what comes and encodes what goes on alike.
pub enum Coding {
    Identity,
    Gzip(MultiGzDecoder<Vec<u8>>, GzEncoder<Vec<u8>>),
    /// Without zlib's frame, as upstream.
    Deflate(DeflateDecoder<Vec<u8>>, DeflateEncoder<Vec<u8>>),
}

impl Coding {
    /// The coding of an answer; `None` for one that is not understood.
    pub fn of(headers: &HeaderMap) -> Option<Coding> {
        match headers.get(header::CONTENT_ENCODING).map(|v| v.as_bytes()) {
            None | Some(b"") => Some(Coding::Identity),
            Some(b"gzip") => Some(Coding::Gzip(
                MultiGzDecoder::new(Vec::new()),
                GzEncoder::new(Vec::new(), Compression::default()),
            )),
            Some(b"deflate") => Some(Coding::Deflate(
                DeflateDecoder::new(Vec::new()),
                DeflateEncoder::new(Vec::new(), Compression::best()),
            )),
            Some(_) => None,
        }
    }

    /// Plain bytes of a piece.
    pub fn decode(&mut self, piece: &[u8]) -> Result<Vec<u8>> {
        Ok(match self {
            Coding::Identity => piece.to_vec(),
            Coding::Gzip(decoder, _) => {
                decoder.write_all(piece)?;
                std::mem::take(decoder.get_mut())
            }
            Coding::Deflate(decoder, _) => {
                decoder.write_all(piece)?;
                std::mem::take(decoder.get_mut())
            }
        })
    }

    /// The last plain bytes; an error where the coding has not come to its end.
    pub fn decoded(&mut self) -> Result<Vec<u8>> {
        Ok(match self {
            Coding::Identity => Vec::new(),
            Coding::Gzip(decoder, _) => {
                decoder.try_finish()?;
                std::mem::take(decoder.get_mut())
            }
            Coding::Deflate(decoder, _) => {
                decoder.try_finish()?;
                std::mem::take(decoder.get_mut())
            }
        })
    }

    /// Encodes a piece, all of it: somebody waits at the other end.
    pub fn encode(&mut self, plain: Vec<u8>) -> Result<Bytes> {
        if plain.is_empty() {
            return Ok(Bytes::new());
        }
        Ok(Bytes::from(match self {
            Coding::Identity => plain,
            Coding::Gzip(_, encoder) => {
                encoder.write_all(&plain)?;
                encoder.flush()?;
                std::mem::take(encoder.get_mut())
            }
            Coding::Deflate(_, encoder) => {
                encoder.write_all(&plain)?;
                encoder.flush()?;
                std::mem::take(encoder.get_mut())
            }
        }))
    }

    /// Encodes the last piece, and ends.
    pub fn encoded(self, plain: Vec<u8>) -> Result<Bytes> {
        Ok(Bytes::from(match self {
            Coding::Identity => plain,
            Coding::Gzip(_, mut encoder) => {
                encoder.write_all(&plain)?;
                encoder.finish()?
            }
            Coding::Deflate(_, mut encoder) => {
                encoder.write_all(&plain)?;
                encoder.finish()?
            }
        }))
    }
}
