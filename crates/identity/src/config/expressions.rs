//! Expressions over claims and users.

use std::sync::{Arc, LazyLock};

use knarr_cel::{Env, Field, Object, Program, Type};

pub const CLAIMS: &str = "claims";
pub const USER: &str = "user";

/// `authentication.k8s.io/v1` UserInfo.
pub fn user_type() -> &'static Type {
    static TYPE: LazyLock<Type> = LazyLock::new(|| {
        let texts = Type::list(Type::String);
        let fields = [
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", texts.clone()),
            ("extra", Type::map(Type::String, texts)),
        ];
        let fields = fields.into_iter().map(|(name, ty)| {
            let json = name.into();
            (name.into(), Field { json, ty })
        });
        Type::Object(Arc::new(Object {
            name: "kubernetes.UserInfo".to_owned(),
            fields: fields.collect(),
        }))
    });
    &TYPE
}

/// Compiles an expression over claims; the error says why it is none.
pub fn of_claims(source: &str) -> Result<Program, String> {
    compile(source, CLAIMS, Type::map(Type::String, Type::Dyn))
}

/// Compiles an expression over a user.
pub fn of_user(source: &str) -> Result<Program, String> {
    compile(source, USER, user_type().clone())
}

fn compile(source: &str, variable: &str, ty: Type) -> Result<Program, String> {
    let env = Env::default().with(variable, ty);
    Program::compile(source, &env).map_err(|error| format!("compilation failed: {error}"))
}

/// Whether an expression names a claim: `claims.email`, `claims.?email`. Not one in a string, which is taken for it all the same.
pub fn selects(source: &str, claim: &str) -> bool {
    let mut rest = source;
    while let Some((_, after)) = rest.split_once(CLAIMS) {
        rest = after;
        let field = after.trim_start().strip_prefix('.').map(str::trim_start);
        let field = field.map(|field| field.strip_prefix('?').unwrap_or(field).trim_start());
        let named = field.and_then(|field| field.strip_prefix(claim));
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if named.is_some_and(|rest| !rest.starts_with(is_part)) {
            return true;
        }
    }
    false
}
