//! A private containerd: its own root, state and socket below a temporary directory.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::cache;
use crate::command::run;
use crate::layout::Layout;
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

/// Where a containerd below this directory listens, whether it was started or not.
pub(crate) fn socket(dir: &Path) -> PathBuf {
    dir.join("containerd.sock")
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
        let socket = socket(dir);
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

    pub fn pid(&self) -> u32 {
        self.process.pid()
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

    /// Loads an image as `NAME:latest` without unpacking it.
    pub fn import(&self, name: &str, layout: &Layout) -> Result<()> {
        let archive = self.dir.join("import.tar");
        layout.archive(&archive)?;
        let path = archive.display().to_string();
        self.run_ctr(&[
            "images",
            "import",
            "--no-unpack",
            "--base-name",
            name,
            &path,
        ])?;
        fs::remove_file(&archive)?;
        Ok(())
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
    let snapshotter = if proxy.is_some() { "soci" } else { "overlayfs" };
    let mut disabled = vec!["io.containerd.internal.v1.opt"];
    if flavor == Flavor::Transfer {
        disabled.extend([
            "io.containerd.nri.v1.nri",
            "io.containerd.grpc.v1.cri",
            "io.containerd.cri.v1.images",
            "io.containerd.cri.v1.runtime",
        ]);
    }
    let unpack = |snapshotter: &str| json!({ "platform": "linux", "snapshotter": snapshotter });
    let unpack = match proxy {
        Some(_) => vec![unpack("overlayfs"), unpack(snapshotter)],
        None => vec![unpack(snapshotter)],
    };
    let transfer = json!({ "unpack_config": unpack });
    let plugins = match flavor {
        Flavor::Transfer => json!({ "io.containerd.transfer.v1.local": transfer }),
        Flavor::Cri => json!({
            "io.containerd.transfer.v1.local": transfer,
            "io.containerd.nri.v1.nri": { "disable": true },
            "io.containerd.cri.v1.images": { "snapshotter": snapshotter },
        }),
        Flavor::DebianCri => json!({
            "io.containerd.grpc.v1.cri": {
                "containerd": {
                    "snapshotter": snapshotter,
                    "disable_snapshot_annotations": false,
                },
            },
        }),
    };
    let mut config = json!({
        "version": if flavor == Flavor::DebianCri { 2 } else { 3 },
        "root": dir.join("root"),
        "state": dir.join("state"),
        "disabled_plugins": disabled,
        "grpc": { "address": dir.join("containerd.sock") },
        "plugins": plugins,
    });
    if let (Some(proxy), Some(config)) = (proxy, config.as_object_mut()) {
        let mut soci = json!({ "type": "snapshot", "address": proxy.socket });
        if let (false, Some(soci)) = (flavor == Flavor::DebianCri, soci.as_object_mut()) {
            let exports =
                json!({ "root": proxy.root, "enable_remote_snapshot_annotations": "true" });
            soci.insert("exports".to_owned(), exports);
        }
        config.insert("proxy_plugins".to_owned(), json!({ "soci": soci }));
    }
    Ok(toml::to_string(&toml::Value::try_from(config)?)?)
}
