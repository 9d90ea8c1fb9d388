use super::*;

const IMAGE: &str = "reg.example/team/app:1";

fn ready(id: &str) -> Ready {
    Ready {
        id: id.to_owned(),
        uid: None,
        username: String::new(),
        references: vec!["reg.example/team/app:1".to_owned()],
        was_there: true,
        preloaded: false,
    }
}

fn source(name: &str, hash: &str) -> Source {
    Source {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: format!("uid of {name}"),
        hash: hash.to_owned(),
    }
}

fn holder(name: &str, hash: &str) -> Vec<Credentials> {
    let auth = v1::AuthConfig::default();
    let source = source(name, hash);
    vec![Credentials { auth, source }]
}

struct Node {
    directory: tempfile::TempDir,
    records: Records,
}

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::load(directory.path().join("images"), Verification::OfPulled);
        Self { directory, records }
    }

    fn restart(&mut self) {
        let home = self.directory.path().join("images");
        self.records = Records::load(home, Verification::OfPulled);
    }

    fn pull(&self, image: &str, id: &str, by: Option<Source>) {
        let pulling = self.records.begin(image).unwrap();
        pulling.succeeded(&ready(id), by);
    }

    fn allows(&self, image: &str, own: &[Credentials]) -> bool {
        self.records.allow(image, &ready("i"), own)
    }

    fn files(&self, below: &str) -> usize {
        let directory = self.directory.path().join("images").join(below);
        fs::read_dir(directory).map_or(0, Iterator::count)
    }
}

#[test]
fn what_the_kubelet_has_not_pulled_is_everybodys() {
    let mut node = Node::new();
    assert!(node.allows(IMAGE, &[]));
    // Nor is it anybody's alone when a pull of it has failed.
    node.records.begin(IMAGE).unwrap().failed();
    assert!(node.allows(IMAGE, &[]));
    node.restart();
    assert!(node.allows(IMAGE, &[]));
    assert_eq!(node.files("pulling"), 0);
}

/// A pod that is deleted while its image is pulled, and an archive that is imported then.
#[test]
fn what_was_imported_is_everybodys_whatever_became_of_a_pull() {
    let mut node = Node::new();
    let imported = Ready {
        preloaded: true,
        ..ready("i")
    };
    drop(node.records.begin(IMAGE).unwrap());
    for _ in 0..2 {
        assert!(!node.allows(IMAGE, &[]));
        assert!(node.records.allow(IMAGE, &imported, &[]));
        node.restart();
    }
    node.pull(IMAGE, "i", Some(source("good", "1")));
    assert!(!node.records.allow(IMAGE, &imported, &[]));
    assert!(node.records.allow("local.example/app:1", &imported, &[]));
    assert!(!node.allows("local.example/app:1", &[]));
}

#[test]
fn the_configuration_says_whose_credentials_are_looked_at() {
    for (policy, preloaded, pulled) in [
        ("NeverVerify", true, true),
        ("NeverVerifyPreloadedImages", true, false),
        ("AlwaysVerify", false, false),
    ] {
        let mut node = Node::new();
        let home = node.directory.path().join("images");
        node.records = Records::load(home, Verification::of(policy));
        assert_eq!(node.allows(IMAGE, &[]), preloaded, "{policy}");
        node.pull(IMAGE, "i", Some(source("good", "1")));
        assert_eq!(node.allows(IMAGE, &[]), pulled, "{policy}");
        assert!(node.allows(IMAGE, &holder("good", "1")), "{policy}");
    }
}

#[test]
fn an_image_that_was_pulled_with_credentials_is_for_who_has_them() {
    let mut node = Node::new();
    node.pull(IMAGE, "i", Some(source("good", "1")));
    let others = [
        (vec![], false),
        (holder("good", "1"), true),
        // The same in another secret.
        (holder("copy", "1"), true),
        (holder("bad", "2"), false),
        // Another in the same secret, and then that one elsewhere.
        (holder("good", "3"), true),
        (holder("other", "3"), true),
    ];
    for (own, wanted) in others {
        assert_eq!(node.allows(IMAGE, &own), wanted, "{own:?}");
    }
    // Its names are one by one.
    assert!(!node.allows("mirror.example/app:1", &holder("good", "1")));
    assert!(node.allows("reg.example/team/app:other", &holder("good", "1")));
    node.restart();
    assert!(!node.allows(IMAGE, &[]));
    assert!(node.allows(IMAGE, &holder("copy", "1")));
    // Once anybody could pull it, anybody may have it.
    node.pull(IMAGE, "i", None);
    assert!(node.allows(IMAGE, &[]));
    node.restart();
    assert!(node.allows(IMAGE, &[]));
    assert_eq!((node.files("pulled"), node.files("pulling")), (1, 0));
}

#[test]
fn a_pull_whose_end_nobody_saw_may_have_brought_its_image() {
    let mut node = Node::new();
    let pulling = node.records.begin(IMAGE).unwrap();
    assert!(
        !node.allows(IMAGE, &holder("good", "1")),
        "while it goes on"
    );
    drop(pulling);
    for _ in 0..2 {
        assert!(!node.allows(IMAGE, &[]));
        // By another of its names, too.
        assert!(!node.allows("reg.example/team/app:2", &[]));
        node.restart();
    }
    node.pull(IMAGE, "i", Some(source("good", "1")));
    assert!(node.allows(IMAGE, &holder("good", "1")));
    assert_eq!(node.files("pulling"), 0);
}

#[test]
fn records_have_an_end() {
    let mut access = Access::default();
    for number in 0..MAX_SOURCES * 2 {
        access.add(Some(source(&number.to_string(), "1")));
    }
    assert_eq!(access.sources.len(), MAX_SOURCES);
    let mut node = Node::new();
    for number in 0..MANY {
        assert!(!node.records.are_many(), "{number}");
        node.pull(IMAGE, &number.to_string(), None);
    }
    assert!(node.records.are_many());
    let left = v1::Image {
        id: "3".to_owned(),
        ..Default::default()
    };
    node.records.retain(&[left]);
    assert!(!node.records.are_many());
    node.restart();
    assert_eq!(node.files("pulled"), 1);
}
