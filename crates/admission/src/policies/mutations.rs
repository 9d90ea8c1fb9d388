//! What a mutating policy makes of an object, as upstream's `policy/mutating/patch`.

use knarr_api::admissionregistration::expressions::{BUDGET, Returns};
use knarr_apply::Schema;
use knarr_cel::{Cost, Error, Val, patch::Output, weighed};
use knarr_meta::{
    object::{list_at, str_at},
    patch::json_unless_test_fails,
};
use serde_json::{Map, Value};

use super::{
    input::{Compiled, Expression, Input, told},
    merge,
};

/// The compiled expressions of a policy.
#[derive(Debug)]
pub struct Mutations {
    pub common: Compiled,
    pub mutations: Vec<Mutation>,
    /// `reinvocationPolicy: IfNeeded`.
    pub reinvocable: bool,
}

#[derive(Debug)]
pub struct Mutation {
    kind: Kind,
    expression: Expression,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Apply,
    JsonPatch,
}

/// An object that a mutation made.
#[derive(Debug, PartialEq)]
pub struct Mutated {
    pub object: Value,
    /// Whether nothing says that it is of its type: a patch may write anything anywhere.
    pub unchecked: bool,
}

impl Mutations {
    /// Compiles the expressions of a policy's spec.
    pub fn compile(spec: &Value) -> Mutations {
        let common = Compiled::new(spec);
        let env = common.env().with_patch_types();
        let mutation = |one: &Value| {
            let (kind, field, returns) = match str_at(one, &["patchType"]) {
                "JSONPatch" => (Kind::JsonPatch, "jsonPatch", Returns::Operations),
                _ => (Kind::Apply, "applyConfiguration", Returns::Object),
            };
            let source = str_at(one, &[field, "expression"]);
            Mutation {
                kind,
                expression: Expression::new(source, &env, returns),
            }
        };
        Mutations {
            mutations: list_at(spec, &["mutations"]).iter().map(mutation).collect(),
            reinvocable: str_at(spec, &["reinvocationPolicy"]) == "IfNeeded",
            common,
        }
    }
}

impl Mutation {
    /// What the object becomes. `schema` is its type as configurations are merged by it.
    ///
    /// # Errors
    /// Why it cannot be made, in upstream's words.
    pub fn apply(
        &self,
        input: &Input<'_>,
        object: &Value,
        schema: &dyn Schema,
    ) -> Result<Mutated, String> {
        weighed(BUDGET, |cost| {
            self.apply_within(input, object, schema, cost)
        })
    }

    fn apply_within(
        &self,
        input: &Input<'_>,
        object: &Value,
        schema: &dyn Schema,
        cost: &mut Cost,
    ) -> Result<Mutated, String> {
        let program = self.expression.program.as_ref().map_err(String::clone)?;
        let composition = input.compose(true);
        let value = match composition.eval(program, cost) {
            Err(Error::Budget) => return Err(Error::Budget.to_string()),
            value => value.map_err(|error| told(&self.expression, &error))?,
        };
        let made = Output::new(cost);
        match self.kind {
            Kind::Apply => Ok(Mutated {
                object: configured(&value, object, schema, made)?,
                unchecked: false,
            }),
            Kind::JsonPatch => Ok(Mutated {
                object: patched(&value, object, made)?,
                unchecked: true,
            }),
        }
    }
}

fn configured(
    value: &Val<'_>,
    object: &Value,
    schema: &dyn Schema,
    mut made: Output<'_>,
) -> Result<Value, String> {
    // What is no larger than an object may be is quickly looked through.
    let json = made.json(value)?;
    if let wrong @ [_, ..] = &made.misplaced(value)?[..] {
        return Err(format!("type mismatch: {}", wrong.join("\n")));
    }
    let Value::Object(mut config) = json else {
        return Err(format!("invalid return type: {}", value.type_name()));
    };
    for field in ["apiVersion", "kind"] {
        if let Some(value) = object.get(field) {
            config.insert(field.to_owned(), value.clone());
        }
    }
    merge::configuration(object, &config.into(), schema)
        .map_err(|why| format!("error applying patch: {why}"))
}

fn patched(value: &Val<'_>, object: &Value, mut made: Output<'_>) -> Result<Value, String> {
    let operations = made
        .operations(value)?
        .ok_or("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch")?;
    let mut list = Vec::with_capacity(operations.len());
    for operation in operations {
        let mut one = Map::new();
        one.insert("op".to_owned(), operation.op.into());
        one.insert("path".to_owned(), operation.path.into());
        if !operation.from.is_empty() {
            one.insert("from".to_owned(), operation.from.into());
        }
        if let Some(value) = &operation.value {
            let json = made.json(value).map_err(|why| {
                format!("JSONPath valueExpression evaluated to a type that could not marshal to JSON: {why}")
            })?;
            if let wrong @ [_, ..] = &made.misplaced(value)?[..] {
                return Err(format!("type mismatch: {}", wrong.join("\n")));
            }
            one.insert("value".to_owned(), json);
        }
        list.push(Value::Object(one));
    }
    let mut patched = object.clone();
    json_unless_test_fails(&mut patched, Value::Array(list))
        .map_err(|why| format!("JSON Patch: {why}"))?;
    Ok(patched)
}
