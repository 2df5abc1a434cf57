//! The raw tables of `[[traffic]]`.

use std::time::Duration;

use http::HeaderName;
use weft_identity::ServiceName;

use super::route::RetryOn;
use crate::strict::{DocumentName, Either, Percent, Whole};
use crate::{raw_table, raw_words};

raw_words! {
    /// How a replica is chosen.
    BalancingWord {
        /// The less loaded of two drawn by chance.
        PowerOfTwo = "p2c",
        /// One after the other.
        RoundRobin = "round-robin",
    }
}

raw_words! {
    /// That successes are not compared.
    SuccessRateWord {
        /// They are not.
        Off = "off",
    }
}

raw_table! {
    /// How the calls of a service are carried, by every node that calls it. What a document does not state is as the calling node's
    /// own file says. One document a service.
    RawTraffic, "[[traffic]]" {
        /// Names the document: a label of `a-z`, `0-9` and `-`, once among all documents of this kind.
        name: needed DocumentName,
        /// The called service.
        service: needed ServiceName,
        /// How long TCP connect and TLS handshake may take, together. Raise it for machines far apart.
        connect_timeout: optional Duration = "the node's `timeouts.connect`",
        /// How long an answer may take to begin, over all tries. Raise it for services that think long.
        request_timeout: optional Duration = "the node's `timeouts.request`",
        /// When a failed request is tried again.
        retries: optional RawServiceRetries = "see there",
        /// When a replica that fails is left out for a while.
        outlier: optional RawOutlier = "see there",
        /// A replica that is new, or comes back after it was left out, gets a tenth of its share at first and all of it after this span.
        /// Set it for applications that are slow until they are warm.
        slow_start: optional Duration = "none",
        /// How much may be under way at once, from each node.
        limits: optional RawLimits = "none",
        /// How a replica is chosen: `p2c`, `round-robin` or `{ ring-hash = { header = "…" } }`, which keeps equal values at one replica.
        balancing: optional Either<BalancingWord, RawRingHash> = "`p2c`",
        /// Whether replicas of the caller's zone are preferred.
        zone: optional RawZone = "see there",
    }
}

raw_table! {
    /// When a failed request is tried again, and what retries may cost in all, on each node. Only what is safe to repeat is tried again, and
    /// only with all of its body: 16 KiB of it are kept until an answer begins.
    RawServiceRetries, "retries" {
        /// Most tries after the first; 0 turns retries off.
        attempts: optional Whole<0, 10> = "2",
        /// After which failures; without it, after each that brought no answer. `connect-failure`: no connection came to be. `reset`: the
        /// connection broke before an answer began; where an application behind another node breaks off, that node answers 502, which is
        /// `gateway-error`. `refused-stream`: the other side had not looked at it. `gateway-error`: 502, 503 or 504. `5xx`: any status
        /// from 500. `timeout`: a try took longer than `try_timeout`. A retry goes to another replica; where there is no other, to the same
        /// again if the failure is named here. What a node or replica refuses because it is at its limit is tried at another in any case.
        on: list RetryOn,
        /// Retries may be at most this share of the requests …
        budget_percent: optional Percent = "20",
        /// … and so many a second beyond that, for services with few requests; those of ten seconds can be saved up.
        budget_per_second: optional Whole<0, 1_000_000> = "3",
    }
}

raw_table! {
    /// When a replica that fails is left out for a while. After that time one request is sent to it; if it is answered, the replica is back.
    /// Before any of these counts is reached, `p2c` turns away from a replica that failed last.
    RawOutlier, "outlier" {
        /// After so many failures in a row. A failure is a connection that cannot be made or breaks before an answer, the word of the
        /// replica's node that its application cannot be reached, or a request that waits in vain while the replica answers no other: until
        /// its `try_timeout`, or three that their callers gave up.
        consecutive_failures: optional Whole<1, 1_000_000> = "1",
        /// After so many answers of 502, 503 or 504 in a row. Other statuses are none.
        consecutive_gateway_errors: optional Whole<1, 1_000_000> = "5",
        /// When its requests succeed less often than those of the other replicas: a table, or `off`.
        success_rate: optional Either<SuccessRateWord, RawSuccessRate> = "see there",
        /// For this long the first time, or four times as long where requests waited in vain; twice as long each time in a row.
        ejection: optional Duration = "`1s`",
        /// Never longer than this. A row ends when a replica was back for so long.
        ejection_max: optional Duration = "`30s`",
        /// When more than this share of the replicas would be left out, none is: it is more likely that the caller is cut off.
        ejected_percent_max: optional Percent = "50",
    }
}

raw_table! {
    /// When a replica is left out because its requests succeed less often than those of the others, in the last ten seconds. Statuses from 500
    /// and requests without an answer are failures here. A replica less than five percent below the mean is never left out.
    RawSuccessRate, "success_rate" {
        /// Only where so many replicas can be compared.
        replicas_min: optional Whole<2, 1_000_000> = "5",
        /// Only replicas with at least so many requests in ten seconds are compared.
        requests_min: optional Whole<1, 1_000_000> = "100",
        /// At so many thousandths of a standard deviation below the mean of all. More leaves fewer out.
        deviations_thousandths: optional Whole<1, 1_000_000> = "1900",
    }
}

raw_table! {
    /// How much may be under way at once, from each node. More is answered with 503 and the code `overloaded`. A connection that is idle
    /// makes room for one that is needed.
    RawLimits, "limits" {
        /// Requests and streams.
        in_flight: optional Whole<1, 1_000_000> = "none",
        /// Connections.
        connections: optional Whole<1, 1_000_000> = "none",
        /// `true`: for each replica, as many requests may wait for an answer as its latency bears, which is measured. Others go to another
        /// replica; where none has room they are answered with 503. A TCP stream waits until it is open.
        adaptive: optional bool = "false",
    }
}

raw_table! {
    /// Choice by a hash.
    RawRingHash, "balancing" {
        /// Of what.
        ring_hash as "ring-hash": needed RawHashOf,
    }
}

raw_table! {
    /// What is hashed: exactly one of these. Requests without it go by `p2c`.
    RawHashOf, "ring-hash" {
        /// The value of this header field.
        header: optional HeaderName = "none",
        /// The value of this cookie.
        cookie: optional String = "none",
    }
}

raw_table! {
    /// Preference for the caller's zone.
    RawZone, "zone" {
        /// Whether it is preferred.
        prefer: optional bool = "true",
        /// The caller's zone alone is used while at least this share of its replicas can serve; below, the rest of the mesh takes its part.
        overflow_percent: optional Percent = "50",
    }
}
