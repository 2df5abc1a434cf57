//! The raw tables of `[[route]]`.

use std::time::Duration;

use http::HeaderName;
use weft_identity::ServiceName;

use super::RawHeaderMatch;
use crate::strict::{DocumentName, Method, Percent, TextMap, Whole};
use crate::{raw_table, raw_words};

raw_words! {
    /// A failure after which a request is tried again, where that is safe.
    RetryOn {
        /// No connection came to be.
        ConnectFailure = "connect-failure",
        /// The connection broke before an answer began.
        Reset = "reset",
        /// The other side refused the stream before it looked at it.
        RefusedStream = "refused-stream",
        /// A status of 502, 503 or 504.
        GatewayError = "gateway-error",
        /// Any status from 500.
        ServerError = "5xx",
        /// A try took longer than `try_timeout`.
        Timeout = "timeout",
    }
}

raw_words! {
    /// The scheme of a redirect.
    Scheme {
        /// Plain.
        Http = "http",
        /// Over TLS.
        Https = "https",
    }
}

raw_table! {
    /// Where the calls of a service go. Of all rules of a service the most specific one that matches takes the request
    /// (see [routing](routing.md)).
    RawRoute, "[[route]]" {
        /// Names the document: a label of `a-z`, `0-9` and `-`, once among all documents of this kind.
        name: needed DocumentName,
        /// The service that callers dial.
        service: needed ServiceName,
        /// Only requests for any of these hosts, each a host name or `*.` and a domain; without it every host.
        hosts: list String,
        /// The rules.
        rule: list RawRouteRule,
    }
}

raw_table! {
    /// What happens to requests that match.
    RawRouteRule, "[[route.rule]]" {
        /// Any of these; without it every request.
        r#match as "match": list RawMatch,
        /// Where they go, by weight; without it to the dialled service. Not with `redirect`.
        to: list RawTarget,
        /// A copy of each request goes here, too; what it answers is thrown away. A copy never slows its request or makes it fail.
        mirror: optional RawMirror = "none",
        /// How long an answer may take to begin, over all tries.
        timeout: optional Duration = "the service's `request_timeout`",
        /// How long one try may take; at most `timeout`.
        try_timeout: optional Duration = "`timeout`",
        /// When to try again.
        retries: optional RawRetries = "the service's `retries`",
        /// Failures made on purpose, to see what callers do.
        fault: optional RawFault = "none",
        /// Changes to the request's header fields.
        request_headers: optional RawHeaderChanges = "none",
        /// Changes to the response's header fields.
        response_headers: optional RawHeaderChanges = "none",
        /// Answers with a redirect in place of forwarding.
        redirect: optional RawRedirect = "none",
        /// Changes path or host before forwarding.
        rewrite: optional RawRewrite = "none",
    }
}

raw_table! {
    /// A match: all that it states holds.
    RawMatch, "match" {
        /// The path.
        path: optional RawPath = "every path",
        /// Any of these methods.
        methods: list Method,
        /// All of these conditions on header fields. A field that comes more than once, or is a list with commas, meets a condition if any of its values does.
        headers: list RawHeaderMatch,
        /// All of these conditions on the query.
        query: list RawQueryMatch,
    }
}

raw_table! {
    /// A condition on the path: exactly one of these. Paths are matched in their normal form (see [routing](routing.md)).
    RawPath, "path" {
        /// The whole path.
        exact: optional String = "none",
        /// The path or what lies below it: `/orders` takes `/orders`, `/orders/` and `/orders/7`, not `/orders2`.
        prefix: optional String = "none",
        /// A path in which `{name}` stands for one segment; `/**` at its end takes everything below, too.
        template: optional String = "none",
        /// A regular expression that the whole path matches (RE2 syntax, bytes, no backtracking).
        regex: optional String = "none",
    }
}

raw_table! {
    /// A condition on a parameter of the query: its name and exactly one of the others. Any of several values is enough.
    RawQueryMatch, "query" {
        /// The parameter's name, decoded.
        name: needed String,
        /// Its value is this one, decoded.
        value: optional String = "none",
        /// Its value starts so.
        prefix: optional String = "none",
        /// Its whole value matches this regular expression.
        regex: optional String = "none",
        /// `true`: the parameter is there; `false`: it is not.
        present: optional bool = "none",
    }
}

raw_table! {
    /// One side of a split.
    RawTarget, "to" {
        /// The service.
        service: optional ServiceName = "the dialled service",
        /// Only its replicas of this version.
        version: optional String = "every version",
        /// Only its replicas with all of these labels.
        labels: optional TextMap = "none",
        /// Its share, against the sum of all weights. 0 sends nothing.
        weight: optional Whole<0, 1_000_000> = "1",
    }
}

raw_table! {
    /// Where copies go.
    RawMirror, "mirror" {
        /// The service.
        service: optional ServiceName = "the dialled service",
        /// Only its replicas of this version.
        version: optional String = "every version",
        /// The share of requests that are copied.
        percent: optional Percent = "100",
        /// How many KiB of its body a copy may be behind its request; then it is given up. 0: requests with a body are not copied.
        behind_kib_max: optional Whole<0, 16_384> = "1024",
    }
}

raw_table! {
    /// When a route's requests are tried again. The service's retry budget has the last word.
    RawRetries, "retries" {
        /// Most tries after the first; 0 turns retries off.
        attempts: needed Whole<0, 10>,
        /// After which failures; without it, after each that brought no answer. `connect-failure`: no connection came to be. `reset`: the
        /// connection broke before an answer began; where an application behind another node breaks off, that node answers 502, which is
        /// `gateway-error`. `refused-stream`: the other side had not looked at it. `gateway-error`: 502, 503 or 504. `5xx`: any status
        /// from 500. `timeout`: a try took longer than `try_timeout`. A retry goes to another replica; where there is no other, to the same
        /// again if the failure is named here. What a node or replica refuses because it is at its limit is tried at another in any case.
        on: list RetryOn,
    }
}

raw_table! {
    /// Failures made on purpose.
    RawFault, "fault" {
        /// A pause before the request is forwarded.
        delay: optional RawDelay = "none",
        /// An answer in place of forwarding.
        abort: optional RawAbort = "none",
    }
}

raw_table! {
    /// A pause. It counts towards `timeout`, and not towards `try_timeout`.
    RawDelay, "delay" {
        /// The share of requests that wait.
        percent: optional Percent = "100",
        /// How long.
        span: needed Duration,
    }
}

raw_table! {
    /// An answer in place of forwarding.
    RawAbort, "abort" {
        /// The share of requests that are answered so.
        percent: optional Percent = "100",
        /// With this status.
        status: needed Whole<200, 599>,
    }
}

raw_table! {
    /// Changes to header fields, in this order: `remove`, `set`, `add`.
    RawHeaderChanges, "request_headers / response_headers" {
        /// Each of these fields gets this one value, whatever it had.
        set: optional TextMap = "none",
        /// Each of these values is added to what the field has.
        add: optional TextMap = "none",
        /// These fields are taken out.
        remove: list HeaderName,
    }
}

raw_table! {
    /// A redirect; what it does not state is as in the request.
    RawRedirect, "redirect" {
        /// `http` or `https`.
        scheme: optional Scheme = "the request's",
        /// The host.
        host: optional String = "the request's",
        /// The port.
        port: optional Whole<1, 65_535> = "that of the scheme",
        /// The whole path; the query stays.
        path: optional String = "the request's",
        /// 301, 302, 303, 307 or 308.
        status: optional Whole<301, 308> = "302",
    }
}

raw_table! {
    /// What is changed before forwarding; at most one of `prefix` and `path`.
    RawRewrite, "rewrite" {
        /// Stands in place of the matched prefix; only with matches of `path = { prefix = … }`.
        prefix: optional String = "none",
        /// Stands in place of the whole path; the query stays.
        path: optional String = "none",
        /// Stands in place of the host.
        host: optional String = "none",
    }
}
