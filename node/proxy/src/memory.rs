//! The memory ladder: what the node takes on the less of, the nearer its resident memory comes to its bound. A task reads the memory each
//! second; admission, listeners and answers look at the step.

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use metrics::Gauge;

use crate::metrics::{self as names, SharedRecorder};

/// How often memory is looked at: what fills it faster is bounded by the limits on requests and connections.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Share of the cgroup's limit that is the bound unless the operator sets one: the rest is for the kernel's buffers, which count as well.
const CGROUP_SHARE: u64 = 80;
/// A step is left this many hundredths below where it is entered, so that it is not entered and left each second.
const STEP_BACK: u64 = 3;

/// How near the bound is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Step {
    /// There is room.
    Free,
    /// From 80 % on: connections of applications end with the answer that is under way.
    Short,
    /// From 90 % on: no new requests of applications.
    Scarce,
    /// From 95 % on: no new connections.
    Exhausted,
}

/// The steps and where they are entered, in hundredths of the bound.
const STEPS: [(Step, u64); 3] = [(Step::Short, 80), (Step::Scarce, 90), (Step::Exhausted, 95)];

impl Step {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Free,
            1 => Self::Short,
            2 => Self::Scarce,
            _ => Self::Exhausted,
        }
    }

    /// The step that follows this one at so much of the bound.
    fn next(self, resident_bytes: u64, bytes_max: u64) -> Self {
        let share = u128::from(resident_bytes) * 100 / u128::from(bytes_max.max(1));
        let is_on = |(step, from): &(Self, u64)| {
            let from = if self >= *step { from - STEP_BACK } else { *from };
            share >= u128::from(from)
        };
        STEPS.iter().rev().find(|step| is_on(step)).map_or(Self::Free, |(step, _)| *step)
    }

    /// What it means, for the log.
    fn meaning(self) -> &'static str {
        match self {
            Self::Free => "everything is taken in again",
            Self::Short => "connections of applications end with their answers",
            Self::Scarce => "new requests of applications are refused",
            Self::Exhausted => "new connections are refused",
        }
    }
}

/// The ladder of one node.
pub(crate) struct Memory {
    step: AtomicU8,
    step_gauge: Gauge,
    resident_gauge: Gauge,
}

impl Memory {
    pub(crate) fn new(recorder: &SharedRecorder) -> Self {
        Self {
            step: AtomicU8::new(Step::Free as u8),
            step_gauge: names::gauge(recorder, names::MEMORY_STEP, &[]),
            resident_gauge: names::gauge(recorder, names::MEMORY_RESIDENT_BYTES, &[]),
        }
    }

    /// The step that the node stands on.
    pub(crate) fn step(&self) -> Step {
        Step::of(self.step.load(Ordering::Relaxed))
    }

    /// Takes note of the resident memory. True when the step became another.
    pub(crate) fn look(&self, resident_bytes: u64, bytes_max: u64) -> bool {
        #[allow(clippy::cast_precision_loss, reason = "a gauge; 2^53 bytes are far away")]
        self.resident_gauge.set(resident_bytes as f64);
        let before = self.step();
        let step = before.next(resident_bytes, bytes_max);
        if step == before {
            return false;
        }
        self.step.store(step as u8, Ordering::Relaxed);
        self.step_gauge.set(f64::from(step as u8));
        let meaning = step.meaning();
        if step > before {
            tracing::warn!(resident_bytes, bytes_max, ?step, meaning, "memory runs short");
        } else {
            tracing::info!(resident_bytes, bytes_max, ?step, meaning, "memory is there again");
        }
        true
    }
}

/// The memory that this process holds; none where the system does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    resident_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// `VmRSS` of proc(5)'s `status`, which unlike `statm` does not count in pages of a size that has to be asked for.
fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The bound of a node whose operator set none.
pub(crate) fn usual_bound() -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    cgroup_limit(&own, Path::new("/sys/fs/cgroup")).map(|limit| limit / 100 * CGROUP_SHARE)
}

/// The lowest `memory.max` (cgroup v2) of the process's own group and those around it.
fn cgroup_limit(own: &str, root: &Path) -> Option<u64> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limits = Path::new(own).ancestors().filter_map(|group| {
        std::fs::read_to_string(root.join(group).join("memory.max")).ok()?.trim().parse::<u64>().ok()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_entered_at_its_share_and_left_below_it() {
        let mut step = Step::Free;
        for (resident, expected) in [
            (79, Step::Free),
            (80, Step::Short),
            (78, Step::Short),
            (76, Step::Free),
            (96, Step::Exhausted),
            (92, Step::Exhausted),
            (91, Step::Scarce),
            (87, Step::Scarce),
            (86, Step::Short),
            (90, Step::Scarce),
            (10, Step::Free),
        ] {
            step = step.next(resident * 1024, 100 * 1024);
            assert_eq!(step, expected, "{resident} %");
        }
    }

    #[test]
    fn resident_memory_is_read_as_the_kernel_writes_it() {
        assert_eq!(resident_in("Name:\tweft\nVmRSS:\t    1024 kB\nRssAnon:\t 4 kB\n"), Some(1024 * 1024));
        assert_eq!(resident_in("Name:\tweft\n"), None);
    }

    #[test]
    fn the_lowest_limit_around_the_process_counts() {
        let root = std::env::temp_dir().join(format!("weft-cgroup-{}", std::process::id()));
        let inner = root.join("system.slice/weft.service");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join("memory.max"), "max\n").unwrap();
        assert_eq!(cgroup_limit("0::/system.slice/weft.service\n", &root), None);
        std::fs::write(root.join("system.slice/memory.max"), "2000\n").unwrap();
        assert_eq!(cgroup_limit("0::/system.slice/weft.service\n", &root), Some(2000));
        std::fs::write(inner.join("memory.max"), "1000\n").unwrap();
        assert_eq!(cgroup_limit("0::/system.slice/weft.service\n", &root), Some(1000));
        assert_eq!(cgroup_limit("4:memory:/weft\n", &root), None, "not of cgroup v2");
        std::fs::remove_dir_all(root).unwrap();
    }
}
