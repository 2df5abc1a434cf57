//! The reference page of `node.toml`, made from the table of keys. A test holds `docs/reference/configuration.md` against it.

use std::fmt::Write;

use super::keys::KEYS;

const HEAD: &str = "# The configuration file

A node works without one. `weft run` reads `node.toml` in the state directory or, where that is missing,
`/etc/weft/node.toml`. The file is TOML and read strictly: a key that does not exist is a mistake, and all mistakes are
reported at once with file, line, column and the nearest key. `weft check` reads the file without starting anything. A
change is taken up when the node starts again.

Spans are a whole number and a unit: `500ms`, `20s`, `5m`, `24h`, `30d`. [Timeouts](timeouts.md) draws which part of a request
each of the `timeouts` covers.

    bind = \"10.0.0.11\"

    [timeouts]
    request = \"20s\"

    [[service]]
    name = \"orders\"
    port = 8080
    health = { kind = \"http\", path = \"/healthz\", interval = \"5s\" }

    [[binding]]
    service = \"ledger-db\"
    port = 5432

    [[binding]]
    port = 8443
    server_names = { \"orders.bank.example\" = \"orders-tls\", \"*.cards.bank.example\" = \"cards-tls\" }

## Keys

| Key | Default | Meaning |
|---|---|---|
";

const TAIL: &str = "
## `[[service]]`: what this node offers

The same as `weft expose`, from the start of the node on. The node's enrolment must grant the service.

| Key | Default | Meaning |
|---|---|---|
| `name` | needed | The service; callers reach it at `<name>.weft.internal`. |
| `replica` | like `name` | The replica's name, where this node offers several of one service; they may be of different versions. |
| `port` | needed | The port on which the application listens. |
| `address` | `\"127.0.0.1\"` | The address on which the application listens. |
| `protocol` | `\"http\"` | `http` (HTTP/1.1), `http2` (HTTP/2 with prior knowledge: gRPC; also written `grpc`) or `tcp`; the same on every node ([else](../errors/protocol-mismatch.md)). |
| `version` | `\"\"` | The application's version, at most 64 bytes; told to the other nodes. |
| `weight` | `100` | Its share of the load against the other replicas, 1 to 1000. |
| `labels` | `{}` | Names and values, such as `{ tier = \"gold\" }`, by which routes choose replicas; at most 32 of 128 bytes. |
| `health` | `{ kind = \"tcp\" }` | How it is probed: `kind` is `none`, `tcp` (a connection is accepted) or `http` (`GET path` answers 2xx or 3xx, asked in the service's protocol with the host `<name>.weft.internal` and the user agent `weft-health`; `path` is `/` by default); `interval` is the space between two probes. |
| `proxy_protocol` | `false` | For `tcp`: each stream to the application begins with a PROXY header of version 2. Its source is the node that calls, or the caller on this machine; a value of type 0xE0 is the SPIFFE id that the caller proved. |

## `[[binding]]`: local ports that lead to a service

The same as `weft bind`, from the start of the node on.

| Key | Default | Meaning |
|---|---|---|
| `service` | this or `server_names` | The service that the port leads to. |
| `server_names` | this or `service` | Services of TCP by the server name (SNI) that a client of TLS states in its ClientHello, which must come within `timeouts.head`: a name, `*.` and a name for all names below it, or `*` for all others and for clients that state none; the longest that fits wins. The TLS is between the client and the application: no byte of it is changed, and none can be read here. A name that leads nowhere gets the alert `unrecognized_name`. |
| `port` | needed | The local port. |
| `as` | see below | Which of the node's services the calls come from. Without it: the single service that the node offers or is granted, else the node itself. |
| `proxy_protocol` | `false` | Each stream from a caller must begin with a PROXY header of version 2, within `timeouts.head`: for a balancer in front of the port. Its source is passed on to an application of this machine that asks for one. |
";

/// The whole page.
pub fn reference_page() -> String {
    let mut page = String::from(HEAD);
    for key in KEYS {
        let default = if key.default.contains(' ') { key.default.to_owned() } else { format!("`{}`", key.default) };
        let _ = writeln!(page, "| `{}` | {default} | {} |", key.name, key.doc);
    }
    page + TAIL
}
