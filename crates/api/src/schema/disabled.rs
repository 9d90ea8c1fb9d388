//! Fields of features that are switched off: the schema knows them, and a write loses them without a word, as upstream's
//! `dropDisabledFields` of each kind has it. Objects that have used a feature before keep its fields.

use serde_json::{Map, Value};

use super::{Definition, Field, Schema, Shape, Type};

/// Where in a struct such fields are, by field.
pub(super) type Fields = Box<[(&'static str, Place)]>;

#[derive(Debug)]
pub(super) enum Place {
    /// The field is of the feature with this gate.
    Gate(&'static str),
    Struct(Fields),
    /// Of each element of a list, or value of a map.
    Each(Box<Place>),
}

/// Removes fields of features that are switched off from `new`, unless the feature is in use in `old`.
///
/// `definition`: the kind's, as `io.k8s.api.core.v1.Pod`. Kinds that the schema table does not have lose nothing.
pub fn drop(definition: &str, new: &mut Value, old: Option<&Value>) {
    let Some(definition) = super::table::find(definition).map(super::DefinitionRef::get) else {
        return;
    };
    let fields = definition
        .disabled
        .get_or_init(|| fields(definition, &mut Vec::new()));
    let mut named = Vec::new();
    in_use(fields, new, &mut named);
    if named.is_empty() {
        return;
    }
    let mut kept = Vec::new();
    if let Some(old) = old {
        in_use(fields, old, &mut kept);
    }
    remove(fields, new, &kept);
}

/// `above`: the definitions around this one. What is in itself has no end.
fn fields(definition: &'static Definition, above: &mut Vec<&'static str>) -> Fields {
    let Shape::Struct(fields) = &definition.shape else {
        return Box::default();
    };
    if above.contains(&definition.name) {
        return Box::default();
    }
    above.push(definition.name);
    let places = fields
        .iter()
        .filter_map(|field| Some((field.name, field_place(field, above)?)))
        .collect();
    above.pop();
    places
}

/// A struct that has nothing but what one feature adds comes and goes with the feature, where it can be absent.
fn field_place(field: &'static Field, above: &mut Vec<&'static str>) -> Option<Place> {
    let place = place(&field.schema, above)?;
    match (&field.schema.ty, &place) {
        (Type::Ref(reference), Place::Struct(places)) if !field.present => {
            Some(whole(reference.get(), places).map_or(place, Place::Gate))
        }
        _ => Some(place),
    }
}

/// The gate of all fields of a struct.
fn whole(definition: &Definition, places: &Fields) -> Option<&'static str> {
    let (_, Place::Gate(first)) = places.first()? else {
        return None;
    };
    let same = |(_, place): &(_, Place)| matches!(place, Place::Gate(gate) if gate == first);
    let all = places.len() == definition.fields().len() && places.iter().all(same);
    all.then_some(*first)
}

/// Gates of fields that upstream drops by a rule of their own, with what is around them, or not at all.
const OWN_RULES: [&str; 1] = ["CrossNamespaceVolumeDataSource"];

fn place(schema: &'static Schema, above: &mut Vec<&'static str>) -> Option<Place> {
    if let Some(gate) = schema.gate().filter(|gate| !OWN_RULES.contains(gate)) {
        return Some(Place::Gate(gate));
    }
    match &schema.ty {
        Type::Ref(reference) => {
            let fields = fields(reference.get(), above);
            (!fields.is_empty()).then_some(Place::Struct(fields))
        }
        Type::List(element) | Type::Map(element) => {
            Some(Place::Each(Box::new(place(element, above)?)))
        }
        _ => None,
    }
}

/// Adds the gates of the features that an object uses.
fn in_use(fields: &Fields, object: &Value, into: &mut Vec<&'static str>) {
    let Some(object) = object.as_object() else {
        return;
    };
    for (name, place) in fields {
        if let Some(value) = object.get(*name) {
            in_use_at(place, value, into);
        }
    }
}

fn in_use_at(place: &Place, value: &Value, into: &mut Vec<&'static str>) {
    match (place, value) {
        (Place::Gate(gate), _) => {
            if !into.contains(gate) {
                into.push(gate);
            }
        }
        (Place::Struct(fields), _) => in_use(fields, value, into),
        (Place::Each(place), Value::Array(values)) => {
            values
                .iter()
                .for_each(|value| in_use_at(place, value, into));
        }
        (Place::Each(place), Value::Object(values)) => {
            values
                .values()
                .for_each(|value| in_use_at(place, value, into));
        }
        (Place::Each(_), _) => {}
    }
}

fn remove(fields: &Fields, object: &mut Value, kept: &[&str]) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    for (name, place) in fields {
        remove_at(name, place, object, kept);
    }
}

fn remove_at(name: &str, place: &Place, object: &mut Map<String, Value>, kept: &[&str]) {
    match place {
        Place::Gate(gate) if kept.contains(gate) => {}
        Place::Gate(_) => {
            object.remove(name);
        }
        _ => {
            if let Some(value) = object.get_mut(name) {
                remove_below(place, value, kept);
            }
        }
    }
}

fn remove_below(place: &Place, value: &mut Value, kept: &[&str]) {
    match (place, value) {
        (Place::Struct(fields), value) => remove(fields, value, kept),
        (Place::Each(place), Value::Array(values)) => values
            .iter_mut()
            .for_each(|value| remove_below(place, value, kept)),
        (Place::Each(place), Value::Object(values)) => values
            .values_mut()
            .for_each(|value| remove_below(place, value, kept)),
        (Place::Each(_) | Place::Gate(_), _) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(mount: Value) -> Value {
        json!({"spec": {
            "containers": [{"name": "c", "volumeMounts": [mount]}],
            "volumes": [{"name": "v", "emptyDir": {"mode": 448}}],
        }})
    }

    #[test]
    fn what_is_switched_off_is_taken_out() {
        let mut new = pod(json!({"name": "v", "bindMountOptions": ["noexec"]}));
        drop("io.k8s.api.core.v1.Pod", &mut new, None);
        let expected = json!({"spec": {
            "containers": [{"name": "c", "volumeMounts": [{"name": "v"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        }});
        assert_eq!(new, expected);
    }

    #[test]
    fn what_holds_nothing_else_goes_with_it() {
        let mount = |more: Value| {
            let mut mount = json!({"name": "v", "mountPath": "/v"});
            if let (Some(map), Some(more)) = (mount.as_object_mut(), more.as_object()) {
                map.extend(more.clone());
            }
            json!({"status": {"containerStatuses": [{"volumeMounts": [mount]}]}})
        };
        let mut new = mount(json!({"volumeStatus": {"image": {"imageRef": "a"}}}));
        drop("io.k8s.api.core.v1.Pod", &mut new, None);
        assert_eq!(new, mount(json!({})));
    }

    #[test]
    fn what_is_in_use_stays() {
        let old = pod(json!({"name": "v"}));
        let mut new = pod(json!({"name": "v", "bindMountOptions": ["noexec"]}));
        drop("io.k8s.api.core.v1.Pod", &mut new, Some(&old));
        assert_eq!(new, old, "of two features one was in use");
    }

    #[test]
    fn templates_lose_it_too() {
        let mut new = json!({"spec": {"template": pod(json!({"name": "v"}))}});
        drop("io.k8s.api.apps.v1.Deployment", &mut new, None);
        let volumes = &new["spec"]["template"]["spec"]["volumes"];
        assert_eq!(*volumes, json!([{"name": "v", "emptyDir": {}}]));
    }

    #[test]
    fn odd_shapes_and_unknown_kinds_are_left_alone() {
        for odd in [
            json!({"spec": 3}),
            json!({"spec": {"volumes": {}}}),
            json!([]),
        ] {
            let mut new = odd.clone();
            drop("io.k8s.api.core.v1.Pod", &mut new, None);
            assert_eq!(new, odd);
            drop("com.example.Thing", &mut new, None);
            assert_eq!(new, odd);
        }
        // A type that is in itself.
        drop(
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
            &mut json!({"spec": {}}),
            None,
        );
    }
}
