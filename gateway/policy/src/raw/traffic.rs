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
        /// How much may be under way at once, from each node.
        limits: optional RawLimits = "none",
        /// How a replica is chosen: `p2c`, `round-robin` or `{ ring-hash = { header = "…" } }`, which keeps equal values at one replica.
        balancing: optional Either<BalancingWord, RawRingHash> = "`p2c`",
        /// Whether replicas of the caller's zone are preferred.
        zone: optional RawZone = "see there",
    }
}

raw_table! {
    /// When a failed request is tried again, and what retries may cost in all, on each node. Only what is safe to repeat is tried again.
    RawServiceRetries, "retries" {
        /// Most tries after the first; 0 turns retries off.
        attempts: optional Whole<0, 10> = "2",
        /// After which failures; without it, after each that brought no answer. `connect-failure`: no connection came to be. `reset`: the
        /// connection broke before an answer began; where an application behind another node breaks off, that node answers 502, which is
        /// `gateway-error`. `refused-stream`: the other side had not looked at it. `gateway-error`: 502, 503 or 504. `5xx`: any status
        /// from 500. `timeout`: a try took longer than `try_timeout`.
        on: list RetryOn,
        /// Retries may be at most this share of the requests …
        budget_percent: optional Percent = "20",
        /// … and so many a second beyond that, for services with few requests; those of ten seconds can be saved up.
        budget_per_second: optional Whole<0, 1_000_000> = "3",
    }
}

raw_table! {
    /// When a replica that fails is left out for a while. A failure is a connection that cannot be made, a new one that breaks before it
    /// answers, or the word of the replica's node that its application cannot be reached. Statuses and slow answers are none.
    RawOutlier, "outlier" {
        /// After so many failures in a row.
        consecutive_failures: optional Whole<1, 1_000_000> = "1",
        /// For this long the first time; twice as long each time in a row.
        ejection: optional Duration = "`1s`",
        /// Never longer than this.
        ejection_max: optional Duration = "`30s`",
        /// When more than this share of the replicas would be left out, none is: it is more likely that the caller is cut off.
        ejected_percent_max: optional Percent = "50",
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
