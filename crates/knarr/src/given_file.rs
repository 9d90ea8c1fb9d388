//! The file in which somebody wants the administrator's kubeconfig: it is written anew at each start, so that it must have nothing else.

use std::{
    fs::{self, DirBuilder},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt, chown},
    path::Path,
};

use anyhow::{Context, Result, bail};
use kube::config::Kubeconfig;

/// The cluster, user and context of the kubeconfigs that knarr writes.
const OWN: &str = "knarr";

/// Refuses a file that has the ways to other clusters, and what is no kubeconfig.
///
/// # Errors
/// What the file has.
pub fn check(kubeconfig: &Path) -> Result<()> {
    let shown = kubeconfig.display();
    let text = match fs::read_to_string(kubeconfig) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        text => text.with_context(|| format!("--kubeconfig {shown} cannot be read"))?,
    };
    if text.trim().is_empty() {
        return Ok(());
    }
    let Ok(found) = Kubeconfig::from_yaml(&text) else {
        bail!("--kubeconfig {shown} is there and is no kubeconfig; name another file");
    };
    let clusters = found.clusters.into_iter().map(|cluster| cluster.name);
    let users = found.auth_infos.into_iter().map(|user| user.name);
    let contexts = found.contexts.into_iter().map(|context| context.name);
    let mut names = clusters.chain(users).chain(contexts);
    if let Some(other) = names.find(|name| name != OWN) {
        bail!(
            "--kubeconfig {shown} has {other:?}, which would be lost; name another file: kubectl takes both from \
             KUBECONFIG={shown}:OTHER"
        );
    }
    Ok(())
}

/// Makes the directories that the file is to be in, each for whom the one above is.
///
/// # Errors
/// Which cannot be made.
pub fn make_directories(kubeconfig: &Path) -> Result<()> {
    let Some(directory) = kubeconfig.parent() else {
        return Ok(());
    };
    let missing: Vec<&Path> = directory
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .collect();
    for dir in missing.into_iter().rev() {
        let make = || -> std::io::Result<()> {
            DirBuilder::new().mode(0o700).create(dir)?;
            let above = fs::metadata(dir.parent().unwrap_or(Path::new("/")))?;
            chown(dir, Some(above.uid()), Some(above.gid()))
        };
        make().with_context(|| format!("cannot make {}, for --kubeconfig", dir.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN_FILE: &str = "apiVersion: v1\nkind: Config\nclusters: [{name: knarr, cluster: {server: 'https://127.0.0.1:6443'}}]\n\
        users: [{name: knarr, user: {}}]\ncontexts: [{name: knarr, context: {cluster: knarr, user: knarr}}]\ncurrent-context: knarr\n";

    #[test]
    fn ways_to_other_clusters_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        check(&file).unwrap();
        for text in ["", OWN_FILE] {
            fs::write(&file, text).unwrap();
            check(&file).unwrap();
        }
        for (text, wanted) in [
            (
                OWN_FILE.replacen("name: knarr", "name: prod", 1),
                "has \"prod\"",
            ),
            (
                OWN_FILE.replace("users: [{name: knarr", "users: [{name: me"),
                "has \"me\"",
            ),
            ("- a list".to_owned(), "is no kubeconfig"),
        ] {
            fs::write(&file, &text).unwrap();
            let error = check(&file).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }

    #[test]
    fn directories_are_made_for_their_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("home/.kube/config");
        make_directories(&file).unwrap();
        let made = fs::metadata(dir.path().join("home/.kube")).unwrap();
        assert_eq!(made.mode() & 0o777, 0o700);
        assert_eq!(made.uid(), fs::metadata(dir.path()).unwrap().uid());
        make_directories(&file).unwrap();
        make_directories(Path::new("config")).unwrap();
    }
}
