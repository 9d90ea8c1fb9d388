//! Generates the types of CRI, and of what the embedded runtime serves beside it, from their definitions.

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        .generate_default_stubs(true)
        .message_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)]")
        .message_attribute(".", "#[serde(default)]")
        .enum_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)]")
        .compile_protos(&["proto/v1.proto", "proto/images.proto"], &["proto/"])
}
