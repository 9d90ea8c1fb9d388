//! Imports of archives that somebody sends.

use std::{path::Path, sync::Arc, time::Duration};

use knarr_cri::images::{ImportRequest, ImportResponse, ImportedImage, images_server::Images};
use knarr_shim::chain;
use tempfile::TempPath;
use tokio::{fs::File, io::AsyncWriteExt, sync::Semaphore};
use tonic::{Request, Response, Status, Streaming};

use crate::images::{ImageStore, ImportError, room};

/// Imports at a time.
const MAX_IMPORTS: usize = 2;
/// Longest wait for the next piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest archive as it is sent, bytes.
const MAX_ARCHIVE_BYTES: u64 = 128 << 30;

/// The service.
pub struct ImportApi {
    images: Arc<ImageStore>,
    slots: Semaphore,
}

impl ImportApi {
    pub fn new(images: Arc<ImageStore>) -> Self {
        Self {
            images,
            slots: Semaphore::new(MAX_IMPORTS),
        }
    }
}

#[tonic::async_trait]
impl Images for ImportApi {
    async fn import(
        &self,
        request: Request<Streaming<ImportRequest>>,
    ) -> Result<Response<ImportResponse>, Status> {
        let busy = |_| Status::resource_exhausted("other archives are being imported");
        let _slot = self.slots.try_acquire().map_err(busy)?;
        let archive = spool(request.into_inner(), &self.images.temporary()).await?;
        let images = self.images.clone();
        let importing = tokio::task::spawn_blocking(move || {
            let imported = images.import_tar(&archive).map_err(|e| refusal(&e))?;
            let found = imported.images.into_iter().filter_map(|imported| {
                let image = images.find(&imported.id)?;
                Some(ImportedImage {
                    id: image.id,
                    repo_tags: imported.names,
                    size: image.size,
                })
            });
            Ok(ImportResponse {
                images: found.collect(),
                skipped: imported.skipped,
            })
        });
        let imported = importing.await;
        imported
            .map_err(|error| Status::internal(error.to_string()))?
            .map(Response::new)
    }
}

/// Writes what comes into a file, which goes with what is returned: an archive's index may be anywhere in it.
async fn spool(mut pieces: Streaming<ImportRequest>, to: &Path) -> Result<TempPath, Status> {
    let failed = |error: std::io::Error| Status::unknown(format!("write the archive: {error}"));
    let (file, path) = tempfile::NamedTempFile::new_in(to)
        .map_err(failed)?
        .into_parts();
    let mut file = File::from_std(file);
    let (mut size, mut unchecked) = (0_u64, u64::MAX);
    loop {
        let next = tokio::time::timeout(PIECE_TIMEOUT, pieces.message()).await;
        let next = next.map_err(|_| Status::deadline_exceeded("the archive is sent too slowly"))?;
        let Some(piece) = next? else {
            file.flush().await.map_err(failed)?;
            return Ok(path);
        };
        let bytes = piece.data.len() as u64;
        size = size.saturating_add(bytes);
        unchecked = unchecked.saturating_add(bytes);
        if size > MAX_ARCHIVE_BYTES {
            return Err(Status::resource_exhausted("the archive is too large"));
        }
        if unchecked >= room::CHECK_BYTES {
            room::check(&file).map_err(failed)?;
            unchecked = 0;
        }
        file.write_all(&piece.data).await.map_err(failed)?;
    }
}

/// In words that do not name our file.
fn refusal(error: &ImportError) -> Status {
    match error {
        ImportError::Read { source, .. } => {
            Status::invalid_argument(format!("the archive cannot be read: {source}"))
        }
        ImportError::Unknown(_) => {
            Status::invalid_argument("it is neither a docker archive nor an OCI layout")
        }
        _ => Status::invalid_argument(chain(error)),
    }
}
