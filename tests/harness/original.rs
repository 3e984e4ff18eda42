//! The original snapshotter, on an image in a registry with TLS.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::cache;
use crate::certificate::Certificate;
use crate::command::run;
use crate::containerd::Flavor;
use crate::distribution::Distribution;
use crate::mountinfo;
use crate::stack::Stack;

/// The original keeps what it fetched in this place, whatever root it is given.
const STATE: &str = "/var/lib/soci-snapshotter-grpc";

/// A registry that the original of the tests can use: it knows only those with TLS.
pub struct Site {
    certificate: Certificate,
    pub registry: Distribution,
    /// How the registry is called.
    pub host: String,
}

impl Site {
    pub fn new(dir: &Path) -> Result<Self> {
        let certificate = Certificate::make(&dir.join("certificate"))?;
        let registry = Distribution::start_tls(&dir.join("registry"), &certificate)?;
        // It takes loopback addresses for registries without TLS in one place and with TLS in another.
        let host = format!("0.0.0.0:{}", registry.address().port());
        Ok(Self {
            certificate,
            registry,
            host,
        })
    }

    /// The file with the authority that the registry's certificate is from.
    pub fn authority(&self) -> String {
        self.certificate.authority.display().to_string()
    }

    /// Pulls an image with the original on a node that has seen nothing before, its files below `dir`. One whole-system
    /// test at a time: the caller holds the machine.
    pub fn pulled(
        &self,
        dir: &Path,
        name: &str,
        test: impl FnOnce(&Stack) -> Result<()>,
    ) -> Result<()> {
        let (host, authority) = (&self.host, self.authority());
        fs::create_dir_all(dir)?;
        let original = dir.join("original");
        let program = cache::reference("soci-snapshotter-grpc")?;
        let script = format!(
            "#!/bin/sh\nmkdir -p \"$4\"\nSSL_CERT_FILE={authority} exec {} \"$@\"\n",
            program.display()
        );
        fs::write(&original, script)?;
        fs::set_permissions(&original, fs::Permissions::from_mode(0o755))?;
        let hosts = dir.join("hosts");
        fs::create_dir_all(hosts.join(host))?;
        fs::write(
            hosts.join(host).join("hosts.toml"),
            format!("server = \"https://{host}\"\nca = \"{authority}\"\n"),
        )?;
        let _state = EmptyState::new()?;
        let stack = Stack::start_binary(Flavor::Transfer, "", Some(&original))?;
        let hosts = hosts.display().to_string();
        let pull = [
            "images",
            "pull",
            "--snapshotter",
            "soci",
            "--hosts-dir",
            &hosts,
            name,
        ];
        let pulled = stack.containerd.run_ctr(&pull);
        let outcome = pulled.and_then(|_| test(&stack));
        outcome.map_err(|error| error.context(stack.logs()))
    }
}

/// Nothing in that place from other runs, and nothing left in it, as long as this lives.
pub struct EmptyState {
    was_there: bool,
}

impl EmptyState {
    pub fn new() -> Result<Self> {
        let was_there = Path::new(STATE).exists();
        fs::create_dir_all(STATE)?;
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", STATE]))?;
        Ok(Self { was_there })
    }
}

impl Drop for EmptyState {
    fn drop(&mut self) {
        let unmounted = mountinfo::unmount_under(Path::new(STATE));
        if unmounted.is_ok() && !self.was_there {
            // Not ours to empty.
            let _ = fs::remove_dir(STATE);
        }
    }
}
