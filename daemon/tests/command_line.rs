//! The command line a unit file or a person writes for AWS's snapshotter works here.

// A test that cannot go on stops.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_soci-snapshotter-grpc"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn file(dir: &Path, text: &str) -> String {
    let path = dir.join("config.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_version_and_the_help_are_printed() {
    assert!(stdout(&run(&["--version"], &[])).contains(env!("CARGO_PKG_VERSION")));
    let help = stdout(&run(&["--help"], &[]));
    for flag in [
        "--address",
        "--config",
        "--log-level",
        "--root",
        "SOCI_SNAPSHOTTER_ROOT",
    ] {
        assert!(help.contains(flag), "{flag} is not in {help}");
    }
}

#[test]
fn the_effective_configuration_is_the_file_over_the_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(dir.path(), "[http]\nMaxRetries = 3\n");
    let default = stdout(&run(&["config", "default"], &[]));
    assert!(default.contains("MaxRetries = 8"), "{default}");
    let dumped = stdout(&run(&["--config", &config, "config", "dump"], &[]));
    assert_eq!(dumped, default.replace("MaxRetries = 8", "MaxRetries = 3"));
    let by_environment = run(&["config", "dump"], &[("SOCI_SNAPSHOTTER_CONFIG", &config)]);
    assert_eq!(stdout(&by_environment), dumped);
}

#[test]
fn a_misspelt_key_stops_the_start_and_names_the_right_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(dir.path(), "[background_fetch]\ndisabled = true\n");
    let root = dir.path().join("root");
    let output = run(
        &["--config", &config, "--root", root.to_str().unwrap()],
        &[],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("`background_fetch.disable`"),
        "{}",
        stderr(&output)
    );
    assert!(!root.exists());
}

#[test]
fn a_configuration_the_user_named_must_exist() {
    let output = run(&["--config", "/nonexistent/config.toml"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/nonexistent/config.toml"));
}

#[test]
fn the_reference_file_of_another_installation_loads() {
    // Every section of the reference's documentation, in its own spelling.
    let dir = tempfile::tempdir().unwrap();
    let config = file(
        dir.path(),
        "metadata_store = \"db\"\nno_prometheus = true\n[http]\nDialTimeoutMsec = 1000\n\
         [blob]\nvalid_interval = 60\n[directory_cache]\nsync_add = false\ndirect = true\n\
         [fuse]\nattr_timeout = 1\n[background_fetch]\nfetch_period_msec = 100\n\
         [content_store]\ntype = \"containerd\"\n[pull_modes.parallel_pull_unpack]\nenable = false\n\
         concurrent_download_chunk_size = \"8mb\"\n[cri_keychain]\nenable_keychain = false\n\
         [snapshotter]\nmin_layer_size = 10\nallow_invalid_mounts_on_restart = true\n",
    );
    let dumped = stdout(&run(&["--config", &config, "config", "dump"], &[]));
    assert!(dumped.contains("DialTimeoutMsec = 1000"));
    assert!(dumped.contains("fetch_period_msec = 100"));
}
