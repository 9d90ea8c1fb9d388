use serde_json::{Value, json};

use super::*;

fn capacity(json: Value) -> BTreeMap<String, Capacity> {
    let capacity: DeviceCapacity = serde_json::from_value(json).unwrap();
    BTreeMap::from([("c".to_owned(), Capacity::of(&capacity))])
}

#[test]
fn requests_are_rounded_up() {
    let range = |step: &str| json!({"value": "10", "requestPolicy": {"default": "1", "validRange": {"min": "1", "max": "8", "step": step}}});
    let values =
        json!({"value": "10", "requestPolicy": {"default": "1", "validValues": ["1", "2", "4"]}});
    let plain = json!({"value": "10"});
    let cases = [
        (&plain, Some("3"), Ok(Some("3"))),
        (&plain, None, Ok(Some("10"))),
        (&plain, Some("11"), Ok(None)),
        (&values, Some("3"), Ok(Some("4"))),
        (&values, None, Ok(Some("1"))),
        (&values, Some("5"), Ok(None)),
        (&range("2"), Some("4"), Ok(Some("5"))),
        (&range("500m"), Some("1200m"), Ok(Some("1500m"))),
        (&range("2"), Some("500m"), Ok(Some("1"))),
        (&range("2"), Some("9"), Ok(None)),
        (&range("500m"), Some("1n"), Ok(Some("1"))),
        (
            &range("500m"),
            Some("2000000001n"),
            Err("capacity \"c\": request 2000000001n cannot be represented in steps of 500m"),
        ),
    ];
    for (of, requested, wanted) in cases {
        let amounts = requested.map(|text| ("c".to_owned(), Quantity::parse(text).unwrap()));
        let none = std::iter::empty();
        let found = consume(&capacity(of.clone()), &amounts.into_iter().collect(), none);
        let found = found.map(|found| found.map(|all| all["c"].to_string()));
        let wanted = wanted.map(|w| w.map(str::to_owned)).map_err(str::to_owned);
        assert_eq!(found, wanted, "{of} {requested:?}");
    }
}

#[test]
fn what_a_device_does_not_have_is_not_had() {
    let requested = Amounts::from([("d".to_owned(), Quantity::parse("1").unwrap())]);
    let of = capacity(json!({"value": "10"}));
    assert_eq!(consume(&of, &requested, std::iter::empty()), Ok(None));
}
