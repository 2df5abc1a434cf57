//! A thread of its own in which time, randomness, network and disk come from one seed. Scenarios run in it.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;
use weft_env::{Clock, Disk, Env, Link, Random, SimNetwork, Timestamp};

use crate::event_log::EventLog;
use crate::shim;

/// Wall time at the start of every simulation: 2027-01-15T08:00:00Z, after the first release and before any certificate ends.
const WALL_AT_START: Timestamp = Timestamp(1_800_000_000_000);
/// Room for deep futures in an unoptimised build.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// Why a simulation gave no result.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// The machine had no thread or runtime for it.
    #[error("start the simulation's thread: {0}")]
    Start(#[from] std::io::Error),
    /// The scenario, or the code in it, panicked; the panic's message was printed.
    #[error("the simulation with seed {seed} panicked; the same seed shows it again")]
    Panicked {
        /// The seed that shows it again.
        seed: u64,
    },
}

/// One run. Handed to the scenario.
#[derive(Debug, Clone)]
pub struct Simulation {
    seed: u64,
    random: Random,
    network: SimNetwork,
    clock: Clock,
    log: EventLog,
    start: Instant,
}

impl Simulation {
    /// Runs a scenario to its end, on virtual time, in a thread whose randomness is all seeded.
    ///
    /// Two runs with one seed are alike if each is the first runtime of its process: tokio mixes a counter of the process into
    /// the order in which `select!` looks at its branches.
    pub fn run<T, S, F>(seed: u64, link: Link, scenario: S) -> Result<T, SimulationError>
    where
        T: Send + 'static,
        S: FnOnce(Simulation) -> F + Send + 'static,
        F: Future<Output = T>,
    {
        let body = move || -> Result<T, SimulationError> {
            shim::seed_this_thread(seed);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
            Ok(runtime.block_on(async move { scenario(Simulation::new(seed, link)).await }))
        };
        let thread = thread::Builder::new().name(format!("simulation-{seed}")).stack_size(STACK_BYTES).spawn(body)?;
        thread.join().unwrap_or(Err(SimulationError::Panicked { seed }))
    }

    fn new(seed: u64, link: Link) -> Self {
        let random = Random::seeded(seed);
        Self {
            seed,
            network: SimNetwork::new(random.next_u64(), link),
            random,
            clock: Clock::simulated(WALL_AT_START),
            log: EventLog::start(),
            start: Instant::now(),
        }
    }

    /// The seed of this run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The network between the nodes.
    pub fn network(&self) -> &SimNetwork {
        &self.network
    }

    /// What happened so far.
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The address of the node with this number, from 0: 10.0.0.1 onwards.
    pub fn ip(number: u16) -> IpAddr {
        let [high, low] = number.saturating_add(1).to_be_bytes();
        Ipv4Addr::new(10, 0, high, low).into()
    }

    /// A machine of its own for one node: an empty disk, its own randomness, its own address.
    pub fn env(&self, ip: IpAddr) -> Env {
        Env {
            clock: self.clock.clone(),
            random: self.random.split(),
            network: self.network.host(ip),
            disk: Disk::memory(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_virtual_time_passes_at_once() {
        let elapsed = Simulation::run(1, Link::default(), async |simulation: Simulation| {
            let env = simulation.env(Simulation::ip(0));
            env.clock.sleep(Duration::from_secs(3_600)).await;
            (simulation.elapsed(), env.clock.wall().since(WALL_AT_START))
        });
        let hour = Duration::from_secs(3_600);
        assert_eq!(elapsed.unwrap(), (hour, hour));
    }

    #[test]
    fn a_panic_names_its_seed() {
        let panicked = Simulation::run(42, Link::default(), async |_| panic!("on purpose"));
        let Err::<(), _>(error) = panicked else { panic!("the scenario panics") };
        assert!(error.to_string().contains("42"), "{error}");
    }

    #[test]
    fn every_node_has_an_address_and_randomness_of_its_own() {
        let drawn = Simulation::run(1, Link::default(), async |simulation: Simulation| {
            let numbers = [0, 1].map(|number| simulation.env(Simulation::ip(number)).random.next_u64());
            (numbers, Simulation::ip(255))
        });
        let ([first, second], ip) = drawn.unwrap();
        assert_ne!(first, second);
        assert_eq!(ip.to_string(), "10.0.1.0");
    }
}
