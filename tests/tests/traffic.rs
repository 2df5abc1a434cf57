//! How the calls of a service are carried, as `[[traffic]]` and `[[rate-limit]]` say it, between real nodes.
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::collections::{BTreeMap, BTreeSet};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weft_tests::http::{Connection, Reply};
use weft_tests::mesh::SPREAD_LIMIT;
use weft_tests::operator::Operator;
use weft_tests::programs::Server;
use weft_tests::wait::until_true;
use weft_tests::{Mesh, Node};

const RETRIES: &str = "weft_retries_total";
const EJECTIONS: &str = "weft_ejections_total";
const HOST: &str = "orders.weft.internal";

/// A mesh whose first node calls `orders`, which the other nodes offer.
struct Scene {
    operator: Operator,
    replicas: Vec<Node>,
    servers: Vec<Server>,
    caller: Node,
    mesh: Mesh,
}

impl Scene {
    fn new(name: &str) -> Self {
        Self::configured(name, "")
    }

    /// With a configuration of the caller.
    fn configured(name: &str, toml: &str) -> Self {
        let mut mesh = Mesh::new(name);
        let mut caller = mesh.init("caller");
        if !toml.is_empty() {
            caller.configure(toml);
        }
        caller.start();
        let operator = Operator::of(&mesh, &caller, "policies");
        Self { operator, replicas: Vec::new(), servers: Vec::new(), caller, mesh }
    }

    /// One more replica, on a node of its own with this configuration; `words` are for `weft expose`.
    fn replica(&mut self, name: &str, server: Server, toml: &str, words: &[&str]) {
        let mut node = self.mesh.join(name, &self.caller, &["orders"]);
        if !toml.is_empty() {
            node.configure(toml);
        }
        node.start();
        node.offers("orders", &server, words);
        self.replicas.push(node);
        self.servers.push(server);
        self.caller.knows("orders", self.replicas.len());
    }

    /// The same for an application that names itself as its node.
    fn app(&mut self, name: &str, words: &[&str]) {
        self.replica(name, Server::app_that(name, words), "", &[]);
    }

    /// Puts a `[[traffic]]` document for `orders` with these lines in force.
    fn traffic(&self, lines: &str) {
        self.apply(&format!("[[traffic]]\nname = \"orders\"\nservice = \"orders\"\n{lines}\n"));
    }

    fn apply(&self, text: &str) {
        self.operator.write("orders.toml", text);
        self.operator.applied(&self.caller);
    }

    fn get(&self, path: &str) -> Reply {
        self.caller.get("orders", path)
    }

    /// Which replica answers GET / with these fields; the status must be 200.
    fn who(&self, fields: &str) -> String {
        let reply = self.caller.asks("orders", "GET /", fields, b"");
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.text().trim_end_matches('/').trim_end().to_owned()
    }

    /// How often each replica answers, of `count` GETs with these fields.
    fn shares(&self, count: usize, fields: &str) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        (0..count).for_each(|_| *shares.entry(self.who(fields)).or_default() += 1);
        shares
    }

    /// The replicas that answer any of 30 GETs.
    fn used(&self) -> Vec<String> {
        self.shares(30, "").into_keys().collect()
    }

    /// Replicas take turns, so that chance has no part, and these lines hold, too.
    fn in_turn(&self, lines: &str) {
        self.traffic(&format!("balancing = \"round-robin\"\n{lines}"));
    }

    fn in_flight(&self) -> u64 {
        self.caller.listing("services").iter().filter_map(|row| row["in_flight"].as_u64()).sum()
    }

    /// A GET that takes this long, on a thread of its own; comes back when it is under way.
    fn under_way(&self, seconds: u32) -> JoinHandle<Reply> {
        let (to, before) = (self.caller.outbound(), self.in_flight());
        let thread = std::thread::spawn(move || {
            Connection::open(to).and_then(|mut open| open.get(&format!("/slow?{seconds}"), HOST)).expect("an answer")
        });
        until_true("a slow call to be under way", SPREAD_LIMIT, || self.in_flight() > before);
        thread
    }

    fn retries(&self) -> f64 {
        self.caller.metric(RETRIES, &["service=\"orders\""])
    }
}

#[test]
fn a_slow_replica_is_given_up_on_and_not_asked_again_and_again() {
    let mut scene = Scene::new("try");
    scene.app("quick", &[]);
    scene.replica("slow", Server::app_that("slow", &["--slow", "8"]), "", &["--version", "slow"]);
    let rule = "[[route]]\nname = \"orders\"\nservice = \"orders\"\n[[route.rule]]\nmatch = [{ path = { exact = \"/slow-only\" } }]\n\
                to = [{ version = \"slow\" }]\ntimeout = \"5s\"\ntry_timeout = \"300ms\"\n\
                [[route.rule]]\ntimeout = \"5s\"\ntry_timeout = \"300ms\"\n";
    scene.apply(rule);
    let began = Instant::now();
    for _ in 0..30 {
        assert_eq!(scene.who(""), "quick");
    }
    let (took, retries) = (began.elapsed(), scene.retries());
    assert!((1.0..=4.0).contains(&retries), "asked once or twice, then known to be slow: {retries} retries");
    assert!(took > Duration::from_millis(290) && took < Duration::from_secs(5), "{took:?}");
    // Where there is no other, the try is the end.
    let began = Instant::now();
    let reply = scene.get("/slow-only");
    assert_eq!((reply.status, reply.problem().as_str()), (504, "request-timeout"));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_replica_is_left_out_after_so_many_failures_for_so_long() {
    let mut scene = Scene::new("outlier");
    scene.app("good", &[]);
    // Without a probe its node goes on to offer what has ended.
    scene.replica("dead", Server::app("dead"), "", &["--health", "none"]);
    scene.in_turn("outlier = { consecutive_failures = 3, ejection = \"3s\", ejection_max = \"3s\" }");
    assert_eq!(scene.shares(10, "").len(), 2);
    drop(scene.servers.remove(1));
    let ejections = || scene.caller.metric(EJECTIONS, &["service=\"orders\""]);
    for _ in 0..20 {
        assert_eq!(scene.who(""), "good");
        if ejections() > 0.0 {
            break;
        }
    }
    let left_out = Instant::now();
    assert_eq!((ejections(), scene.retries()), (1.0, 3.0), "after the third failure, each of which was tried again");
    for _ in 0..20 {
        assert_eq!(scene.who(""), "good");
    }
    assert!(left_out.elapsed() < Duration::from_secs(2), "too slow a machine for this test");
    assert_eq!(scene.retries(), 3.0, "it is left out");
    until_true("it to be asked again", SPREAD_LIMIT, || scene.who("") == "good" && scene.retries() > 3.0);
    assert!(left_out.elapsed() > Duration::from_millis(2_500), "{:?}", left_out.elapsed());
}

#[test]
fn no_more_requests_are_under_way_than_the_documents_allow() {
    let mut scene = Scene::new("inflight");
    scene.app("replica", &[]);
    scene.traffic("limits = { in_flight = 2 }");
    let waiting = [scene.under_way(3), scene.under_way(3)];
    for _ in 0..5 {
        let reply = scene.get("/");
        assert_eq!((reply.status, reply.problem().as_str()), (503, "overloaded"));
        assert!(reply.text().contains("orders.toml:1"), "{}", reply.text());
    }
    for thread in waiting {
        assert_eq!(thread.join().expect("no panic").status, 200);
    }
    until_true("room again", SPREAD_LIMIT, || scene.get("/").status == 200);
}

#[test]
fn no_more_connections_are_open_than_the_documents_allow_and_idle_ones_make_room() {
    let mut scene = Scene::configured("connections", "workers = 2\n");
    scene.app("one", &[]);
    scene.app("two", &[]);
    scene.in_turn("limits = { connections = 1 }");
    let waiting = scene.under_way(3);
    for _ in 0..5 {
        let reply = scene.get("/");
        assert_eq!((reply.status, reply.problem().as_str()), (503, "overloaded"));
    }
    assert_eq!(waiting.join().expect("no panic").status, 200);
    // The one connection rests in the pool of one worker, and leads to one replica; each call may need another.
    let shares = scene.shares(40, "");
    assert!(shares.values().sum::<usize>() == 40 && shares.len() == 2, "{shares:?}");
}

#[test]
fn the_own_zone_serves_until_too_little_of_it_can() {
    let mut scene = Scene::configured("zones", "zone = \"a\"\n");
    for (name, zone) in [("near1", "a"), ("near2", "a"), ("far", "b")] {
        scene.replica(name, Server::app(name), &format!("zone = \"{zone}\"\n"), &["--health", "/"]);
    }
    scene.in_turn("");
    assert_eq!(scene.used(), ["near1", "near2"]);
    drop(scene.servers.remove(0));
    scene.caller.knows("orders", 2);
    // Half of the zone can serve: by default it serves alone.
    assert_eq!(scene.used(), ["near2"]);
    scene.in_turn("zone = { overflow_percent = 60 }");
    assert_eq!(scene.used(), ["far", "near2"]);
    scene.in_turn("zone = { overflow_percent = 40 }");
    assert_eq!(scene.used(), ["near2"]);
    scene.in_turn("zone = { prefer = false }");
    assert_eq!(scene.used(), ["far", "near2"]);
    scene.in_turn("");
    drop(scene.servers.remove(0));
    // The failure of the last near one costs nothing either.
    until_true("the far one alone", SPREAD_LIMIT, || scene.who("") == "far");
}

#[test]
fn a_machine_that_hangs_costs_its_connect_timeout() {
    let mut scene = Scene::new("connect");
    scene.app("hangs", &[]);
    scene.caller.tolerate("");
    scene.traffic("connect_timeout = \"300ms\"\nretries = { attempts = 0 }");
    scene.replicas[0].tolerate("");
    scene.replicas[0].process().signal("STOP");
    let began = Instant::now();
    let reply = scene.get("/");
    let took = began.elapsed();
    scene.replicas[0].process().signal("CONT");
    assert_eq!((reply.status, reply.problem().as_str()), (504, "connect-timeout"), "{}", reply.text());
    assert!(took > Duration::from_millis(290) && took < Duration::from_millis(900), "{took:?}; the node's own is 1 s");
    until_true("an answer", SPREAD_LIMIT, || scene.get("/").status == 200);
}

#[test]
fn an_answer_is_tried_again_as_far_as_the_budget_goes() {
    let mut scene = Scene::new("budget");
    scene.app("bad1", &["--status", "503"]);
    scene.replica("bad2", Server::app_that("bad2", &["--status", "503"]), "", &["--health", "none"]);
    let ask = |count: usize| (0..count).for_each(|_| assert_eq!(scene.get("/").status, 503));
    ask(10);
    assert_eq!(scene.retries(), 0.0, "an answer is one unless a document says otherwise");
    let retries = |budget: &str| format!("retries = {{ attempts = 3, on = [\"gateway-error\"], {budget} }}");
    scene.traffic(&retries("budget_percent = 20, budget_per_second = 0"));
    ask(100);
    let spent = scene.retries();
    assert!((19.0..=21.0).contains(&spent), "a fifth of a hundred, and one in hand: {spent}");
    scene.traffic(&retries("budget_percent = 100, budget_per_second = 1000"));
    ask(10);
    assert_eq!(scene.retries() - spent, 30.0, "three each");
    scene.app("good", &[]);
    // Two bad ones, two more tries: every call finds the good one.
    assert_eq!(scene.shares(20, ""), BTreeMap::from([("good".to_owned(), 20)]));
}

#[test]
fn replicas_take_turns_or_keep_their_callers() {
    let mut scene = Scene::new("balance");
    scene.app("one", &[]);
    scene.app("two", &[]);
    scene.in_turn("");
    let shares = scene.shares(40, "");
    // Each worker has its own turn.
    assert!(shares.len() == 2 && shares.values().all(|count| (18..=22).contains(count)), "{shares:?}");
    for (hash, field) in [("header = \"x-user\"", "x-user: "), ("cookie = \"cart\"", "cookie: a=b; cart=")] {
        scene.traffic(&format!("balancing = {{ ring-hash = {{ {hash} }} }}"));
        let homes = (0..16).map(|user| {
            let shares = scene.shares(4, &format!("{field}{user}\r\n"));
            assert_eq!(shares.len(), 1, "{hash} {user} keeps its replica: {shares:?}");
            shares.into_keys().next().expect("one")
        });
        assert_eq!(homes.collect::<BTreeSet<_>>().len(), 2, "{hash}: sixteen users are spread");
    }
}

fn limit(by: &str) -> String {
    format!("[[rate-limit]]\nname = \"per-caller\"\nservice = \"orders\"\nrequests = 3\nper = \"60s\"\nby = {by}\n")
}

/// The status, and `RateLimit`.
fn standing(reply: &Reply) -> (u16, &str) {
    assert_eq!(reply.header("ratelimit-policy"), Some("\"per-caller\";q=3;w=60"), "{reply:?}");
    (reply.status, reply.header("ratelimit").unwrap_or_default())
}

#[test]
fn a_caller_is_told_what_is_left_of_its_rate() {
    let mut scene = Scene::new("rates");
    scene.app("replica", &[]);
    let web = scene.mesh.join_running("web", &scene.caller, &["web"]);
    web.knows("orders", 1);
    let ask = |node: &Node, fields: &str| node.asks("orders", "GET /", fields, b"");
    assert!(ask(&web, "").header("ratelimit").is_none(), "nothing is limited");

    scene.apply(&limit("\"identity\""));
    for left in ["\"per-caller\";r=2;t=20", "\"per-caller\";r=1;t=20", "\"per-caller\";r=0;t=20"] {
        assert_eq!(standing(&ask(&web, "")), (200, left));
    }
    let reply = ask(&web, "");
    assert_eq!(standing(&reply), (429, "\"per-caller\";r=0;t=20"));
    assert_eq!((reply.problem().as_str(), reply.header("retry-after")), ("rate-limited", Some("20")));
    assert!(reply.text().contains("orders.toml:1"), "{}", reply.text());
    assert_eq!(standing(&ask(&scene.caller, "")), (200, "\"per-caller\";r=2;t=20"), "another caller has its own");
    // A replica of the same machine is called without the other node, and counted by the same document.
    let own = ask(&scene.replicas[0], "");
    assert_eq!(standing(&own), (200, "\"per-caller\";r=2;t=20"));

    // Another name, so that nothing was counted yet.
    scene.operator.remove("orders.toml");
    let by_tenant = limit("{ header = \"x-tenant\" }").replace("per-caller", "tenant");
    scene.operator.write("tenant.toml", &by_tenant);
    scene.operator.signs(&scene.caller, &["apply", &scene.operator.folder(), "--prune", "all"]).json();
    let statuses = |tenant: &str, count: usize| -> Vec<u16> {
        (0..count).map(|_| ask(&web, &format!("x-tenant: {tenant}\r\n")).status).collect()
    };
    assert_eq!(statuses("blue", 4), [200, 200, 200, 429]);
    assert_eq!(statuses("red", 2), [200, 200]);
    assert_eq!(ask(&scene.caller, "x-tenant: blue\r\n").status, 429, "whoever calls for it");
    assert_eq!(ask(&scene.caller, "").status, 200, "those without one are counted together");
}

#[test]
fn one_limit_that_refuses_costs_nothing_at_the_other() {
    let mut scene = Scene::new("limits");
    scene.app("replica", &[]);
    let named = |name: &str, requests: u32, by: &str| {
        limit(by).replace("per-caller", name).replace("requests = 3", &format!("requests = {requests}"))
    };
    scene.apply(&(named("all", 5, "\"service\"") + &named("mine", 1, "\"identity\"")));
    let web = scene.mesh.join_running("web", &scene.caller, &["web"]);
    web.knows("orders", 1);
    let reply = scene.get("/");
    assert_eq!(reply.header("ratelimit-policy"), Some("\"all\";q=5;w=60, \"mine\";q=1;w=60"));
    assert_eq!(reply.header("ratelimit"), Some("\"all\";r=4;t=12, \"mine\";r=0;t=60"));
    for _ in 0..8 {
        let refused = scene.get("/");
        assert_eq!((refused.status, refused.header("ratelimit-policy")), (429, Some("\"mine\";q=1;w=60")));
    }
    let reply = web.get("orders", "/");
    assert!(reply.header("ratelimit").is_some_and(|told| told.starts_with("\"all\";r=3;t=")), "{reply:?}");
}
