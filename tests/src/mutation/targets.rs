//! Request lines and hosts: methods, targets and versions in forms that parsers read differently.

use super::{Must, Mutation};

/// Methods and targets, and what must become of them.
const LINES: &[(&str, Must)] = &[
    ("GET /{T}?q=\"x\"", Must::Arrive("GET", "/{T}?q=\"x\"", "")),
    ("GET /{T}?q=<x>&{|}^`\\", Must::Arrive("GET", "/{T}?q=<x>&{|}^`\\", "")),
    ("GET /{T}?", Must::Arrive("GET", "/{T}?", "")),
    ("GET /{T}?a?b", Must::Arrive("GET", "/{T}?a?b", "")),
    ("GET /{T}/%00", Must::BeOne),
    ("GET /{T}/%2e%2e/%2f", Must::Arrive("GET", "/{T}/%2e%2e/%2f", "")),
    ("GET /{T}/../x", Must::BeOne),
    ("GET /{T}//x", Must::Arrive("GET", "/{T}//x", "")),
    ("GET /{T};a=b", Must::Arrive("GET", "/{T};a=b", "")),
    ("GET http://{H}/{T}", Must::Arrive("GET", "/{T}", "")),
    ("GET HTTP://{H}/{T}", Must::Arrive("GET", "/{T}", "")),
    ("GET http://{H}:80/{T}", Must::Arrive("GET", "/{T}", "")),
    ("GET http://{H}?{T}", Must::Arrive("GET", "/?{T}", "")),
    ("GET http://{H}/{T}?a=http://b/", Must::Arrive("GET", "/{T}?a=http://b/", "")),
    ("HEAD /{T}", Must::Arrive("HEAD", "/{T}", "")),
    ("OPTIONS /{T}", Must::Arrive("OPTIONS", "/{T}", "")),
    ("TRACE /{T}", Must::BeOne),
    ("get /{T}", Must::BeOne),
    ("G-E.T /{T}", Must::BeOne),
    ("GET *", Must::BeMalformed),
    ("POST *", Must::BeMalformed),
    ("GET {T}", Must::BeMalformed),
    ("GET {H}/{T}", Must::BeMalformed),
    ("GET ?{T}", Must::BeMalformed),
    ("GET /{T}#f", Must::BeMalformed),
    ("GET #/{T}", Must::BeMalformed),
    ("GET http://{H}#/{T}", Must::BeMalformed),
    ("GET http://{H}/{T}#f", Must::BeMalformed),
    ("GET http:///{T}", Must::BeMalformed),
    ("GET http:/{T}", Must::BeMalformed),
    ("GET ://{H}/{T}", Must::BeMalformed),
    ("GET ftp://{H}/{T}", Must::BeMalformed),
    ("GET ws://{H}/{T}", Must::BeMalformed),
    ("GET http://u@{H}/{T}", Must::BeMalformed),
    ("GET http://u:p@{H}/{T}", Must::BeMalformed),
    ("GET http://{H}:x/{T}", Must::BeMalformed),
    ("GET http://{H}:+80/{T}", Must::BeMalformed),
    ("GET http://{H}\\/{T}", Must::BeMalformed),
    ("GET /{T} x", Must::BeMalformed),
    ("GET /{T}  x", Must::BeMalformed),
    ("GET  /{T}", Must::BeMalformed),
    ("GET\t/{T}", Must::BeMalformed),
    ("GET /{T}\t", Must::BeMalformed),
    ("GET /{T} ", Must::BeMalformed),
    (" GET /{T}", Must::BeMalformed),
    ("GET", Must::BeMalformed),
    ("GET ", Must::BeMalformed),
    ("/{T}", Must::BeMalformed),
    ("G T /{T}", Must::BeMalformed),
    ("G@T /{T}", Must::BeMalformed),
    ("\"GET\" /{T}", Must::BeMalformed),
    ("GET: /{T}", Must::BeMalformed),
    ("PRI *", Must::BeMalformed),
    ("GET /{T}\u{e9}", Must::BeMalformed),
    ("GET /{T}\u{a0}x", Must::BeMalformed),
    ("CONNECT /{T}", Must::BeRefused),
    ("CONNECT {H}", Must::BeRefused),
    ("CONNECT {H}:80", Must::BeRefused),
    ("CONNECT u@{H}:80", Must::BeRefused),
    ("CONNECT http://{H}/{T}", Must::BeRefused),
];
/// Versions, and what must become of them.
const VERSIONS: &[(&str, Must)] = &[
    ("HTTP/1.1", Must::Arrive("GET", "/{T}", "")),
    ("HTTP/1.0", Must::Arrive("GET", "/{T}", "")),
    ("HTTP/1.2", Must::BeMalformed),
    ("HTTP/1.9", Must::BeMalformed),
    ("HTTP/2.0", Must::BeMalformed),
    ("HTTP/0.9", Must::BeMalformed),
    ("HTTP/3", Must::BeMalformed),
    ("HTTP/1", Must::BeMalformed),
    ("HTTP/1.", Must::BeMalformed),
    ("HTTP/01.1", Must::BeMalformed),
    ("HTTP/1.10", Must::BeMalformed),
    ("HTTP/1,1", Must::BeMalformed),
    ("HTTP 1.1", Must::BeMalformed),
    ("HTTP/ 1.1", Must::BeMalformed),
    ("http/1.1", Must::BeMalformed),
    ("HTTP/1.1 ", Must::BeMalformed),
    ("HTTP/1.1\t", Must::BeMalformed),
    ("HTTP/1.1x", Must::BeMalformed),
    ("HTTP/-1.1", Must::BeMalformed),
    ("HTP/1.1", Must::BeMalformed),
    ("ICAP/1.0", Must::BeMalformed),
    ("", Must::BeMalformed),
];
/// The fields that name a host, and what must become of them.
const HOSTS: &[(&str, Must)] = &[
    ("host: {H}\r\n", Must::Arrive("GET", "/{T}", "")),
    ("Host:{H}\r\n", Must::Arrive("GET", "/{T}", "")),
    ("host: {H}:80\r\n", Must::Arrive("GET", "/{T}", "")),
    ("host: {H}:4512\r\n", Must::Arrive("GET", "/{T}", "")),
    ("host: {H}:\r\n", Must::Arrive("GET", "/{T}", "")),
    ("host: {H}.weft.internal\r\n", Must::Arrive("GET", "/{T}", "")),
    ("host: {H}.weft.internal:\r\n", Must::Arrive("GET", "/{T}", "")),
    ("host: {H}.WEFT.internal:80\r\n", Must::Arrive("GET", "/{T}", "")),
    ("host: {H}.\r\n", Must::BeOne),
    ("", Must::BeMalformed),
    ("host:\r\n", Must::BeMalformed),
    ("host: \r\n", Must::BeMalformed),
    ("host: {H}\r\nhost: {H}\r\n", Must::BeMalformed),
    ("host: {H}\r\nHost: other\r\n", Must::BeMalformed),
    ("host: other\r\nhost: {H}\r\n", Must::BeMalformed),
    ("host: {H}\r\nhost:\r\n", Must::BeMalformed),
    ("host: {H}, {H}\r\n", Must::BeMalformed),
    ("host: {H},other\r\n", Must::BeMalformed),
    ("host: {H} other\r\n", Must::BeMalformed),
    ("host: {H}\t{H}\r\n", Must::BeMalformed),
    ("host: u@{H}\r\n", Must::BeMalformed),
    ("host: u:p@{H}\r\n", Must::BeMalformed),
    ("host: {H}:x\r\n", Must::BeMalformed),
    ("host: {H}:+80\r\n", Must::BeMalformed),
    ("host: {H}:-80\r\n", Must::BeMalformed),
    ("host: {H}: 80\r\n", Must::BeMalformed),
    ("host: {H}:80:80\r\n", Must::BeRefused),
    ("host: {H}:99999\r\n", Must::BeOne),
    ("host: {H}/\r\n", Must::BeMalformed),
    ("host: {H}/x\r\n", Must::BeMalformed),
    ("host: {H}?\r\n", Must::BeMalformed),
    ("host: {H}#\r\n", Must::BeMalformed),
    ("host: {H}\\\r\n", Must::BeMalformed),
    ("host: http://{H}\r\n", Must::BeMalformed),
    ("host: {H}\u{0}\r\n", Must::BeMalformed),
    ("host: {H}\u{e9}\r\n", Must::BeMalformed),
    ("host : {H}\r\n", Must::BeMalformed),
    (" host: {H}\r\n", Must::BeMalformed),
    ("host: {H}\r\n other\r\n", Must::BeMalformed),
    ("host:\r\n {H}\r\n", Must::BeMalformed),
    ("host: [{H}]\r\n", Must::BeRefused),
    ("host: [::1]\r\n", Must::BeRefused),
    ("host: ..\r\n", Must::BeRefused),
    ("host: %6f\r\n", Must::BeRefused),
];

pub(super) fn all() -> Vec<Mutation> {
    let mut all = Vec::new();
    for (line, must) in LINES {
        let text = format!("{line} HTTP/1.1\r\nhost: {{H}}\r\nconnection: close\r\n\r\n");
        all.push(Mutation::new("a target", text, must.clone()));
    }
    for (version, must) in VERSIONS {
        let text = format!("GET /{{T}} {version}\r\nhost: {{H}}\r\nconnection: close\r\n\r\n");
        all.push(Mutation::new("a version", text, must.clone()));
    }
    for (hosts, must) in HOSTS {
        let text = format!("GET /{{T}} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        all.push(Mutation::new("a host", text, must.clone()));
    }
    // No version at all: HTTP/0.9, and what it might carry.
    for text in ["GET /{T}\r\n", "GET /{T}\r\n\r\n", "GET /{T}\n", "GET /{T}\r\nhost: {H}\r\nconnection: close\r\n\r\n"]
    {
        all.push(Mutation::new("HTTP/0.9", text, Must::BeMalformedOrCut));
    }
    // What the target names counts, and nothing else of the head.
    let other = "GET http://{H}/{T} HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n";
    all.push(Mutation::new("a target with a host", other, Must::Arrive("GET", "/{T}", "")));
    all
}
