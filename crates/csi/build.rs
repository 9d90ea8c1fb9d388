//! Generates the types of CSI and of the registration of plugins from their definitions.

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        .generate_default_stubs(true)
        // They hold secrets, which are never to be printed.
        .skip_debug([
            "csi.v1.NodeStageVolumeRequest",
            "csi.v1.NodePublishVolumeRequest",
            "csi.v1.NodeExpandVolumeRequest",
        ])
        .compile_protos(
            &["proto/csi.proto", "proto/registration.proto"],
            &["proto/"],
        )
}
