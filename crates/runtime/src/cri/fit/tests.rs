use knarr_cri::v1::{ContainerAttributes, ImageSpec, LinuxPodSandboxStats, PodSandboxAttributes};

use super::*;

const MANY: usize = 80;

fn long(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// What a kubelet looks for, and what a pod's owner may add.
fn map(bytes: usize) -> HashMap<String, String> {
    HashMap::from([
        ("io.kubernetes.pod.uid".to_owned(), "u".to_owned()),
        ("knarr.io/kubelet".to_owned(), "k".to_owned()),
        ("io.kubernetes.pod.other".to_owned(), long(bytes)),
        ("owner".to_owned(), long(bytes)),
    ])
}

fn bytes<T: Message>(items: &[T]) -> usize {
    items.iter().map(Message::encoded_len).sum()
}

fn sandbox(bytes: usize) -> PodSandbox {
    PodSandbox {
        labels: map(bytes),
        annotations: map(bytes),
        ..PodSandbox::default()
    }
}

#[test]
fn what_fits_stays_whole() {
    let items = vec![sandbox(1_000); MANY];
    assert_eq!(fit(items.clone()), items);
    assert!(fit(Vec::<Image>::new()).is_empty());
}

#[test]
fn long_labels_leave_a_list_that_fits_and_tells_whose_it_is() {
    let mut items = vec![sandbox(250_000); MANY];
    items.push(sandbox(10));
    let fitting = fit(items);
    assert!(bytes(&fitting) <= MAX_LIST_BYTES);
    for item in &fitting {
        assert_eq!(item.labels["io.kubernetes.pod.uid"], "u");
        assert_eq!(item.labels["knarr.io/kubelet"], "k");
    }
    // Who is not to blame loses nothing.
    assert_eq!(fitting[MANY], sandbox(10));

    let container = Container {
        labels: map(250_000),
        annotations: map(250_000),
        image: Some(ImageSpec {
            image: "i".to_owned(),
            annotations: map(250_000),
            ..ImageSpec::default()
        }),
        ..Container::default()
    };
    let fitting = fit(vec![container; MANY]);
    assert!(bytes(&fitting) <= MAX_LIST_BYTES);
    assert_eq!(fitting[0].image.as_ref().unwrap().image, "i");
}

#[test]
fn figures_fit_as_well() {
    let container = ContainerStats {
        attributes: Some(ContainerAttributes {
            annotations: map(250_000),
            ..ContainerAttributes::default()
        }),
        ..ContainerStats::default()
    };
    let pod = PodSandboxStats {
        attributes: Some(PodSandboxAttributes {
            id: "s".to_owned(),
            annotations: map(250_000),
            ..PodSandboxAttributes::default()
        }),
        linux: Some(LinuxPodSandboxStats {
            containers: vec![container.clone(); 2],
            ..LinuxPodSandboxStats::default()
        }),
        ..PodSandboxStats::default()
    };
    assert!(bytes(&fit(vec![container; MANY])) <= MAX_LIST_BYTES);
    let fitting = fit(vec![pod; MANY]);
    assert!(bytes(&fitting) <= MAX_LIST_BYTES);
    assert_eq!(fitting[0].attributes.as_ref().unwrap().id, "s");
}

#[test]
fn images_of_many_names_and_long_users_fit() {
    let names = |of: &str| (0..35_000).map(|n| format!("{of}{n:0100}")).collect();
    let image = Image {
        id: "i".to_owned(),
        repo_tags: names("a:"),
        repo_digests: names("a@"),
        username: "ü".repeat(1 << 20),
        ..Image::default()
    };
    let fitting = fit(vec![image.clone(); 8]);
    assert!(bytes(&fitting) <= MAX_LIST_BYTES);
    let told = &fitting[7];
    assert!(!told.username.is_empty());
    assert_eq!(told.repo_tags[..1000], image.repo_tags[..1000]);
    assert_eq!(told.repo_digests[..1000], image.repo_digests[..1000]);
    let nameless = fit(vec![Image {
        username: long(MAX_LIST_BYTES),
        ..Image::default()
    }]);
    assert!(nameless[0].repo_tags.is_empty() && !nameless[0].username.is_empty());
}
