//! AES-CBC with a random first block and PKCS#7 padding. Nothing authenticates what it has stored.

use aes::{
    Aes128, Aes192, Aes256, Block,
    cipher::{
        BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit,
        KeyInit, consts::U16,
    },
};
use cbc::{Decryptor, Encryptor};

use super::{TOO_SHORT, random};

const BLOCK: usize = 16;

/// A key.
pub enum Cbc {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Box<Aes256>),
}

impl Cbc {
    pub fn new(key: &[u8]) -> Option<Cbc> {
        Some(match key.len() {
            16 => Cbc::Aes128(Aes128::new_from_slice(key).ok()?),
            24 => Cbc::Aes192(Aes192::new_from_slice(key).ok()?),
            32 => Cbc::Aes256(Box::new(Aes256::new_from_slice(key).ok()?)),
            _ => return None,
        })
    }

    pub fn open(&self, data: &[u8]) -> Result<Vec<u8>, &'static str> {
        let (iv, sealed) = data.split_first_chunk::<BLOCK>().ok_or(TOO_SHORT)?;
        let (blocks, rest) = sealed.as_chunks::<BLOCK>();
        if !rest.is_empty() {
            return Err("the stored data is not a multiple of the block size");
        }
        let mut blocks: Vec<Block> = blocks.iter().map(|block| (*block).into()).collect();
        match self {
            Cbc::Aes128(key) => decrypt(key, *iv, &mut blocks),
            Cbc::Aes192(key) => decrypt(key, *iv, &mut blocks),
            Cbc::Aes256(key) => decrypt(&**key, *iv, &mut blocks),
        }
        let mut plain = blocks.concat();
        let padding = usize::from(plain.last().copied().unwrap_or(0));
        if padding == 0 || padding > plain.len() {
            return Err("invalid PKCS7 data (empty or not padded)");
        }
        let length = plain.len().saturating_sub(padding);
        // Longer padding than a block is taken, as upstream takes it.
        if plain[length..]
            .iter()
            .any(|byte| usize::from(*byte) != padding)
        {
            return Err("invalid padding on input");
        }
        plain.truncate(length);
        Ok(plain)
    }

    pub fn seal(&self, out: &mut Vec<u8>, plain: &[u8]) -> Result<(), &'static str> {
        let iv: [u8; BLOCK] = random()?;
        let (whole, rest) = plain.as_chunks::<BLOCK>();
        let mut blocks: Vec<Block> = whole.iter().map(|block| (*block).into()).collect();
        let padding = BLOCK.saturating_sub(rest.len());
        let mut last = [u8::try_from(padding).unwrap_or(0); BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        blocks.push(last.into());
        match self {
            Cbc::Aes128(key) => encrypt(key, iv, &mut blocks),
            Cbc::Aes192(key) => encrypt(key, iv, &mut blocks),
            Cbc::Aes256(key) => encrypt(&**key, iv, &mut blocks),
        }
        out.extend_from_slice(&iv);
        for block in &blocks {
            out.extend_from_slice(block);
        }
        Ok(())
    }
}

fn encrypt<C>(key: &C, iv: [u8; BLOCK], blocks: &mut [Block])
where
    C: BlockCipherEncrypt<BlockSize = U16> + Clone,
{
    Encryptor::inner_iv_init(key.clone(), &iv.into()).encrypt_blocks(blocks);
}

fn decrypt<C>(key: &C, iv: [u8; BLOCK], blocks: &mut [Block])
where
    C: BlockCipherDecrypt<BlockSize = U16> + Clone,
{
    Decryptor::inner_iv_init(key.clone(), &iv.into()).decrypt_blocks(blocks);
}
