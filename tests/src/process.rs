//! A child process with its output collected line by line; ended when dropped, always by its own id.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::wait::{let_pass, until};

/// How long a process may take to end after SIGTERM: above the default drain timeout of a node, which is 30 s.
const END_LIMIT: Duration = Duration::from_secs(40);

/// How long a server may take to end when a test is over: all of its connections are gone by then.
const ORDERLY_END_LIMIT: Duration = Duration::from_secs(10);
/// Space between two looks whether it has ended.
const END_POLL: Duration = Duration::from_millis(5);

/// What a process has written so far.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// A copy of all lines so far.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn follow(&self, from: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(from);
            let mut raw = Vec::new();
            while matches!(reader.read_until(b'\n', &mut raw), Ok(read) if read > 0) {
                lines.push(String::from_utf8_lossy(&raw).trim_end().to_owned());
                raw.clear();
            }
        })
    }
}

/// A running (or ended) child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// Lines of standard output.
    pub stdout: Lines,
    /// Lines of standard error.
    pub stderr: Lines,
    followers: Vec<JoinHandle<()>>,
    /// Standard error, where nobody reads it.
    unread: Option<ChildStderr>,
}

/// What becomes of a process's standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorOutput {
    /// It is collected.
    Collected,
    /// It is a pipe that stays open and that nobody reads.
    Unread,
}

impl Process {
    /// Starts `command`; `name` is for messages.
    pub fn start(name: &str, command: &mut Command) -> Self {
        Self::start_with(name, command, ErrorOutput::Collected)
    }

    /// [`Process::start`] with a say about its standard error.
    pub fn start_with(name: &str, command: &mut Command, errors: ErrorOutput) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {name}: {error}"));
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let mut followers = vec![stdout.follow(child.stdout.take().expect("stdout is piped"))];
        let mut unread = None;
        let error_pipe = child.stderr.take().expect("stderr is piped");
        match errors {
            ErrorOutput::Collected => followers.push(stderr.follow(error_pipe)),
            ErrorOutput::Unread => unread = Some(error_pipe),
        }
        Self { name: name.to_owned(), child, stdout, stderr, followers, unread }
    }

    /// Begins to read a standard error that nobody has read so far.
    pub fn read_errors(&mut self) {
        let pipe = self.unread.take().expect("nobody reads it");
        self.followers.push(self.stderr.follow(pipe));
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Ends it at once, as a power cut would (SIGKILL), and waits.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            self.child.kill().expect("a child can be killed");
            self.child.wait().expect("a child can be waited for");
        }
        self.join_followers();
    }

    /// Sends `signal` (a name such as `TERM` or `STOP`) to this process alone.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status().expect("kill can be run");
        assert!(sent.success(), "signal {signal} to {} ({id})", self.name);
    }

    /// Asks it to end (SIGTERM) and waits for that.
    pub fn terminate(&mut self) -> ExitStatus {
        if self.ended().is_none() {
            self.signal("TERM");
        }
        let name = self.name.clone();
        let status = until(&format!("the end of {name} after SIGTERM"), END_LIMIT, || self.ended());
        self.join_followers();
        status
    }

    /// Sends `signal` and gives it some time to end, then ends it at once. Never panics, so it may be the last act of a failed test.
    pub fn end_by(&mut self, signal: &str) {
        let id = self.child.id().to_string();
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = Command::new("kill").args(["-s", signal, &id]).status();
        }
        let asked = Instant::now();
        while self.child.try_wait().ok().flatten().is_none() {
            if asked.elapsed() > ORDERLY_END_LIMIT {
                eprintln!("{} ({id}) did not end by SIG{signal}", self.name);
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            let_pass(END_POLL);
        }
    }

    /// The ids of the processes that it has started and that still run.
    pub fn children(&self) -> Vec<u32> {
        let own = self.id().to_string();
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = all.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
        // After the name in parentheses: the state, then the parent (proc(5)).
        let is_child = |id: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)) == Some(own.as_str())
        };
        ids.filter(is_child).collect()
    }

    /// Waits for its own end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let name = self.name.clone();
        let status = until(&format!("the end of {name}"), limit, || self.ended());
        self.join_followers();
        status
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
    }

    /// CPU time of all its threads so far, to the nanosecond: for what is over within a tick of the clock.
    pub fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id())).expect("the process runs");
        let spent = tasks.flatten().filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(spent.sum())
    }

    /// CPU time used so far, user and system, in clock ticks (100 a second on Linux).
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
    }

    /// The TCP sockets that it listens on, each as local address and inode: a line that stays is a socket that was never closed.
    pub fn listening(&self) -> BTreeSet<String> {
        let folder = format!("/proc/{}/fd", self.id());
        let open = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let links = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let own: BTreeSet<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
        let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", self.id())).unwrap_or_default();
        let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        // Columns of proc(5): 1 the local address, 3 the state (0A is LISTEN), 9 the inode.
        let listening =
            rows.filter(|row| row.len() > 9 && row[3] == "0A" && own.contains(&format!("socket:[{}]", row[9])));
        listening.map(|row| format!("{} {}", row[1], row[9])).collect()
    }

    fn join_followers(&mut self) {
        for follower in self.followers.drain(..) {
            follower.join().expect("a reader of output does not panic");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
