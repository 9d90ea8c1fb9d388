//! What is fuzzed. A target is a file, and a line in [`all`].

mod json_patch;
mod merge_patch;
mod quantity;
mod selector;
mod server;
mod time;

/// Something that takes bytes from outside.
pub trait Target {
    /// Inputs that are right, to begin with.
    fn seeds(&self) -> Vec<Vec<u8>>;
    /// Takes an input; the shape of the answer (see [`crate::shape`]), 0 for what is no input of this target.
    ///
    /// # Errors
    /// What is wrong: a property that every input has to keep, and this one does not.
    fn run(&mut self, input: &[u8]) -> Result<u64, String>;
}

/// By name.
pub fn all() -> Vec<(&'static str, Box<dyn Target>)> {
    vec![
        ("json-patch", Box::new(json_patch::JsonPatch)),
        ("merge-patch", Box::new(merge_patch::MergePatch)),
        ("quantity", Box::new(quantity::QuantityText)),
        ("selector", Box::new(selector::Selectors)),
        ("server", Box::new(server::Requests::start())),
        ("time", Box::new(time::Time)),
    ]
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// An object and a patch, one line each.
fn two_lines(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    Some((&input[..end], &input[end + 1..]))
}
