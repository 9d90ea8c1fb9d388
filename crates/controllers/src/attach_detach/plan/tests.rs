use serde_json::{Value, json};

use super::*;
use crate::fixtures::object;

const DRIVER: &str = "d.example";
const MOUNTED: &str = "kubernetes.io/csi/d.example^h";

fn id(node: &str) -> String {
    csi::attachment_name(DRIVER, "h", node)
}

fn wanted(modes: &[&str]) -> Wanted {
    Wanted {
        volume: Arc::new(object(json!({
            "metadata": {"name": "v"},
            "spec": {"accessModes": modes, "csi": {"driver": DRIVER, "volumeHandle": "h"}},
        }))),
        driver: DRIVER.to_owned(),
        handle: "h".to_owned(),
        pods: Vec::new(),
    }
}

fn held(attached: bool, going: bool, unwanted_for: u64) -> Held {
    let mut attachment = json!({
        "metadata": {"name": id("n"), "uid": "u"},
        "spec": {"attacher": DRIVER, "nodeName": "n", "source": {"persistentVolumeName": "v"}},
        "status": {"attached": attached},
    });
    if going {
        attachment["metadata"]["deletionTimestamp"] = json!("2030-01-01T12:00:00Z");
    }
    Held {
        attachment: Arc::new(object(attachment)),
        name: Some(MOUNTED.to_owned()),
        unwanted_for: Duration::from_secs(unwanted_for),
    }
}

fn node(ready: bool, in_use: Value, taints: Value) -> Node {
    let ready = if ready { "True" } else { "Unknown" };
    object(json!({
        "metadata": {"name": "n"},
        "spec": {"taints": taints},
        "status": {"volumesInUse": in_use, "conditions": [{"type": "Ready", "status": ready}]},
    }))
}

/// What is done about the volume, in words.
fn decide(
    node: Option<&Node>,
    left: Option<&[String]>,
    wanted: Option<Wanted>,
    held: Option<Held>,
    elsewhere: &[&str],
) -> String {
    let named = |one: Option<Wanted>| one.map(|one| (id("n"), one)).into_iter().collect();
    let elsewhere = elsewhere.iter().map(|on| (*on).to_owned()).collect();
    let plan = plan(&Observed {
        node: "n",
        object: node,
        left,
        wanted: &named(wanted),
        held: &held.map(|held| (id("n"), held)).into_iter().collect(),
        elsewhere: &[(id("n"), elsewhere)].into(),
    });
    let mut words = Vec::new();
    words.extend(plan.report.iter().map(|_| "report".to_owned()));
    let detach = plan.detach.iter();
    words.extend(detach.map(|one| if one.forced { "force" } else { "detach" }.to_owned()));
    words.extend(plan.attach.iter().map(|_| "attach".to_owned()));
    words.extend(plan.conflicts.iter().map(|_| "conflict".to_owned()));
    words.extend(
        plan.again
            .map(|again| format!("again in {} s", again.as_secs())),
    );
    words.join(", ")
}

#[test]
fn wanted_volumes_are_attached_where_no_other_node_has_them() {
    let ready = node(true, json!([]), json!([]));
    let once = ["ReadWriteOnce"];
    let cases = [
        (Some(&ready), &once[..], None, &[][..], "attach"),
        (Some(&ready), &once, None, &["m"], "conflict"),
        (
            Some(&ready),
            &["ReadWriteOncePod"],
            None,
            &["m"],
            "conflict",
        ),
        (
            Some(&ready),
            &["ReadWriteOnce", "ReadWriteMany"],
            None,
            &["m"],
            "attach",
        ),
        (Some(&ready), &[], None, &["m"], "attach"),
        (None, &once, None, &[], ""),
        (Some(&ready), &once, Some(held(false, false, 0)), &[], ""),
        (
            Some(&ready),
            &once,
            Some(held(true, false, 0)),
            &[],
            "report",
        ),
        // It goes first, and is made anew then.
        (Some(&ready), &once, Some(held(true, true, 0)), &[], ""),
    ];
    for (node, modes, held, elsewhere, what) in cases {
        let case = format!("{modes:?} {held:?} {elsewhere:?}");
        let decided = decide(node, None, Some(wanted(modes)), held, elsewhere);
        assert_eq!(decided, what, "{case}");
    }
}

#[test]
fn volumes_are_detached_once_they_are_unmounted_or_their_node_is_lost() {
    let gone = json!([{"key": OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute"}]);
    let unmounted = node(true, json!(["kubernetes.io/csi/other^h"]), json!([]));
    let mounted = node(true, json!([MOUNTED]), json!([]));
    let lost = node(false, json!([MOUNTED]), json!([]));
    let out = node(false, json!([MOUNTED]), gone);
    let names = [MOUNTED.to_owned()];
    let cases = [
        (Some(&unmounted), None, held(true, false, 0), "detach"),
        (Some(&unmounted), None, held(false, false, 0), "detach"),
        (Some(&unmounted), None, held(true, true, 0), ""),
        (Some(&mounted), None, held(true, false, 0), "report"),
        // A node that is ready keeps what it has mounted, however long.
        (Some(&mounted), None, held(true, false, 10_000), "report"),
        (
            Some(&lost),
            None,
            held(true, false, 60),
            "report, again in 300 s",
        ),
        (Some(&lost), None, held(true, false, 360), "force"),
        (Some(&out), None, held(true, false, 0), "force"),
        (None, None, held(true, false, 0), "report, again in 360 s"),
        (None, None, held(true, false, 361), "force"),
        (None, Some(&[][..]), held(true, false, 0), "detach"),
        (
            None,
            Some(&names[..]),
            held(true, false, 0),
            "report, again in 360 s",
        ),
    ];
    for (node, left, held, what) in cases {
        let case = format!("{node:?} {left:?} {held:?}");
        assert_eq!(decide(node, left, None, Some(held), &[]), what, "{case}");
    }
}

#[test]
fn attachments_say_what_goes_where() {
    let made = attachment("csi-1", &wanted(&[]), "n");
    let made = serde_json::to_value(made).expect("JSON");
    assert_eq!(
        made,
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment",
            "metadata": {"name": "csi-1"},
            "spec": {"attacher": DRIVER, "nodeName": "n", "source": {"persistentVolumeName": "v"}},
        })
    );
}
