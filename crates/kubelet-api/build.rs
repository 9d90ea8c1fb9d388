//! Generates the types of the kubelet's protocols from their definitions.

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        .generate_default_stubs(true)
        .compile_protos(
            &[
                "proto/dra_v1.proto",
                "proto/dra_v1beta1.proto",
                "proto/deviceplugin_v1beta1.proto",
                "proto/podresources_v1.proto",
            ],
            &["proto/"],
        )
}
