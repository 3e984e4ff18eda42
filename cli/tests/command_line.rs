//! What callers rely on: argument lists, the version line, help, exit codes, silence.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers count as code otherwise

mod support;

use support::{program, soci};
use tempfile::tempdir;

/// Parsed: it gets as far as asking a containerd that is not there.
fn check(arguments: &str) {
    let arguments = arguments.split(' ');
    let run = soci(
        ["--address", "/nonexistent/containerd.sock"]
            .into_iter()
            .chain(arguments),
    );
    run.fails(1, "/nonexistent/containerd.sock");
}

#[test]
fn nerdctls_argument_lists_are_understood() {
    check(
        "--namespace N create --all-platforms --platform linux/amd64 --platform linux/arm64 --span-size 4194304 --min-layer-size 10485760 REF",
    );
    check("--namespace N create REF");
    check(
        "--namespace N push --all-platforms --platform linux/amd64 --skip-verify --plain-http --hosts-dir /etc/containerd/certs.d,/etc/docker/certs.d example.com/ref:1",
    );
    check("push example.com/ref:1");
    check(
        "--namespace N convert --all-platforms --span-size 1048576 --min-layer-size 0 SRC example.com/dst:1",
    );
    check("convert --platform linux/amd64 --platform linux/arm64 SRC dst:1");
}

#[test]
fn the_reference_tools_flags_are_understood() {
    check(
        "-n N --timeout 30s --content-store soci --root /nonexistent create --optimizations xattr -f --prefetch-file /a -p linux/amd64 REF",
    );
    check(
        "push -k -u me:secret --tlscacert /dev/null --http-trace --existing-index skip --max-concurrent-uploads 0 -q --snapshotter soci example.com/ref:1",
    );
    check("index ls --ref X -q -p linux/amd64");
    check("index rm --ref X");
    check("ztoc ls --image-ref X -q");
    check("rebuild-db");
}

#[test]
fn nerdctl_finds_a_version_that_may_convert() {
    let run = soci(["--version"]).quiet();
    let version = run.stdout.split_once('v').unwrap().1;
    let version = run
        .stdout
        .find(|c: char| c.is_ascii_digit())
        .map_or(version, |at| &run.stdout[at..]);
    let numbers: Vec<u32> = version
        .split(|c: char| !c.is_ascii_digit())
        .take(3)
        .map(|number| number.parse().unwrap())
        .collect();
    assert!(numbers >= vec![0, 10, 0], "{}", run.stdout);
    assert!(
        run.stdout
            .contains(concat!("soci-rs ", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn every_command_has_an_example() {
    for command in [
        "create",
        "convert",
        "push",
        "publish",
        "verify",
        "diff",
        "index list",
        "index info",
        "index remove",
        "ztoc list",
        "ztoc info",
        "ztoc get-file",
        "prefetch list",
        "prefetch info",
        "prefetch recorded",
        "prefetch export",
        "prefetch merge",
        "rebuild-db",
        "completions",
        "man",
    ] {
        let run = soci(command.split(' ').chain(["--help"])).quiet();
        assert!(
            run.stdout.contains(&format!("  soci {command}")),
            "{command}"
        );
    }
    assert!(soci(["--help"]).quiet().stdout.contains("Exit codes:"));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        "",
        "nonsense",
        "create",
        "convert one",
        "push x --existing-index maybe",
        "index info sha256:0",
    ] {
        let run = soci(arguments.split(' ').filter(|a| !a.is_empty()));
        assert_eq!(run.code, 2, "{arguments}: {}", run.stderr);
    }
    for name in ["dst", "dst@sha256:0", "host:5000/dst", "dst:"] {
        soci(["convert", "src", name]).fails(2, "tagged ref");
    }
    soci(["--timeout", "5", "rebuild-db"]);
}

#[test]
fn completions_and_pages_cover_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = soci(["completions", shell]).quiet().stdout;
        assert!(
            script.contains("publish") && script.contains("existing-index"),
            "{shell}"
        );
    }
    let directory = tempdir().unwrap();
    soci(["man", support::text(directory.path())]).quiet();
    for page in ["soci.1", "soci-publish.1", "soci-index-list.1"] {
        assert!(directory.path().join(page).is_file(), "{page}");
    }
}

#[test]
fn lists_are_empty_where_nothing_was_built() {
    let root = tempdir().unwrap();
    let root = support::text(root.path());
    for command in ["index list", "ztoc list", "prefetch list"] {
        let run = soci(["--root", root].into_iter().chain(command.split(' '))).quiet();
        assert!(run.stdout.starts_with("DIGEST"), "{command}");
        let json = soci(
            ["--root", root, "--json"]
                .into_iter()
                .chain(command.split(' ')),
        )
        .quiet();
        assert_eq!(json.json(), serde_json::json!([]));
    }
    let digest = format!("sha256:{}", "0".repeat(64));
    for command in ["index info", "index rm", "ztoc info", "prefetch info"] {
        let all = ["--root", root]
            .into_iter()
            .chain(command.split(' '))
            .chain([digest.as_str()]);
        soci(all).fails(1, "rebuild-db");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut command = program();
    command
        .args(["completions", "bash"])
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_timeout_ends_a_command_that_hangs() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/app:1", listener.local_addr().unwrap());
    let run = soci(["--timeout", "300ms", "publish", &image]);
    run.fails(1, "--timeout");
}
