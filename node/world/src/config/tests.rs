use super::*;

#[test]
fn the_reference_page_is_the_one_in_the_book() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/configuration.md");
    if std::env::var_os("WEFT_WRITE_DOCS").is_some() {
        std::fs::write(file, reference_page()).unwrap();
    }
    let written = std::fs::read_to_string(file).unwrap();
    assert!(written == reference_page(), "write it again: WEFT_WRITE_DOCS=1 cargo test -p weft --lib reference_page");
}

#[test]
fn an_empty_file_is_the_defaults_and_the_stated_defaults_are_true() {
    assert_eq!(parse("", "n").unwrap(), NodeConfig::default());
    for key in KEYS.iter().filter(|key| key.default != "none" && !key.default.contains(' ')) {
        let text = format!("{} = {}", key.name, key.default);
        assert_eq!(parse(&text, "n").unwrap(), NodeConfig::default(), "{text}");
    }
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place_and_the_nearest_key() {
    let text =
        "bnid = \"10.0.0.1\"\nzone = 3\n[timeouts]\nconect = \"1s\"\nrequest = \"soon\"\n[[service]]\nport = 99999\n";
    let found: Vec<String> = parse(text, "node.toml").unwrap_err().iter().map(ToString::to_string).collect();
    let expected = [
        "node.toml:1:1: unknown key `bnid`; did you mean `bind`?",
        "node.toml:2:8: `zone`: must be a text in quotes, is a integer",
        "node.toml:4:1: unknown key `timeouts.conect`; did you mean `timeouts.connect`?",
        "node.toml:5:11: `request`",
        "node.toml:6:1: this `[[service]]` needs `name`",
        "node.toml:7:8: `port`: must be a whole number from 1 to 65535",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        let start = expected.replace("`request`", "`timeouts.request`: must be a span");
        assert!(found.starts_with(&start), "{found}\n{start}");
    }
}

#[test]
fn memory_is_read_with_its_unit() {
    let read =
        |text: &str| parse(&format!("limits.memory = {text:?}"), "n").map(|config| config.settings.memory_bytes_max);
    assert_eq!(read("512MiB").unwrap(), Some(512 << 20));
    assert_eq!(read("2 GiB").unwrap(), Some(2 << 30));
    for wrong in ["512", "512MB", "1MiB", "GiB", "99999999999GiB"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_syntax_error_has_a_place() {
    let found = parse("bind = \n", "n").unwrap_err();
    assert_eq!((found.len(), found[0].line), (1, 1), "{found:?}");
}

#[test]
fn services_and_bindings_are_read() {
    let text = "advertise = \"10.0.0.1\"\n[ports]\nmesh = 5000\n[[service]]\nname = \"orders\"\nport = 8080\n\
        health = { kind = \"http\", path = \"/up\", interval = \"5s\" }\n[[binding]]\nservice = \"db\"\nport = 5432\nas = \"orders\"\n";
    let config = parse(text, "n").unwrap();
    assert_eq!(config.advertise, Some("10.0.0.1:4510".parse().unwrap()));
    assert_eq!(config.settings.ports.mesh, 5000);
    assert_eq!(config.services[0].app, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.services[0].health.kind, HealthKind::Http { path: "/up".to_owned() });
    assert_eq!(config.bindings[0].identity, Some("orders".parse().unwrap()));
    assert_eq!(config.services[0].replica.as_str(), "orders", "called like the service");
    let more = |lines: &str| format!("{text}[[service]]\nname = \"orders\"\nport = 8081\n{lines}");
    let config = parse(&more("replica = \"b\"\nversion = \"2\"\n"), "n").unwrap();
    assert_eq!((config.services.len(), config.services[1].replica.as_str()), (2, "b"));
    assert!(parse(&more(""), "n").unwrap_err()[0].text.contains("offered twice"));
    let other = parse(&more("replica = \"b\"\nprotocol = \"tcp\"\n"), "n").unwrap_err();
    assert!(other[0].text.contains("speaks another"), "{other:?}");
    let twice = format!("{text}[[binding]]\nservice = \"x\"\nport = 5432\n");
    assert!(parse(&twice, "n").unwrap_err()[0].text.contains("bound twice"));
}

#[test]
fn a_binding_leads_to_one_service_or_to_several_by_name() {
    let named = "[[binding]]\nport = 8443\nserver_names = { \"A.example\" = \"orders\", \"*\" = \"web\" }\n";
    let config = parse(named, "node.toml").unwrap();
    let LeadsTo::ServerNames(names) = &config.bindings[0].leads_to else { panic!("{config:?}") };
    assert_eq!(names.service_of(Some("a.example")).unwrap().as_str(), "orders");
    for (wrong, line, told) in [
        ("[[binding]]\nport = 8443\n", 1, "needs one of `service` and `server_names`"),
        (&format!("{named}service = \"db\"\n"), 1, "needs one of `service` and `server_names`"),
        ("[[binding]]\nport = 8443\nserver_names = {}\n", 3, "names no server"),
        ("[[binding]]\nport = 8443\nserver_names = \"a.example\"\n", 3, "is a table"),
        ("[[binding]]\nport = 8443\nserver_names = { \"10.0.0.1\" = \"db\" }\n", 3, "10.0.0.1"),
        ("[[binding]]\nport = 8443\nserver_names = { \"a.example\" = \"DB!\" }\n", 3, "`server_names`"),
    ] {
        let mistakes = parse(wrong, "node.toml").unwrap_err();
        let text = mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(
            mistakes.len() == 1 && text.starts_with(&format!("node.toml:{line}:")) && text.contains(told),
            "{text}"
        );
    }
}

#[test]
fn a_binding_does_not_take_a_port_of_the_node() {
    let text = "[[binding]]\nservice = \"db\"\nport = 4512\n[[binding]]\nservice = \"db\"\nport = 4511\n\
        [[binding]]\nservice = \"db\"\nport = 5000\n[ports]\nmesh = 5000\nadmin = 5001\n";
    let found: Vec<String> = parse(text, "n").unwrap_err().iter().map(ToString::to_string).collect();
    let expected = [
        "n:3:1: `port`: 4512 is a port of the node itself, `ports.outbound`",
        "n:9:1: `port`: 5000 is a port of the node itself, `ports.mesh`",
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_address_that_nobody_can_dial_is_not_advertised() {
    for wrong in ["0.0.0.0", "10.0.0.1:0", "[::]:4510", "224.0.0.1"] {
        assert!(parse(&format!("advertise = \"{wrong}\""), "n").unwrap_err()[0].text.contains("advertise"), "{wrong}");
    }
}

#[test]
fn spans_read_back() {
    for text in ["1ms", "500ms", "20s", "5m", "24h", "30d"] {
        let span = parse_span(text).unwrap();
        assert_eq!(parse_span(&span_text(span)), Some(span), "{text}");
    }
    for text in ["", "5", "s", "-1s", "1.5s", "1 s", "99999999999999999999d", "9999999999999999d"] {
        assert_eq!(parse_span(text), None, "{text}");
    }
}
