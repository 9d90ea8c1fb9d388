//! Log rotation: a file of 10 MiB is put aside and the runtime opens a new one; five files a container are kept.

use std::{fs, io, path::Path, path::PathBuf, time::Duration};

use knarr_cri::v1;
use tokio_util::sync::CancellationToken;

use crate::{context::Shared, labels};

/// Upstream's containerLogMaxSize.
const MAX_BYTES: u64 = 10 << 20;
/// Upstream's containerLogMaxFiles, the present one included.
const MAX_FILES: usize = 5;
/// Upstream's containerLogMonitorInterval.
const PERIOD: Duration = Duration::from_secs(10);

/// Looks at the logs of running containers until the token is cancelled.
pub(crate) async fn run(ctx: Shared, token: CancellationToken) {
    while token
        .run_until_cancelled(tokio::time::sleep(PERIOD))
        .await
        .is_some()
    {
        for uid in ctx.observed.uids() {
            let view = ctx.observed.view(&uid);
            for container in view.running() {
                let path = Path::new(&container.log_path);
                if !fs::metadata(path).is_ok_and(|m| m.len() > MAX_BYTES) {
                    continue;
                }
                if let Err(error) = rotate(&ctx, container, path).await {
                    let name = labels::container_name(container);
                    tracing::warn!(%error, container = name, path = %path.display(), "cannot rotate a log");
                }
            }
        }
    }
}

async fn rotate(ctx: &Shared, container: &v1::ContainerStatus, path: &Path) -> io::Result<()> {
    for old in surplus(path, MAX_FILES - 2)? {
        fs::remove_file(old)?;
    }
    let stamp = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    let aside = PathBuf::from(format!("{}.{stamp}", path.display()));
    fs::rename(path, &aside)?;
    let request = v1::ReopenContainerLogRequest {
        container_id: container.id.clone(),
    };
    if let Err(error) = ctx.runtime.reopen_container_log(request).await {
        // The runtime still writes to the old file; let it have its name again.
        fs::rename(&aside, path)?;
        return Err(io::Error::other(error));
    }
    Ok(())
}

/// Files put aside before, without the newest `keep`; their names sort by age.
pub(super) fn surplus(path: &Path, keep: usize) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut old: Vec<PathBuf> = fs::read_dir(dir)?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    old.sort();
    old.truncate(old.len().saturating_sub(keep));
    Ok(old)
}
