//! Compiles the services without a `protoc` on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors =
        protox::compile(["snapshots/snapshots.proto", "cri/images.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Its Debug is in src/redact.rs, without the secrets.
        .skip_debug(["runtime.v1.AuthConfig"])
        .include_file("services.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
