//! What is fuzzed. A target is a file, a line in [`ALL`], and a test in `tests/corpus.rs`.

mod archive;
mod cel;
mod cni;
mod container_log;
mod continuation;
mod dns;
mod json_patch;
mod jwt;
mod layer;
mod merge_patch;
mod protobuf;
mod quantity;
mod query;
mod schema;
mod selector;
mod server;
mod spdy;
mod store;
mod strategic_patch;
mod time;
mod websocket;
mod yaml;

/// Something that takes bytes from outside.
pub trait Target {
    /// Inputs that are right, to begin with.
    fn seeds(&self) -> Vec<Vec<u8>>;
    /// What is put into inputs besides what is put into all of them.
    fn words(&self) -> &'static [&'static str] {
        &[]
    }
    /// Takes an input; the shape of the answer (see [`crate::shape`]), 0 for what is no input of this target.
    ///
    /// # Errors
    /// What is wrong: a property that every input has to keep, and this one does not.
    fn run(&mut self, input: &[u8]) -> Result<u64, String>;
}

/// A target's name, and how it starts.
pub type Entry = (&'static str, fn() -> Box<dyn Target>);

/// By name.
pub const ALL: &[Entry] = &[
    ("archive", || Box::new(archive::Archive::new())),
    ("cel", || Box::new(cel::Cel)),
    ("cni", || Box::new(cni::Cni::new())),
    ("container-log", || {
        Box::new(container_log::ContainerLog::start())
    }),
    ("continue", || Box::new(continuation::Token)),
    ("dns", || Box::new(dns::Messages::start())),
    ("json-patch", || Box::new(json_patch::JsonPatch)),
    ("jwt", || Box::new(jwt::Jwt::new())),
    ("layer", || Box::new(layer::Layer::new())),
    ("merge-patch", || Box::new(merge_patch::MergePatch)),
    ("protobuf", || Box::new(protobuf::Protobuf)),
    ("quantity", || Box::new(quantity::QuantityText)),
    ("query", || Box::new(query::Queries)),
    ("schema", || Box::new(schema::Schemas)),
    ("selector", || Box::new(selector::Selectors)),
    ("server", || Box::new(server::Requests::start())),
    ("spdy", || Box::new(spdy::Frames::start())),
    ("strategic-patch", || {
        Box::new(strategic_patch::StrategicPatch::new())
    }),
    ("time", || Box::new(time::Time)),
    ("websocket", || Box::new(websocket::Sessions::start())),
    ("yaml", || Box::new(yaml::Yaml)),
];

/// Starts the target of that name.
pub fn start(name: &str) -> Option<Box<dyn Target>> {
    let entry = ALL.iter().find(|(known, _)| *known == name)?;
    Some(entry.1())
}

/// A directory for what nobody keeps, in memory where there is such: inputs come by the thousand.
fn scratch() -> tempfile::TempDir {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory
        .or_else(|_| tempfile::tempdir())
        .expect("a directory")
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// An object and a patch, one line each.
fn two_lines(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    Some((&input[..end], &input[end + 1..]))
}
