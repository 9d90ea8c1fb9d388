use expect_test::expect;
use serde_json::{Value, json};

use super::KIND;
use crate::{
    kind::Part,
    testing::{create_errors, created, row, update_errors, updated},
};

fn range(cidrs: Value) -> Value {
    json!({"metadata": {"name": "r"}, "spec": {"cidrs": cidrs}})
}

#[test]
fn refusals() {
    let errors = [
        json!([]),
        json!(["10.0.0.0/24", "fd00::/64", "10.1.0.0/24"]),
        json!(["10.0.0.1/24", "x"]),
        json!(["10.0.0.0/24", "10.1.0.0/24"]),
        json!(["10.0.0.0/24", "fd00::/64"]),
        json!(["FD00::/64"]),
    ]
    .map(|cidrs| create_errors(&KIND, range(cidrs)))
    .join("\n");
    expect![[r#"
        spec.cidrs: Required value: at least one CIDR required
        spec.cidrs: Invalid value: {"cidrs":["10.0.0.0/24","fd00::/64","10.1.0.0/24"]}: may only hold up to 2 values
        spec.cidrs[0]: Invalid value: "10.0.0.1/24": must not have bits set beyond the prefix length
        spec.cidrs[1]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
        spec.cidrs: Invalid value: ["10.0.0.0/24","10.1.0.0/24"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64

        spec.cidrs[0]: Invalid value: "FD00::/64": must be in canonical form ("fd00::/64")"#]].assert_eq(&errors);
    let old = created(&KIND, range(json!(["10.0.0.0/24"])));
    let errors = [
        json!(["10.0.0.0/24", "fd00::/64"]),
        json!(["10.1.0.0/24"]),
        json!(["10.1.0.0/24", "10.0.0.0/24"]),
        json!([]),
    ]
    .map(|cidrs| update_errors(&KIND, range(cidrs), &old, Part::Main))
    .join("\n");
    expect![[r#"

        spec.cidrs[0]: Invalid value: "10.1.0.0/24": field is immutable
        spec.cidrs[0]: Invalid value: "10.1.0.0/24": field is immutable
        spec.cidrs: Invalid value: ["10.1.0.0/24","10.0.0.0/24"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64
        spec.cidrs: Invalid value: null: field is immutable"#]].assert_eq(&errors);
}

#[test]
fn parts_and_rows() {
    let mut old = created(&KIND, range(json!(["10.0.0.0/24", "fd00::/64"])));
    old["metadata"]["labels"] = json!({"a": "b"});
    let mut new = range(json!(["10.1.0.0/24"]));
    new["status"] = json!({"conditions": []});
    let status = updated(&KIND, new.clone(), &old, Part::Status);
    assert_eq!(
        (&status["spec"], &status["status"]),
        (&old["spec"], &new["status"])
    );
    assert_eq!(status["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(row(&KIND, &old, 0), "r | 10.0.0.0/24,fd00::/64 | <unknown>");
}
