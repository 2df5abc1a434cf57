//! A steady load: a fixed number of GETs a second over kept-alive connections, every reply counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::http::Connection;

/// What a load does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The outbound port that is asked.
    pub to: SocketAddr,
    /// The service's host name.
    pub host: String,
    /// The path that is asked for.
    pub path: String,
    /// GETs a second in all.
    pub rate: u32,
    /// Connections; each sends its share and waits for its reply.
    pub connections: u32,
}

/// What came back.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Replies with status 200.
    pub good: u64,
    /// Everything else, by status or error text.
    pub bad: BTreeMap<String, u64>,
    /// When each reply with status 503 was asked for, since the start, and how long it took.
    pub refused: Vec<(Duration, Duration)>,
    /// The slowest good reply.
    pub slowest: Duration,
    /// How long each good reply took; a load of an hour at 1,000 a second has 30 MB of them.
    pub took: Vec<Duration>,
    /// When good replies came, by the first eight bytes of their body: the replica that answered, where it says so.
    pub by_replica: BTreeMap<String, u64>,
}

impl Tally {
    /// The time within which 99 of 100 good replies came.
    pub fn p99(&self) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        took.get(took.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default()
    }

    /// The number of errors.
    pub fn errors(&self) -> u64 {
        self.bad.values().sum()
    }

    fn add(&mut self, other: Tally) {
        self.good += other.good;
        self.slowest = self.slowest.max(other.slowest);
        self.took.extend(other.took);
        self.refused.extend(other.refused);
        other.bad.into_iter().for_each(|(what, count)| *self.bad.entry(what).or_default() += count);
        other.by_replica.into_iter().for_each(|(who, count)| *self.by_replica.entry(who).or_default() += count);
    }
}

/// A load that runs until it is stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// Starts it.
    pub fn start(plan: &Plan) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let workers = (0..plan.connections)
            .map(|number| {
                let (plan, stop) = (plan.clone(), Arc::clone(&stop));
                std::thread::spawn(move || one_connection(&plan, number, &stop))
            })
            .collect();
        Self { stop, workers }
    }

    /// Stops it and adds up what came back.
    pub fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for worker in self.workers {
            all.add(worker.join().expect("a load thread does not panic"));
        }
        all
    }
}

fn one_connection(plan: &Plan, number: u32, stop: &AtomicBool) -> Tally {
    let step = Duration::from_secs(1) * plan.connections / plan.rate;
    let started = Instant::now();
    let mut next = started + step * number / plan.connections;
    let mut connection = None;
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        next += step;
        let asked = Instant::now();
        match one_get(plan, &mut connection) {
            Ok((200, body)) => {
                tally.good += 1;
                let took = asked.elapsed();
                tally.slowest = tally.slowest.max(took);
                tally.took.push(took);
                let who = String::from_utf8_lossy(&body[..body.len().min(8)]).into_owned();
                *tally.by_replica.entry(who).or_default() += 1;
            }
            Ok((status, body)) => {
                if status == 503 {
                    tally.refused.push((asked - started, asked.elapsed()));
                }
                let what = format!("{status} {}", String::from_utf8_lossy(&body));
                *tally.bad.entry(what).or_default() += 1;
            }
            Err(error) => *tally.bad.entry(error.to_string()).or_default() += 1,
        }
    }
    tally
}

fn one_get(plan: &Plan, held: &mut Option<Connection>) -> std::io::Result<(u16, Vec<u8>)> {
    let mut connection = match held.take() {
        Some(connection) => connection,
        None => Connection::open(plan.to)?,
    };
    let reply = connection.get(&plan.path, &plan.host)?;
    if reply.header("connection") != Some("close") {
        *held = Some(connection);
    }
    Ok((reply.status, reply.body))
}
