//! A container from its request to its first line.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// No start under test takes longer.
const LIMIT: Duration = Duration::from_secs(180);

/// Runs a command to its end; the time until it printed `prints`, on either stream, and what `then` said right after.
pub(crate) fn first_line<T>(
    command: &mut Command,
    prints: &str,
    then: impl FnOnce() -> T,
) -> Result<(Duration, T)> {
    let begin = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let (lines, coming) = mpsc::channel::<String>();
    let watch = |stream: Box<dyn Read + Send>| {
        let lines = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                // Nobody listens any more once the line has come.
                let _ = lines.send(line);
            }
        });
    };
    watch(Box::new(child.stdout.take().context("no stdout")?));
    watch(Box::new(child.stderr.take().context("no stderr")?));
    drop(lines);
    let mut said = Vec::new();
    let came = loop {
        match coming.recv_timeout(LIMIT.saturating_sub(begin.elapsed())) {
            Ok(line) if line.contains(prints) => break true,
            Ok(line) => said.push(line),
            Err(_) => break false,
        }
    };
    let (took, seen) = (begin.elapsed(), then());
    if !came {
        let _ = child.kill();
    }
    let status = child.wait()?;
    ensure!(
        came && status.success(),
        "{status}; it said:\n{}",
        said.join("\n")
    );
    Ok((took, seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(script: &str) -> Result<Duration> {
        let mut command = Command::new("sh");
        Ok(first_line(command.args(["-c", script]), "ready", || ())?.0)
    }

    #[test]
    fn the_line_counts_and_not_the_end() {
        let took = check("echo a >&2; echo ready now; sleep 0.5").unwrap();
        assert!(took < Duration::from_millis(450), "{took:?}");
    }

    #[test]
    fn a_failure_comes_with_what_was_said() {
        let error = check("echo broken >&2; exit 3").unwrap_err().to_string();
        assert!(error.contains("broken"), "{error}");
        assert!(check("echo ready; exit 3").is_err());
    }
}
