//! Asking another program with a time limit: it may hang, and may leave its pipes open.

use std::io::{self, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How much of a program's output is kept, in bytes.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(20);

/// What a program said.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `command` to its end, calling `tick` while it runs.
///
/// # Errors
/// What starting it gave; `TimedOut` when it was still running after `limit` (it is killed then).
pub(super) fn run(mut command: Command, limit: Duration, mut tick: impl FnMut()) -> io::Result<Answer> {
    let deadline = Instant::now() + limit;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => thread::sleep(POLL),
            end => {
                // Killed and reaped, so that neither it nor a zombie of it stays behind.
                let _ = child.kill();
                let _ = child.wait();
                return Err(end.err().unwrap_or_else(|| {
                    io::Error::new(io::ErrorKind::TimedOut, format!("no end after {} s", limit.as_secs()))
                }));
            }
        }
        tick();
    };
    // A grandchild may hold the pipe open for ever: its text is not waited for.
    let text =
        |output: mpsc::Receiver<String>| output.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    Ok(Answer { status, stdout: text(stdout), stderr: text(stderr) })
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.by_ref().take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
            // The rest is read and forgotten: a full pipe would stop the program.
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn answers_errors_and_hangs_come_back() {
        let answer = run(shell("echo out; echo err >&2; exit 3"), Duration::from_secs(20), || ()).unwrap();
        assert_eq!((answer.stdout.trim(), answer.stderr.trim()), ("out", "err"));
        assert_eq!(answer.status.code(), Some(3));
        let hung = run(shell("exec sleep 60"), Duration::from_millis(100), || ()).unwrap_err();
        assert_eq!(hung.kind(), io::ErrorKind::TimedOut);
        assert!(run(Command::new("/no/such/program"), Duration::from_secs(1), || ()).is_err());
    }
}
