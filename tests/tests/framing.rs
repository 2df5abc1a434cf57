//! Where a message ends is never a matter of opinion: what two parsers could read in two ways is refused, on requests as on answers, and
//! what passes arrives as the one request that it was.

use weft_tests::peer::{Ended, Peer, Raw, Then, raw};
use weft_tests::{Mesh, Node};

/// What follows the bytes under test, within a body: whoever frames them otherwise takes it for a request.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: orders\r\n\r\n";

/// Two nodes, with an application of the test behind the second.
struct Scene {
    near: Node,
    _far: Node,
    peer: Peer,
    _mesh: Mesh,
}

impl Scene {
    fn new(name: &str, peer: Peer) -> Self {
        let mut mesh = Mesh::new(name);
        let mut near = mesh.init("near");
        near.configure("[timeouts]\nhead = \"2s\"\nupload = \"2s\"\n");
        near.start();
        let far = mesh.join_running("far", &near, &["orders"]);
        far.exposes("orders", peer.port, &[]);
        near.knows("orders", 1);
        Self { near, _far: far, peer, _mesh: mesh }
    }

    fn sends(&self, bytes: &[u8]) -> Raw {
        raw(self.near.outbound(), bytes, Then::Shut)
    }

    /// One request as it stands: either refused with a code, or it arrives as one.
    fn is_framed_once(&self, what: &str, bytes: &[u8]) {
        self.peer.take();
        let answer = self.sends(bytes);
        let (received, shown) = (self.peer.take(), String::from_utf8_lossy(bytes).into_owned());
        assert_ne!(answer.ended, Ended::Open, "{what}: {shown:?} was not answered in time");
        for request in &received {
            let text = request.text();
            assert!(!text.contains("/smuggled"), "{what}: {shown:?} became {text:?}");
            let lengths = request.field("content-length").len() + request.field("transfer-encoding").len();
            assert!(lengths <= 1 && request.field("host").len() == 1, "{what}: {shown:?} became {text:?}");
        }
        match answer.status() {
            200 => assert_eq!(received.len(), 1, "{what}: {shown:?}"),
            // The body was cut off by its caller: nobody is there to be answered.
            0 => assert!(received.is_empty() && answer.bytes.is_empty(), "{what}: {shown:?}"),
            status => {
                assert!(received.is_empty(), "{what}: {shown:?} was answered {status} and arrived");
                assert!(
                    (400..600).contains(&status) && answer.code().is_some(),
                    "{what}: {shown:?}: {}",
                    answer.text()
                );
            }
        }
    }
}

fn with_length(field: &str) -> Vec<u8> {
    format!("POST /a HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n{field}\r\n\r\n{SMUGGLED}").into_bytes()
}

#[test]
fn a_length_that_can_be_read_in_two_ways_is_refused() {
    let scene = Scene::new("lengths", Peer::recording());
    let len = SMUGGLED.len();
    let values = [
        "+N",
        "-N",
        "N,N",
        "N, N",
        "N N",
        "0xN",
        "N;",
        "N.0",
        "Ne0",
        "\"N\"",
        "",
        "N\u{b}",
        "\u{c}N",
        "N\u{0}",
        "N\u{7f}",
        "0N1",
        "99999999999999999999",
        "N\r\ncontent-length: N",
        "N\r\ncontent-length: 0",
        "0\r\ncontent-length: N",
        "N\r\nContent-Length: N",
        "N\r\ntransfer-encoding: chunked",
        "0\r\ntransfer-encoding: chunked",
        "N\r\ntransfer-encoding: identity",
        "N\r\ntransfer-encoding: ",
        "N\r\n transfer-encoding: chunked",
        "\r\n N",
        "N\n",
        "N\r",
        "N\r\nx: \n",
        "\u{661}",
        "N\u{a0}",
    ];
    for name in ["content-length:", "Content-Length: ", "content-length :", "content-length\t:", " content-length: "] {
        for value in values {
            let field = format!("{name}{}", value.replace('N', &len.to_string()));
            scene.is_framed_once("a length", &with_length(&field));
        }
    }
}

#[test]
fn a_coding_that_can_be_read_in_two_ways_is_refused() {
    let scene = Scene::new("codings", Peer::recording());
    let len = SMUGGLED.len();
    let codings = [
        "chunked, chunked",
        "gzip, chunked",
        "chunked, gzip",
        ",chunked",
        "chunked,",
        " ,chunked",
        "identity",
        "xchunked",
        "chunkedx",
        "\u{b}chunked",
        "chunked\u{0}",
        "chunked;q=1",
        "\"chunked\"",
        "chunked\r\ntransfer-encoding: chunked",
        "chunked\r\ntransfer-encoding: identity",
        "identity\r\ntransfer-encoding: chunked",
        "chunked\r\ncontent-length: 5",
        "chunked\r\ncontent-length: 0",
        "ch\u{fc}nked",
        "chun ked",
        "",
        "chunked\n",
        "\nchunked",
        "chunked\r\n x",
    ];
    for name in ["transfer-encoding: ", "Transfer-Encoding:", "transfer-encoding : ", "transfer-encoding\u{0}: "] {
        for coding in codings {
            let bytes = with_length(&format!("{name}{coding}"));
            scene.is_framed_once("a coding", &bytes);
            let whole = [&bytes[..bytes.len() - len], b"0\r\n\r\n"].concat();
            scene.is_framed_once("a coding", &whole);
        }
    }
}

#[test]
fn a_chunk_has_one_size() {
    let scene = Scene::new("chunks", Peer::recording());
    let sizes = [
        "+N",
        "-N",
        "0xN",
        " N",
        "N ",
        "\tN",
        "N,",
        "N;a=\u{1}",
        "N;a\u{0}",
        "N\n",
        "N\r",
        "",
        ";",
        "g",
        "NG",
        "N N",
        "\u{b}N",
        "11111111111111111",
        "fffffffffffffffff",
        "ffffffffffffffff",
        "N\r\r",
        "N=",
        "N\u{7f}",
    ];
    let frame = |size: &str, end: &str| {
        let head = "POST /a HTTP/1.1\r\nhost: orders\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
        format!("{head}{size}\r\n{SMUGGLED}{end}0\r\n\r\n").into_bytes()
    };
    let size = format!("{:x}", SMUGGLED.len());
    for bad in sizes {
        scene.is_framed_once("a size", &frame(&bad.replace('N', &size), "\r\n"));
    }
    for end in ["", "\n", "\r", "\r\r\n", "x\r\n", "\n\r", " \r\n"] {
        scene.is_framed_once("the end of a chunk", &frame(&size, end));
    }
    for long in [format!("{size};{}", "x".repeat(300)), format!("{}{size}", "0".repeat(40))] {
        scene.is_framed_once("a long size", &frame(&long, "\r\n"));
    }
    for good in [size.clone(), size.to_uppercase(), format!("0{size}"), format!("{size};a=b")] {
        let answer = scene.sends(&frame(&good, "\r\n"));
        assert_eq!(answer.status(), 200, "{good}");
    }
    let received = scene.peer.take();
    assert!(received.len() == 4 && received.iter().all(|request| request.body == SMUGGLED.as_bytes()), "{received:?}");
}

#[test]
fn lines_end_in_one_way_and_hold_no_control_byte() {
    let scene = Scene::new("lines", Peer::recording());
    let lines = ["POST /a HTTP/1.1", "host: orders", "x-a: 1", "connection: close", "content-length: 3", ""];
    for at in 0..lines.len() {
        for end in ["\n", "\r", "\r\r\n", "\n\r", "\r\n\r", "\u{b}\r\n", "\0\r\n", "\r\n "] {
            let head: String = lines
                .iter()
                .enumerate()
                .map(|(line, text)| format!("{text}{}", if line == at { end } else { "\r\n" }))
                .collect();
            scene.is_framed_once("the end of a line", format!("{head}abc").as_bytes());
        }
    }
    for byte in (0..=0x1f_u8).chain([0x7f, 0x80, 0xff]).filter(|byte| *byte != b'\t') {
        for at in ["POST@ /a", "POST /@a", "POST /a@ HTTP/1.1", "x@-a: 1", "x-a@: 1", "x-a: 1@1"] {
            let mut bytes = Vec::new();
            let (line, field) = if at.starts_with("POST") { (at, "x-a: 1") } else { ("POST /a HTTP/1.1", at) };
            let line = if line.ends_with("1.1") { line.to_owned() } else { format!("{line} HTTP/1.1") };
            for part in
                format!("{line}\r\nhost: orders\r\nconnection: close\r\n{field}\r\ncontent-length: 3\r\n\r\nabc")
                    .split_inclusive('@')
            {
                bytes.extend_from_slice(part.trim_end_matches('@').as_bytes());
                bytes.extend(part.ends_with('@').then_some(byte));
            }
            scene.is_framed_once("a byte", &bytes);
        }
    }
}

#[test]
fn targets_and_hosts_have_one_reading() {
    let scene = Scene::new("targets", Peer::recording());
    for line in [
        "GET *",
        "GET a",
        "GET /a#b",
        "GET http://orders#/x",
        "GET http:///x",
        "GET ftp://orders/",
        "GET http://u@orders/",
        "GET //@/ /",
        "GET  /",
        "GET /\t",
        "GET",
        "CONNECT /",
        "CONNECT orders",
        "CONNECT orders:80",
        "get\t/",
        "G T /",
        "GET / HTTP/1.0 x",
        "PRI *",
        "GET /\u{e9}",
        "GET http://orders:x/",
        "GET orders/",
    ] {
        let bytes = format!("{line} HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n");
        scene.is_framed_once("a target", bytes.as_bytes());
    }
    for version in ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/1", "http/1.1", "HTTP/1.1 ", "HTP/1.1", "HTTP/1.1x", ""] {
        scene.is_framed_once(
            "a version",
            format!("GET / {version}\r\nhost: orders\r\nconnection: close\r\n\r\n").as_bytes(),
        );
    }
    for host in [
        "",
        "host: orders\r\nhost: orders\r\n",
        "host: orders\r\nhost: other\r\n",
        "host: u@orders\r\n",
        "host: orders:x\r\n",
        "host: orders:+80\r\n",
        "host: orders/\r\n",
        "host: orders other\r\n",
        "host: \r\n",
        "host : orders\r\n",
        "host: orders, other\r\n",
        "host: orders:99999\r\n",
    ] {
        scene.is_framed_once("a host", format!("GET / HTTP/1.1\r\n{host}connection: close\r\n\r\n").as_bytes());
    }
    let many: String = (0..101).map(|number| format!("x-{number}: a\r\n")).collect();
    let answer = scene.sends(format!("GET / HTTP/1.1\r\nhost: orders\r\n{many}\r\n").as_bytes());
    assert_eq!((answer.status(), answer.code().as_deref()), (431, Some("head-too-large")));
    let large = format!("GET / HTTP/1.1\r\nhost: orders\r\nx: {}\r\n\r\n", "a".repeat(33_000));
    assert_eq!(scene.sends(large.as_bytes()).code().as_deref(), Some("head-too-large"));
    scene.peer.take();
    for (line, host, path) in [
        ("GET /?q=\"x\" HTTP/1.1", "orders", "/?q=\"x\""),
        ("GET http://orders/x HTTP/1.1", "other", "/x"),
        ("GET http://orders?x HTTP/1.1", "orders", "/?x"),
        ("OPTIONS * HTTP/1.1", "orders.weft.internal:", "*"),
        ("GET / HTTP/1.0", "orders:80", "/"),
    ] {
        let answer = scene.sends(format!("{line}\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes());
        let received = scene.peer.take();
        assert_eq!(answer.status(), 200, "{line}: {}", answer.text());
        assert_eq!(received[0].text().split(' ').nth(1), Some(path), "{line}");
    }
    let most: String = (0..98).map(|number| format!("x-{number}: a\r\n")).collect();
    let answer = scene.sends(format!("GET / HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n{most}\r\n").as_bytes());
    assert_eq!(answer.status(), 200, "what the nodes add finds room: {}", answer.text());
}

/// An application that answers each path with the bytes of a case.
fn hostile(cases: &'static [(&'static str, &'static str)]) -> Peer {
    Peer::serving(move |stream| {
        use std::io::{BufRead, BufReader, Write};
        let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
        loop {
            let (mut line, mut rest) = (String::new(), String::new());
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let mut is_open = true;
            while is_open && rest != "\r\n" {
                rest.clear();
                is_open = reader.read_line(&mut rest).unwrap_or(0) > 0;
            }
            if !is_open {
                return;
            }
            let path = line.split(' ').nth(1).unwrap_or("/");
            let case = cases.iter().find(|(name, _)| path == format!("/{name}"));
            let answer = case.map_or("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine", |(_, answer)| *answer);
            // What ends with the connection says so in its name.
            if stream.write_all(answer.as_bytes()).is_err() || path.ends_with("-end") {
                return;
            }
        }
    })
}

const MALFORMED: &[(&str, &str)] = &[
    ("te-and-cl", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("gzip-chunked", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("two-lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok"),
    ("a-list-of-lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2,2\r\n\r\nok"),
    ("a-signed-length", "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok"),
    ("bare-lf", "HTTP/1.1 200 OK\ncontent-length: 2\n\nok"),
    ("folded", "HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nok"),
    ("a-control-byte", "HTTP/1.1 200 OK\r\nx: a\u{1}\r\ncontent-length: 2\r\n\r\nok"),
    ("a-wrong-version", "HTTP/3 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("a-wrong-status", "HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("not-http", "hello\r\n\r\n"),
    ("switching-unasked", "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nxx"),
    ("old-and-chunked", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
];

#[test]
fn an_answer_that_can_be_read_in_two_ways_is_not_passed_on() {
    let scene = Scene::new("answers", hostile(MALFORMED));
    for (name, _) in MALFORMED {
        let answer =
            scene.sends(format!("GET /{name} HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n").as_bytes());
        assert_eq!(
            (answer.status(), answer.code().as_deref()),
            (502, Some("answer-malformed")),
            "{name}: {}",
            answer.text()
        );
        let next = scene.sends(b"GET /fine HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n");
        assert!(next.status() == 200 && next.text().ends_with("fine"), "after {name}: {}", next.text());
    }
}

const CUT: &[(&str, &str)] = &[
    ("short-end", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"),
    ("no-last-chunk-end", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"),
    ("half-a-chunk-end", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nok"),
    ("half-trailers-end", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: 1\r\n"),
];

#[test]
fn an_answer_that_breaks_off_is_never_taken_for_whole() {
    let scene = Scene::new("cut", hostile(CUT));
    for (name, _) in CUT {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let answer =
                scene.sends(format!("GET /{name} {version}\r\nhost: orders\r\nconnection: close\r\n\r\n").as_bytes());
            let text = answer.text();
            // Either nothing of it had been sent on, or what was is visibly cut.
            let is_refused = answer.status() == 502;
            let is_cut = answer.ended == Ended::Reset
                || (text.contains("content-length: 9") && !text.ends_with("\r\n0\r\n\r\n"));
            assert!(is_refused || is_cut, "{name} for {version}: {:?} {text:?}", answer.ended);
        }
    }
}

const FAITHFUL: &[(&str, &str)] = &[
    ("interim", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ("until-close-end", "HTTP/1.0 200 OK\r\n\r\nuntil the end"),
    ("no-reason", "HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok"),
    ("no-content", "HTTP/1.1 204 No Content\r\n\r\n"),
    ("not-modified", "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n"),
    ("more-behind", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"),
];

#[test]
fn every_answer_that_has_one_reading_arrives() {
    let scene = Scene::new("faithful", hostile(FAITHFUL));
    for (name, status, end) in [
        ("interim", 200, "ok"),
        ("until-close-end", 200, "\r\nuntil the end\r\n0\r\n\r\n"),
        ("no-reason", 200, "ok"),
        ("no-content", 204, "\r\n\r\n"),
        ("not-modified", 304, "\r\n\r\n"),
        ("more-behind", 200, "ok"),
        ("fine", 200, "fine"),
    ] {
        let answer =
            scene.sends(format!("GET /{name} HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n").as_bytes());
        assert_eq!(answer.status(), status, "{name}: {}", answer.text());
        let text = answer.text();
        assert!(
            text.ends_with(end) || text.ends_with(&format!("{}\r\n{end}\r\n0\r\n\r\n", end.len())),
            "{name}: {text:?}"
        );
    }
    let interim = scene.sends(b"GET /interim HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n").text();
    assert!(interim.starts_with("HTTP/1.1 103 ") && interim.contains("link: </a>"), "{interim}");
}
