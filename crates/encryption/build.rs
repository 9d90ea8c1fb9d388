//! Generates the types of the KMS API and of the object that is stored of what a KMS has the key to.

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        // One object is always the same bytes.
        .btree_map(".")
        // They hold keys, which are never to be printed.
        .skip_debug([".v2"])
        .compile_protos(&["proto/kms.proto", "proto/object.proto"], &["proto/"])
}
