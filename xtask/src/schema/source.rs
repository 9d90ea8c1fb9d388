//! Where the facts about upstream's API come from: the modules that `tests/upstream/suite` pins.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use crate::go;

const KUBERNETES: &str = "k8s.io/kubernetes";
/// Where the gates are declared, in [`KUBERNETES`].
const FEATURES: &str = "pkg/features/kube_features.go";

/// Go packages beside those of `k8s.io/api`: module, folder, prefix of definitions, prefix of messages.
const PACKAGES: &[[&str; 4]] = &[
    [
        "k8s.io/apimachinery",
        "pkg/apis/meta/v1",
        "io.k8s.apimachinery.pkg.apis.meta.v1",
        "meta",
    ],
    [
        "k8s.io/apiextensions-apiserver",
        "pkg/apis/apiextensions/v1",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
        "apiextensions.v1",
    ],
    [
        "k8s.io/kube-aggregator",
        "pkg/apis/apiregistration/v1",
        "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1",
        "apiregistration.v1",
    ],
];

/// The sources of a group-version's types.
pub struct Package {
    pub folder: PathBuf,
    /// `io.k8s.api.core.v1`
    pub definitions: String,
    /// `core.v1`, or `meta`
    pub messages: String,
}

/// What a field of a Go struct says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoField {
    pub pointer: bool,
    pub omitempty: bool,
    pub omitzero: bool,
    /// Feature gates that it wants.
    pub gates: Vec<String>,
    /// Its type as Go names it, where that has a name of its own in it and is no struct: `v1.PullPolicy`, `[]v1.KeyUsage`.
    pub named: Option<String>,
    /// The embedded structs that it is in, joined by dots.
    pub embedded: String,
}

/// Fields by (struct, JSON name).
pub type GoFields = BTreeMap<(String, String), GoField>;

/// The release whose API is served, as `v1.37.2`.
pub fn release() -> Result<String> {
    go::SUITE.version_of(KUBERNETES)
}

/// OpenAPI v3 documents of each group-version.
pub fn documents() -> Result<PathBuf> {
    Ok(go::SUITE.source_of(KUBERNETES)?.join("api/openapi-spec/v3"))
}

/// OpenAPI v2's definitions of stable versions, and of what those refer to.
pub fn definitions() -> Result<Map<String, Value>> {
    let path = go::SUITE
        .source_of(KUBERNETES)?
        .join("api/openapi-spec/swagger.json");
    let json = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut document: Value = serde_json::from_slice(&json).context("parsing the document")?;
    let Some(Value::Object(mut definitions)) = document.get_mut("definitions").map(Value::take)
    else {
        anyhow::bail!("no definitions in {}", path.display());
    };
    let mut wanted = BTreeSet::new();
    let mut waiting: Vec<&str> = definitions
        .keys()
        .map(String::as_str)
        .filter(|name| is_stable(name))
        .collect();
    while let Some(name) = waiting.pop() {
        if wanted.insert(name.to_owned()) {
            references(
                definitions.get(name).context("no definition")?,
                &mut waiting,
            );
        }
    }
    definitions.retain(|name, _| wanted.contains(name));
    Ok(definitions)
}

/// The definitions that a schema refers to.
fn references<'a>(schema: &'a Value, into: &mut Vec<&'a str>) {
    match schema {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(name) if key == "$ref" => {
                        into.push(name.trim_start_matches("#/definitions/"));
                    }
                    _ => references(value, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        _ => {}
    }
}

/// Whether no segment is a version that a cluster does not serve unless told to: `v1alpha1`, `v2beta2`.
fn is_stable(name: &str) -> bool {
    !name.split('.').any(|segment| {
        segment.strip_prefix('v').is_some_and(|rest| {
            rest.starts_with(|c: char| c.is_ascii_digit())
                && (rest.contains("alpha") || rest.contains("beta"))
        })
    })
}

/// Every package that has types of the API.
pub fn packages() -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    for [module, folder, definitions, messages] in PACKAGES {
        packages.push(Package {
            folder: go::SUITE.source_of(module)?.join(folder),
            definitions: (*definitions).to_owned(),
            messages: (*messages).to_owned(),
        });
    }
    let api = go::SUITE.source_of("k8s.io/api")?;
    for group in folders(&api)? {
        for version in folders(&api.join(&group))? {
            let folder = api.join(&group).join(&version);
            if folder.join("generated.proto").exists() {
                packages.push(Package {
                    folder,
                    definitions: format!("io.k8s.api.{group}.{version}"),
                    messages: format!("{group}.{version}"),
                });
            }
        }
    }
    ensure!(
        packages.len() > PACKAGES.len(),
        "no packages in {}",
        api.display()
    );
    Ok(packages)
}

fn folders(path: &Path) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
    let mut folders = BTreeSet::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(folders)
}

impl Package {
    /// The fields of all structs of the package's `types*.go`; of other packages' types that are no structs, `imported` has the
    /// names.
    pub fn fields(&self, imported: &BTreeSet<String>) -> Result<GoFields> {
        let mut fields = GoFields::new();
        let mut embedded = Vec::new();
        let texts = self.texts()?;
        let names: BTreeSet<&str> = texts.iter().flat_map(|text| plain_types(text)).collect();
        for text in &texts {
            read_fields(text, &mut fields, &mut embedded);
        }
        for field in fields.values_mut() {
            let declared = field.named.take();
            field.named = declared.and_then(|declared| self.qualified(&declared, &names, imported));
        }
        inherit(&mut fields, &embedded);
        ensure!(!fields.is_empty(), "no types in {}", self.folder.display());
        Ok(fields)
    }
}

impl Package {
    /// What is in the package's `types*.go`.
    fn texts(&self) -> Result<Vec<String>> {
        let folder = fs::read_dir(&self.folder)
            .with_context(|| format!("reading {}", self.folder.display()))?;
        let mut texts = Vec::new();
        for entry in folder {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("types") && name.ends_with(".go") && !name.contains("generated") {
                texts.push(fs::read_to_string(&path)?);
            }
        }
        Ok(texts)
    }

    /// A type with its packages, where it has a name in it that stands for no struct.
    fn qualified(
        &self,
        declared: &str,
        names: &BTreeSet<&str>,
        imported: &BTreeSet<String>,
    ) -> Option<String> {
        let package = self.folder.file_name()?.to_string_lossy();
        let mut out = String::new();
        let mut found = false;
        let mut rest = declared.trim_start_matches('*');
        loop {
            let container = ["[]", "map[string]"].into_iter();
            let Some(outer) = container.into_iter().find(|outer| rest.starts_with(outer)) else {
                break;
            };
            out.push_str(outer);
            rest = &rest[outer.len()..];
        }
        if let Some(key) = rest.strip_prefix("map[")
            && let Some((key, element)) = key.split_once(']')
            && names.contains(key)
        {
            out.push_str(&format!("map[{package}.{key}]"));
            rest = element;
            found = true;
        }
        match rest.rsplit_once('.') {
            Some(("types", name)) if OF_TYPES.contains(&name) => {
                out.push_str(rest);
                found = true;
            }
            // Whatever a file calls the package that it imports.
            Some((_, name)) if imported.contains(name) => {
                out.push_str(&format!("v1.{name}"));
                found = true;
            }
            Some(_) => out.push_str(rest),
            None if names.contains(rest) => {
                out.push_str(&format!("{package}.{rest}"));
                found = true;
            }
            None if rest.starts_with(char::is_uppercase) => {
                out.push_str(&format!("{package}.{rest}"));
            }
            None => out.push_str(rest),
        }
        found.then_some(out)
    }
}

/// The packages whose types those of other groups have as fields, in a package that is named `v1` in each.
const IMPORTED: [&str; 2] = ["io.k8s.api.core.v1", "io.k8s.apimachinery.pkg.apis.meta.v1"];
/// As `types`, which has no types of the API.
const OF_TYPES: [&str; 2] = ["NodeName", "UID"];

/// The names of what is no struct in the packages that others import.
pub fn imported(packages: &[Package]) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let of = |package: &&Package| IMPORTED.contains(&package.definitions.as_str());
    for package in packages.iter().filter(of) {
        for text in package.texts()? {
            names.extend(plain_types(&text).map(str::to_owned));
        }
    }
    ensure!(!names.is_empty(), "no types in {IMPORTED:?}");
    Ok(names)
}

/// The names that a package declares for what is no struct.
fn plain_types(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let mut words = line.strip_prefix("type ")?.split_whitespace();
        let name = words.next()?;
        let of = words.next()?;
        (!of.starts_with("struct") && !of.starts_with("interface") && of != "=").then_some(name)
    })
}

/// Structs, each with one of the same package whose fields it has as its own.
type Embedded = Vec<(String, String)>;

/// Gives structs the fields of those that they embed, and of those that these embed.
fn inherit(fields: &mut GoFields, embedded: &Embedded) {
    // Nothing is nested deeper.
    for _ in 0..3 {
        for (owner, part) in embedded {
            let inherited: Vec<_> = fields
                .range((part.clone(), String::new())..)
                .take_while(|((of, _), _)| of == part)
                .map(|((_, name), field)| {
                    let embedded = match field.embedded.as_str() {
                        "" => part.clone(),
                        inner => format!("{part}.{inner}"),
                    };
                    let field = GoField {
                        embedded,
                        ..field.clone()
                    };
                    ((owner.clone(), name.clone()), field)
                })
                .collect();
            for (key, field) in inherited {
                fields.entry(key).or_insert(field);
            }
        }
    }
}

fn read_fields(text: &str, fields: &mut GoFields, embedded: &mut Embedded) {
    let mut owner = "";
    let mut gates = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("type ") {
            owner = rest.split_once(" struct").map_or("", |(name, _)| name);
        }
        let line = line.trim();
        if let Some((_, gate)) = line.split_once("+featureGate=") {
            gates.push(gate.trim().to_owned());
        }
        if let Some((declaration, tags)) = line.split_once(" `json:\"")
            && let Some((json, _)) = tags.split_once('"')
        {
            let mut options = json.split(',');
            let name = options.next().unwrap_or_default();
            if name.is_empty() {
                embedded.push((owner.to_owned(), declaration.trim().to_owned()));
                continue;
            }
            let declared = declaration.split_whitespace().nth(1).unwrap_or_default();
            let options: Vec<&str> = options.collect();
            let field = GoField {
                pointer: declared.starts_with('*'),
                omitempty: options.contains(&"omitempty"),
                omitzero: options.contains(&"omitzero"),
                gates: std::mem::take(&mut gates),
                named: Some(declared.to_owned()),
                embedded: String::new(),
            };
            fields.insert((owner.to_owned(), name.to_owned()), field);
        } else if line.is_empty() {
            gates.clear();
        }
    }
}

/// The feature gates that a cluster of this release has switched on, or off, unless told otherwise.
pub fn gates() -> Result<BTreeMap<String, bool>> {
    let path = go::SUITE.source_of(KUBERNETES)?.join(FEATURES);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let gates = read_gates(&text);
    ensure!(!gates.is_empty(), "no feature gates in {}", path.display());
    Ok(gates)
}

fn read_gates(text: &str) -> BTreeMap<String, bool> {
    let mut gates = BTreeMap::new();
    let mut gate = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_suffix(": {") {
            gate = name.rsplit('.').next();
        } else if let Some((_, rest)) = line.split_once(", Default: ")
            && let Some(gate) = gate
        {
            // The last line counts: it is of the newest version.
            gates.insert(gate.to_owned(), rest.starts_with("true"));
        }
    }
    gates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_structs_are_read_with_their_gates() {
        let (mut fields, mut embedded) = (GoFields::new(), Embedded::new());
        read_fields(
            "type A struct {\n\t// what for\n\t// +featureGate=One\n\t// +optional\n\tB *string `json:\"b,omitempty\" protobuf:\"x\"`\n\n\t\
             C int `json:\"c\"`\n}\n\ntype D struct {\n\tA `json:\",inline\" protobuf:\"x\"`\n}\n",
            &mut fields,
            &mut embedded,
        );
        inherit(&mut fields, &embedded);
        let inherited = &fields[&("D".to_owned(), "c".to_owned())];
        assert_eq!(inherited.embedded, "A");
        let field = |name: &str| &fields[&("A".to_owned(), name.to_owned())];
        let b = GoField {
            pointer: true,
            omitempty: true,
            omitzero: false,
            gates: vec!["One".to_owned()],
            named: Some("*string".to_owned()),
            embedded: String::new(),
        };
        assert_eq!(*field("b"), b);
        assert_eq!(field("c").named.as_deref(), Some("int"));
    }

    #[test]
    fn names_of_types_are_told_that_are_no_structs() {
        let text = "type A string\ntype B struct {\n}\ntype C = metav1.C\ntype D map[A]B\n";
        let names: BTreeSet<&str> = plain_types(text).collect();
        assert_eq!(names, BTreeSet::from(["A", "D"]));
        let package = Package {
            folder: PathBuf::from("x/v1"),
            definitions: String::new(),
            messages: String::new(),
        };
        let imported = BTreeSet::from(["Imported".to_owned()]);
        for (declared, wanted) in [
            ("*A", Some("v1.A")),
            ("[]A", Some("[]v1.A")),
            ("map[string]A", Some("map[string]v1.A")),
            ("map[A]B", Some("map[v1.A]v1.B")),
            ("D", Some("v1.D")),
            ("v1.Imported", Some("v1.Imported")),
            ("*apiv1.Imported", Some("v1.Imported")),
            ("types.UID", Some("types.UID")),
            ("[]B", None),
            ("*string", None),
            ("metav1.Time", None),
        ] {
            let named = package.qualified(declared, &names, &imported);
            assert_eq!(named.as_deref(), wanted, "{declared}");
        }
    }

    #[test]
    fn the_newest_line_of_a_gate_counts() {
        let gates = read_gates(
            "\tOne: {\n\t\t{Version: v(\"1.36\"), Default: false, PreRelease: Alpha},\n\t\t{Version: v(\"1.37\"), Default: true},\n\t},\n\
             \tgenericfeatures.Two: {\n\t\t{Version: v(\"1.36\"), Default: false, PreRelease: Alpha},\n\t},\n",
        );
        let expected = [("One".to_owned(), true), ("Two".to_owned(), false)];
        assert_eq!(gates, BTreeMap::from(expected));
    }

    #[test]
    fn versions_that_are_not_served_are_left_out() {
        assert!(is_stable("io.k8s.api.core.v1.Pod"));
        assert!(is_stable("io.k8s.api.core.v1.VolumeMount"));
        assert!(!is_stable("io.k8s.api.scheduling.v1alpha3.Workload"));
        assert!(!is_stable("v2beta2"));
    }
}
