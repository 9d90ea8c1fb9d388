//! Which devices are meant, as expressions, and what drivers are told besides.

use std::{
    collections::{BTreeMap, HashSet},
    num::NonZeroUsize,
    sync::{LazyLock, Mutex, PoisonError},
};

use knarr_cel::{Type, devices};
use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{list_at, str_at, struct_at},
};
use lru::LruCache;
use serde_json::Value;

use super::{bounded, names};

const MAX_SELECTORS: usize = 32;
const MAX_EXPRESSION_BYTES: usize = 10 * 1024;
/// Of all different expressions of an object: compiling takes milliseconds a kilobyte.
const MAX_EXPRESSIONS_BYTES: usize = 64 * 1024;
const MAX_PARAMETERS_BYTES: usize = 10 * 1024;
/// Expressions of which the verdict is kept: a template's come again with each claim that is made from it.
const KEPT: NonZeroUsize = match NonZeroUsize::new(256) {
    Some(kept) => kept,
    None => NonZeroUsize::MIN,
};
/// Longest reason that is kept, bytes.
const MAX_KEPT_REASON_BYTES: usize = 4 * 1024;

/// What became of compiling an expression.
#[derive(Clone, Debug)]
enum Verdict {
    Good,
    Wrong(String),
    /// It may cost more than a selector may.
    Costly,
}

static VERDICTS: LazyLock<Mutex<LruCache<String, Verdict>>> =
    LazyLock::new(|| Mutex::new(LruCache::new(KEPT)));

/// The different expressions of one object.
#[derive(Debug, Default)]
pub(super) struct Expressions<'o> {
    seen: HashSet<&'o str>,
    bytes: usize,
}

impl<'o> Expressions<'o> {
    /// Whether the object may have this one, too.
    fn add(&mut self, source: &'o str) -> bool {
        if self.seen.insert(source) {
            self.bytes = self.bytes.saturating_add(source.len());
        }
        self.bytes <= MAX_EXPRESSIONS_BYTES
    }
}

/// Selectors of a class or a request. Those that are stored were valid when they came.
pub(super) fn validate<'o>(
    list: &'o [Value],
    stored: bool,
    expressions: &mut Expressions<'o>,
    path: &Path,
    errors: &mut ErrorList,
) {
    bounded::slice(
        list,
        MAX_SELECTORS,
        path,
        errors,
        |selector, path, errors| {
            let Some(cel) = struct_at(selector, &["cel"]) else {
                errors.push(Error::required(&path.child("cel"), ""));
                return;
            };
            if !stored {
                let path = path.child("cel").child("expression");
                validate_expression(str_at(cel, &["expression"]), expressions, &path, errors);
            }
        },
    );
}

fn validate_expression<'o>(
    source: &'o str,
    expressions: &mut Expressions<'o>,
    path: &Path,
    errors: &mut ErrorList,
) {
    if source.len() > MAX_EXPRESSION_BYTES {
        errors.push(Error::too_long(path, MAX_EXPRESSION_BYTES));
        return;
    }
    if !expressions.add(source) {
        let why = format!(
            "the different expressions of an object may have {MAX_EXPRESSIONS_BYTES} bytes together"
        );
        errors.push(Error::forbidden(path, why));
        return;
    }
    match verdict(source) {
        Verdict::Good => {}
        Verdict::Wrong(why) => errors.push(Error::invalid(path, source, why)),
        Verdict::Costly => errors.push(Error::forbidden(path, "too complex, exceeds cost limit")),
    }
}

fn verdict(source: &str) -> Verdict {
    let kept = || VERDICTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept().get(source) {
        return known.clone();
    }
    let found = compile(source);
    let short = match &found {
        Verdict::Wrong(why) => why.len() <= MAX_KEPT_REASON_BYTES,
        Verdict::Good | Verdict::Costly => true,
    };
    // That there was no time says nothing about it.
    if short && !knarr_cel::is_late() {
        kept().put(source.to_owned(), found.clone());
    }
    found
}

fn compile(source: &str) -> Verdict {
    match devices::compile_sent(source) {
        Err(error) => Verdict::Wrong(format!("compilation failed: {error}")),
        Ok(program) if !matches!(program.result, Type::Bool | Type::Dyn) => {
            Verdict::Wrong(format!(
                "must evaluate to bool or the unknown type, not {}",
                program.result
            ))
        }
        Ok(program)
            if program
                .max_cost()
                .is_none_or(|cost| cost > devices::MAX_COST) =>
        {
            Verdict::Costly
        }
        Ok(_) => Verdict::Good,
    }
}

/// What is for one driver to understand: `opaque` of a configuration.
pub(super) fn validate_config(config: &Value, stored: bool, path: &Path, errors: &mut ErrorList) {
    let path = path.child("opaque");
    let Some(opaque) = struct_at(config, &["opaque"]) else {
        errors.push(Error::required(&path, ""));
        return;
    };
    names::declared_driver(str_at(opaque, &["driver"]), &path.child("driver"), errors);
    let max = (!stored).then_some(MAX_PARAMETERS_BYTES);
    validate_raw(
        opaque.get("parameters"),
        max,
        &path.child("parameters"),
        errors,
    );
}

/// An object of anyone's.
pub(super) fn validate_raw(
    raw: Option<&Value>,
    max_bytes: Option<usize>,
    path: &Path,
    errors: &mut ErrorList,
) {
    match raw {
        None | Some(Value::Null) => errors.push(Error::required(path, "")),
        Some(value) => {
            if let Some(max) = max_bytes
                && value.to_string().len() > max
            {
                errors.push(Error::too_long(path, max));
            } else if !value.is_object() {
                let why = "must be a valid JSON object";
                errors.push(Error::invalid(path, "<value omitted>", why));
            }
        }
    }
}

/// The requests that a part of a claim is for: each is the claim's.
pub(super) fn request_names(devices: &Value) -> BTreeMap<&str, Vec<&str>> {
    let requests = list_at(devices, &["requests"]).iter();
    let named = requests.map(|request| {
        let subrequests = list_at(request, &["firstAvailable"]).iter();
        let subrequests = subrequests.map(|sub| str_at(sub, &["name"]));
        (str_at(request, &["name"]), subrequests.collect())
    });
    named.collect()
}

/// `request` or `request/subrequest`.
pub(super) fn validate_request_name(
    name: &str,
    known: &BTreeMap<&str, Vec<&str>>,
    path: &Path,
    errors: &mut ErrorList,
) {
    const WHY: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let segments: Vec<&str> = name.split('/').collect();
    if segments.len() <= 2 {
        for segment in &segments {
            names::label(segment, path, errors);
        }
    }
    let found = match segments[..] {
        [request] => known.contains_key(request),
        [request, sub] => known.get(request).is_some_and(|subs| subs.contains(&sub)),
        _ => false,
    };
    if !found {
        errors.push(Error::invalid(path, name, WHY));
    }
}
