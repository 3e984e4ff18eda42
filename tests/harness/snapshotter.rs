//! The daemon under test, started as a service manager would start it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::command::built;
use crate::containerd::Proxy;
use crate::mountinfo::{self, Mount};
use crate::process::Process;

pub struct Snapshotter {
    process: Process,
    dir: PathBuf,
    binary: PathBuf,
}

impl Snapshotter {
    /// Starts the daemon with `config` below `dir`; a second start there finds the first one's state.
    pub fn start(dir: &Path, config: &str, other: Option<&Path>) -> Result<Self> {
        let binary = match other {
            Some(path) => path.to_owned(),
            None => built("SOCI_SNAPSHOTTER", "soci-snapshotter-grpc")?,
        };
        fs::create_dir_all(dir.join("root"))?;
        fs::write(dir.join("config.toml"), config)?;
        let mut this = Self {
            process: launch(&binary, dir)?,
            dir: dir.to_owned(),
            binary,
        };
        this.wait_until_listening()?;
        Ok(this)
    }

    fn wait_until_listening(&mut self) -> Result<()> {
        let socket = self.socket();
        self.process.wait_until(Duration::from_secs(20), || {
            UnixStream::connect(&socket).is_ok()
        })
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("soci.sock")
    }

    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    pub fn proxy(&self) -> Proxy {
        Proxy {
            socket: self.socket(),
            root: self.root(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Gives the daemon a login, as `docker login` of the user it runs as would.
    pub fn log_in(&self, host: &str, username: &str, password: &str) -> Result<()> {
        use base64::Engine as _;
        let plain = format!("{username}:{password}");
        let auth = base64::engine::general_purpose::STANDARD.encode(plain);
        let config = serde_json::json!({ "auths": { host: { "auth": auth } } });
        let dir = self.dir.join("docker");
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("config.json"), config.to_string())?;
        Ok(())
    }

    /// Ends the daemon with a signal and waits for it.
    pub fn stop(&mut self, signal: Signal) -> Result<()> {
        self.process.end(signal, Duration::from_secs(30))
    }

    /// Starts it again where it left off.
    pub fn restart(&mut self) -> Result<()> {
        let _ = fs::remove_file(self.socket());
        self.process = launch(&self.binary, &self.dir)?;
        self.wait_until_listening()
    }

    /// The FUSE mounts below its root.
    pub fn lazy_mounts(&self) -> Result<Vec<Mount>> {
        let mut mounts = mountinfo::under(&self.root())?;
        mounts.retain(|mount| mount.kind.starts_with("fuse"));
        Ok(mounts)
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The log lines that are JSON objects.
    pub fn log_lines(&self) -> Vec<Value> {
        let log = self.log();
        log.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(Value::is_object)
            .collect()
    }

    /// The lines an operator is meant to notice.
    pub fn warnings(&self) -> Vec<String> {
        let grave = |line: &Value| {
            let level = line
                .get("level")
                .and_then(Value::as_str)
                .unwrap_or_default();
            matches!(
                level.to_ascii_lowercase().as_str(),
                "warn" | "warning" | "error"
            )
        };
        self.log_lines()
            .into_iter()
            .filter(grave)
            .map(|line| line.to_string())
            .collect()
    }
}

/// Adds what another snapshotter, put in place with `$SOCI_SNAPSHOTTER`, needs to talk to a loopback registry.
/// The original takes plain HTTP only from hosts marked so (0.4 from none at all); ours takes it from loopback
/// addresses as they are.
pub fn configuration(config: &str, registry: SocketAddr) -> String {
    if std::env::var_os("SOCI_SNAPSHOTTER").is_none() {
        return config.to_owned();
    }
    format!(
        "{config}\n[[resolver.host.\"{registry}\".mirrors]]\nhost = \"{registry}\"\ninsecure = true\n"
    )
}

fn launch(binary: &Path, dir: &Path) -> Result<Process> {
    let mut command = Command::new(binary);
    command
        .arg("--address")
        .arg(dir.join("soci.sock"))
        .arg("--root")
        .arg(dir.join("root"))
        .arg("--config")
        .arg(dir.join("config.toml"))
        .args(["--log-level", "debug"])
        // Nothing of the person who runs the tests.
        .env("HOME", dir)
        .env("DOCKER_CONFIG", dir.join("docker"))
        .env_remove("NOTIFY_SOCKET")
        .envs(unit_environment());
    Process::start("soci-snapshotter-grpc", &mut command, &dir.join("soci.log"))
}

/// What the service unit sets.
fn unit_environment() -> impl Iterator<Item = (&'static str, &'static str)> {
    include_str!("../../systemd/soci-snapshotter.service")
        .lines()
        .filter_map(|line| line.strip_prefix("Environment="))
        .flat_map(str::split_whitespace)
        .filter_map(|assignment| assignment.split_once('='))
}
