//! The access log: one JSON line a request, written by a thread of its own. A worker leaves what it knows in its shard of a
//! bounded buffer and goes on; when the writer is behind, lines are dropped and counted.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use http::Method;
use metrics::Counter;
use serde::Serialize;
use weft_env::Timestamp;
use weft_identity::Code;
use weft_policy::Place;
use weft_policy::endpoint::Endpoint;

use crate::metrics::{Direction, Meter};
use crate::trace::Trace;

/// Lines that one worker may be ahead of the writer: half a second of 32,000 requests.
const LINES_MAX: usize = 16_384;
/// The log is turned over at this size; one older file is kept.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How often the writer looks; a line is at most this late.
const WRITE_INTERVAL: Duration = Duration::from_millis(250);

/// What one line says.
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    pub(crate) direction: Direction,
    pub(crate) meter: Option<Arc<Meter>>,
    pub(crate) method: Option<Method>,
    pub(crate) path: Option<String>,
    pub(crate) trace: Option<Trace>,
    pub(crate) status: u16,
    pub(crate) code: Option<Code>,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
    /// Where the last try went.
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    /// The caller went away before the end.
    pub(crate) cut: bool,
    /// The revision of the policy that decided; 0 where none did.
    pub(crate) revision: u64,
    /// The rule that routed it.
    pub(crate) route: Option<Place>,
    /// Where documents in shadow mode would have refused it.
    pub(crate) shadow: Option<String>,
    /// The id of its refusal.
    pub(crate) id: Option<String>,
}

/// The line as written.
#[derive(Serialize)]
struct Written<'a> {
    at_ms: u64,
    direction: &'static str,
    caller: &'a str,
    service: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    bytes: u64,
    took_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replica: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    #[serde(skip_serializing_if = "is_zero")]
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The log as workers see it.
pub(crate) struct AccessLog {
    shards: Arc<[Mutex<Vec<Line>>]>,
    dropped: Counter,
    stop: Option<SyncSender<()>>,
    writer: Option<JoinHandle<()>>,
}

impl AccessLog {
    /// Opens the file and starts the writer.
    pub(crate) fn start(path: &Path, workers: usize, dropped: Counter) -> io::Result<Self> {
        let shards: Arc<[Mutex<Vec<Line>>]> = (0..workers.max(1)).map(|_| Mutex::default()).collect();
        let file = LogFile::open(path)?;
        let (stop, stopped) = sync_channel(1);
        let lines = Arc::clone(&shards);
        let writer =
            std::thread::Builder::new().name("access-log".to_owned()).spawn(move || run(&lines, file, &stopped))?;
        Ok(Self { shards, dropped, stop: Some(stop), writer: Some(writer) })
    }

    /// Leaves a line for the writer; never waits for it.
    pub(crate) fn push(&self, worker: usize, line: Line) {
        let shard = &self.shards[worker % self.shards.len()];
        let mut lines = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LINES_MAX {
            lines.push(line);
        } else {
            drop(lines);
            self.dropped.increment(1);
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(writer) = self.writer.take() {
            // The last lines of a process are worth the moment; a writer that panicked has nothing to say.
            let _ended = writer.join();
        }
    }
}

fn run(shards: &[Mutex<Vec<Line>>], mut file: LogFile, stopped: &Receiver<()>) {
    let mut lines = Vec::new();
    loop {
        let last = !matches!(stopped.recv_timeout(WRITE_INTERVAL), Err(RecvTimeoutError::Timeout));
        for shard in shards {
            std::mem::swap(&mut lines, &mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            if let Err(error) = file.write(&lines) {
                tracing::warn!(%error, path = %file.path.display(), "access log not written");
            }
            lines.clear();
        }
        if last {
            return;
        }
    }
}

/// The file, turned over when it is full.
struct LogFile {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), bytes })
    }

    /// Whether somebody has moved the file away, or removed it: whoever looks at its path would see nothing of what is written.
    fn is_moved(&self) -> bool {
        let is_same = |there: Metadata, here: Metadata| (there.dev(), there.ino()) == (here.dev(), here.ino());
        match (std::fs::metadata(&self.path), self.file.get_ref().metadata()) {
            (Ok(there), Ok(here)) => !is_same(there, here),
            (Err(error), _) => error.kind() == io::ErrorKind::NotFound,
            (Ok(_), Err(_)) => false,
        }
    }

    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        if !lines.is_empty() && self.is_moved() {
            *self = Self::open(&self.path)?;
        }
        for line in lines {
            let mut text = serde_json::to_vec(&written(line))?;
            text.push(b'\n');
            self.file.write_all(&text)?;
            self.bytes += text.len() as u64;
        }
        self.file.flush()?;
        if self.bytes >= FILE_BYTES_MAX {
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
            *self = Self::open(&self.path)?;
        }
        Ok(())
    }
}

fn written(line: &Line) -> Written<'_> {
    Written {
        at_ms: line.at.0,
        direction: line.direction.as_str(),
        caller: line.meter.as_ref().map_or("", |meter| &meter.caller),
        service: line.meter.as_ref().map_or("", |meter| &meter.service),
        method: line.method.as_ref().map(Method::as_str),
        path: line.path.as_deref(),
        status: line.status,
        code: line.code.map(Code::as_str),
        bytes: line.bytes,
        took_us: u64::try_from(line.took.as_micros()).unwrap_or(u64::MAX),
        node: line.endpoint.as_ref().map(|endpoint| endpoint.node.as_str()),
        replica: line.endpoint.as_ref().map(|endpoint| endpoint.replica.as_str()),
        trace: line.trace.as_ref().map(Trace::as_str),
        cut: line.cut,
        revision: line.revision,
        route: line.route.as_ref().map(ToString::to_string),
        shadow: line.shadow.as_deref(),
        id: line.id.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_page_names_every_field() {
        let whole = Written {
            at_ms: 1,
            direction: "inbound",
            caller: "spiffe://bank/svc/web",
            service: "orders",
            method: Some("GET"),
            path: Some("/"),
            status: 403,
            code: Some("not-allowed"),
            bytes: 1,
            took_us: 1,
            node: Some("vm-a"),
            replica: Some("orders"),
            trace: Some("00-1-1-00"),
            cut: true,
            revision: 1,
            route: Some("p.toml:1".to_owned()),
            shadow: Some("p.toml:2"),
            id: Some("vm-a.0"),
        };
        let value = serde_json::to_value(&whole).unwrap();
        let page = include_str!("../../../docs/reference/access-log.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let listed: std::collections::BTreeSet<&str> = rows.collect();
        let written: std::collections::BTreeSet<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(listed, written, "docs/reference/access-log.md");
    }
}
