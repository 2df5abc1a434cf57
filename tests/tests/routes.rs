//! What `[[route]]` documents do to requests between real nodes: copies, splits, failures made on purpose, changes; and how a node
//! tells of all that before it happens.
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use weft_tests::http::Reply;
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::operator::Operator;
use weft_tests::programs::Server;
use weft_tests::wait::until_true;
use weft_tests::{Mesh, Node};

const LOST: &str = "weft_copies_lost_total";

/// A caller, a node that offers `orders` with an application, and one that offers `shadow` with a server of choice.
struct Scene {
    operator: Operator,
    orders: Server,
    shadow: Option<Server>,
    _offering: Vec<Node>,
    caller: Node,
    _mesh: Mesh,
}

impl Scene {
    fn new(name: &str, shadow: Server) -> Self {
        let mut mesh = Mesh::new(name);
        let caller = mesh.init_running("caller");
        let orders = Server::app("orders");
        let mut offering = Vec::new();
        for (service, server, words) in
            [("orders", &orders, ["--health", "tcp"]), ("shadow", &shadow, ["--health", "none"])]
        {
            let node = mesh.join_running(service, &caller, &[service]);
            node.offers(service, server, &words);
            offering.push(node);
            caller.knows(service, 1);
        }
        let operator = Operator::of(&mesh, &caller, "policies");
        Self { operator, orders, shadow: Some(shadow), _offering: offering, caller, _mesh: mesh }
    }

    /// Puts a `[[route]]` for `orders` with these rules in force.
    fn route(&self, rules: &str) {
        self.operator.write("orders.toml", &format!("[[route]]\nname = \"orders\"\nservice = \"orders\"\n{rules}"));
        self.operator.applied(&self.caller);
    }

    fn get(&self, path: &str) -> Reply {
        self.caller.get("orders", path)
    }

    /// A POST that `orders` must echo; comes back with how long that took.
    fn post(&self, body: &[u8], fields: &str) -> Duration {
        let began = Instant::now();
        let reply = self.caller.asks("orders", "POST /echo", fields, body);
        let took = began.elapsed();
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.body == body, "{} of {} bytes came back", reply.body.len(), body.len());
        took
    }

    fn lost(&self, reason: &str) -> f64 {
        self.caller.metric(LOST, &["service=\"shadow\"", &format!("reason=\"{reason}\"")])
    }

    /// The last body that the application behind this service got.
    fn kept(&self, service: &str) -> Vec<u8> {
        self.caller.get(service, "/kept").body
    }
}

/// Bytes of which no two pieces are alike.
fn bytes(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

const MIRROR: &str = "[[route.rule]]\nmirror = { service = \"shadow\" }\n";

#[test]
fn a_body_is_copied_byte_for_byte() {
    let scene = Scene::new("mirror", Server::app("shadow"));
    scene.route(MIRROR);
    for (seed, len) in [(1, 1), (2, 70_000), (3, 1 << 20)] {
        let body = bytes(len, seed);
        scene.post(&body, "");
        until_true(&format!("the copy of {len} bytes"), SPREAD_LIMIT, || scene.kept("shadow") == body);
    }
    // Without a length: both get chunks.
    let mut chunked = b"transfer-encoding: chunked\r\n\r\n".to_vec();
    let body = bytes(30_000, 4);
    for piece in body.chunks(7_000) {
        chunked.extend(format!("{:x}\r\n", piece.len()).bytes());
        chunked.extend(piece);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    let mut request = b"POST /echo HTTP/1.1\r\nhost: orders.weft.internal\r\nconnection: close\r\n".to_vec();
    request.extend(chunked);
    let reply = weft_tests::http::Connection::open(scene.caller.outbound()).unwrap().send(&request).unwrap();
    assert!(reply.status == 200 && reply.body == body, "{}", reply.status);
    until_true("the copy of chunks", SPREAD_LIMIT, || scene.kept("shadow") == body);
    for reason in ["behind", "full", "cut"] {
        assert_eq!(scene.lost(reason), 0.0, "{reason}");
    }
    // 0 copies heads alone.
    scene.route("[[route.rule]]\nmirror = { service = \"shadow\", behind_kib_max = 0 }\n");
    scene.post(b"not copied", "");
    assert_eq!(scene.kept("shadow"), body);
}

#[test]
fn a_copy_that_stalls_slows_nothing_and_is_given_up() {
    let scene = Scene::new("stall", Server::app_that("shadow", &["--mute"]));
    let body = bytes(16 << 20, 5);
    let plain = (0..3).map(|_| scene.post(&body, "")).max().expect("three");
    scene.route(MIRROR);
    for copies in 1..=3 {
        let took = scene.post(&body, "");
        assert!(took < plain * 3 + Duration::from_millis(500), "{took:?}, and {plain:?} without a copy");
        until_true("the copy to be given up", SPREAD_LIMIT, || scene.lost("behind") == f64::from(copies));
    }
    let held = scene.caller.process().resident_kib();
    assert!(held < 200_000, "what was given up holds nothing: {held} KiB");
}

#[test]
fn a_mirror_that_dies_costs_nothing() {
    let mut scene = Scene::new("dies", Server::app_that("shadow", &["--deaf"]));
    scene.route(MIRROR);
    let body = bytes(1 << 20, 6);
    for _ in 0..5 {
        scene.post(&body, "");
    }
    drop(scene.shadow.take());
    for _ in 0..20 {
        scene.post(&body, "");
        assert_eq!(scene.get("/").status, 200);
    }
    assert_eq!(scene.kept("orders"), body);
    // The copies were tried, and their failures are the mirror's alone.
    let failed = || scene.caller.metric("weft_request_errors_total", &["service=\"shadow\""]);
    until_true("every copy to have failed", SPREAD_LIMIT, || failed() >= 40.0);
    assert_eq!(scene.caller.metric("weft_request_errors_total", &["service=\"orders\""]), 0.0);
}

#[test]
fn a_request_that_breaks_off_takes_its_copy_along() {
    let scene = Scene::new("broken", Server::app("shadow"));
    scene.route(MIRROR);
    scene.post(b"whole", "");
    until_true("the first copy", SPREAD_LIMIT, || scene.kept("shadow") == b"whole");
    let mut open = weft_tests::http::Connection::open(scene.caller.outbound()).unwrap();
    open.write(b"POST /echo HTTP/1.1\r\nhost: orders.weft.internal\r\ncontent-length: 1000\r\n\r\nhalf").unwrap();
    until_true("both to be under way", SPREAD_LIMIT, || {
        scene.caller.listing("services").iter().all(|row| row["in_flight"] == 1)
    });
    drop(open);
    until_true("the copy to be cut", SPREAD_LIMIT, || scene.lost("cut") == 1.0);
    assert_eq!(scene.kept("shadow"), b"whole");
}

/// Of so many draws with this chance, the bounds that are left once in two million times (five standard deviations).
fn bounds(draws: u32, chance: f64) -> std::ops::RangeInclusive<f64> {
    let (draws, chance) = (f64::from(draws), chance);
    let far = 5.0 * (draws * chance * (1.0 - chance)).sqrt();
    draws * chance - far..=draws * chance + far
}

#[test]
fn a_share_of_the_requests_fails_waits_or_goes_elsewhere() {
    let scene = Scene::new("shares", Server::app("shadow"));
    scene.route(
        "[[route.rule]]\nmatch = [{ path = { exact = \"/abort\" } }]\nfault = { abort = { percent = 30, status = 503 } }\n\
         [[route.rule]]\nmatch = [{ path = { exact = \"/delay\" } }]\nfault = { delay = { percent = 20, span = \"100ms\" } }\n\
         [[route.rule]]\nmatch = [{ path = { exact = \"/split\" } }]\nto = [{ weight = 3 }, { service = \"shadow\", weight = 1 }]\n",
    );
    let mut open = weft_tests::http::Connection::open(scene.caller.outbound()).unwrap();
    let mut get = |path: &str| {
        let began = Instant::now();
        let reply = open.get(path, "orders.weft.internal").unwrap();
        (reply, began.elapsed())
    };
    let aborted = (0..600).filter(|_| get("/abort").0.status == 503).count() as f64;
    assert!(bounds(600, 0.3).contains(&aborted), "{aborted}");
    let waited = (0..300).filter(|_| get("/delay").1 >= Duration::from_millis(100)).count() as f64;
    assert!(bounds(300, 0.2).contains(&waited), "{waited}");
    let mut sides = BTreeMap::new();
    for _ in 0..600 {
        *sides.entry(get("/split").0.text()[..8].trim().to_owned()).or_insert(0.0) += 1.0;
    }
    assert!(bounds(600, 0.25).contains(&sides["shadow"]) && sides.len() == 2, "{sides:?}");
}

#[test]
fn a_pause_on_purpose_counts_towards_the_timeout() {
    let scene = Scene::new("pause", Server::app("shadow"));
    scene.route(
        "[[route.rule]]\nmatch = [{ path = { exact = \"/fits\" } }]\ntimeout = \"2s\"\nfault = { delay = { span = \"400ms\" } }\n\
         [[route.rule]]\nmatch = [{ path = { exact = \"/long\" } }]\ntimeout = \"300ms\"\nfault = { delay = { span = \"5s\" } }\n\
         [[route.rule]]\nmatch = [{ path = { exact = \"/slow\" } }]\ntimeout = \"800ms\"\nfault = { delay = { span = \"400ms\" } }\n",
    );
    let timed = |path: &str| {
        let began = Instant::now();
        let reply = scene.get(path);
        (reply, began.elapsed().as_millis())
    };
    let (reply, took) = timed("/fits");
    assert!(reply.status == 200 && (400..2_000).contains(&took), "{took} ms");
    let (reply, took) = timed("/long");
    assert_eq!((reply.status, reply.problem().as_str()), (504, "request-timeout"));
    assert!(reply.text().contains("orders.toml:8"), "it says whose pause: {}", reply.text());
    assert!((290..2_000).contains(&took), "{took} ms");
    // The pause and the answer of 600 ms together are too long; either alone would fit.
    let (reply, took) = timed("/slow?0.6");
    assert_eq!((reply.status, reply.problem().as_str()), (504, "request-timeout"));
    assert!((790..2_000).contains(&took), "{took} ms");
}

#[test]
fn a_rule_changes_what_goes_out_and_what_comes_back() {
    let scene = Scene::new("changes", Server::app("shadow"));
    scene.route(
        "[[route.rule]]\nmatch = [{ path = { prefix = \"/old\" } }]\nredirect = { path = \"/new\", port = 8443, status = 308 }\n\
         [[route.rule]]\nmatch = [{ path = { prefix = \"/api\" } }]\nrewrite = { path = \"/headers\", host = \"inner.example\" }\n\
         request_headers = { remove = [\"x-gone\"], set = { x-set = \"new\" }, add = { x-more = \"2\" } }\n\
         response_headers = { set = { server = \"the mesh\" }, add = { x-told = \"yes\" }, remove = [\"content-type\"] }\n",
    );
    let reply = scene.get("/old/x?a=1");
    assert_eq!(reply.status, 308);
    assert_eq!(reply.header("location"), Some("http://orders.weft.internal:8443/new?a=1"));
    let reply = scene.caller.asks("orders", "GET /api/any", "x-gone: 1\r\nx-set: old\r\nx-more: 1\r\n", b"");
    let got: Vec<(String, String)> = serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{}", reply.text()));
    let values = |name: &str| -> Vec<&str> {
        got.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    };
    assert!(values("x-gone").is_empty(), "{got:?}");
    assert_eq!(
        (values("x-set"), values("x-more"), values("host")),
        (vec!["new"], vec!["1", "2"], vec!["inner.example"])
    );
    assert_eq!(
        (reply.header("server"), reply.header("x-told"), reply.header("content-type")),
        (Some("the mesh"), Some("yes"), None)
    );
}

#[test]
fn a_node_tells_what_it_would_do_and_which_line_says_so() {
    let scene = Scene::new("told", Server::app("shadow"));
    scene.operator.write(
        "orders.toml",
        "[[route]]\nname = \"orders\"\nservice = \"orders\"\n\n[[route.rule]]\nmatch = [{ path = { prefix = \"/api\" } }]\n\
         to = [{ weight = 9 }, { version = \"2\", weight = 1 }]\nmirror = { service = \"shadow\", percent = 1 }\n\
         timeout = \"5s\"\ntry_timeout = \"2s\"\nretries = { attempts = 1, on = [\"connect-failure\", \"5xx\"] }\n\
         fault = { delay = { percent = 10, span = \"300ms\" }, abort = { percent = 0.5, status = 503 } }\n\
         request_headers = { set = { x-api = \"1\" }, remove = [\"x-debug\"] }\nresponse_headers = { add = { x-told = \"yes\" } }\n\
         rewrite = { prefix = \"/v2\" }\n\n[[route.rule]]\nmatch = [{ path = { exact = \"/old\" } }]\nredirect = { path = \"/new\" }\n",
    );
    scene.operator.write(
        "traffic.toml",
        "[[traffic]]\nname = \"orders\"\nservice = \"orders\"\nconnect_timeout = \"500ms\"\nretries = { budget_percent = 10 }\n\
         outlier = { consecutive_failures = 4, ejection = \"2s\" }\nlimits = { in_flight = 500, connections = 100 }\n\
         balancing = { ring-hash = { header = \"x-user\" } }\nzone = { overflow_percent = 70 }\n\n\
         [[rate-limit]]\nname = \"orders\"\nservice = \"orders\"\nrequests = 10\nper = \"1s\"\nby = { header = \"x-tenant\" }\n",
    );
    scene.operator.applied(&scene.caller);
    let told = |path: &str| scene.caller.weft(&["route", "GET", &format!("orders{path}")]).json();
    let says = |answer: &Value, what: &str, text: &str, at: &str| {
        let steps = answer["steps"].as_array().expect("a list");
        let step = steps.iter().find(|step| step["what"] == what).unwrap_or_else(|| panic!("{what} in {answer:#}"));
        assert!(step["outcome"].as_str().is_some_and(|outcome| outcome.contains(text)), "{text} in {step:#}");
        let place = &step["place"];
        let place = format!("{} {}", place["file"].as_str().unwrap_or("-"), place["line"]);
        assert!(place.ends_with(at), "{what} is written at {at}: {step:#}");
    };
    let answer = told("/api/x");
    for (what, text) in [
        ("fault delay", "10 % of the requests wait 300ms"),
        ("fault abort", "0.5 % of the requests are answered with 503"),
        ("request headers", "removed x-debug; set x-api: 1"),
        ("rewrite", "the path becomes /v2/x"),
        ("split", "9 of 10 go to orders, 1 of 10 go to orders version 2"),
        ("mirror", "1 % of the requests are copied to shadow"),
        ("response headers", "added x-told: yes"),
        ("timeout", "5s"),
        ("try timeout", "2s"),
        ("retries", "at most 1, after connect-failure, 5xx"),
    ] {
        says(&answer, what, text, "orders.toml 5");
    }
    for (what, text) in [
        ("connect timeout", "500ms"),
        ("retry budget", "10 % of the requests and 3 a second"),
        ("outlier", "after 4 failures in a row, for 2s and at most 30s"),
        ("limits", "at most 500 requests and streams and at most 100 connections"),
        ("zone", "70 %"),
        ("traffic", "by the hash of the header field x-user"),
    ] {
        says(&answer, what, text, "traffic.toml 1");
    }
    says(&answer, "rate limit", "by the header field x-tenant; 10 may pass at once", "traffic.toml 11");
    says(&told("/old"), "redirect", "302 and leads to http://orders.weft.internal/new", "orders.toml 17");
    // What no document states is the node's own, and says no place.
    let own = scene.caller.weft(&["route", "GET", "shadow/"]).json();
    for (what, text) in
        [("timeout", "60s"), ("try timeout", "all of that time"), ("connect timeout", "1s"), ("retries", "at most 2")]
    {
        says(&own, what, text, "- null");
    }
    assert!(scene.orders.port > 0);
}
