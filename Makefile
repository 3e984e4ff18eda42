# Every recipe is what CI runs and what you can type. Tests need root, /dev/fuse, Go and Debian 12.

.PHONY: test demo setup build fmt clippy deny images unit conformance

test: setup fmt clippy deny build images unit conformance

setup:
	tests/setup.sh

build:
	cargo build --workspace

fmt:
	cargo fmt --all --check

clippy:
	cargo clippy --workspace --all-targets -- -D warnings

deny:
	cargo deny check -D unused-wrapper bans licenses sources

# Made once and kept; minutes on a new machine.
images:
	cargo run --package tests --bin images

unit:
	cargo test --workspace --no-fail-fast

conformance:
	cd tests/conformance && SOCI_SNAPSHOTTER=$(CURDIR)/target/debug/soci-snapshotter-grpc go test ./... -test.root

demo: setup
	cargo build --release --package daemon --package bench
	target/release/bench cold
