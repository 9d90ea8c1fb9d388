use super::*;
use crate::record::Outcome;

fn spec(name: &str) -> Spec {
    Spec {
        name: name.to_owned(),
    }
}

const POD: &str = "[sig-node] Pods should be submitted and removed [NodeConformance] [Conformance]";
const NODE: &str = "[sig-scheduling] LimitRange should list, patch [Serial] [Conformance]";

#[test]
fn a_spec_is_known_by_its_name() {
    assert_eq!(spec(POD).sig(), "node");
    assert_eq!(spec("Pods").sig(), "other");
    assert!(spec(NODE).is_serial() && !spec(POD).is_serial());
    assert_eq!(
        spec(POD).file_name(),
        "sig-node-Pods-should-be-submitted-and-removed-NodeConformance-Conformance"
    );
    let focus = Regex::new(&spec(POD).focus()).unwrap();
    assert!(focus.is_match(&format!("Kubernetes e2e suite {POD}")));
    assert!(!focus.is_match(&format!("Kubernetes e2e suite {POD} [Slow]")));
    assert!(!focus.is_match(&format!("Kubernetes e2e suite X{POD}")));
}

#[test]
fn the_list_of_all_specs_is_read() {
    let text = format!(
        "The following spec names can be used with 'ginkgo run --focus/skip':\n    k8s.io/kubernetes/test/e2e/node/pods.go:10: {POD}\n\n"
    );
    assert_eq!(names(&text).collect::<Vec<_>>(), [POD]);
}

#[test]
fn flags_choose_specs() {
    let mut record = Record::default();
    for (name, seconds) in [(POD, 3.0), (NODE, 30.0)] {
        let outcome = Outcome {
            state: State::Pass,
            seconds,
            reason: String::new(),
        };
        record.add([name.to_owned()], outcome);
    }
    let all = || vec![spec(POD), spec(NODE)];
    let every = Choice {
        sigs: &[],
        focus: None,
        skip: None,
        fast: None,
    };
    assert_eq!(every.of(all(), &record).len(), 2);
    let fast = Choice {
        fast: Some(Duration::from_secs(10)),
        ..every
    };
    assert_eq!(fast.of(all(), &record), [spec(POD)]);
    let skip = Regex::new("submitted").unwrap();
    let skipping = Choice {
        skip: Some(&skip),
        ..every
    };
    assert_eq!(skipping.of(all(), &record), [spec(NODE)]);
    let sigs = ["node".to_owned()];
    let of_node = Choice {
        sigs: &sigs,
        ..every
    };
    assert_eq!(of_node.of(all(), &record), [spec(POD)]);
    assert!(of_node.check(&all()).is_ok());
    let sigs = ["nod".to_owned()];
    let mistyped = Choice {
        sigs: &sigs,
        ..every
    };
    assert!(mistyped.check(&all()).is_err());
}

#[test]
fn a_feature_has_its_specs() {
    let feature: Feature = "HPA".parse().unwrap();
    assert!(feature.is_of("[sig-autoscaling] [Feature:HPA] Horizontal pod autoscaling [Slow]"));
    assert!(
        !feature.is_of("[sig-autoscaling] [Feature:HPAScaleToZero] Horizontal pod autoscaling")
    );
    assert!(!feature.is_of(POD));
    assert_eq!(feature.file_name(), "hpa");
    for wrong in ["", "../HPA", "H P A"] {
        assert!(wrong.parse::<Feature>().is_err(), "{wrong:?}");
    }
}
