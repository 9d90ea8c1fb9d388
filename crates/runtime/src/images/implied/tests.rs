use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

struct Layers {
    home: tempfile::TempDir,
    layers: Vec<Layer>,
}

impl Layers {
    fn new() -> io::Result<Self> {
        let home = tempfile::tempdir()?;
        let layers = Vec::new();
        Ok(Self { home, layers })
    }

    fn add(&mut self, directories: &[(&str, u32)], implied: &[&str]) -> io::Result<PathBuf> {
        let path = self.home.path().join(self.layers.len().to_string());
        fs::create_dir(&path)?;
        for (name, mode) in directories {
            fs::create_dir_all(path.join(name))?;
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(*mode))?;
        }
        let implied = implied.iter().map(|name| (*name).to_owned()).collect();
        self.layers.push((path.clone(), implied));
        Ok(path)
    }

    fn kept(&self) -> io::Result<Vec<(String, u32)>> {
        let kept = kept_directories(&self.layers)?;
        let shown = kept.iter().map(|k| (k.path.display().to_string(), k.mode));
        Ok(shown.collect())
    }
}

#[test]
fn implied_directories_keep_what_a_lower_layer_gives_them() -> io::Result<()> {
    let mut image = Layers::new()?;
    image.add(&[("tmp", 0o1777), ("srv", 0o750), ("srv/data", 0o700)], &[])?;
    image.add(
        &[("srv/data", 0o755), ("new", 0o755)],
        &["srv", "srv/data", "new"],
    )?;
    image.add(&[("tmp", 0o755)], &["tmp"])?;
    let wanted = [("srv", 0o750), ("srv/data", 0o700), ("tmp", 0o1777)];
    let wanted = wanted.map(|(name, mode)| (name.to_owned(), mode));
    assert_eq!(image.kept()?, wanted);
    let upper = image.home.path().join("upper");
    fs::create_dir(&upper)?;
    if nix::unistd::geteuid().is_root() {
        make(&upper, &kept_directories(&image.layers)?, None)?;
        for (name, mode) in wanted {
            assert_eq!(
                fs::metadata(upper.join(&name))?.mode() & PERMISSIONS,
                mode,
                "{name}"
            );
        }
    }
    Ok(())
}

#[test]
fn what_a_layer_lists_or_hides_is_as_that_layer_has_it() -> io::Result<()> {
    let mut image = Layers::new()?;
    image.add(
        &[("listed", 0o700), ("hidden", 0o700), ("again", 0o700)],
        &[],
    )?;
    image.add(&[("listed", 0o711), ("again", 0o755)], &["again"])?;
    let hiding = image.add(&[("again", 0o722)], &[])?;
    symlink("/", hiding.join("hidden"))?;
    image.add(&[("hidden", 0o755)], &["hidden"])?;
    assert_eq!(image.kept()?, []);
    Ok(())
}
