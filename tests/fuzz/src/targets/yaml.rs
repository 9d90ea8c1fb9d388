//! Documents in YAML: what is read is written as something that reads the same, and aliases make no more of a document than its
//! length allows.

use knarr_apiserver::yaml;

use crate::shape;

use super::{Target, texts};

/// Of a tree as JSON for each byte of the document, beyond the slack for aliases.
const GROWTH: usize = 16;
const SLACK: usize = 1 << 20;

pub struct Yaml;

impl Target for Yaml {
    fn seeds(&self) -> Vec<Vec<u8>> {
        texts(&[
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n  labels: {a: b, \"yes\": 'no'}\ndata:\n  k: |\n    two\n    lines\n  l: >-\n    folded\n    text\n",
            "a: &a [x, 0644, 0x1F, 1e3, .inf, ~, off, 1:30, 2001-12-14]\nb: *a\nc: !!str 5\n? [k]\n: v\n",
            "- - a\n  - b\n- {x: [1, 2.5, -0], <<: {y: z}}\n# comment\n...\n",
            "--- \"q\\u00e9\\t\\x41\"\n",
        ])
    }

    fn words(&self) -> &'static [&'static str] {
        &[
            "&a ",
            "*a",
            "<<: ",
            "!!binary ",
            "!!float ",
            "? ",
            ": ",
            "- ",
            "|+\n",
            ">-\n",
            "---\n",
            "...\n",
            "%YAML 1.1\n",
            "\"",
            "'",
            "\\N",
            "0o17",
            "1_000",
            "0b1",
            ".nan",
            "-.inf",
            "yes",
            "\t",
            "#",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let tree = match yaml::parse(input) {
            Ok(tree) => tree,
            Err(error) => return Ok(shape::of(&error)),
        };
        let json = tree.to_string();
        if json.len() > GROWTH * input.len() + SLACK {
            return Err(format!("{} bytes become {}", input.len(), json.len()));
        }
        let written = yaml::write(&tree);
        match yaml::parse(written.as_bytes()) {
            Ok(again) if again == tree => Ok(shape::of_data(&written)),
            Ok(again) => Err(format!("{tree} is written {written:?}, which is {again}")),
            Err(error) => Err(format!(
                "{tree} is written {written:?}, which does not read: {error}"
            )),
        }
    }
}
