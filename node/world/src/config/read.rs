//! Walks a parsed TOML document along the table of keys and collects every mistake. Called by [`super::load_file`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use toml_edit::{Document, Item, TableLike};
use weft_identity::ids::NameError;
use weft_identity::{Protocol, ReplicaName, ServiceName};
use weft_policy::strict::{Mistake, Mistakes, parse_span, span_text};

use super::keys::{KEYS, Kind};
use super::{BindingConfig, HealthConfig, HealthKind, NodeConfig, ServiceConfig};
use crate::server_names::ServerNames;
use crate::service_spec::LeadsTo;

/// Keys of one `[[service]]`.
pub(super) const SERVICE_KEYS: &[&str] =
    &["name", "replica", "port", "address", "protocol", "version", "weight", "labels", "health", "proxy_protocol"];
/// Keys of a service's `health`.
pub(super) const HEALTH_KEYS: &[&str] = &["kind", "path", "interval"];
/// Keys of one `[[binding]]`.
pub(super) const BINDING_KEYS: &[&str] = &["service", "server_names", "port", "as", "proxy_protocol"];
/// Most of what one replica can weigh against another.
pub(super) const WEIGHT_MAX: u64 = 1000;
/// Longest version text: every record repeats it.
const VERSION_LEN_MAX: usize = 64;

/// Reads the text of a configuration file; `file` is its name for the messages.
pub fn parse(text: &str, file: &str) -> Result<NodeConfig, Vec<Mistake>> {
    let mut reader = Reader { config: NodeConfig::default(), mistakes: Mistakes::new(text, file), bound: Vec::new() };
    match Document::parse(text) {
        Ok(document) => {
            reader.table(document.as_table(), "");
            reader.own_ports_are_free();
        }
        Err(error) => reader.mistakes.add(error.span(), error.message().trim().replace('\n', ", ")),
    }
    let mistakes = reader.mistakes.finish();
    if mistakes.is_empty() { Ok(reader.config) } else { Err(mistakes) }
}

struct Reader<'a> {
    config: NodeConfig,
    mistakes: Mistakes<'a>,
    /// The ports of the bindings, and where each stands.
    bound: Vec<(u16, Option<Range<usize>>)>,
}

impl Reader<'_> {
    /// The node's ports may be stated below the bindings, so that this comes last.
    fn own_ports_are_free(&mut self) {
        let ports = self.config.settings.ports;
        let own = [(ports.mesh, "ports.mesh"), (ports.admin, "ports.admin"), (ports.outbound, "ports.outbound")];
        for (port, span) in std::mem::take(&mut self.bound) {
            if let Some((_, name)) = own.iter().find(|(own, _)| *own == port) {
                self.mistakes.add(span, format!("`port`: {port} is a port of the node itself, `{name}`"));
            }
        }
    }

    fn table(&mut self, table: &dyn TableLike, prefix: &str) {
        for (name, item) in table.iter() {
            let full = format!("{prefix}{name}");
            let at = key_span(table, name);
            let inner = format!("{full}.");
            if full == "service" {
                self.each(item, at, Reader::service);
            } else if full == "binding" {
                self.each(item, at, Reader::binding);
            } else if let Some(key) = KEYS.iter().find(|key| key.name == full) {
                self.value(key.kind, &full, item, at);
            } else if KEYS.iter().any(|key| key.name.starts_with(&inner)) {
                match item.as_table_like() {
                    Some(table) => self.table(table, &inner),
                    None => self.mistakes.add(at, format!("`{full}` is a table: write `[{full}]`")),
                }
            } else {
                let known = KEYS.iter().map(|key| key.name).chain(["service", "binding"]);
                self.unknown(&full, at, known);
            }
        }
    }

    fn unknown<'k>(&mut self, name: &str, at: Option<Range<usize>>, known: impl Iterator<Item = &'k str>) {
        let sections = known.flat_map(|key| [Some(key), key.split_once('.').map(|(section, _)| section)]).flatten();
        self.mistakes.unknown(name, at, sections);
    }

    fn value(&mut self, kind: Kind, name: &str, item: &Item, at: Option<Range<usize>>) {
        let span = item.span().or(at);
        let outcome = match kind {
            Kind::Span(set, min, max) => duration_of(item).and_then(|value| {
                if value < min || value > max {
                    return Err(format!("must lie between {} and {}", span_text(min), span_text(max)));
                }
                set(&mut self.config, value);
                Ok(())
            }),
            Kind::Count(set, min, max) => count_of(item, min, max).map(|value| set(&mut self.config, value)),
            Kind::Switch(set) => {
                item.as_bool().ok_or("must be true or false".to_owned()).map(|on| set(&mut self.config, on))
            }
            Kind::Text(set) => text_of(item).and_then(|text| set(&mut self.config, text)),
        };
        if let Err(text) = outcome {
            self.mistakes.add(span, format!("`{name}`: {text}"));
        }
    }

    fn each(
        &mut self,
        item: &Item,
        at: Option<Range<usize>>,
        read: fn(&mut Self, &dyn TableLike, Option<Range<usize>>),
    ) {
        match item.as_array_of_tables() {
            Some(tables) => tables.iter().for_each(|table| read(self, table, table.span())),
            None => self.mistakes.add(at, "is a list of tables: write it with double brackets, `[[…]]`"),
        }
    }

    fn known_only(&mut self, table: &dyn TableLike, known: &[&str]) {
        for (name, _) in table.iter().filter(|(name, _)| !known.contains(name)) {
            self.unknown(name, key_span(table, name), known.iter().copied());
        }
    }

    /// Reads one key of a table of a list; `None` when it is absent or wrong, and wrong is noted.
    fn field<'t, T>(
        &mut self,
        table: &'t dyn TableLike,
        name: &str,
        read: impl FnOnce(&'t Item) -> Result<T, String>,
    ) -> Option<T> {
        let item = table.get(name)?;
        read(item)
            .map_err(|text| self.mistakes.add(item.span().or(key_span(table, name)), format!("`{name}`: {text}")))
            .ok()
    }

    fn missing(&mut self, table: &dyn TableLike, at: Option<Range<usize>>, kind: &str, names: &[&str]) {
        for name in names.iter().filter(|name| !table.contains_key(name)) {
            self.mistakes.add(at.clone(), format!("this `[[{kind}]]` needs `{name}`"));
        }
    }

    fn service(&mut self, table: &dyn TableLike, at: Option<Range<usize>>) {
        self.known_only(table, SERVICE_KEYS);
        self.missing(table, at, "service", &["name", "port"]);
        let name = self.field(table, "name", named::<ServiceName>);
        let replica = self.field(table, "replica", named);
        let port = self.field(table, "port", port_of);
        let address = self.field(table, "address", |item| {
            text_of(item)?.parse::<IpAddr>().map_err(|_| "must be an IP address".to_owned())
        });
        let protocol = self.field(table, "protocol", |item| protocol_of(text_of(item)?)).unwrap_or(Protocol::Http);
        let version = self.field(table, "version", |item| {
            let text = text_of(item)?;
            if text.len() > VERSION_LEN_MAX { Err("is longer than 64 bytes".to_owned()) } else { Ok(text) }
        });
        let weight = self.field(table, "weight", |item| count_of(item, 1, WEIGHT_MAX)).unwrap_or(100);
        let labels = self.field(table, "labels", labels_of).unwrap_or_default();
        let health = self.health(table);
        let proxy_protocol = self.field(table, "proxy_protocol", flag_of).unwrap_or(false);
        if let (Some(name), Some(port)) = (name, port) {
            let replica = replica.unwrap_or_else(|| ReplicaName::from(&name));
            self.beside_others(table, (&name, &replica), protocol);
            self.config.services.push(ServiceConfig {
                name,
                replica,
                app: SocketAddr::new(address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port),
                protocol,
                version: version.unwrap_or_default().to_owned(),
                weight: u32::try_from(weight).unwrap_or(100),
                labels,
                health,
                proxy_protocol,
            });
        }
    }

    /// Notes what contradicts another replica of the same service.
    fn beside_others(&mut self, table: &dyn TableLike, id: (&ServiceName, &ReplicaName), protocol: Protocol) {
        let (name, replica) = id;
        let others = || self.config.services.iter().filter(|other| other.name == *name);
        if others().any(|other| other.replica == *replica) {
            let text = format!("`name`: {name} is offered twice; give one of both another `replica`");
            self.mistakes.add(key_span(table, "name"), text);
        } else if others().any(|other| other.protocol != protocol) {
            let text = format!("`protocol`: another replica of {name} speaks another; a service has one on a node");
            self.mistakes.add(key_span(table, "protocol").or(key_span(table, "name")), text);
        }
    }

    fn health(&mut self, service: &dyn TableLike) -> HealthConfig {
        let fallback = HealthConfig { kind: HealthKind::Tcp, interval: None };
        let Some(item) = service.get("health") else { return fallback };
        let Some(table) = item.as_table_like() else {
            self.mistakes.add(item.span(), "`health` is a table: { kind = \"http\", path = \"/\" }");
            return fallback;
        };
        self.known_only(table, HEALTH_KEYS);
        let path = self.field(table, "path", |item| {
            let text = text_of(item)?;
            if text.starts_with('/') { Ok(text) } else { Err("must start with /".to_owned()) }
        });
        let interval = self.field(table, "interval", duration_of);
        let kind = self.field(table, "kind", |item| match text_of(item)? {
            "none" => Ok(HealthKind::None),
            "tcp" => Ok(HealthKind::Tcp),
            "http" => Ok(HealthKind::Http { path: path.unwrap_or("/").to_owned() }),
            other => Err(format!("{other:?} is none of none, tcp, http")),
        });
        HealthConfig { kind: kind.unwrap_or(HealthKind::Tcp), interval }
    }

    fn binding(&mut self, table: &dyn TableLike, at: Option<Range<usize>>) {
        self.known_only(table, BINDING_KEYS);
        self.missing(table, at.clone(), "binding", &["port"]);
        let service = self.field(table, "service", named);
        let server_names = self.field(table, "server_names", server_names_of);
        let port = self.field(table, "port", port_of);
        let identity = self.field(table, "as", named);
        let proxy_protocol = self.field(table, "proxy_protocol", flag_of).unwrap_or(false);
        if let Some(port) = port
            && self.config.bindings.iter().any(|other| other.port == port)
        {
            self.mistakes.add(key_span(table, "port"), format!("`port`: {port} is bound twice"));
        }
        self.bound.extend(port.map(|port| (port, key_span(table, "port"))));
        if table.contains_key("service") == table.contains_key("server_names") {
            self.mistakes.add(at, "this `[[binding]]` needs one of `service` and `server_names`");
        }
        if let (Ok(leads_to), Some(port)) = (LeadsTo::new(service, server_names), port) {
            self.config.bindings.push(BindingConfig { leads_to, port, identity, proxy_protocol });
        }
    }
}

fn key_span(table: &dyn TableLike, name: &str) -> Option<Range<usize>> {
    table.key(name).and_then(toml_edit::Key::span)
}

fn flag_of(item: &Item) -> Result<bool, String> {
    item.as_bool().ok_or_else(|| format!("must be true or false, is a {}", item.type_name()))
}

fn text_of(item: &Item) -> Result<&str, String> {
    item.as_str().ok_or_else(|| format!("must be a text in quotes, is a {}", item.type_name()))
}

fn labels_of(item: &Item) -> Result<BTreeMap<String, String>, String> {
    let table = item.as_table_like().ok_or("is a table: { tier = \"gold\" }")?;
    let pairs = table.iter().map(|(name, value)| Ok((name.to_owned(), text_of(value)?.to_owned())));
    pairs.collect::<Result<_, String>>().map_err(|error| format!("holds texts: a value {error}"))
}

fn server_names_of(item: &Item) -> Result<ServerNames, String> {
    let table = item.as_table_like().ok_or("is a table: { \"orders.example\" = \"orders\" }")?;
    let pairs = table.iter().map(|(name, value)| Ok((name.to_owned(), named(value)?)));
    ServerNames::new(pairs.collect::<Result<Vec<_>, String>>()?)
}

fn named<T: FromStr<Err = NameError>>(item: &Item) -> Result<T, String> {
    text_of(item)?.parse().map_err(|error: NameError| error.to_string())
}

fn count_of(item: &Item, min: u64, max: u64) -> Result<u64, String> {
    let number = item.as_integer().and_then(|number| u64::try_from(number).ok());
    number.filter(|n| (min..=max).contains(n)).ok_or_else(|| format!("must be a whole number from {min} to {max}"))
}

fn port_of(item: &Item) -> Result<u16, String> {
    count_of(item, 1, u64::from(u16::MAX)).map(|number| u16::try_from(number).unwrap_or(u16::MAX))
}

fn duration_of(item: &Item) -> Result<Duration, String> {
    item.as_str()
        .and_then(parse_span)
        .ok_or_else(|| "must be a span such as \"500ms\", \"20s\", \"5m\" or \"24h\"".to_owned())
}

/// Reads `http`, `http2` (also `grpc`) or `tcp`.
pub fn protocol_of(text: &str) -> Result<Protocol, String> {
    match text {
        "http" => Ok(Protocol::Http),
        "http2" | "grpc" => Ok(Protocol::Http2),
        "tcp" => Ok(Protocol::Tcp),
        other => Err(format!("{other:?} is none of http, http2, tcp")),
    }
}
