//! Answers in protobuf as trees that can be compared, without the table of messages that knarr writes them by: fields by their
//! numbers, texts where bytes can be read as such, messages where they can be read as those.

use serde_json::{Map, Value, json};

use super::client::{MAGIC, general};

/// Messages within messages; what is deeper is bytes.
const DEPTH: usize = 64;
/// Seconds since 1970 that are a time of this century's second quarter, and neither a count nor a port.
const SECONDS: std::ops::Range<u64> = 1_750_000_000..2_550_000_000;
/// Before each frame of a watch.
const LENGTH_BYTES: usize = 4;

/// Of what type a message is, as far as it has fields that are of one server.
#[derive(Clone, Copy)]
enum Place {
    Envelope,
    TypeMeta,
    Object,
    List,
    ListMeta,
    Metadata,
    ManagedFields,
    Event,
    Other,
}

/// A body, without what differs between any two servers; `None` where it is no protobuf.
pub fn body(bytes: &[u8]) -> Option<Value> {
    let envelope = bytes.strip_prefix(MAGIC)?;
    let mut tree = message(envelope, Place::Envelope, 0)?;
    if tree["1"]["2"] == "SelfSubjectRulesReview" {
        // Rules stand in the order of a Go map.
        for rules in ["1", "2"] {
            if let Some(list) = tree["2"]["3"][rules].as_array_mut() {
                list.sort_by_cached_key(Value::to_string);
            }
        }
    }
    Some(tree)
}

/// A body that is a `Status`, as it would be in JSON; `None` where it is something else.
pub fn status(bytes: &[u8]) -> Option<Value> {
    let tree = body(bytes).filter(|tree| tree["1"]["2"] == "Status")?;
    let named = |from: &Value, names: &[(&str, &str)]| -> Value {
        let present = names.iter().filter_map(|(number, name)| {
            let value = from
                .get(*number)
                .filter(|value| **value != "" && **value != 0)?;
            Some(((*name).to_owned(), value.clone()))
        });
        present.collect::<Map<_, _>>().into()
    };
    let status = &tree["2"];
    let fields = [
        ("2", "status"),
        ("3", "message"),
        ("4", "reason"),
        ("6", "code"),
    ];
    let mut json = named(status, &fields);
    let fields = [
        ("1", "name"),
        ("2", "group"),
        ("3", "kind"),
        ("5", "retryAfterSeconds"),
        ("6", "uid"),
    ];
    let mut details = named(&status["5"], &fields);
    let causes = match &status["5"]["4"] {
        Value::Array(causes) => causes.as_slice(),
        Value::Null => &[],
        cause => std::slice::from_ref(cause),
    };
    if !causes.is_empty() {
        let fields = [("1", "reason"), ("2", "message"), ("3", "field")];
        details["causes"] = causes.iter().map(|cause| named(cause, &fields)).collect();
    }
    json["kind"] = json!("Status");
    json["details"] = details;
    Some(json)
}

/// The frames of a watch but for its bookmarks, which come by the clock.
pub fn frames(mut bytes: &[u8]) -> Option<Value> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (frame, rest) = rest.split_at_checked(length)?;
        let frame = message(frame, Place::Event, 0)?;
        if frame["1"] != "BOOKMARK" {
            frames.push(frame);
        }
        bytes = rest;
    }
    Some(Value::Array(frames))
}

fn message(mut bytes: &[u8], place: Place, depth: usize) -> Option<Value> {
    if depth > DEPTH {
        return None;
    }
    let is_list = matches!(place, Place::Envelope) && is_list(bytes);
    let mut fields: Map<String, Value> = Map::new();
    while !bytes.is_empty() {
        let (number, wire) = next(&mut bytes)?;
        if is_of_one_server(place, number) {
            continue;
        }
        let value = match wire {
            Wire::Number(number) => json!(number),
            Wire::Bytes(bytes) => inner(bytes, within(place, number, is_list), depth + 1),
        };
        let number = number.to_string();
        match fields.get_mut(&number) {
            None => drop(fields.insert(number, value)),
            Some(Value::Array(list)) => list.push(value),
            Some(first) => *first = json!([first.take(), value]),
        }
    }
    if matches!(place, Place::Metadata) {
        // Those of one second stand in the order of their names, and a second may end between any two writes.
        if let Some(managed) = fields.get_mut("17").and_then(Value::as_array_mut) {
            managed.sort_by_cached_key(Value::to_string);
        }
    }
    Some(moment(&fields).unwrap_or(Value::Object(fields)))
}

/// The type of the message in a field of another.
fn within(place: Place, number: u64, is_list: bool) -> Place {
    match (place, number) {
        (Place::Envelope, 1) => Place::TypeMeta,
        (Place::Envelope, 2) if is_list => Place::List,
        (Place::Envelope, 2) | (Place::List, 2) => Place::Object,
        (Place::List, 1) => Place::ListMeta,
        (Place::Object, 1) => Place::Metadata,
        (Place::Metadata, 17) => Place::ManagedFields,
        _ => Place::Other,
    }
}

/// Revisions, times of creation and deletion, and when somebody wrote.
fn is_of_one_server(place: Place, number: u64) -> bool {
    match place {
        Place::ListMeta => number == 2,
        Place::Metadata => matches!(number, 6 | 8 | 9),
        Place::ManagedFields => number == 4,
        _ => false,
    }
}

fn inner(bytes: &[u8], place: Place, depth: usize) -> Value {
    if matches!(place, Place::Other)
        && let Some(envelope) = bytes.strip_prefix(MAGIC)
        && let Some(object) = message(envelope, Place::Envelope, depth)
    {
        return object;
    }
    let known = !matches!(place, Place::Other);
    let text = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !known && is_text(text));
    match text {
        Some(text) => json!(general(text)),
        None => message(bytes, place, depth).unwrap_or_else(|| json!(format!("{bytes:02x?}"))),
    }
}

/// Keys of fields are control characters, up to the third.
fn is_text(text: &str) -> bool {
    !text.starts_with('\n')
        && !text
            .chars()
            .any(|c| c.is_control() && !"\n\t\r".contains(c))
}

/// A time that a server may have taken from its clock, as a text that two can be compared by.
fn moment(fields: &Map<String, Value>) -> Option<Value> {
    let seconds = fields.get("1")?.as_u64()?;
    let of_time = fields
        .keys()
        .all(|number| matches!(number.as_str(), "1" | "2"));
    (of_time && SECONDS.contains(&seconds)).then(|| {
        let (day, second) = (seconds / 86_400, seconds % 86_400);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        json!(format!("day {day}T{hour}:{minute}:{second}Z"))
    })
}

/// Whether the type that an envelope begins with is that of a list.
fn is_list(mut envelope: &[u8]) -> bool {
    let Some((1, Wire::Bytes(mut of_type))) = next(&mut envelope) else {
        return false;
    };
    while let Some((number, wire)) = next(&mut of_type) {
        if let (2, Wire::Bytes(kind)) = (number, wire) {
            return kind.ends_with(b"List");
        }
    }
    false
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Wire<'a>)> {
    let key = varint(bytes)?;
    let number = key >> 3;
    if number == 0 {
        return None;
    }
    let wire = match key & 7 {
        0 => Wire::Number(varint(bytes)?),
        1 => Wire::Number(u64::from_le_bytes(*take(bytes)?)),
        5 => Wire::Number(u64::from(u32::from_le_bytes(*take(bytes)?))),
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            let (value, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Wire::Bytes(value)
        }
        _ => return None,
    };
    Some((number, wire))
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (value, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(value)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(value.len()).unwrap()];
        out.extend(value);
        out
    }

    fn object(kind: &str, raw: &[u8]) -> Vec<u8> {
        let of_type = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [MAGIC, &field(1, &of_type), &field(2, raw)].concat()
    }

    #[test]
    fn what_is_of_one_server_is_not_compared() {
        let pod = |revision: &[u8], node: &[u8]| {
            let metadata = [field(1, b"a"), field(6, revision), field(8, &[8, 1])].concat();
            [field(1, &metadata), field(2, &field(10, node))].concat()
        };
        let tree = |raw: &[u8]| body(&object("Pod", raw)).unwrap();
        assert_eq!(tree(&pod(b"1", b"n")), tree(&pod(b"22", b"n")));
        assert_ne!(tree(&pod(b"1", b"n")), tree(&pod(b"1", b"m")));
        let wanted =
            json!({"1": {"1": "v1", "2": "Pod"}, "2": {"1": {"1": "a"}, "2": {"10": "n"}}});
        assert_eq!(tree(&pod(b"1", b"n")), wanted);
        let list = |revision: &[u8]| {
            let item = field(2, &pod(revision, b"n"));
            let raw = [field(1, &field(2, revision)), item.clone(), item].concat();
            body(&object("PodList", &raw)).unwrap()
        };
        assert_eq!(list(b"1"), list(b"2"));
        assert_eq!(list(b"1")["2"]["2"][1]["2"]["10"], "n");
        assert_eq!(body(b"{}"), None);
    }

    #[test]
    fn a_status_is_as_in_json() {
        let cause = [
            field(1, b"FieldValueInvalid"),
            field(2, b"bad"),
            field(3, b"spec.a"),
        ]
        .concat();
        let details = [field(1, b"a"), field(2, b""), field(4, &cause)].concat();
        let raw = [
            field(2, b"Failure"),
            field(3, b"it is bad"),
            field(5, &details),
            vec![0x30, 0xa6, 3],
        ];
        let wanted = json!({
            "kind": "Status", "status": "Failure", "message": "it is bad", "code": 422,
            "details": {"name": "a", "causes": [{"reason": "FieldValueInvalid", "message": "bad", "field": "spec.a"}]},
        });
        assert_eq!(status(&object("Status", &raw.concat())), Some(wanted));
        assert_eq!(status(&object("Pod", &[])), None);
    }

    #[test]
    fn frames_are_objects_but_for_bookmarks() {
        let frame = |kind: &str| {
            let raw = field(1, &object("Pod", &field(1, &field(1, b"a"))));
            let event = [field(1, kind.as_bytes()), field(2, &raw)].concat();
            [
                &u32::try_from(event.len()).unwrap().to_be_bytes()[..],
                &event,
            ]
            .concat()
        };
        let stream = [frame("ADDED"), frame("BOOKMARK")].concat();
        let wanted = json!([{"1": "ADDED", "2": {"1": {"1": {"1": "v1", "2": "Pod"}, "2": {"1": {"1": "a"}}}}}]);
        assert_eq!(frames(&stream), Some(wanted));
        assert_eq!(frames(b"{}"), None);
    }

    #[test]
    fn moments_are_texts() {
        let time = |seconds: u64| {
            let mut time = vec![8];
            let mut rest = seconds;
            while rest > 0x7f {
                time.push((rest & 0x7f) as u8 | 0x80);
                rest >>= 7;
            }
            time.push(rest as u8);
            inner(&time, Place::Other, 0)
        };
        assert_eq!(time(1_800_000_065), json!("day 20833T8:1:5Z"));
        assert_eq!(time(100), json!({"1": 100}));
    }
}
