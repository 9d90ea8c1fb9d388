use std::{collections::BTreeSet, path::PathBuf};

use super::*;

fn all(dir: &Path) -> Vec<Component> {
    let mut components = foundation(dir).unwrap();
    components.extend(clients(dir, "test", &[]).unwrap());
    components
}

#[test]
fn every_file_that_a_component_is_told_of_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    pki::make(dir).unwrap();
    configure(dir, "test", &["registry.k8s.io/pause:1".to_owned()]).unwrap();
    let mut seen = 0;
    for component in all(dir) {
        for argument in &component.arguments {
            let Some((_, path)) = argument.split_once('=') else {
                continue;
            };
            if Path::new(path).starts_with(dir) {
                assert!(Path::new(path).exists(), "{}: {argument}", component.name);
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");
    let text = fs::read_to_string(config(dir, "containerd.toml")).unwrap();
    assert!(
        text.contains("sandbox = \"registry.k8s.io/pause:1\""),
        "{text}"
    );
}

#[test]
fn what_runs_is_built() {
    let built: BTreeSet<PathBuf> = programs().into_iter().map(Program::path).collect();
    assert_eq!(built.len(), programs().len());
    for component in all(Path::new("/nowhere")) {
        assert!(built.contains(&component.program), "{}", component.name);
    }
}
