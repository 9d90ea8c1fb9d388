//! `knarr snapshot`: copies of the embedded store, for a backup or for another machine.
//!
//! The process that has the store makes the copy, at one revision, while it goes on; where none runs, the command does. A copy has the
//! objects and not the keys: Secrets in it are encrypted by `pki/secrets-encryption.key`, and certificates follow from `pki/ca.key`, so
//! that a copy alone gives nothing away, and `pki` is to be kept apart from it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use knarr_meta::clock;
use knarr_store::{Copied, Embedded, Options};
use knarr_tasks::Tasks;
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::{
    cli::{SnapshotAction, SnapshotCommand},
    control,
    instance::{self, Instance},
    text,
};

/// Below the data directory.
const SOCKET: &str = "run/snapshot.sock";
const FOLDER: &str = "snapshots";
const STORE: &str = "store";
const ENCRYPTION_KEY: &str = "pki/secrets-encryption.key";
/// Ends the names of copies.
const EXTENSION: &str = "snapshot";
/// A copy of 64 GiB, read and written twice by a slow disk.
const SAVE_TIMEOUT: Duration = Duration::from_secs(3_600);
const HEAD: [&str; 5] = ["NAME", "TAKEN", "SIZE", "REVISION", "OBJECTS"];

/// What is asked of the process that has the store.
#[derive(Debug, Serialize, Deserialize)]
struct Save {
    file: PathBuf,
}

/// Makes copies for who asks.
///
/// # Errors
/// When nobody could ask.
pub fn serve(store: Arc<Embedded>, data_dir: &Path, tasks: &Tasks) -> Result<()> {
    let listener = control::listen(&data_dir.join(SOCKET));
    let listener = listener.context("cannot listen for commands to copy the store")?;
    let token = tasks.token().clone();
    tasks.keep("snapshots", async move {
        let obey = |request: Save| {
            let store = store.clone();
            async move {
                let copied = tokio::task::spawn_blocking(move || {
                    let copied = save(&store, &request.file);
                    info!(file = %request.file.display(), ok = copied.is_ok(), "copied the store");
                    copied
                });
                copied.await.context("copying the store was aborted")?
            }
        };
        let served = token.run_until_cancelled(control::serve(listener, obey));
        if let Some(Err(error)) = served.await {
            tracing::error!(%error, "nobody can ask for a copy of the store any more");
            token.cancelled().await;
        }
    });
    Ok(())
}

fn save(store: &Embedded, file: &Path) -> Result<Copied> {
    let copied = store.copy_to(file);
    copied.with_context(|| format!("cannot copy the store to {}", file.display()))
}

pub fn run(command: &SnapshotCommand) -> Result<()> {
    let data_dir = &command.data_dir;
    match &command.action {
        SnapshotAction::Save { output } => save_command(data_dir, output.as_deref()),
        SnapshotAction::Restore { file } => restore(data_dir, &named(data_dir, file)),
        SnapshotAction::Ls => list(data_dir),
    }
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
fn save_command(data_dir: &Path, output: Option<&Path>) -> Result<()> {
    if !data_dir.join(STORE).is_dir() {
        bail!(
            "{} has no store: of a cluster on etcd, etcdctl snapshot save makes copies; --data-dir names another",
            data_dir.display()
        );
    }
    let file = match output {
        Some(file) => std::path::absolute(file).context("--output is not a path")?,
        None => by_time(data_dir, clock::now())?,
    };
    if file.exists() {
        bail!(
            "{} exists already; choose another with --output",
            file.display()
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let asked = Save { file: file.clone() };
    let socket = data_dir.join(SOCKET);
    let copied = runtime.block_on(control::ask(&socket, &asked, SAVE_TIMEOUT))?;
    let copied = match copied {
        Some(copied) => copied,
        None => save_at_rest(data_dir, &file)?,
    };
    print!("{}", summary(&file, &copied));
    println!(
        "it does not have the keys: keep a copy of {} apart from it",
        data_dir.join("pki").display()
    );
    Ok(())
}

/// Nobody has the store.
fn save_at_rest(data_dir: &Path, file: &Path) -> Result<Copied> {
    let _instance = Instance::acquire(data_dir)?;
    let path = data_dir.join(STORE);
    let store = Embedded::open(&path, Options::default())
        .with_context(|| format!("cannot open the store in {}", path.display()))?;
    save(&store, file)
}

fn by_time(data_dir: &Path, now: Timestamp) -> Result<PathBuf> {
    let folder = data_dir.join(FOLDER);
    instance::make_data_dir(&folder)?;
    let name = now.strftime("%Y-%m-%dT%H-%M-%SZ");
    Ok(folder.join(format!("{name}.{EXTENSION}")))
}

fn summary(file: &Path, copied: &Copied) -> String {
    format!(
        "{}: {} objects at revision {}, {}\n",
        file.display(),
        copied.keys,
        copied.revision,
        size(copied.bytes)
    )
}

/// The file that is meant: a name that the list shows is below the folder of copies, unless there is such a file here.
fn named(data_dir: &Path, file: &Path) -> PathBuf {
    let listed = data_dir.join(FOLDER).join(file);
    match file.components().count() == 1 && !file.exists() && listed.exists() {
        true => listed,
        false => file.to_owned(),
    }
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
fn restore(data_dir: &Path, file: &Path) -> Result<()> {
    let shown = file.display();
    // Said before anything is touched.
    knarr_store::read_copy(file).with_context(|| format!("cannot use {shown}"))?;
    instance::make_data_dir(data_dir)?;
    let _instance = Instance::acquire(data_dir).context(
        "a store is not replaced while it is used; stop it first (knarr down keeps what is stored)",
    )?;
    let store = data_dir.join(STORE);
    let kept = aside(&store, clock::now())?;
    let copied = match knarr_store::restore_copy(file, &store, kept.as_deref()) {
        Ok(copied) => copied,
        Err(error) => {
            put_back(&store, kept.as_deref())?;
            return Err(error).with_context(|| format!("cannot use {shown}; nothing was changed"));
        }
    };
    print!("{}", summary(&store, &copied));
    if let Some(kept) = kept {
        println!("the store that was there is {} now", kept.display());
    }
    let key = data_dir.join(ENCRYPTION_KEY);
    if !key.exists() {
        println!(
            "{} is missing: copy pki of the cluster that the snapshot is of before knarr starts, or its Secrets cannot be read",
            key.display()
        );
    }
    Ok(())
}

/// Moves a store out of the way; where to.
fn aside(store: &Path, now: Timestamp) -> Result<Option<PathBuf>> {
    if !store.exists() {
        return Ok(None);
    }
    let kept = store.with_file_name(format!("{STORE}.before-{}", now.as_millisecond()));
    fs::rename(store, &kept)
        .with_context(|| format!("cannot move {} to {}", store.display(), kept.display()))?;
    Ok(Some(kept))
}

fn put_back(store: &Path, kept: Option<&Path>) -> Result<()> {
    knarr_host::remove(store).with_context(|| format!("cannot remove {}", store.display()))?;
    let Some(kept) = kept else {
        return Ok(());
    };
    fs::rename(kept, store)
        .with_context(|| format!("cannot move {} back to {}", kept.display(), store.display()))
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
fn list(data_dir: &Path) -> Result<()> {
    let folder = data_dir.join(FOLDER);
    let mut rows = vec![HEAD.map(String::from)];
    rows.extend(rows_of(&folder)?);
    match rows.len() {
        1 => println!("no snapshots; make one with: knarr snapshot save"),
        _ => print!("{}", text::table(&rows)),
    }
    Ok(())
}

fn rows_of(folder: &Path) -> Result<Vec<[String; 5]>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    let mut rows = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot read {}", folder.display()))?
            .path();
        if path.extension().and_then(|extension| extension.to_str()) != Some(EXTENSION) {
            continue;
        }
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let taken = fs::metadata(&path).and_then(|file| file.modified());
        let taken = taken.ok().and_then(|time| Timestamp::try_from(time).ok());
        let taken = taken.map_or_else(
            || "<unknown>".to_owned(),
            |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        );
        rows.push(match knarr_store::read_copy(&path) {
            Ok(copied) => [
                name,
                taken,
                size(copied.bytes),
                copied.revision.to_string(),
                copied.keys.to_string(),
            ],
            Err(_) => {
                let damaged = || "<damaged>".to_owned();
                [name, taken, damaged(), damaged(), damaged()]
            }
        });
    }
    rows.sort();
    Ok(rows)
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => format!("{} KiB", bytes.div_ceil(1 << 10)),
        _ => format!("{} MiB", bytes.div_ceil(MIB)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_comes_back_and_the_other_one_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let (data_dir, file) = (dir.path().join("data"), dir.path().join("copy"));
        instance::make_data_dir(&data_dir).expect("a directory");
        let store = data_dir.join(STORE);
        drop(Embedded::open(&store, Options::default()).expect("a store"));
        let copied = save_at_rest(&data_dir, &file).expect("a copy");
        assert_eq!(copied.keys, 0);
        restore(&data_dir, &file).expect("a store");
        let stores = || {
            let entries = fs::read_dir(&data_dir).expect("entries").flatten();
            let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            names.filter(|name| name.starts_with(STORE)).count()
        };
        assert_eq!(stores(), 2);
        // Of a damaged one nothing is changed.
        let mut bytes = fs::read(&file).expect("a file");
        bytes[0] ^= 1;
        fs::write(&file, bytes).expect("a file");
        let error = restore(&data_dir, &file).expect_err("none");
        assert!(
            format!("{error:#}").contains("nothing was changed"),
            "{error:#}"
        );
        assert_eq!(stores(), 2);
        // Nor while somebody has it.
        let _instance = Instance::acquire(&data_dir).expect("a lock");
        assert!(restore(&data_dir, &file).is_err());
    }

    #[test]
    fn a_copy_is_named_as_it_is_listed() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join(FOLDER);
        fs::create_dir(&folder).expect("a directory");
        fs::write(folder.join("a.snapshot"), "x").expect("a file");
        let check = |file: &str, expected: &Path| {
            assert_eq!(named(dir.path(), Path::new(file)), expected, "{file}");
        };
        check("a.snapshot", &folder.join("a.snapshot"));
        // Paths, and what is not there, are as they were written.
        for path in ["./a.snapshot", "b.snapshot", "../a.snapshot", "/a.snapshot"] {
            check(path, Path::new(path));
        }
    }

    #[test]
    fn copies_are_listed_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join(FOLDER);
        assert!(rows_of(&folder).expect("nothing").is_empty());
        fs::create_dir(&folder).expect("a directory");
        fs::write(folder.join("b.snapshot"), "x").expect("a file");
        fs::write(folder.join("notes"), "x").expect("a file");
        let store = Embedded::open(dir.path().join(STORE), Options::default()).expect("a store");
        save(&store, &folder.join("a.snapshot")).expect("a copy");
        let rows = rows_of(&folder).expect("rows");
        assert_eq!(rows.len(), 2);
        assert_eq!(
            (rows[0][0].as_str(), rows[0][4].as_str()),
            ("a.snapshot", "0")
        );
        assert_eq!(
            (rows[1][0].as_str(), rows[1][3].as_str()),
            ("b.snapshot", "<damaged>")
        );
    }
}
