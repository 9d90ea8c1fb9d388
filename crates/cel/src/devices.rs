//! What selectors of devices see: the variable `device` (upstream's `k8s.io/dynamic-resource-allocation/cel`).

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use knarr_meta::Quantity;

use crate::{
    CompileError, Cost, Env, Error, Field, Map, Object, Program, Sizes, Type, Val,
    library::{Other, Semver},
    value::{Struct, Text},
};

/// The most that a selector may cost for one device (upstream `CELSelectorExpressionMaxCost`).
pub const MAX_COST: u64 = 1_000_000;

const TYPE: &str = "kubernetes.DRADevice";

/// Upstream's bounds of what a device has (`k8s.io/api/resource/v1`): characters, and entries.
const MAX_DOMAIN: u64 = 63;
const MAX_ID: u64 = 32;
const MAX_DRIVER: u64 = 63;
const MAX_VALUE: u64 = 64;
const MAX_ENTRIES: u64 = 32;

static ENV: LazyLock<Env> = LazyLock::new(|| {
    let quantity = || Type::Opaque("kubernetes.Quantity");
    let by_domain = |of| Type::map(Type::String, Type::map(Type::String, of));
    let fields = [
        ("allowMultipleAllocations", Type::Bool),
        ("attributes", by_domain(Type::Dyn)),
        ("capacity", by_domain(quantity())),
        ("driver", Type::String),
    ];
    let fields: BTreeMap<Box<str>, Field> = fields
        .into_iter()
        .map(|(name, ty)| {
            let json = Box::from(name);
            (Box::from(name), Field { json, ty })
        })
        .collect();
    let name = TYPE.to_owned();
    Env::default().with("device", Type::Object(Object { name, fields }.into()))
});

/// How large what a selector sees may be.
static SIZES: LazyLock<Sizes> = LazyLock::new(|| {
    let by_domain = |value: Sizes, named: bool| {
        let map = |keys, element, named| Sizes {
            max: MAX_ENTRIES,
            element: Some(Box::new(element)),
            is_map: true,
            keys,
            named,
            ..Sizes::default()
        };
        map(MAX_DOMAIN, map(MAX_ID, value, named), false)
    };
    let of = |max| Sizes {
        max,
        ..Sizes::default()
    };
    let fields = [
        ("allowMultipleAllocations", of(1)),
        ("attributes", by_domain(of(MAX_VALUE), true)),
        ("capacity", by_domain(of(0), false)),
        ("driver", of(MAX_DRIVER)),
    ];
    let fields = fields.map(|(name, sizes)| (Box::from(name), sizes));
    Sizes {
        fields: fields.into_iter().collect(),
        ..Sizes::default()
    }
});

/// Compiles a selector that somebody has sent, and finds out what it may cost ([`Program::max_cost`]).
///
/// # Errors
/// As [`Program::compile_sent`].
pub fn compile_sent(source: &str) -> Result<Program, CompileError> {
    Program::compile_sent(source, env(), Some(&SIZES))
}

/// The environment that selectors are compiled in.
pub fn env() -> &'static Env {
    &ENV
}

/// The value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute<'a> {
    Bool(bool),
    Int(i64),
    Text(&'a str),
    /// By semver.org, 2.0.0.
    Version(&'a str),
}

/// A device as a selector sees it. Names of attributes and capacities are `domain/identifier`, or an identifier of the driver's.
#[derive(Clone, Debug, Default)]
pub struct Device<'a> {
    pub driver: &'a str,
    pub allow_multiple_allocations: bool,
    pub attributes: Vec<(&'a str, Attribute<'a>)>,
    pub capacity: Vec<(&'a str, Quantity)>,
}

impl Attribute<'_> {
    fn value<'a>(self, name: &str) -> Result<Val<'a>, Error>
    where
        Self: 'a,
    {
        Ok(match self {
            Attribute::Bool(flag) => Val::Bool(flag),
            Attribute::Int(number) => Val::Int(number),
            Attribute::Text(text) => Val::made_text(text),
            Attribute::Version(text) => {
                let version = Semver::parse(text);
                let wrong = || Error::failed(format!("attribute {name}: parse semantic version"));
                Val::Other(Arc::new(Other::Semver(version.ok_or_else(wrong)?)))
            }
        })
    }
}

/// Values by domain, then by identifier.
fn by_domain<'a>(
    driver: &'a str,
    all: impl Iterator<Item = Result<(&'a str, Val<'a>), Error>>,
) -> Result<Val<'a>, Error> {
    let mut domains: BTreeMap<&str, Vec<(Val<'a>, Val<'a>)>> = BTreeMap::new();
    for one in all {
        let (name, value) = one?;
        let (domain, id) = name.split_once('/').unwrap_or((driver, name));
        let inside = domains.entry(domain).or_default();
        inside.push((Val::Text(Text::Of(id)), value));
    }
    let domains = domains.into_iter().map(|(domain, inside)| {
        let inside = Val::Map(Map::Owned(Arc::new(inside)));
        (Val::Text(Text::Of(domain)), inside)
    });
    Ok(Val::Map(Map::Sparse(Arc::new(domains.collect()))))
}

impl<'a> Device<'a> {
    fn value(&self) -> Result<Val<'a>, Error> {
        let attributes = self.attributes.iter();
        let attributes = attributes.map(|(name, attribute)| Ok((*name, attribute.value(name)?)));
        let capacity = self.capacity.iter();
        let capacity = capacity
            .map(|(name, amount)| Ok((*name, Val::Other(Arc::new(Other::Quantity(*amount))))));
        let fields = vec![
            (
                "allowMultipleAllocations",
                Val::Bool(self.allow_multiple_allocations),
            ),
            ("attributes", by_domain(self.driver, attributes)?),
            ("capacity", by_domain(self.driver, capacity)?),
            ("driver", Val::Text(Text::Of(self.driver))),
        ];
        Ok(Val::Map(Map::Struct(Arc::new(Struct {
            name: TYPE,
            fields,
        }))))
    }
}

/// Whether a selector, compiled in [`env`], matches a device.
///
/// # Errors
/// In cel-go's words; where it costs more than [`MAX_COST`].
pub fn matches(program: &Program, device: &Device<'_>) -> Result<bool, Error> {
    crate::weighed(MAX_COST, |cost: &mut Cost| {
        let variables = [("device", device.value()?)];
        match program.eval(&variables, cost)? {
            Val::Bool(matches) => Ok(matches),
            other => Err(Error::failed(format!(
                "CEL result of type {} could not be converted to bool",
                other.type_name()
            ))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Device<'static> {
        Device {
            driver: "gpu.example.com",
            allow_multiple_allocations: false,
            attributes: vec![
                ("model", Attribute::Text("a100")),
                ("cores", Attribute::Int(8)),
                ("other.example.com/healthy", Attribute::Bool(true)),
                ("driverVersion", Attribute::Version("1.2.3")),
            ],
            capacity: vec![("memory", Quantity::parse("40Gi").unwrap())],
        }
    }

    #[test]
    fn selectors_see_a_device() {
        let cases = [
            ("true", Ok(true)),
            ("device.driver == 'gpu.example.com'", Ok(true)),
            (
                "device.attributes['gpu.example.com'].model == 'a100'",
                Ok(true),
            ),
            ("device.attributes['gpu.example.com'].cores > 8", Ok(false)),
            ("device.attributes['other.example.com'].healthy", Ok(true)),
            (
                "device.capacity['gpu.example.com'].memory.compareTo(quantity('20Gi')) >= 0",
                Ok(true),
            ),
            (
                "device.attributes['gpu.example.com'].driverVersion.isLessThan(semver('2.0.0'))",
                Ok(true),
            ),
            ("device.allowMultipleAllocations", Ok(false)),
            ("'b.example.com' in device.attributes", Ok(false)),
            ("has(device.attributes['b.example.com'].a)", Ok(false)),
            (
                "device.attributes['b.example.com'].?a.orValue('x') == 'x'",
                Ok(true),
            ),
            (
                "device.attributes['b.example.com'].a == 'x'",
                Err("no such key: a"),
            ),
            (
                "device.attributes['gpu.example.com'].model",
                Err("CEL result of type string could not be converted to bool"),
            ),
            (
                "lists.range(10000).all(a, lists.range(10000).all(b, a + b >= 0))",
                Err("operation cancelled: actual cost limit exceeded"),
            ),
        ];
        for (source, wanted) in cases {
            let program = match Program::compile(source, env()) {
                Ok(program) => program,
                Err(error) => panic!("{source}: {error}"),
            };
            let found = matches(&program, &device()).map_err(|error| error.to_string());
            assert_eq!(found, wanted.map_err(str::to_owned), "{source}");
        }
    }

    /// The figures are those that upstream holds itself to (`dynamic-resource-allocation/cel/compile_test.go`).
    #[test]
    fn estimates_are_upstreams() {
        let tens = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]";
        let mut expensive = "int('1'.find('[0-9]*')) < 100".to_owned();
        for name in ["z5", "z4", "z3", "z2", "z", "y", "x"] {
            expensive = format!("{tens}.all({name}, {expensive})");
        }
        let of = |rest: &str| format!("device.attributes['dra.example.com'].{rest}");
        let cases = [
            ("true".to_owned(), 0),
            ("'no-such-domain' in device.attributes".to_owned(), 3),
            ("device.driver == ''".to_owned(), 2),
            ("device.driver == 'dra.example.com'".to_owned(), 4),
            (of("name"), 4),
            ("device.attributes['dra.example.com']['name']".to_owned(), 4),
            (of("name > 0"), 5),
            (of("name == 'fish'"), 5),
            (of("name.exists(x, x > 0)"), 5 + 6 * MAX_VALUE),
            (of("names.all(x, x != '')"), 5 + 4 * MAX_VALUE),
            (of("names.size() == 2"), 6),
            (of("name.isGreaterThan(semver('0.0.1'))"), 6),
            (
                "1 in device.attributes['dra.example.com'].names".to_owned(),
                4 + MAX_VALUE,
            ),
            (
                "device.capacity['dra.example.com'].name.isGreaterThan(quantity('1Ki'))".to_owned(),
                6,
            ),
            (
                "device.attributes.exists_one(x, x == 'dra.example.com')".to_owned(),
                164,
            ),
            (
                "device.attributes['dra.example.com'].exists_one(x, x == 'services')".to_owned(),
                133,
            ),
            (of("services.split('example').size() >= 2"), 19),
            (of("services.matches('[^a]?sym')"), 18),
            (
                "device.capacity.exists_one(x, x == 'dra.example.com')".to_owned(),
                164,
            ),
            (
                "device.capacity['dra.example.com'].exists_one(x, x == 'memory')".to_owned(),
                133,
            ),
            (expensive, 85_555_551),
            ("device.allowMultipleAllocations == true".to_owned(), 3),
        ];
        for (source, wanted) in cases {
            let program = match compile_sent(&source) {
                Ok(program) => program,
                Err(error) => panic!("{source}: {error}"),
            };
            assert_eq!(program.max_cost(), Some(wanted), "{source}");
        }
    }
}
