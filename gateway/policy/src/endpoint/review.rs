//! Compares the endpoints of a table with each other, once a second: what latency is typical, and whose calls succeed less often than those
//! of the others. Called by the data path before it chooses.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Endpoint, EndpointTable};
use crate::outcome::{Change, Terms, Why};
use crate::strict::Percent;
use crate::traffic::SuccessRate;

/// Space between two reviews of a table, in nanoseconds.
const REVIEW_NS: u64 = 1_000_000_000;
/// The same while nothing is known: soon after the first answer there is something to start new endpoints from.
const REVIEW_SOON_NS: u64 = 20_000_000;
/// An endpoint whose success rate is less than this below the mean is never ejected for it: equal replicas differ by chance, and where
/// all succeed nearly always, the standard deviation is next to nothing.
const BELOW_MEAN_MIN: f64 = 0.05;

/// When a table is reviewed next.
#[derive(Debug, Default)]
pub struct Reviewed {
    /// In nanoseconds of the data path's clock; 0 for a new table, at once.
    next_ns: AtomicU64,
}

impl Reviewed {
    /// Whether it is time; true for one of several workers.
    fn is_due(&self, now_ns: u64) -> bool {
        let next = self.next_ns.load(Ordering::Relaxed);
        let (relaxed, kept) = (Ordering::Relaxed, Ordering::Relaxed);
        next <= now_ns && self.next_ns.compare_exchange(next, now_ns + REVIEW_NS, relaxed, kept).is_ok()
    }

    /// Looks again soon.
    fn hurry(&self, now_ns: u64) {
        self.next_ns.store(now_ns + REVIEW_SOON_NS, Ordering::Relaxed);
    }
}

/// Reviews a table when it is time, else costs one load. `told` hears of the endpoints that are ejected. Allocates, once a second.
pub fn review(table: &EndpointTable, terms: &Terms, now_ns: u64, told: &mut dyn FnMut(&Endpoint, Change)) {
    if !table.reviewed.is_due(now_ns) {
        return;
    }
    let typical_ns = typical_ns(table, now_ns);
    if typical_ns.is_none() {
        table.reviewed.hurry(now_ns);
    }
    for endpoint in &table.endpoints {
        endpoint.load.compare(typical_ns, now_ns);
    }
    let Some(rate) = &terms.outlier.success_rate else { return };
    for (endpoint, why) in outliers(table, rate, now_ns) {
        if !may_be_ejected(table, terms.outlier.ejected_max, now_ns) {
            return;
        }
        if let Some(change) = endpoint.load.eject(why, terms, now_ns) {
            told(endpoint, change);
        }
    }
}

/// The latency that is typical of a table: the median of the endpoints that are well, the higher one of two.
fn typical_ns(table: &EndpointTable, now_ns: u64) -> Option<u64> {
    let healthy = table.endpoints.iter().filter(|endpoint| endpoint.healthy);
    let mut known: Vec<u64> = healthy.filter_map(|endpoint| endpoint.load.exemplary_ns(now_ns)).collect();
    let middle = known.len() / 2;
    (!known.is_empty()).then(|| *known.select_nth_unstable(middle).1)
}

/// The endpoints whose success rate is too far below the mean, the worst first.
fn outliers<'t>(table: &'t EndpointTable, rate: &SuccessRate, now_ns: u64) -> Vec<(&'t Endpoint, Why)> {
    let mut rates: Vec<(f64, &Endpoint)> = Vec::new();
    for endpoint in table.endpoints.iter().filter(|endpoint| endpoint.healthy && !endpoint.load.is_ejected(now_ns)) {
        let results = endpoint.load.results(now_ns);
        if results.count >= f64::from(rate.requests_min) {
            rates.push((results.succeeded / results.count, endpoint));
        }
    }
    if rates.len() < usize::try_from(rate.replicas_min).unwrap_or(usize::MAX) {
        return Vec::new();
    }
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(own, _)| own).sum::<f64>() / count;
    let variance = rates.iter().map(|(own, _)| (own - mean).powi(2)).sum::<f64>() / count;
    let deviations = f64::from(rate.deviations_thousandths) / 1_000.0;
    let least = mean - (deviations * variance.sqrt()).max(BELOW_MEAN_MIN);
    rates.retain(|(own, _)| *own < least);
    rates.sort_by(|a, b| a.0.total_cmp(&b.0));
    let why = |own: f64| Why::SuccessRate { own: own * 100.0, mean: mean * 100.0 };
    rates.into_iter().map(|(own, endpoint)| (endpoint, why(own))).collect()
}

/// Whether ejection would still be believed with one endpoint more.
fn may_be_ejected(table: &EndpointTable, ejected_max: Percent, now_ns: u64) -> bool {
    let (mut all, mut ejected) = (0_u64, 0_u64);
    for endpoint in table.endpoints.iter().filter(|endpoint| endpoint.healthy) {
        all += 1;
        ejected += u64::from(endpoint.load.is_ejected(now_ns));
    }
    (ejected + 1) * u64::from(Percent::ALL.millionths()) <= all * u64::from(ejected_max.millionths())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::outcome::{Outcome, Taken};
    use crate::testing::{MS, SECOND, endpoint, table};

    fn answer(endpoint: &Endpoint, status: u16, after_ns: u64, now_ns: u64) {
        let began_ns = now_ns - after_ns;
        let taken = Taken { began_ns, asked_ns: began_ns, ended_ns: now_ns };
        endpoint.learn(Outcome::of_status(status), &taken, &Terms::default());
    }

    fn reviewed(table: &EndpointTable, now_ns: u64) -> Vec<String> {
        let mut told = Vec::new();
        review(table, &Terms::default(), now_ns, &mut |endpoint, _| told.push(endpoint.node.to_string()));
        told
    }

    #[test]
    fn what_is_new_starts_from_the_median_of_those_that_are_well() {
        let four = table(["a", "b", "c", "d"].map(|name| endpoint(name, None)).into());
        reviewed(&four, SECOND);
        assert_eq!(four.endpoints[3].load.latency(SECOND), None, "nothing is known");
        for (at, after_ms) in [(0, 10), (1, 30)] {
            answer(&four.endpoints[at], 200, after_ms * MS, SECOND);
        }
        answer(&four.endpoints[2], 503, 900 * MS, SECOND);
        reviewed(&four, SECOND + 1);
        assert_eq!(four.endpoints[3].load.latency(SECOND + 1), None, "not yet");
        reviewed(&four, SECOND + REVIEW_SOON_NS);
        let new = four.endpoints[3].load.latency(SECOND + REVIEW_SOON_NS);
        assert_eq!(new, Some(Duration::from_millis(30)), "the higher of two");
    }

    /// Who is ejected of so many, each called so often, of which the first fail every other time.
    fn ejected(calls: u64, failing: usize, count: usize) -> Vec<String> {
        let names = ["a", "b", "c", "d", "e", "f"];
        let table = table(names[..count].iter().map(|name| endpoint(name, None)).collect());
        for call in 0..calls {
            let bad = if call.is_multiple_of(2) { failing } else { 0 };
            table.endpoints[..bad].iter().for_each(|endpoint| answer(endpoint, 500, MS, SECOND));
            table.endpoints[bad..].iter().for_each(|endpoint| answer(endpoint, 200, MS, SECOND));
        }
        reviewed(&table, SECOND)
    }

    #[test]
    fn only_enough_results_of_enough_replicas_are_compared() {
        assert_eq!(ejected(100, 1, 6), ["a"]);
        assert!(ejected(99, 1, 6).is_empty(), "too few calls");
        assert!(ejected(100, 1, 4).is_empty(), "too few replicas");
        assert!(ejected(100, 6, 6).is_empty(), "all alike");
        assert!(ejected(100, 0, 6).is_empty(), "all well");
        assert!(ejected(100, 5, 6).is_empty(), "most are not worse than most");
    }

    #[test]
    fn a_review_is_made_once_a_second_by_one_worker() {
        let one = table(vec![endpoint("a", None)]);
        answer(&one.endpoints[0], 200, MS, SECOND);
        assert!(one.reviewed.is_due(SECOND) && !one.reviewed.is_due(SECOND));
        assert!(!one.reviewed.is_due(2 * SECOND - 1) && one.reviewed.is_due(2 * SECOND));
    }
}
