//! What else the machine was doing: a figure from a busy machine is none.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Ticks a second of the kernel's accounts; fixed for user space.
const TICKS: f64 = 100.0;

/// Others and the hypervisor may take so much of all cores.
const MOST_OTHERS: f64 = 0.05;
const MOST_STEAL: f64 = 0.02;

/// Shares of all cores during one run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Noise {
    /// Processes that were there before the run and are not of this bench, with what they started.
    pub(crate) others: f64,
    /// Taken by the hypervisor.
    pub(crate) steal: f64,
    /// The load average when the run began.
    pub(crate) load: f64,
}

impl Noise {
    pub(crate) fn is_busy(&self) -> bool {
        self.others > MOST_OTHERS || self.steal > MOST_STEAL
    }

    pub(crate) fn worst(self, other: Self) -> Self {
        Self {
            others: self.others.max(other.others),
            steal: self.steal.max(other.steal),
            load: self.load.max(other.load),
        }
    }
}

#[derive(Clone, Copy)]
struct Process {
    parent: u32,
    /// Its own time and that of children it has waited for.
    ticks: u64,
}

/// From its making to its end.
pub(crate) struct Watch {
    start: Instant,
    steal: u64,
    load: f64,
    processes: HashMap<u32, Process>,
}

impl Watch {
    pub(crate) fn start() -> Result<Self> {
        let load = fs::read_to_string("/proc/loadavg")?;
        Ok(Self {
            start: Instant::now(),
            steal: steal()?,
            load: load.split(' ').next().context("loadavg")?.parse()?,
            processes: processes()?,
        })
    }

    pub(crate) fn end(&self) -> Result<Noise> {
        let cores = std::thread::available_parallelism()?.get() as f64;
        let all = self.start.elapsed().as_secs_f64().max(0.001) * cores * TICKS;
        let others = others(&self.processes, &processes()?, std::process::id());
        Ok(Noise {
            others: others as f64 / all,
            steal: steal()?.saturating_sub(self.steal) as f64 / all,
            load: self.load,
        })
    }
}

/// Ticks of those who were there before, and of what descends from them; not of this process and its children, of
/// those who wait for it, of the kernel's threads, and of what the first process has adopted since (shims of ours).
fn others(before: &HashMap<u32, Process>, after: &HashMap<u32, Process>, this: u32) -> u64 {
    let line = |pid: u32| {
        let mut line = vec![pid];
        let find = |pid: &u32| after.get(pid).or_else(|| before.get(pid));
        while let Some(process) = line.last().and_then(find) {
            if process.parent <= 1 || line.contains(&process.parent) {
                break;
            }
            line.push(process.parent);
        }
        line
    };
    let waiting = line(this);
    let is_other = |pid: u32| {
        let line = line(pid);
        let oldest = line.last().copied().unwrap_or(pid);
        oldest > 2
            && before.contains_key(&oldest)
            && !waiting.contains(&pid)
            && !line.contains(&this)
    };
    let more = |(pid, now): (&u32, &Process)| {
        let then = before.get(pid).map_or(0, |process| process.ticks);
        is_other(*pid).then(|| now.ticks.saturating_sub(then))
    };
    let sum: u64 = after.iter().filter_map(more).sum();
    // Who has gone is in its parent's account, with what it had done before.
    let gone = before
        .iter()
        .filter(|(pid, _)| !after.contains_key(pid) && is_other(**pid));
    sum.saturating_sub(gone.map(|(_, then)| then.ticks).sum())
}

fn processes() -> Result<HashMap<u32, Process>> {
    let entries = fs::read_dir("/proc")?.filter_map(Result::ok);
    Ok(entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let fields = fields(&stat)?;
            let process = Process {
                parent: u32::try_from(*fields.first()?).ok()?,
                ticks: fields.get(10..14)?.iter().sum(),
            };
            Some((pid, process))
        })
        .collect())
}

/// The numbers after the name and the state: parent, …, and from the eleventh on utime, stime, cutime, cstime.
fn fields(stat: &str) -> Option<Vec<u64>> {
    let (_, rest) = stat.rsplit_once(')')?;
    let numbers = rest.split_whitespace().skip(1);
    Some(numbers.map(|number| number.parse().unwrap_or(0)).collect())
}

fn steal() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat")?;
    Ok(line
        .split_whitespace()
        .nth(8)
        .context("no steal")?
        .parse()?)
}

/// User and system time of a process, and of children it has waited for.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    let fields = fields(&stat).context("a strange /proc/PID/stat")?;
    let ticks: u64 = fields.get(10..14).context("stat")?.iter().sum();
    Ok(Duration::from_secs_f64(ticks as f64 / TICKS))
}

/// Seconds of user and system time of each of its threads.
pub(crate) fn threads(pid: u32) -> Result<Vec<f64>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?.filter_map(Result::ok);
    let ticks = tasks.filter_map(|task| {
        // A thread may end meanwhile.
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        let own = fields(&stat)?.get(10..12)?.iter().sum::<u64>();
        Some(own as f64 / TICKS)
    });
    Ok(ticks.collect())
}

/// How often threads of this name slept and went on, which a thread that reads messages does for each of them that
/// it had to wait for.
pub(crate) fn wakes(pid: u32, name: &str) -> Result<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?.filter_map(Result::ok);
    let wakes = tasks.filter_map(|task| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let value = |key| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim())
        };
        (value("Name:")? == name).then(|| value("voluntary_ctxt_switches:")?.parse::<u64>().ok())?
    });
    Ok(wakes.sum())
}

/// A line of `/proc/PID/status` that is a size, in bytes: `VmHWM`, `VmRSS`, `RssAnon`.
pub(crate) fn memory(pid: u32, line: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = status
        .lines()
        .find_map(|text| {
            text.strip_prefix(line)?
                .strip_prefix(':')?
                .trim()
                .strip_suffix(" kB")
        })
        .with_context(|| format!("no {line}"))?;
    Ok(kilobytes.trim().parse::<u64>()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(u32, u32, u64)]) -> HashMap<u32, Process> {
        rows.iter()
            .map(|(pid, parent, ticks)| {
                (
                    *pid,
                    Process {
                        parent: *parent,
                        ticks: *ticks,
                    },
                )
            })
            .collect()
    }

    #[test]
    fn only_what_others_did_meanwhile_counts() {
        let before = table(&[
            (1, 0, 5),
            (2, 0, 5),
            (9, 2, 5),
            (100, 1, 50),
            (101, 100, 7),
            (103, 100, 20),
            (300, 1, 0),
            (301, 300, 1),
        ]);
        let after = table(&[
            // The first process and the kernel's threads.
            (1, 0, 99),
            (2, 0, 99),
            (9, 2, 99),
            // Somebody's, with a new child (4) and one that went with 20 + 15.
            (100, 1, 85),
            (101, 100, 10),
            (102, 101, 4),
            // The shell that started us, we, and a child.
            (300, 1, 99),
            (301, 300, 99),
            (302, 301, 99),
            // A shim of ours and its container.
            (400, 1, 99),
            (401, 400, 99),
        ]);
        assert_eq!(others(&before, &after, 301), 22);
    }

    #[test]
    fn a_machine_is_busy_above_a_share() {
        let quiet = Noise {
            others: 0.04,
            steal: 0.01,
            load: 3.0,
        };
        assert!(!quiet.is_busy());
        assert!(
            Noise {
                others: 0.06,
                ..quiet
            }
            .is_busy()
        );
        assert!(
            Noise {
                steal: 0.03,
                ..quiet
            }
            .is_busy()
        );
        assert_eq!(
            quiet
                .worst(Noise {
                    steal: 0.5,
                    ..Noise::default()
                })
                .steal,
            0.5
        );
    }

    #[test]
    fn a_process_has_times_and_sizes() {
        let this = std::process::id();
        assert!(memory(this, "VmHWM").unwrap() >= memory(this, "VmRSS").unwrap() / 2);
        assert!(cpu(this).is_ok());
        assert!(!threads(this).unwrap().is_empty());
        assert_eq!(fields("7 (a ) b) S 1 2 3").unwrap(), [1, 2, 3]);
    }
}
