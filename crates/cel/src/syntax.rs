//! What trees of expressions are made of, beyond what the parser says.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, EntryExpr, Expr},
};

/// Names of types are values too: `type(x) == string`.
pub const TYPES: [&str; 13] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "google.protobuf.Duration",
    "google.protobuf.Timestamp",
    "optional_type",
];

/// Macros that bind names of their own and that the parser leaves as calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Macro {
    OptMap,
    OptFlatMap,
    All,
    Exists,
    ExistsOne,
    TransformList,
    TransformMap,
    TransformMapEntry,
}

impl Macro {
    pub fn of(call: &CallExpr) -> Option<Macro> {
        call.target.as_ref()?;
        Some(match (&*call.func_name, call.args.len()) {
            ("optMap", 2) => Macro::OptMap,
            ("optFlatMap", 2) => Macro::OptFlatMap,
            ("all", 3) => Macro::All,
            ("exists", 3) => Macro::Exists,
            ("existsOne" | "exists_one", 3) => Macro::ExistsOne,
            ("transformList", 3 | 4) => Macro::TransformList,
            ("transformMap", 3 | 4) => Macro::TransformMap,
            ("transformMapEntry", 3 | 4) => Macro::TransformMapEntry,
            _ => return None,
        })
    }

    /// How many names it binds.
    pub fn names(self) -> usize {
        match self {
            Macro::OptMap | Macro::OptFlatMap => 1,
            _ => 2,
        }
    }
}

/// The names that a call of a macro binds.
pub fn bound(call: &CallExpr, count: usize) -> Option<Vec<&str>> {
    let names = call
        .args
        .iter()
        .take(count)
        .map(|argument| match &argument.expr {
            Expr::Ident(name) => Some(name.as_str()),
            _ => None,
        });
    names.collect()
}

/// A qualified name: `a.b.c`.
pub fn qualified(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => Some(format!(
            "{}.{}",
            qualified(&select.operand.expr)?,
            select.field
        )),
        _ => None,
    }
}

/// How deep a tree is.
pub fn depth(expr: &IdedExpr) -> usize {
    let all = |list: &[IdedExpr]| list.iter().map(depth).max().unwrap_or(0);
    let inside = match &expr.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => 0,
        Expr::Select(select) => depth(&select.operand),
        Expr::Call(call) => all(&call.args).max(call.target.as_deref().map_or(0, depth)),
        Expr::List(list) => all(&list.elements),
        Expr::Map(map) => {
            let entries = map.entries.iter().map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => depth(&entry.key).max(depth(&entry.value)),
                EntryExpr::StructField(field) => depth(&field.value),
            });
            entries.max().unwrap_or(0)
        }
        Expr::Struct(made) => {
            let fields = made.entries.iter().map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => depth(&entry.key).max(depth(&entry.value)),
                EntryExpr::StructField(field) => depth(&field.value),
            });
            fields.max().unwrap_or(0)
        }
        Expr::Comprehension(one) => [
            &one.iter_range,
            &one.accu_init,
            &one.loop_cond,
            &one.loop_step,
            &one.result,
        ]
        .into_iter()
        .map(depth)
        .max()
        .unwrap_or(0),
    };
    inside.saturating_add(1)
}
