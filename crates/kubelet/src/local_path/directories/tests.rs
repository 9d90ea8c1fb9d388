use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).map_or(0, |meta| meta.permissions().mode() & 0o7777)
}

#[tokio::test]
async fn made_and_removed() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    let top = home.path().join("storage");
    let directories = Directories::new(top.clone());
    directories.remove("pvc-a").await?;
    directories.make("pvc-a").await?;
    assert_eq!((mode(&top), mode(&top.join("pvc-a"))), (0o700, 0o777));
    fs::create_dir_all(top.join("pvc-a/deep/deeper"))?;
    fs::write(top.join("pvc-a/deep/file"), "data")?;
    directories.make("pvc-a").await?;
    assert!(top.join("pvc-a/deep/file").exists());
    directories.remove("pvc-a").await?;
    assert!(!top.join("pvc-a").exists());
    directories.remove("pvc-a").await
}

#[tokio::test]
async fn no_name_leads_elsewhere() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    fs::write(home.path().join("keep"), "")?;
    let directories = Directories::new(home.path().join("storage"));
    for name in [
        "",
        "pvc-",
        "..",
        "../keep",
        "pvc-/../../keep",
        "pvc-a/b",
        "keep",
        "pvc-.",
    ] {
        assert!(directories.make(name).await.is_err(), "{name}");
        assert!(directories.remove(name).await.is_err(), "{name}");
    }
    assert!(home.path().join("keep").exists());
    Ok(())
}

#[tokio::test]
async fn what_was_left_goes_if_it_is_empty() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    let top = home.path().join("storage");
    let directories = Directories::new(top.clone());
    directories.sweep(|_| false).await?;
    for name in ["pvc-used", "pvc-left", "pvc-full"] {
        directories.make(name).await?;
    }
    fs::write(top.join("pvc-full/file"), "data")?;
    fs::create_dir(top.join("mine"))?;
    directories.sweep(|name| name == "pvc-used").await?;
    let mut names: Vec<_> = fs::read_dir(&top)?
        .map(|entry| Ok(entry?.file_name().display().to_string()))
        .collect::<io::Result<_>>()?;
    names.sort_unstable();
    assert_eq!(names, ["mine", "pvc-full", "pvc-used"]);
    Ok(())
}
