//! Lines of the log on their way to standard error: whoever logs leaves a line and goes on, one thread writes. A reader that does not
//! read costs lines, never a worker: what finds no room is dropped, and how much it was is said as soon as lines are written again.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines that may wait for the writer: more than a start with `WEFT_LOG=debug` says in one go.
const LINES_MAX: usize = 4096;
/// Bytes that may wait: a thousand bytes a line, because lines of `trace` can be long.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Space between two attempts where standard error was set to refuse in place of waiting.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// The lines that wait. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub(super) struct Backlog(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    came: Condvar,
    written: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines that were dropped and not yet spoken of.
    lost: u64,
    /// The writer holds a line.
    is_writing: bool,
}

impl Backlog {
    /// Starts the writer. It ends with the process: nothing can call back a thread that waits for a full pipe.
    pub(super) fn start(to: impl Write + Send + 'static) -> io::Result<Self> {
        let backlog = Self::default();
        let lines = backlog.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || lines.write_all_to(to))?;
        Ok(backlog)
    }

    /// Leaves a line, with its line feed. Never waits for the writer.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.lines.len() >= LINES_MAX || waiting.bytes + line.len() > BYTES_MAX {
            waiting.lost += 1;
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.to_vec());
        drop(waiting);
        self.0.came.notify_one();
    }

    /// Waits until every line is written, at most this long.
    pub(super) fn flush(&self, limit: Duration) {
        let is_behind = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        // What is not written by then is not read by anybody.
        let _ended = self.0.written.wait_timeout_while(self.lock(), limit, is_behind);
    }

    fn write_all_to(&self, mut to: impl Write) {
        loop {
            let line = self.next();
            match write_line(&mut to, &line) {
                Ok(()) => self.tell_lost(),
                Err(_) => self.lock().lost += 1,
            }
        }
    }

    /// The next line, once there is one.
    fn next(&self) -> Vec<u8> {
        let mut waiting = self.lock();
        waiting.is_writing = false;
        if waiting.lines.is_empty() {
            self.0.written.notify_all();
        }
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.bytes -= line.len();
                waiting.is_writing = true;
                return line;
            }
            waiting = self.0.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Behind the lines that wait, where the lost ones would stand.
    fn tell_lost(&self) {
        let count = std::mem::take(&mut self.lock().lost);
        if count > 0 {
            tracing::warn!(count, "lines of the log were lost, because standard error was not read");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lines are handed over whole, each by one call.
impl Write for Backlog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_line(to: &mut impl Write, line: &[u8]) -> io::Result<()> {
    let mut rest = line;
    while !rest.is_empty() {
        match to.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(taken) => rest = &rest[taken..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::park_timeout(FULL_PAUSE),
            Err(error) => return Err(error),
        }
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

    use super::*;

    /// Longer than anything here takes.
    const LONG: Duration = Duration::from_secs(20);

    /// A reader that takes a line when it is told to.
    struct Slow {
        entered: Sender<()>,
        let_on: Receiver<io::Result<()>>,
        read: Sender<String>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.entered.send(());
            self.let_on.recv().unwrap_or(Ok(()))?;
            let _ = self.read.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Reader {
        backlog: Backlog,
        entered: Receiver<()>,
        let_on: SyncSender<io::Result<()>>,
        read: Receiver<String>,
    }

    fn slow_reader() -> Reader {
        let ((entered_in, entered), (read_in, read)) = (channel(), channel());
        let (let_on, let_on_out) = sync_channel(2 * LINES_MAX);
        let slow = Slow { entered: entered_in, let_on: let_on_out, read: read_in };
        Reader { backlog: Backlog::start(slow).unwrap(), entered, let_on, read }
    }

    #[test]
    fn lines_are_written_in_order_and_whole() {
        let Reader { backlog, entered: _entered, let_on, read } = slow_reader();
        drop(let_on);
        for number in 0..100 {
            backlog.push(format!("{number}\n").as_bytes());
        }
        backlog.flush(LONG);
        let lines: Vec<String> = read.try_iter().collect();
        assert_eq!(lines, (0..100).map(|number| format!("{number}\n")).collect::<Vec<_>>());
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let Reader { backlog, entered, let_on, read } = slow_reader();
        backlog.push(b"held\n");
        entered.recv_timeout(LONG).unwrap();
        for number in 0..LINES_MAX + 7 {
            backlog.push(format!("{number}\n").as_bytes());
        }
        backlog.flush(Duration::from_millis(1));
        assert_eq!(backlog.lock().lost, 7, "and nobody waited");
        drop(let_on);
        backlog.flush(LONG);
        assert_eq!(backlog.lock().lost, 0, "it was said");
        assert_eq!(read.try_iter().count(), LINES_MAX + 1);
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let Reader { backlog, entered, let_on: _let_on, read: _read } = slow_reader();
        backlog.push(b"held\n");
        entered.recv_timeout(LONG).unwrap();
        let long = vec![b'.'; BYTES_MAX / 4];
        for _ in 0..6 {
            backlog.push(&long);
        }
        let waiting = backlog.lock();
        assert_eq!((waiting.lines.len(), waiting.lost), (4, 2));
    }

    #[test]
    fn lines_that_failed_are_spoken_of_once_one_succeeds() {
        let Reader { backlog, entered: _entered, let_on, read } = slow_reader();
        for answer in [Err(ErrorKind::StorageFull.into()), Err(ErrorKind::StorageFull.into())] {
            let_on.send(answer).unwrap();
        }
        backlog.push(b"one\n");
        backlog.push(b"two\n");
        backlog.flush(LONG);
        assert_eq!(backlog.lock().lost, 2);
        let_on.send(Ok(())).unwrap();
        backlog.push(b"three\n");
        backlog.flush(LONG);
        assert_eq!((backlog.lock().lost, read.try_iter().count()), (0, 1));
    }

    #[test]
    fn a_full_pipe_that_refuses_is_asked_again() {
        let Reader { backlog, entered: _entered, let_on, read } = slow_reader();
        for answer in [Err(ErrorKind::WouldBlock.into()), Err(ErrorKind::Interrupted.into()), Ok(())] {
            let_on.send(answer).unwrap();
        }
        backlog.push(b"one\n");
        backlog.flush(LONG);
        assert_eq!((backlog.lock().lost, read.try_iter().count()), (0, 1));
    }
}
