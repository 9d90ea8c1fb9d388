//! Generates the messages and clients of etcd's API, of which `proto/etcd.proto` has what is used.

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        .build_server(false)
        .compile_protos(&["proto/etcd.proto"], &["proto/"])
}
