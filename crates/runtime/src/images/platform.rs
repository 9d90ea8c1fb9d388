//! What an index says of its manifests: which machines they are for.

use serde::Deserialize;

#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
pub struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: String,
}

impl Platform {
    /// Whether every machine like this one runs it. As containerd's default: of a variant that not all of them have, none does.
    pub fn is_ours(&self) -> bool {
        self.os == "linux" && self.architecture == architecture() && is_common(self)
    }

    /// Whether it is for no machine: what builders say of how an image was made has the form of one.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

fn is_common(platform: &Platform) -> bool {
    let variant = platform.variant.as_str();
    match platform.architecture.as_str() {
        "amd64" => matches!(variant, "" | "v1"),
        "arm64" => matches!(variant, "" | "8" | "v8"),
        _ => true,
    }
}

/// As Go, and with it image configurations, calls this processor.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_one_that_all_machines_have() {
        for (architecture, variant, wanted) in [
            ("amd64", "", true),
            ("amd64", "v1", true),
            ("amd64", "v2", false),
            ("amd64", "v3", false),
            ("arm64", "", true),
            ("arm64", "v8", true),
            ("arm64", "v9", false),
            ("riscv64", "rva20", true),
        ] {
            let platform = Platform {
                architecture: architecture.to_owned(),
                variant: variant.to_owned(),
                ..Default::default()
            };
            assert_eq!(is_common(&platform), wanted, "{architecture}/{variant}");
        }
    }
}
