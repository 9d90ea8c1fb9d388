//! What all servers of a cluster have in common, sealed under a key that follows from their token: whoever reads the store has neither
//! the authorities nor the key of the Secrets.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::SystemTime,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    pbkdf2,
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize};

use super::{
    ENCRYPTION_KEY, Error,
    authority::{self, Authority},
    cert, files,
};

/// Key before certificate: what is there alone after a crash has signed nothing.
const FILES: [(&str, u32); 6] = [
    ("ca.key", files::PRIVATE),
    ("ca.crt", files::PUBLIC),
    ("front-proxy-ca.key", files::PRIVATE),
    ("front-proxy-ca.crt", files::PUBLIC),
    ("sa.key", files::PRIVATE),
    (ENCRYPTION_KEY, files::PRIVATE),
];
/// Shorter tokens could be guessed by whoever reads the store.
pub const MIN_TOKEN_CHARACTERS: usize = 16;
/// What a guess costs.
const ITERATIONS: u32 = 200_000;
/// Most that a stored text may ask for.
const MAX_ITERATIONS: u32 = 10_000_000;
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
/// What is sealed is for this and nothing else.
const PURPOSE: &[u8] = b"knarr cluster keys v1";

/// Why keys cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("the token has less than {MIN_TOKEN_CHARACTERS} characters")]
    ShortToken,
    #[error("the token is not that of the cluster's other servers")]
    WrongToken,
    #[error("what is stored of the cluster's keys is damaged")]
    Damaged,
    #[error("no randomness")]
    Randomness,
}

/// The keys and certificates that are the cluster's and not a server's.
pub struct Shared {
    files: BTreeMap<String, Vec<u8>>,
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct Sealed {
    iterations: u32,
    salt: String,
    nonce: String,
    sealed: String,
}

impl Shared {
    /// Reads what is in `dir`, and makes what is missing there.
    ///
    /// # Errors
    /// [`Error`], as [`Pki::open`](super::Pki::open).
    pub fn open(dir: &Path) -> Result<Shared, Error> {
        files::private_dir(dir)?;
        let now = SystemTime::now();
        Authority::open(dir, &authority::CLUSTER, now)?;
        Authority::open(dir, &authority::FRONT_PROXY, now)?;
        cert::service_account_key(dir)?;
        files::encryption_key(&dir.join(ENCRYPTION_KEY))?;
        files::sync_dir(dir)?;
        let read = |(name, _): (&str, u32)| {
            let path = dir.join(name);
            let content = files::read(&path)?.ok_or_else(|| Error::Damaged {
                path,
                reason: "it has gone".to_owned(),
            })?;
            Ok((name.to_owned(), content))
        };
        let files = FILES.into_iter().map(read).collect::<Result<_, Error>>()?;
        Ok(Shared { files })
    }

    /// Whether a cluster's authority is in a directory.
    pub fn is_in(dir: &Path) -> bool {
        dir.join("ca.crt").exists()
    }

    /// Writes what is missing in `dir`. What differs there is of another cluster.
    ///
    /// # Errors
    /// [`Error::OtherCluster`], [`Error::Io`].
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        files::private_dir(dir)?;
        for (name, mode) in FILES {
            let path: PathBuf = dir.join(name);
            let wanted = self.files.get(name).map(Vec::as_slice).unwrap_or_default();
            match files::read(&path)? {
                Some(there) if there == wanted => {}
                // The second authority may be made again; the stored one counts.
                Some(_) if !name.starts_with("front-proxy") && Self::is_in(dir) => {
                    return Err(Error::OtherCluster { path });
                }
                _ => files::write(&path, wanted, mode, files::Durability::Synced)?,
            }
        }
        files::sync_dir(dir)
    }

    /// A text that only who knows `token` can read.
    ///
    /// # Errors
    /// [`SealError::ShortToken`], [`SealError::Randomness`].
    pub fn seal(&self, token: &str) -> Result<Vec<u8>, SealError> {
        let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_LEN]);
        let random = SystemRandom::new();
        let filled = random
            .fill(&mut salt)
            .and_then(|()| random.fill(&mut nonce));
        filled.map_err(|_| SealError::Randomness)?;
        let key = key(token, &salt, ITERATIONS)?;
        let files = self.files.iter();
        let files: BTreeMap<&String, String> = files
            .map(|(name, content)| (name, STANDARD.encode(content)))
            .collect();
        let mut text = serde_json::to_vec(&files).map_err(|_| SealError::Damaged)?;
        let unique = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(unique, Aad::from(PURPOSE), &mut text)
            .map_err(|_| SealError::Randomness)?;
        let sealed = Sealed {
            iterations: ITERATIONS,
            salt: STANDARD.encode(salt),
            nonce: STANDARD.encode(nonce),
            sealed: STANDARD.encode(text),
        };
        serde_json::to_vec(&sealed).map_err(|_| SealError::Damaged)
    }

    /// Reads what another server has sealed.
    ///
    /// # Errors
    /// [`SealError::WrongToken`], [`SealError::Damaged`].
    pub fn unseal(text: &[u8], token: &str) -> Result<Shared, SealError> {
        let damaged = || SealError::Damaged;
        let sealed: Sealed = serde_json::from_slice(text).map_err(|_| damaged())?;
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| damaged());
        let nonce = bytes(&sealed.nonce)?;
        let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| damaged())?;
        let key = key(token, &bytes(&sealed.salt)?, sealed.iterations)?;
        let mut content = bytes(&sealed.sealed)?;
        let content = key
            .open_in_place(nonce, Aad::from(PURPOSE), &mut content)
            .map_err(|_| SealError::WrongToken)?;
        let texts: BTreeMap<String, String> =
            serde_json::from_slice(content).map_err(|_| damaged())?;
        let mut files = BTreeMap::new();
        for (name, _) in FILES {
            let text = texts.get(name).ok_or_else(damaged)?;
            files.insert(name.to_owned(), bytes(text)?);
        }
        Ok(Shared { files })
    }
}

fn key(token: &str, salt: &[u8], iterations: u32) -> Result<LessSafeKey, SealError> {
    if token.chars().count() < MIN_TOKEN_CHARACTERS {
        return Err(SealError::ShortToken);
    }
    let iterations = Some(iterations).filter(|n| *n <= MAX_ITERATIONS);
    let iterations = iterations.and_then(NonZeroU32::new);
    let iterations = iterations.ok_or(SealError::Damaged)?;
    let mut key = [0; KEY_BYTES];
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, iterations, salt, token.as_bytes(), &mut key);
    let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| SealError::Damaged)?;
    Ok(LessSafeKey::new(key))
}
