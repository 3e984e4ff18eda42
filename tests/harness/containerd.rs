//! A private containerd: its own root, state and socket below a temporary directory.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::cache;
use crate::command::run;
use crate::process::Process;

/// Which containerd, and whether the kubelet's interface is on.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Flavor {
    /// 2.3 with the transfer service, as `ctr` and nerdctl use it.
    #[default]
    Transfer,
    /// 2.3 with CRI.
    Cri,
    /// Debian's 1.6 with CRI.
    DebianCri,
}

/// The socket and root of a proxy snapshotter that containerd shall know as `soci`.
#[derive(Clone, Debug)]
pub struct Proxy {
    pub socket: PathBuf,
    pub root: PathBuf,
}

pub struct Containerd {
    process: Process,
    flavor: Flavor,
    socket: PathBuf,
    dir: PathBuf,
}

impl Containerd {
    pub fn start(dir: &Path, flavor: Flavor, proxy: Option<&Proxy>) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let config = dir.join("containerd.toml");
        fs::write(&config, configuration(dir, flavor, proxy)?)?;
        let binary = match flavor {
            Flavor::DebianCri => PathBuf::from("/usr/bin/containerd"),
            Flavor::Transfer | Flavor::Cri => cache::program("containerd")?,
        };
        let mut command = Command::new(binary);
        command.arg("-c").arg(&config).env("PATH", path(flavor));
        let log = dir.join("containerd.log");
        let mut process = Process::start("containerd", &mut command, &log)?;
        let socket = dir.join("containerd.sock");
        process.wait_until(Duration::from_secs(30), || {
            UnixStream::connect(&socket).is_ok()
        })?;
        let this = Self {
            process,
            flavor,
            socket,
            dir: dir.to_owned(),
        };
        this.wait_until_serving()?;
        Ok(this)
    }

    /// The socket opens before the plugins are ready.
    fn wait_until_serving(&self) -> Result<()> {
        let start = Instant::now();
        while self.run_ctr(&["version"]).is_err() {
            anyhow::ensure!(
                start.elapsed() < Duration::from_secs(20),
                "containerd does not serve:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// The namespace in which this flavor's images are.
    pub fn namespace(&self) -> &'static str {
        match self.flavor {
            Flavor::Transfer => "default",
            Flavor::Cri | Flavor::DebianCri => "k8s.io",
        }
    }

    /// `ctr` for this containerd, in its namespace.
    pub fn ctr(&self) -> Command {
        let binary = match self.flavor {
            Flavor::DebianCri => PathBuf::from("/usr/bin/ctr"),
            Flavor::Transfer | Flavor::Cri => cache::root().join("bin/ctr"),
        };
        let mut command = Command::new(binary);
        command
            .arg("--address")
            .arg(&self.socket)
            .args(["--namespace", self.namespace()])
            .env("PATH", path(self.flavor));
        command
    }

    pub fn run_ctr(&self, args: &[&str]) -> Result<String> {
        run(self.ctr().args(args))
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    pub fn stop(&mut self) -> Result<()> {
        self.process.end(Signal::SIGTERM, Duration::from_secs(20))
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// The shim must be found beside its containerd.
fn path(flavor: Flavor) -> String {
    let system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    match flavor {
        Flavor::DebianCri => system.to_owned(),
        Flavor::Transfer | Flavor::Cri => {
            format!("{}:{system}", cache::root().join("bin").display())
        }
    }
}

fn configuration(dir: &Path, flavor: Flavor, proxy: Option<&Proxy>) -> Result<String> {
    let dir_text = dir.display();
    let snapshotter = if proxy.is_some() { "soci" } else { "overlayfs" };
    let version = if flavor == Flavor::DebianCri { 2 } else { 3 };
    let mut out =
        format!("version = {version}\nroot = \"{dir_text}/root\"\nstate = \"{dir_text}/state\"\n");
    let disabled: &[&str] = match flavor {
        Flavor::Transfer => &[
            "io.containerd.internal.v1.opt",
            "io.containerd.nri.v1.nri",
            "io.containerd.grpc.v1.cri",
            "io.containerd.cri.v1.images",
            "io.containerd.cri.v1.runtime",
        ],
        Flavor::Cri | Flavor::DebianCri => &["io.containerd.internal.v1.opt"],
    };
    writeln!(out, "disabled_plugins = {disabled:?}")?;
    writeln!(out, "[grpc]\n  address = \"{dir_text}/containerd.sock\"")?;
    match flavor {
        Flavor::Transfer => {
            writeln!(out, "[plugins.\"io.containerd.transfer.v1.local\"]")?;
            for name in ["overlayfs", snapshotter]
                .iter()
                .take(if proxy.is_some() { 2 } else { 1 })
            {
                writeln!(
                    out,
                    "  [[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]"
                )?;
                writeln!(
                    out,
                    "    platform = \"linux\"\n    snapshotter = \"{name}\""
                )?;
            }
        }
        Flavor::Cri => {
            writeln!(
                out,
                "[plugins.\"io.containerd.nri.v1.nri\"]\n  disable = true"
            )?;
            writeln!(
                out,
                "[plugins.\"io.containerd.cri.v1.images\"]\n  snapshotter = \"{snapshotter}\""
            )?;
        }
        Flavor::DebianCri => {
            writeln!(out, "[plugins.\"io.containerd.grpc.v1.cri\".containerd]")?;
            writeln!(
                out,
                "  snapshotter = \"{snapshotter}\"\n  disable_snapshot_annotations = false"
            )?;
        }
    }
    if let Some(proxy) = proxy {
        writeln!(out, "[proxy_plugins.soci]\n  type = \"snapshot\"")?;
        writeln!(out, "  address = \"{}\"", proxy.socket.display())?;
        if flavor != Flavor::DebianCri {
            writeln!(out, "  [proxy_plugins.soci.exports]")?;
            writeln!(out, "    root = \"{}\"", proxy.root.display())?;
            writeln!(out, "    enable_remote_snapshot_annotations = \"true\"")?;
        }
    }
    Ok(out)
}
