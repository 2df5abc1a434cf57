//! Workers: each one thread with its own current-thread runtime, its own listeners (SO_REUSEPORT), pools and meters. The
//! [`DataPath`] owns them and opens listeners on all of them; the Listeners actor asks it to.

mod accept;
mod chores;
mod descriptors;
mod gate;
mod listening;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use weft_env::Env;
use weft_identity::{Code, Failure, NodeId};
use weft_policy::Limiter;
use weft_world::WorldCell;
use weft_world::settings::Settings;

use crate::access_log::AccessLog;
use crate::admission::Admission;
use crate::bell::Bell;
use crate::explain::{Explanation, Question, explain};
use crate::memory::{self, Memory};
use crate::metrics::{self, ACCESS_LOG_DROPPED_TOTAL, Direction, ServiceCounts, ServiceStates, SharedRecorder};
use crate::pool::{Host, Pool, Upstream};
use crate::refusals::{RefusalRecord, Refusals};
use chores::{Moment, sweep, watch_memory};
use descriptors::Descriptors;
pub(crate) use gate::{Gate, Phase};
use listening::Listening;

/// Callers and header values that rate limits are counted for at once; some 5 MB when all are in use.
const LIMIT_KEYS_MAX: usize = 100_000;

/// Where the workers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// A thread each, as many as the settings say.
    Threads,
    /// One worker in the runtime that starts the data path: tests and the simulator.
    Here,
}

/// What a data path is made of.
pub struct PathArgs {
    /// The machine.
    pub env: Env,
    /// Timeouts and limits.
    pub settings: Settings,
    /// Takes the metrics.
    pub recorder: SharedRecorder,
    /// The access log's file; none for no log.
    pub access_log: Option<PathBuf>,
    /// Where the workers run.
    pub placement: Placement,
}

/// What all workers share.
struct Shared {
    settings: Settings,
    recorder: SharedRecorder,
    access_log: Option<AccessLog>,
    /// The node's world, known from its first listener on.
    world: OnceLock<Arc<WorldCell>>,
    refusals: Refusals,
    limiter: Limiter,
    counts: Arc<ServiceCounts>,
    /// The upstream connections of every worker.
    pools: Mutex<Vec<Arc<Pool>>>,
    admission: Admission,
    memory: Arc<Memory>,
    descriptors: Arc<Descriptors>,
    listening: Listening,
    /// Zero of the data path's clock.
    zero: Instant,
}

/// The part of a node that moves bytes. Dropping it ends the workers and everything they serve.
pub struct DataPath {
    workers: Vec<Arc<Worker>>,
    shared: Arc<Shared>,
    threads: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// One worker.
pub(crate) struct Worker {
    /// The machine.
    pub(crate) env: Env,
    /// Upstream connections.
    pub(crate) pool: Arc<Pool>,
    /// Budgets and meters of the services in use.
    pub(crate) states: ServiceStates,
    /// Copies of requests under way.
    pub(crate) mirrors: Arc<AtomicU32>,
    /// What the bodies of those copies hold.
    pub(crate) mirrored_bytes: Arc<AtomicUsize>,
    shared: Arc<Shared>,
    handle: Handle,
    number: usize,
    /// State of a xorshift generator: choices need speed, not secrecy.
    random: AtomicU64,
    /// Rings when something changed that may end what is open.
    bell: Arc<Bell>,
    /// When the turn of the task that runs began.
    moment: Arc<Moment>,
}

impl Worker {
    /// What rings when something changed that may end what is open.
    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Runs a task on this worker. Takes what is as large as it is, and no larger: a task of the runtime would hold what is moved into it twice.
    pub(crate) fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.spawn_with((), task);
    }

    /// The same, keeping something for as long as the task runs.
    pub(crate) fn spawn_with(&self, kept: impl Send + 'static, mut task: BoxFuture<'static, ()>) {
        let moment = Arc::clone(&self.moment);
        drop(self.handle.spawn(std::future::poll_fn(move |cx| {
            let _kept = &kept;
            // Each turn of a task begins with a look at the clock: what happens in it happens then.
            moment.note();
            task.as_mut().poll(cx)
        })));
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    pub(crate) fn access_log(&self) -> Option<&AccessLog> {
        self.shared.access_log.as_ref()
    }

    /// The node's world, for what watches it; none before the first listener is open, when there is nothing to watch over.
    pub(crate) fn world(&self) -> Option<Arc<WorldCell>> {
        self.shared.world.get().cloned()
    }

    /// The last refusals of the node.
    pub(crate) fn refusals(&self) -> &Refusals {
        &self.shared.refusals
    }

    /// What rate limits have counted, on all workers.
    pub(crate) fn limiter(&self) -> &Limiter {
        &self.shared.limiter
    }

    /// Closes an idle upstream connection, of any worker, that `counter` counts; false where there is none.
    pub(crate) fn close_idle(&self, counter: &Arc<AtomicU32>) -> bool {
        let pools = self.shared.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().any(|pool| pool.close_idle(counter))
    }

    /// An idle connection to a host, whose peer is believed now.
    pub(crate) fn take_upstream(&self, host: &Host, world: &WorldCell) -> Option<Upstream> {
        loop {
            let mut upstream = self.pool.take(host)?;
            let rings = self.bell.rings();
            if upstream.rings == rings || upstream.is_believed(&world.load()) {
                upstream.rings = rings;
                return Some(upstream);
            }
        }
    }

    /// A new id for a refusal. It names the node that refused, because that node knows more.
    pub(crate) fn refusal_id(&self, node: &NodeId) -> String {
        format!("{node}.{:016x}", self.random())
    }

    /// Which worker it is.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Nanoseconds of the data path's clock; the same for all workers.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.shared.zero.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// When the turn of the task that runs began, in nanoseconds of the data path's clock.
    pub(crate) fn noted_ns(&self) -> u64 {
        self.moment.ns()
    }

    /// When the turn of the task that runs began.
    pub(crate) fn noted(&self) -> Instant {
        self.moment.at()
    }

    /// When an exchange that began at this moment must be over, by the node's settings.
    pub(crate) fn total_deadline(&self, started: Instant) -> Option<Instant> {
        self.settings().total_timeout.map(|timeout| started + timeout)
    }

    /// 64 random bits (xorshift64*, Vigna 2016). Only tasks of this worker draw, so that a plain load and store do.
    pub(crate) fn random(&self) -> u64 {
        let mut state = self.random.load(Ordering::Relaxed);
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.random.store(state, Ordering::Relaxed);
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`.
    pub(crate) fn random_below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { (self.random() >> 11) % bound }
    }

    /// Counts one exchange in; false at the limit.
    pub(crate) fn enter(&self, direction: Direction) -> bool {
        self.shared.admission.enter(self.number, direction)
    }

    /// Counts one exchange out.
    pub(crate) fn leave(&self) {
        self.shared.admission.leave(self.number);
    }

    /// What is in flight, and who waits for it to end.
    pub(crate) fn admission(&self) -> &Admission {
        &self.shared.admission
    }

    /// How short the node is of memory.
    pub(crate) fn memory(&self) -> &Memory {
        &self.shared.memory
    }
}

impl DataPath {
    /// Starts the workers.
    pub fn start(args: PathArgs) -> Result<Self, Failure> {
        let PathArgs { env, settings, recorder, access_log, placement } = args;
        metrics::describe(recorder.as_ref());
        let count = match (placement, settings.workers) {
            (Placement::Here, _) => 1,
            (Placement::Threads, 0) => std::thread::available_parallelism().map_or(1, usize::from),
            (Placement::Threads, count) => count,
        };
        let access_log = match access_log {
            None => None,
            Some(path) => {
                let dropped = metrics::counter(&recorder, ACCESS_LOG_DROPPED_TOTAL, &[]);
                let log = AccessLog::start(&path, count, dropped).map_err(|error| {
                    Failure::new(Code::StateBroken, format!("open the access log {}: {error}", path.display()))
                })?;
                Some(log)
            }
        };
        let limiter = Limiter::new(LIMIT_KEYS_MAX, env.random.next_u64());
        let refusals = Refusals::default();
        let memory = Arc::new(Memory::new(&recorder));
        let memory_bytes_max = settings.memory_bytes_max;
        let descriptors = Arc::new(Descriptors::of_process());
        let in_flight_max = descriptors.in_flight_max(settings.in_flight_max);
        let admission = Admission::new(&recorder, count, in_flight_max, Arc::clone(&memory));
        let shared = Arc::new(Shared {
            settings,
            recorder,
            access_log,
            world: OnceLock::new(),
            refusals,
            limiter,
            counts: Arc::default(),
            pools: Mutex::default(),
            admission,
            memory,
            descriptors,
            listening: Listening::default(),
            zero: Instant::now(),
        });
        let mut path = Self { workers: Vec::new(), shared, threads: Vec::new() };
        for number in 0..count {
            let handle = match placement {
                Placement::Here => Handle::current(),
                Placement::Threads => path.start_thread(number)?,
            };
            path.add_worker(&env, handle, number);
        }
        // Nodes that share a process share its memory, too: none of them is to blame for it.
        let bound = memory_bytes_max.or_else(memory::usual_bound).filter(|_| placement == Placement::Threads);
        if let (Some(bound), Some(first)) = (bound, path.workers.first()) {
            first.spawn(Box::pin(watch_memory(Arc::downgrade(&path.shared), bound)));
        }
        Ok(path)
    }

    fn start_thread(&mut self, number: usize) -> Result<Handle, Failure> {
        let failed = |error: std::io::Error| Failure::new(Code::Internal, format!("start worker {number}: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                // Ends when the data path sends or is dropped.
                let _stop = runtime.block_on(stopped);
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        self.threads.push((stop, thread));
        Ok(handle)
    }

    fn add_worker(&mut self, env: &Env, handle: Handle, number: usize) {
        let settings = &self.shared.settings;
        let pool: Arc<Pool> = Arc::default();
        let worker = Arc::new(Worker {
            env: env.clone(),
            pool: Arc::clone(&pool),
            states: ServiceStates::new(Arc::clone(&self.shared.recorder), Arc::clone(&self.shared.counts)),
            mirrors: Arc::default(),
            mirrored_bytes: Arc::default(),
            shared: Arc::clone(&self.shared),
            handle,
            number,
            random: AtomicU64::new(env.random.next_u64() | 1),
            bell: Arc::default(),
            moment: Arc::new(Moment::starting(self.shared.zero)),
        });
        self.shared.pools.lock().unwrap_or_else(PoisonError::into_inner).push(pool);
        let idle_timeout = settings.idle_timeout;
        worker.spawn(Box::pin(sweep(Arc::downgrade(&worker), idle_timeout)));
        self.workers.push(worker);
    }

    /// The refusal with this id, if it is among the last 1,024 of this node.
    pub fn refusals(&self, id: &str) -> Option<Arc<RefusalRecord>> {
        self.shared.refusals.find(id)
    }

    /// What would become of a call; none before the first listener is open.
    pub fn explain(&self, question: &Question) -> Option<Explanation> {
        let world = self.shared.world.get()?.load();
        let worker = self.workers.first()?;
        // A generator of its own: the worker's belongs to its tasks.
        let random = worker.env.random.clone();
        Some(explain(&world, &self.shared.settings, question, worker.now_ns(), &mut |below| {
            random.next_u64() % below.max(1)
        }))
    }

    /// Requests and streams in flight.
    pub fn in_flight(&self) -> usize {
        self.shared.admission.in_flight()
    }
}

impl Drop for DataPath {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.pool.clear();
        }
        for (stop, _thread) in self.threads.drain(..) {
            // A worker that ended already has nobody to tell.
            let _sent = stop.send(());
        }
    }
}

#[cfg(test)]
mod tests;
