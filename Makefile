# Every recipe is what CI runs and what you can type. Tests need root, /dev/fuse, Go and Debian 12.

RESULTS = target/bench

.PHONY: test demo bench setup build fmt clippy deny images unit conformance

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

# A normal pull beside lazy loading, two minutes.
demo: setup
	cargo build --release --package daemon --package bench
	target/release/bench cold --image python,jvm --link 10ms/200mbit --busy-ok

# Everything that is measured, on a machine with nothing else to do; an hour, and more when the images have to be made.
# PEER=NAME=BINARY adds a build of the original that speaks plain HTTP to loopback registries (0.15 does, 0.4 does not),
# SOCI_PEER=NAME=BINARY a `soci` of the original that knows `convert --standalone` (0.15 does, 0.4 does not).
bench: setup
	cargo build --release --package daemon --package cli --package bench
	target/release/bench link --out $(RESULTS)
	target/release/bench cold --profiles --out $(RESULTS)/headline --runs 5 $(if $(PEER),--peer '$(PEER)')
	target/release/bench cold --profiles --out $(RESULTS)/links --image java,numpy,node \
		--link 5ms/1gbit,30ms/1gbit,50ms/100mbit $(if $(PEER),--peer '$(PEER)')
	target/release/bench cold --profiles --out $(RESULTS)/images --image small,shell,web,deep,many,ml $(if $(PEER),--peer '$(PEER)')
	target/release/bench first-read --out $(RESULTS) $(if $(PEER),--peer '$(PEER)')
	target/release/bench warm --out $(RESULTS)
	target/release/bench background --out $(RESULTS)
	target/release/bench memory --out $(RESULTS)
	target/release/bench files --out $(RESULTS)
	target/release/bench spans --out $(RESULTS)
	target/release/bench index --out $(RESULTS) $(if $(SOCI_PEER),--peer '$(SOCI_PEER)')
