#!/bin/bash
# Installs what the whole-system tests and the benchmarks run against, on Debian 12 as root.
# Safe to run again: a machine that has everything is left alone, in about a second.
#
# Everything that is not a Debian package of this machine goes to $SOCI_CACHE (/var/cache/soci-rs):
#   bin/        containerd, ctr and containerd-shim-runc-v2 2.3, built from the Go module
#   reference/  the original soci-snapshotter, from Debian trixie; it writes the v1 indices
#   images/     images and their indices, made by the tests on first use
set -euo pipefail

CACHE=${SOCI_CACHE:-/var/cache/soci-rs}
CONTAINERD=v2.3.4
CARGO_DENY=0.20.2
PACKAGES=(
    containerd runc       # the older of the two runtimes under test
    docker-registry       # a real registry without the referrers API
    skopeo                # pushes OCI layouts to it
    openssl               # a certificate for it
    debootstrap           # the base of the test images
    fuse3 gcc libc6-dev ca-certificates xz-utils
)

die() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

need_machine() {
    [ "$(id -u)" = 0 ] || die "must run as root: containers, overlay and FUSE mounts need it"
    [ -c /dev/fuse ] || die "/dev/fuse is missing: load the fuse module or run where FUSE is allowed"
    command -v cargo >/dev/null || die "cargo is missing: install Rust with rustup"
    command -v go >/dev/null || die "go is missing: install Go 1.24 or newer to build containerd $CONTAINERD"
    . /etc/os-release
    [ "${VERSION_CODENAME:-}" = bookworm ] || die "this is ${PRETTY_NAME:-unknown}; the set-up is written for Debian 12"
}

installed() {
    dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

debian_packages() {
    local missing=() package
    for package in "${PACKAGES[@]}"; do
        installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    # The daemons are started by the tests, with their own state; none may start by itself.
    printf '#!/bin/sh\nexit 101\n' >"$CACHE/policy-rc.d"
    chmod +x "$CACHE/policy-rc.d"
    [ -e /usr/sbin/policy-rc.d ] || { ln -s "$CACHE/policy-rc.d" /usr/sbin/policy-rc.d; trap 'rm -f /usr/sbin/policy-rc.d' EXIT; }
    apt-get -q update || die "apt-get update failed"
    DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends "${missing[@]}" ||
        die "apt-get could not install: ${missing[*]}"
}

containerd_2() {
    local bin=$CACHE/bin
    [ -x "$bin/.$CONTAINERD" ] && return
    GOBIN=$bin CGO_ENABLED=0 go install \
        "github.com/containerd/containerd/v2/cmd/containerd@$CONTAINERD" \
        "github.com/containerd/containerd/v2/cmd/ctr@$CONTAINERD" \
        "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2@$CONTAINERD" ||
        die "containerd $CONTAINERD could not be built from its Go module"
    install -m 755 /dev/null "$bin/.$CONTAINERD"
}

# The machine's own Debian mirror, asked for the next release, in an apt configuration of its own.
trixie() {
    apt-get -q -c "$CACHE/apt/apt.conf" "$@"
}

reference() {
    local dir=$CACHE/reference apt=$CACHE/apt mirror key
    [ -x "$dir/usr/bin/soci" ] && return
    apt-get -q update >&2 || die "apt-get update failed"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' \
        'Created-By: Packages' 'Codename: bookworm' 'Component: main' 'Origin: Debian' | head -n 1)
    [ -n "$mirror" ] || die "this machine's apt sources have no Debian bookworm main"
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    rm -rf "$apt" && mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/empty"
    printf 'deb [signed-by=%s] %s trixie main\n' "$key" "$mirror" >"$apt/sources.list"
    cat >"$apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/empty";
Dir::Etc::preferencesparts "$apt/empty";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt/cache";
APT::Sandbox::User "root";
CONF
    trixie update || die "the package lists of Debian trixie could not be had"
    (cd "$apt" && trixie download soci-snapshotter) || die "Debian trixie's soci-snapshotter could not be downloaded"
    dpkg -x "$apt"/soci-snapshotter_*.deb "$dir" || die "soci-snapshotter could not be unpacked"
    "$dir/usr/bin/soci" --version >/dev/null || die "soci of Debian trixie does not run here"
    rm -rf "$apt"
}

cargo_deny() {
    command -v cargo-deny >/dev/null && return
    cargo install cargo-deny --locked --version "$CARGO_DENY" || die "cargo-deny $CARGO_DENY could not be installed"
}

need_machine
mkdir -p "$CACHE"/{bin,images,reference}
exec 9>"$CACHE/setup.lock"
flock 9
debian_packages
containerd_2
reference
cargo_deny
