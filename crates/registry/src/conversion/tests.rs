use serde_json::json;

use super::review::{self, Version};

fn answer(uid: &str, objects: serde_json::Value, result: serde_json::Value) -> Vec<u8> {
    let response = json!({"uid": uid, "result": result, "convertedObjects": objects});
    let answer = json!({
        "kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response,
    });
    answer.to_string().into_bytes()
}

#[test]
fn an_answer_is_held_to_its_question() {
    let success = json!({"status": "Success"});
    let decode = |body: &[u8]| review::decode(Version::V1, "u", body);
    assert_eq!(
        decode(&answer("u", json!([1]), success.clone())),
        Ok(vec![json!(1)])
    );
    for (body, wanted) in [
        (
            answer("v", json!([]), success),
            "expected response.uid=\"u\", got \"v\"",
        ),
        (
            answer(
                "u",
                json!([]),
                json!({"status": "Failure", "message": "no way"}),
            ),
            "no way",
        ),
        (
            answer("u", json!([]), json!({"status": "Failure"})),
            "response.result.status was 'Failure', not 'Success'",
        ),
        (
            json!({"kind": "Pod", "apiVersion": "v1"})
                .to_string()
                .into_bytes(),
            "no kind \"Pod\" is registered for version \"v1\" in scheme \"pkg/util/webhook/client.go:74\"",
        ),
        (
            json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1"})
                .to_string()
                .into_bytes(),
            "no response provided",
        ),
    ] {
        assert_eq!(decode(&body), Err(wanted.to_owned()));
    }
}

#[test]
fn a_webhook_changes_no_metadata_but_labels_and_annotations() {
    let from = json!({
        "kind": "Foo", "apiVersion": "e.com/v1",
        "metadata": {"name": "a", "uid": "1", "labels": {"x": "1"}, "annotations": {"y": "2"}, "generation": 3},
        "host": "h",
    });
    let mut to = json!({
        "kind": "Foo", "apiVersion": "e.com/v2",
        "metadata": {"name": "a", "uid": "1", "labels": {"x": "2"}, "generation": 9, "finalizers": ["f"]},
        "hostPort": "h:1",
    });
    assert_eq!(review::check(&from, &mut to, "e.com/v2"), Ok(()));
    assert_eq!(
        to["metadata"],
        json!({"name": "a", "uid": "1", "labels": {"x": "2"}, "generation": 3})
    );
    assert_eq!(to["hostPort"], "h:1");
    for (change, single, wanted) in [
        (
            json!({"apiVersion": "e.com/v1"}),
            true,
            "returned invalid object at index 0: invalid groupVersion (expected e.com/v2, received e.com/v1)",
        ),
        (
            json!({"kind": "Bar"}),
            false,
            "returned invalid converted object at index 4: invalid kind (expected Foo, received Bar)",
        ),
        (
            json!({"metadata": {"name": "b", "uid": "1"}}),
            true,
            "returned invalid object: must have the same name: a != b",
        ),
        (
            json!({"metadata": {"name": "a"}}),
            false,
            "returned invalid converted object at index 4: must have the same UID: 1 != ",
        ),
        (
            json!({"metadata": {"name": "a", "uid": "1", "labels": {"x": 1}}}),
            true,
            "returned invalid metadata: metadata.labels[x] must be a string in converted object",
        ),
        (
            json!({"metadata": {"name": "a", "uid": "1", "labels": {"-": "1"}}}),
            true,
            "returned invalid metadata: metadata.labels: Invalid value",
        ),
    ] {
        let mut to =
            json!({"kind": "Foo", "apiVersion": "e.com/v2", "metadata": {"name": "a", "uid": "1"}});
        for (field, value) in change.as_object().into_iter().flatten() {
            to[field] = value.clone();
        }
        let wrong = review::check(&from, &mut to, "e.com/v2").expect_err("is wrong");
        let told = wrong.told(4, single);
        assert!(told.starts_with(wanted), "{told}");
    }
}

#[test]
fn a_question_names_the_version_that_is_wanted() {
    let object = serde_json::value::to_raw_value(&json!({"a": 1})).expect("JSON");
    let question = review::encode(Version::V1beta1, "u", "e.com/v2", &[&object]);
    let question: serde_json::Value = serde_json::from_slice(&question).expect("JSON");
    assert_eq!(
        question,
        json!({
            "kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1beta1",
            "request": {"uid": "u", "desiredAPIVersion": "e.com/v2", "objects": [{"a": 1}]},
        })
    );
    let of = |versions: &[&str]| {
        let versions: Vec<String> = versions.iter().map(|v| (*v).to_owned()).collect();
        Version::of(&versions)
    };
    assert_eq!(of(&["v9", "v1beta1", "v1"]), Some(Version::V1beta1));
    assert_eq!(of(&["v9"]), None);
}
