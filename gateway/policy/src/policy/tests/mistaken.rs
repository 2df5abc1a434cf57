//! Every kind, broken in each way that a user would break it: place and message.

use super::*;

/// A document's text with its mistakes, each as `line:column: start of the message`.
type Broken = (&'static str, &'static [&'static str]);

fn check(table: &[Broken]) {
    for (text, expected) in table {
        let found = mistakes(text);
        assert_eq!(found.len(), expected.len(), "{text}\n{found:#?}");
        for (found, expected) in found.iter().zip(*expected) {
            assert!(found.starts_with(&format!("p:{expected}")), "{text}\n{found}\np:{expected}");
        }
    }
}

#[test]
fn files() {
    check(&[
        ("[[route]]\nname = \n", &["2:8: "]),
        ("[[rout]]\nname = \"a\"\n", &["1:3: unknown kind of document `rout`; did you mean `[[route]]`?"]),
        ("[[something]]\n", &["1:3: unknown kind of document `something`"]),
        ("[route]\nname = \"a\"\n", &["1:2: a document is written with double brackets: `[[route]]`"]),
        ("name = \"a\"\n", &["1:1: unknown kind of document `name`"]),
        (
            "[[mesh]]\nname = \"defaults\"\n[[mesh]]\nname = \"defaults\"\n",
            &["3:1: `mesh/defaults` stands already at p:1"],
        ),
        (
            "[[route]]\nname = \"r\"\nservice = \"a\"\n[[mesh]]\nname = \"defaults\"\n[[route.rule]]\ntimeout = \"1s\"\n",
            &["2:8: says nothing", "6:3: a part of a `[[route]]` stands inside another document, a `[[mesh]]`"],
        ),
        (
            "[[mesh]]\nnam = \"defaults\"\n[[route]]\nname = \"A\"\nservice = 3\n[[revocation]]\nname = \"x\"\n",
            &[
                "1:1: this `[[mesh]]` needs `name`",
                "2:1: unknown key `nam`; did you mean `name`?",
                "4:8: `name`: document name \"A\" is not valid: only a-z, 0-9 and - are allowed",
                "4:8: says nothing: it needs a `[[route.rule]]`",
                "5:11: `service`: must be a text in quotes, is a integer",
                "6:1: this `[[revocation]]` needs `reason`",
                "7:8: a revocation needs exactly one of `node`, `key` and `token`",
            ],
        ),
    ]);
    let both = [
        ("a".to_owned(), "[[mesh]]\nname = \"defaults\"\n".to_owned()),
        ("b".to_owned(), "\n[[mesh]]\nname = \"defaults\"\n[[x]]\n".to_owned()),
    ];
    let found: Vec<String> = read_files(&both).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(found, ["b:2:1: `mesh/defaults` stands already at a:1", "b:4:3: unknown kind of document `x`"]);
}

#[test]
fn mesh() {
    check(&[
        (
            "[[mesh]]\nname = \"default\"\n",
            &["2:8: `name`: \"default\" is none of defaults; did you mean \"defaults\"?"],
        ),
        (
            "[[mesh]]\nname = \"defaults\"\nauthorisation = \"denny\"\n",
            &["3:17: `authorisation`: \"denny\" is none of allow, deny; did you mean \"deny\"?"],
        ),
        (
            "[[mesh]]\nname = \"defaults\"\nauthorisation = true\n",
            &["3:17: `authorisation`: must be one of allow, deny in quotes, is a boolean"],
        ),
        (
            "[[mesh]]\nname = \"defaults\"\nauthorization = \"deny\"\n",
            &["3:1: unknown key `authorization`; did you mean `authorisation`?"],
        ),
    ]);
}

const HEAD: &str = "[[authorisation]]\nname = \"a\"\n";

#[test]
fn authorisation() {
    let says_nothing = format!("{HEAD}service = \"a\"\n");
    assert_eq!(mistakes(&says_nothing)[0], "p:2:8: says nothing: it needs a `default` or an `[[authorisation.rule]]`");
    for (body, expected) in [
        ("default = \"deny\"", "2:8: needs exactly one of `service`, `services` and `mesh = true`"),
        ("service = \"a\"\nmesh = true\ndefault = \"deny\"", "2:8: needs exactly one of"),
        ("services = []\ndefault = \"deny\"", "3:12: `services` is an empty list"),
        ("services = \"a\"\ndefault = \"deny\"", "3:12: `services` must be a list, is a string"),
        ("services = [\"a\", \"B\"]\ndefault = \"deny\"", "3:18: `services`: service name \"B\" is not valid"),
        ("mesh = true\ndefault = \"deny\"", "4:11: the default of the whole mesh is `authorisation` of `[[mesh]]`"),
        ("mesh = \"yes\"\ndefault = \"deny\"", "3:8: `mesh`: must be true or false, is a string"),
        (
            "service = \"a\"\nmode = \"shadows\"\ndefault = \"deny\"",
            "4:8: `mode`: \"shadows\" is none of enforce, shadow; did you mean \"shadow\"?",
        ),
    ] {
        assert_start(&format!("{HEAD}{body}\n"), expected);
    }
    for (body, expected) in [
        ("from = { any = true }", "4:1: this `[[authorisation.rule]]` needs `action`"),
        ("action = \"allow\"", "4:1: this `[[authorisation.rule]]` needs `from`"),
        ("action = \"allow\"\nfrom = \"any\"", "6:8: `from`: must be a table (`from`), is a string"),
        ("action = \"allow\"\nfrom = {}", "6:8: `from` names nobody"),
        ("action = \"allow\"\nfrom = { any = false }", "6:8: `from` names nobody"),
        (
            "action = \"allow\"\nfrom = { any = true, services = [\"b\"] }",
            "6:8: `from`: `any = true` and a list contradict each other",
        ),
        ("action = \"allow\"\nfrom = { service = [\"b\"] }", "6:10: unknown key `service`; did you mean `services`?"),
        ("action = \"allow\"\nfrom = { nodes = [\"vm_d\"] }", "6:19: `nodes`: node name \"vm_d\" is not valid"),
        ("action = \"allow\"\nfrom = { labels = {} }", "6:19: `labels`: is empty: leave it out, or fill it"),
        ("action = \"allow\"\nfrom = { labels = \"team\" }", "6:19: `labels`: must be a table { name = \"value\" }"),
        (
            "action = \"allow\"\nfrom = { labels = { team = 1 } }",
            "6:28: `labels`: must be a text in quotes, is a integer",
        ),
        (
            "action = \"allow\"\nfrom = { labels = { team = \"pay ments\" } }",
            "6:19: `labels`: \"pay ments\" cannot be the name or value of a granted label: 1 to 63 of A-Z,",
        ),
        ("action = \"allow\"\nfrom = { labels = { \"a,b\" = \"1\" } }", "6:19: `labels`: \"a,b\" cannot be the name"),
        ("action = \"allow\"\nfrom = { labels = { team = \"\" } }", "6:19: `labels`: \"\" cannot be the name or value"),
        (
            "action = \"allow\"\nfrom = { labels = { a=\"1\", b=\"1\", c=\"1\", d=\"1\", e=\"1\", f=\"1\", g=\"1\", h=\"1\", i=\"1\" } }",
            "6:19: `labels`: 9 granted labels are more than 8",
        ),
        (
            "action = \"allow\"\nfrom = { label = { team = \"a\" } }",
            "6:10: unknown key `label`; did you mean `labels`?",
        ),
        (
            "action = \"allow\"\nfrom = { any = true, services = [\"b\"], labels = { team = \"a\" } }",
            "6:8: `from`: `any = true` and a list contradict each other",
        ),
        (
            "action = \"allow\"\nfrom = { any = true }\nmethods = [\"FETCH\"]",
            "7:12: `methods`: \"FETCH\" is none of GET, HEAD, ",
        ),
        ("action = \"allow\"\nfrom = { any = true }\nmethods = [\"get\"]", "7:12: `methods`: \"get\" is none of GET"),
        ("action = \"allow\"\nfrom = { any = true }\nmethods = \"GET\"", "7:11: `methods` must be a list"),
        (
            "action = \"allow\"\nfrom = { any = true }\npaths = [\"/a\", \"b\"]",
            "7:16: `paths`: \"b\" must start with /",
        ),
        (
            "action = \"allow\"\nfrom = { any = true }\npaths = [\"/a/{id\"]",
            "7:10: `paths`: \"{id\": braces enclose a whole segment",
        ),
        ("action = \"allow\"\nfrom = { any = true }\npaths = [\"/a/*\"]", "7:10: `paths`: \"*\": write {name}"),
        (
            "action = \"allow\"\nfrom = { any = true }\npaths = [\"/a/%37\"]",
            "7:10: `paths`: \"%37\" is not in normal form",
        ),
        (
            "action = \"allow\"\nfrom = { any = true }\nheaders = [{ name = \"x\" }]",
            "7:12: needs exactly one of `value`, `prefix`, `regex` and `present`",
        ),
        (
            "action = \"allow\"\nfrom = { any = true }\nheaders = [{ name = \"x y\", value = \"1\" }]",
            "7:21: `name`: \"x y\" is not the name of a header field",
        ),
        (
            "action = \"allow\"\nfrom = { any = true }\nheaders = [{ name = \"x\", regex = \"(\" }]",
            "7:34: `regex`: unclosed group",
        ),
        (
            "action = \"allow\"\nfrom = { any = true }\nheaders = [{ name = \"x\", regex = \"a)(b\" }]",
            "7:34: `regex`: unopened group",
        ),
        (
            "action = \"allow\"\nfrom = { any = true }\nheaders = [{ name = \"x\", regex = \"(a{999}){999}\" }]",
            "7:34: `regex`: Compiled regex exceeds size limit",
        ),
        ("action = \"permit\"\nfrom = { any = true }", "5:10: `action`: \"permit\" is none of allow, deny"),
        ("acton = \"allow\"\nfrom = { any = true }", "4:1: this `[[authorisation.rule]]` needs `action`"),
    ] {
        assert_start(&format!("{HEAD}service = \"a\"\n[[authorisation.rule]]\n{body}\n"), expected);
    }
}

/// The first mistake of a text.
fn assert_start(text: &str, expected: &str) {
    let found = mistakes(text);
    assert!(found[0].starts_with(&format!("p:{expected}")), "{text}\n{found:#?}\n{expected}");
}

#[test]
fn documents_that_contradict_each_other() {
    let document = |name: &str, default: &str| {
        format!("[[authorisation]]\nname = \"{name}\"\nservice = \"a\"\ndefault = \"{default}\"\n")
    };
    let text = document("a", "allow") + &document("b", "deny");
    assert_start(&text, "8:1: `default` contradicts the one at p:4 for the same service");
    assert!(mistakes_of(&(document("a", "deny") + &document("b", "deny"))).is_empty());
    let traffic = |name: &str| format!("[[traffic]]\nname = \"{name}\"\nservice = \"a\"\n");
    assert_start(&(traffic("a") + &traffic("b")), "4:1: a has a `[[traffic]]` already: a");
}

#[test]
fn a_mistake_hides_no_other_of_the_same_document() {
    check(&[
        (
            "[[route]]\nname = \"R\"\nservice = 3\nhosts = [\"a:80\"]\n[[route.rule]]\ntimeout = \"1\"\nwibble = 1\n\
             match = [{ path = { exact = \"a\" } }, { path = { regex = \"(\" }, methods = [\"FETCH\"] }]\n\
             [[route.rule]]\nto = [{ weight = 0 }]\nretries = { on = [\"5xx\"] }\ntimeout = \"1s\"\ntry_timeout = \"2s\"\n\
             redirect = { status = 305, path = 7 }\n",
            &[
                "2:8: `name`: document name \"R\" is not valid",
                "3:11: `service`: must be a text",
                "4:10: `hosts`: ",
                "6:11: `timeout`: must be a span",
                "7:1: unknown key `wibble`",
                "8:29: `path`: \"a\" must start with /",
                "8:57: `regex`: unclosed group",
                "8:75: `methods`: \"FETCH\"",
                "10:7: `to`: every weight is 0",
                "11:11: this `retries` needs `attempts`",
                "13:15: `try_timeout` is longer",
                "14:12: `redirect` and `retries` contradict",
                "14:12: `redirect` and `timeout` contradict",
                "14:12: `redirect` and `to` contradict",
                "14:12: `redirect` and `try_timeout` contradict",
                "14:23: `status` of a redirect is",
                "14:35: `path`: must be a text",
            ],
        ),
        (
            "[[authorisation]]\nname = \"a\"\nmode = \"shadows\"\n[[authorisation.rule]]\nfrom = { nodes = [\"vm_d\"] }\n\
             paths = [\"b\", \"/c/{d\"]\nheaders = [{ name = \"x y\" }]\n",
            &[
                "2:8: needs exactly one of `service`, `services` and `mesh = true`",
                "3:8: `mode`: ",
                "4:1: this `[[authorisation.rule]]` needs `action`",
                "5:19: `nodes`: node name",
                "6:10: `paths`: \"b\" must start with /",
                "6:15: `paths`: \"{d\"",
                "7:12: needs exactly one of `value`",
                "7:21: `name`: ",
            ],
        ),
        (
            "[[rate-limit]]\nname = \"l\"\nrequests = 1000000000\nper = \"soon\"\nmatch = [{ path = { exact = \"a\" } }]\n",
            &["1:1: this `[[rate-limit]]` needs `service`", "4:7: `per`: ", "5:29: `path`: "],
        ),
        (
            "[[traffic]]\nname = \"t\"\nservice = \"A\"\n[traffic.outlier]\nejection = \"1m\"\nejection_max = \"1s\"\n",
            &["3:11: `service`: ", "6:16: `ejection_max` is shorter than `ejection`"],
        ),
        // What may only follow from another mistake is not told.
        (
            "[[traffic]]\nname = \"t\"\nservice = \"a\"\n[traffic.outlier]\nejection = \"1\"\nejection_max = \"500ms\"\n",
            &["5:12: `ejection`: "],
        ),
        ("[[authorisation]]\nname = \"a\"\nservce = \"a\"\ndefault = \"deny\"\n", &["3:1: unknown key `servce`"]),
        (
            "[[authorisation]]\nname = \"a\"\nservice = \"a\"\n[[authorisation.rule]]\naction = \"deny\"\n\
             [authorisation.rule.from]\nservice = [\"b\"]\n",
            &["7:1: unknown key `service`; did you mean `services`?"],
        ),
    ]);
}

#[test]
fn a_mistake_is_one_line_whatever_stands_in_the_file() {
    let found = mistakes("[[mesh]]\nname = \"defaults\"\n\"a\\u001b[31m\\nb\" = 1\n");
    assert_eq!(found, ["p:3:1: unknown key `a\\u{1b}[31m\\nb`"]);
}

fn mistakes_of(text: &str) -> Vec<crate::strict::Mistake> {
    let sources = read_file("p", text).unwrap();
    compile(&sources.into_iter().map(|source| (source, 1)).collect::<Vec<_>>()).err().unwrap_or_default()
}

#[test]
fn route() {
    let head = "[[route]]\nname = \"r\"\nservice = \"a\"\n";
    assert_start(head, "2:8: says nothing: it needs a `[[route.rule]]`");
    assert_start(
        "[[route]]\nname = \"r\"\n[[route.rule]]\ntimeout = \"1s\"\n",
        "1:1: this `[[route]]` needs `service`",
    );
    for host in ["a:80", "*", "*.*.a", "a..b", "http://a", "a/b"] {
        assert_start(&format!("{head}hosts = [\"{host}\"]\n[[route.rule]]\ntimeout = \"1s\"\n"), "4:10: `hosts`: ");
    }
    for (body, expected) in [
        ("match = [{ path = \"/a\" }]", "5:19: `path`: must be a table (`path`), is a string"),
        ("match = { path = { exact = \"/a\" } }", "5:9: `match` must be a list, is a inline table"),
        ("match = [{ path = {} }]", "5:19: `path`: needs exactly one of `exact`, `prefix`, `template` and `regex`"),
        ("match = [{ path = { exact = \"/a\", prefix = \"/b\" } }]", "5:19: `path`: needs exactly one of"),
        ("match = [{ path = { exact = \"a\" } }]", "5:29: `path`: \"a\" must start with /"),
        ("match = [{ path = { exact = \"/{id}\" } }]", "5:29: `path`: \"{id}\" is not in normal form"),
        ("match = [{ path = { template = \"/x{id}\" } }]", "5:32: `path`: \"x{id}\": braces enclose a whole segment"),
        ("match = [{ path = { regex = \"[\" } }]", "5:29: `regex`: unclosed character class"),
        ("match = [{ path = { exat = \"/a\" } }]", "5:21: unknown key `exat`; did you mean `exact`?"),
        ("match = [{ method = [\"GET\"] }]", "5:12: unknown key `method`; did you mean `methods`?"),
        ("match = [{ query = [{ name = \"a\", value = \"1\", present = true }] }]", "5:21: needs exactly one of"),
        ("match = [{ query = [{ value = \"1\" }] }]", "5:21: this `query` needs `name`"),
        ("to = [{ weight = 0 }, { weight = 0 }]", "5:7: `to`: every weight is 0"),
        ("to = [{ weight = -1 }]", "5:18: `weight`: must be a whole number from 0 to 1000000"),
        ("to = [{ weight = 1.5 }]", "5:18: `weight`: must be a whole number"),
        ("to = [{ service = \"Orders\" }]", "5:19: `service`: service name \"Orders\" is not valid"),
        ("to = [{ labels = { tier = 1 } }]", "5:27: `labels`: must be a text in quotes, is a integer"),
        ("mirror = { percent = 101 }", "5:22: `percent`: must be a number from 0 to 100"),
        ("mirror = { percent = \"10%\" }", "5:22: `percent`: must be a number from 0 to 100"),
        ("timeout = 5", "5:11: `timeout`: must be a span such as"),
        ("timeout = \"5\"", "5:11: `timeout`: must be a span such as"),
        ("timeout = \"0s\"", "5:11: `timeout`: a span must be longer than nothing"),
        ("timeout = \"31d\"", "5:11: `timeout`: a span is at most 30d"),
        ("timeout = \"1s\"\ntry_timeout = \"2s\"", "6:15: `try_timeout` is longer than `timeout`"),
        ("retries = { on = [\"5xx\"] }", "5:11: this `retries` needs `attempts`"),
        ("retries = { attempts = 11 }", "5:24: `attempts`: must be a whole number from 0 to 10"),
        (
            "retries = { attempts = 1, on = [\"4xx\"] }",
            "5:33: `on`: \"4xx\" is none of connect-failure, reset, refused-stream, gateway-error, 5xx, timeout; did you mean \"5xx\"?",
        ),
        ("fault = {}", "5:9: `fault` needs `delay` or `abort`"),
        ("fault = { delay = { percent = 10 } }", "5:19: this `delay` needs `span`"),
        ("fault = { abort = { status = 99 } }", "5:30: `status`: must be a whole number from 200 to 599"),
        ("request_headers = { set = { host = \"a\" } }", "5:27: `host` cannot be changed here"),
        ("request_headers = { remove = [\"Content-Length\"] }", "5:31: `content-length` cannot be changed here"),
        ("response_headers = { add = { \"x y\" = \"a\" } }", "5:28: `x y: a` is not a header field"),
        ("response_headers = { set = { x = \"a\\nb\" } }", "5:28: `x: a\\nb` is not a header field"),
        ("redirect = { status = 301 }", "5:12: `redirect` leads back to the same place"),
        ("redirect = { path = \"/a\", status = 305 }", "5:36: `status` of a redirect is 301, 302, 303, 307 or 308"),
        ("redirect = { path = \"a\" }", "5:21: \"a\" is not a path in normal form"),
        ("redirect = { scheme = \"ftp\" }", "5:23: `scheme`: \"ftp\" is none of http, https"),
        ("redirect = { host = \"*.a\" }", "5:21: `host` is one host"),
        ("redirect = { path = \"/a\" }\nto = [{}]", "5:12: `redirect` and `to` contradict each other"),
        (
            "redirect = { path = \"/a\" }\nrewrite = { path = \"/b\" }",
            "5:12: `redirect` and `rewrite` contradict each other",
        ),
        ("rewrite = {}", "5:11: `rewrite` changes nothing"),
        (
            "rewrite = { prefix = \"/a\", path = \"/b\" }",
            "5:22: `prefix` and `path` of a rewrite contradict each other",
        ),
        (
            "match = [{ path = { exact = \"/a\" } }]\nrewrite = { prefix = \"/b\" }",
            "6:22: `prefix` of a rewrite needs matches",
        ),
        ("rewrite = { path = \"/a/../b\" }", "5:20: \"/a/../b\" is not a path in normal form"),
    ] {
        assert_start(&format!("{head}[[route.rule]]\n{body}\n"), expected);
    }
}

#[test]
fn traffic() {
    let head = "[[traffic]]\nname = \"t\"\nservice = \"a\"\n";
    for (body, expected) in [
        ("connect_timeout = \"fast\"", "4:19: `connect_timeout`: must be a span such as"),
        ("conect_timeout = \"1s\"", "4:1: unknown key `conect_timeout`; did you mean `connect_timeout`?"),
        ("retries = { budget_percent = 120 }", "4:30: `budget_percent`: must be a number from 0 to 100"),
        ("retries = 3", "4:11: `retries`: must be a table (`retries`), is a integer"),
        ("outlier = { ejection = \"1m\", ejection_max = \"1s\" }", "4:45: `ejection_max` is shorter than `ejection`"),
        ("outlier = { ejection = \"1m\" }", "4:11: `ejection_max` is shorter than `ejection`"),
        ("outlier = { consecutive_failures = 0 }", "4:36: `consecutive_failures`: must be a whole number from 1"),
        (
            "outlier = { consecutive_gateway_errors = 0 }",
            "4:42: `consecutive_gateway_errors`: must be a whole number from 1",
        ),
        ("outlier = { success_rate = \"on\" }", "4:28: `success_rate`: \"on\" is none of off"),
        ("outlier = { success_rate = { replicas_min = 1 } }", "4:45: `replicas_min`: must be a whole number from 2"),
        (
            "outlier = { success_rate = { request_min = 1 } }",
            "4:30: unknown key `request_min`; did you mean `requests_min`?",
        ),
        ("slow_start = \"0s\"", "4:14: `slow_start`: a span must be longer than nothing"),
        ("limits = { adaptive = 1 }", "4:23: `adaptive`: must be true or false, is a integer"),
        ("limits = { in_flight = 0 }", "4:24: `in_flight`: must be a whole number from 1"),
        (
            "balancing = \"roundrobin\"",
            "4:13: `balancing`: \"roundrobin\" is none of p2c, round-robin; did you mean \"round-robin\"?",
        ),
        ("balancing = { ring-hash = {} }", "4:27: `ring-hash` needs exactly one of `header` and `cookie`"),
        ("balancing = { ring_hash = { header = \"x\" } }", "4:13: this `balancing` needs `ring-hash`"),
        ("zone = { prefer = \"z1\" }", "4:19: `prefer`: must be true or false, is a string"),
    ] {
        assert_start(&format!("{head}{body}\n"), expected);
    }
}

#[test]
fn rate_limit() {
    let head = "[[rate-limit]]\nname = \"l\"\nservice = \"a\"\n";
    for (body, expected) in [
        ("per = \"1s\"", "1:1: this `[[rate-limit]]` needs `requests`"),
        ("requests = 0\nper = \"1s\"", "4:12: `requests`: must be a whole number from 1"),
        ("requests = 10\nper = \"1\"", "5:7: `per`: must be a span such as"),
        ("requests = 1000000000\nper = \"1ms\"", "4:12: `requests` is more than one a nanosecond"),
        ("requests = 1\nper = \"1s\"\nby = \"caller\"", "6:6: `by`: \"caller\" is none of identity, service"),
        ("requests = 1\nper = \"1s\"\nby = { cookie = \"a\" }", "6:6: this `by` needs `header`"),
        ("requests = 1\nper = \"1s\"\nmatch = [{ path = { exact = \"a\" } }]", "6:29: `path`: \"a\" must start with /"),
    ] {
        assert_start(&format!("{head}{body}\n"), expected);
    }
}

#[test]
fn revocation() {
    let head = "[[revocation]]\nname = \"r\"\nreason = \"lost\"\n";
    for (body, expected) in [
        ("", "2:8: a revocation needs exactly one of `node`, `key` and `token`"),
        ("node = \"a\"\ntoken = \"0123456789abcdef\"", "2:8: a revocation needs exactly one of"),
        ("node = \"VM\"", "4:8: `node`: node name \"VM\" is not valid"),
        ("key = \"0123\"", "4:7: `key` must be 64 hexadecimal digits"),
        ("token = \"0123456789abcdeg\"", "4:9: `token` must be 16 hexadecimal digits"),
        ("tokn = \"0123456789abcdef\"", "4:1: unknown key `tokn`; did you mean `token`?"),
    ] {
        assert_start(&format!("{head}{body}\n"), expected);
    }
}

#[test]
fn what_is_bounded_says_so() {
    let rule = |n: usize| format!("[[route.rule]]\nmatch = [{{ path = {{ regex = \"/{n}\" }} }}]\n");
    let routes = "[[route]]\nname = \"r\"\nservice = \"a\"\n".to_owned() + &(0..33).map(rule).collect::<String>();
    assert_start(&routes, "4:1: a has 33 paths by `regex`; at most 32 are taken");
    let rule = |n: usize| format!("[[route.rule]]\nmatch = [{{ query = [{{ name = \"q{n}\", present = true }}] }}]\n");
    let routes = "[[route]]\nname = \"r\"\nservice = \"a\"\n".to_owned() + &(0..129).map(rule).collect::<String>();
    assert_start(&routes, "260:1: more than 128 rules have this path and caller");
    let shadow = |n: usize| {
        format!("[[authorisation]]\nname = \"s{n}\"\nservice = \"a\"\nmode = \"shadow\"\ndefault = \"deny\"\n")
    };
    let shadows: String = (0..17).map(shadow).collect();
    assert!(mistakes(&shadows)[0].ends_with("more than 16 documents in shadow mode concern one service"));
}
