//! Continue tokens, as they are or as the JSON in them: where one goes on, the tokens made of it go on too.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use knarr_apiserver::continuation::{Continue, INCONSISTENT};

use crate::shape;

use super::{Target, texts};

pub struct Token;

impl Target for Token {
    fn seeds(&self) -> Vec<Vec<u8>> {
        texts(&[
            r#"{"v":"meta.k8s.io/v1","rv":51,"start":"default/a\u0000"}"#,
            r#"{"v":"meta.k8s.io/v1","rv":-1,"start":"/default/a"}"#,
            r#"{"v":"meta.k8s.io/v1","rv":0,"start":""}"#,
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MTAsInN0YXJ0IjoiZGVmYXVsdC9jXHUwMDAwIn0",
        ])
    }

    fn words(&self) -> &'static [&'static str] {
        &[
            "\"rv\":",
            "\"start\":",
            "\\u0000",
            "../",
            "./",
            "//",
            "eyJ2",
            "=",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let Ok(text) = std::str::from_utf8(input) else {
            return Ok(0);
        };
        let mut seen = 0;
        for token in [text.to_owned(), URL_SAFE_NO_PAD.encode(text)] {
            match Continue::decode(&token) {
                Ok(found) => {
                    goes_on(&found)?;
                    seen ^= shape::of_data(&found.start);
                }
                Err(status) => seen ^= shape::of(&status.message),
            }
        }
        Ok(seen)
    }
}

fn goes_on(found: &Continue) -> Result<(), String> {
    if found
        .start
        .split('/')
        .any(|part| matches!(part, "" | "." | ".."))
    {
        return Err(format!("{found:?} leads out of its resource"));
    }
    let read = |token: &str| Continue::decode(token).map_err(|status| status.message);
    let later = read(&found.inconsistent())?;
    if (later.revision, &later.start) != (INCONSISTENT, &found.start) {
        return Err(format!("{found:?} goes on at {later:?}"));
    }
    let next = read(&Continue::after(found.start_after(), found.revision))?;
    if next.revision != found.revision || next.start_after() != found.start_after() {
        return Err(format!("{found:?} is written as {next:?}"));
    }
    Ok(())
}
