use serde_json::{Value, json};

use super::*;

/// Like upstream's test type: recursive, with a field of every sort.
struct Item {
    merge_key: Option<&'static str>,
    strategies: &'static [Strategy],
    element: Option<&'static Item>,
    fields: bool,
}

static ITEM: Item = Item { merge_key: None, strategies: &[], element: None, fields: true };
static SCALAR: Item = Item { merge_key: None, strategies: &[], element: None, fields: false };
static MERGING_LIST: Item =
    Item { merge_key: Some("name"), strategies: &[Strategy::Merge], element: Some(&ITEM), fields: false };
static LIST: Item = Item { merge_key: None, strategies: &[], element: Some(&ITEM), fields: false };
static MERGING_SCALARS: Item =
    Item { merge_key: None, strategies: &[Strategy::Merge], element: Some(&SCALAR), fields: false };
static SCALARS: Item = Item { merge_key: None, strategies: &[], element: Some(&SCALAR), fields: false };
static REPLACING: Item = Item { merge_key: None, strategies: &[Strategy::Replace], element: None, fields: true };
static RETAIN: Item = Item { merge_key: None, strategies: &[Strategy::RetainKeys], element: None, fields: true };
static RETAIN_LIST: Item = Item {
    merge_key: Some("name"),
    strategies: &[Strategy::Merge, Strategy::RetainKeys],
    element: Some(&ITEM),
    fields: false,
};

impl PatchSchema for Item {
    fn field(&self, name: &str) -> Option<&dyn PatchSchema> {
        let field: &Item = match name {
            _ if !self.fields => return None,
            "mergingList" => &MERGING_LIST,
            "nonMergingList" => &LIST,
            "mergingIntList" => &MERGING_SCALARS,
            "nonMergingIntList" => &SCALARS,
            "mergeItemPtr" => &MERGING_LIST,
            "replacingItem" => &REPLACING,
            "retainKeysMap" => &RETAIN,
            "retainKeysMergingList" => &RETAIN_LIST,
            _ => &SCALAR,
        };
        Some(field)
    }

    fn element(&self) -> Option<&dyn PatchSchema> {
        self.element.map(|element| element as &dyn PatchSchema)
    }

    fn merge_key(&self) -> Option<&str> {
        self.merge_key
    }

    fn strategies(&self) -> &[Strategy] {
        self.strategies
    }
}

#[test]
fn upstream_all() {
    let rows: Value = serde_json::from_str(&std::fs::read_to_string("/tmp/kvdl/rows.json").unwrap()).unwrap();
    let mut bad = 0;
    for row in rows.as_array().unwrap() {
        let got = strategic(&row["original"], &row["patch"], &ITEM);
        let ok = match (&got, row["error"].as_str()) {
            (Ok(v), None) => *v == row["result"] || (row["result"].is_null() && v == &json!({})),
            (Err(e), Some(w)) => e.message.contains(w),
            _ => false,
        };
        if !ok {
            bad += 1;
            eprintln!("{} : {got:?}\n   {row}", row["name"]);
        }
    }
    assert_eq!(bad, 0);
}
