//! The `soci` command under test, with nothing of the person who runs the tests.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::command::built;
use crate::containerd::Containerd;

/// `nobody`: no name of a person, no home, no right to anything.
const NOBODY: u32 = 65534;

/// Longer than any command of a test takes, shorter than a person waits.
const LIMIT: Duration = Duration::from_secs(180);

pub struct Soci {
    binary: PathBuf,
    home: PathBuf,
    /// What comes before the binary: who runs it, and within which limits.
    prefix: Vec<String>,
    /// Before the command's name.
    global: Vec<String>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// The most memory that was resident at once, in bytes.
    pub peak: u64,
}

impl Soci {
    /// A command whose home, state and temporary files are below `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        let home = dir.join("soci");
        fs::create_dir_all(home.join("tmp"))?;
        Ok(Self {
            binary: built("SOCI", "soci")?,
            home,
            prefix: Vec::new(),
            global: Vec::new(),
        })
    }

    /// For the images of a containerd.
    pub fn with_containerd(dir: &Path, containerd: &Containerd) -> Result<Self> {
        let mut this = Self::new(dir)?;
        let root = this.home.join("root");
        for (flag, value) in [
            ("--address", containerd.socket()),
            ("--namespace", Path::new(containerd.namespace())),
            ("--root", &root),
        ] {
            this.global.push(flag.to_owned());
            this.global.push(value.display().to_string());
        }
        Ok(this)
    }

    /// As somebody without rights, in a place of their own, who cannot write a file larger than `largest`.
    pub fn of_an_ordinary_user(dir: &Path, largest: u64) -> Result<Self> {
        let mut this = Self::new(dir)?;
        // Where cargo builds may be out of sight for others.
        let binary = this.home.join("bin");
        fs::copy(&this.binary, &binary)?;
        this.binary = binary;
        for path in [dir, &this.home] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
        std::os::unix::fs::chown(this.home.join("tmp"), Some(NOBODY), Some(NOBODY))?;
        let user = NOBODY.to_string();
        let prefix = [
            "prlimit".to_owned(),
            format!("--fsize={largest}"),
            "setpriv".to_owned(),
            format!("--reuid={user}"),
            format!("--regid={user}"),
            "--clear-groups".to_owned(),
            "--inh-caps=-all".to_owned(),
            "--no-new-privs".to_owned(),
        ];
        this.prefix.extend(prefix);
        Ok(this)
    }

    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Where a login of docker's would be.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Runs a command to its end, however it ends.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Ended> {
        let mut words = self.prefix.iter().map(OsStr::new).collect::<Vec<_>>();
        words.push(self.binary.as_os_str());
        words.extend(self.global.iter().map(OsStr::new));
        words.extend(args.iter().map(AsRef::as_ref));
        let (program, args) = words.split_first().context("no program")?;
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| self.home.join(name));
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &self.home)
            .env("TMPDIR", self.home.join("tmp"))
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?);
        let (code, peak) = watched(&mut command)?;
        let text =
            |path| -> Result<String> { Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned()) };
        Ok(Ended {
            code,
            stdout: text(stdout)?,
            stderr: text(stderr)?,
            peak,
        })
    }

    /// Runs a command that must succeed without a word of complaint; what it printed.
    pub fn done<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S]) -> Result<String> {
        let ended = self.run(args)?;
        ensure!(
            ended.code == 0 && ended.stderr.is_empty(),
            "soci {args:?}: {ended:#?}"
        );
        Ok(ended.stdout)
    }

    /// Runs a command that must end with this exit code and one line of complaint, which is returned.
    pub fn refused<S: AsRef<OsStr> + std::fmt::Debug>(
        &self,
        code: i32,
        args: &[S],
    ) -> Result<String> {
        let ended = self.run(args)?;
        let said = ended.stderr.trim_end();
        let is_one = said.lines().count() == 1 && said.starts_with("soci: ");
        ensure!(
            ended.code == code && is_one,
            "soci {args:?} did not end with {code} and a reason: {ended:#?}"
        );
        Ok(said.to_owned())
    }
}

/// Waits for the end and looks at the memory meanwhile. A command that hangs is killed.
fn watched(command: &mut Command) -> Result<(i32, u64)> {
    let mut child = command
        .spawn()
        .with_context(|| format!("could not start {command:?}"))?;
    let start = std::time::Instant::now();
    let mut peak = 0;
    loop {
        peak = high_water(child.id()).unwrap_or(0).max(peak);
        if let Some(status) = child.try_wait()? {
            // A signal ends it as a shell would say.
            use std::os::unix::process::ExitStatusExt as _;
            let code = status.code().or(status.signal().map(|signal| 128 + signal));
            return Ok((code.context("neither code nor signal")?, peak));
        }
        if start.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            anyhow::bail!("{command:?} did not end within {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn high_water(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}
