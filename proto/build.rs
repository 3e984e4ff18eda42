//! Compiles the services without a `protoc` on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let served = protox::compile(
        [
            "snapshots/snapshots.proto",
            "cri/images.proto",
            "types/descriptor.proto",
        ],
        ["proto"],
    )?;
    let asked = protox::compile(
        [
            "content/content.proto",
            "images/images.proto",
            "leases/leases.proto",
        ],
        ["proto"],
    )?;
    tonic_prost_build::configure()
        // Its Debug is in src/redact.rs, without the secrets.
        .skip_debug(["runtime.v1.AuthConfig"])
        .include_file("services.rs")
        .compile_fds(served)?;
    tonic_prost_build::configure()
        .build_server(false)
        .extern_path(".containerd.types", "crate::types")
        .include_file("clients.rs")
        .compile_fds(asked)?;
    Ok(())
}
