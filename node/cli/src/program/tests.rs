use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_command_line_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn the_lines_of_the_readme_are_taken() {
    for line in [
        "weft demo",
        "weft demo --check",
        "weft init bank --advertise 10.0.0.11",
        "weft --dir /tmp/a run",
        "weft run --dir /tmp/a",
        "weft expose orders 8080 --protocol http",
        "weft expose orders --remove",
        "weft token create --grant web --ttl 10m",
        "weft init bank --advertise 10.0.0.11 --label team=ops",
        "weft token create --grant web --label team=payments --label env=live --remove-label tier",
        "weft why web orders --label team=payments",
        "weft route GET orders/ --label team=payments",
        "weft join 10.0.0.11 --token weft1.abc",
        "weft bind ledger-db 5432",
        "weft bind ledger-db 5432 --as web",
        "weft bind --remove 5432",
        "weft bind --tls 8443 --name orders.example=orders --name *=web --as web",
        "weft ls nodes --output json",
        "weft explain",
        "weft curl orders/ -H a:b -d x",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "weft",
        "weft init Bank --advertise 10.0.0.11",
        "weft init bank",
        "weft expose orders",
        "weft expose orders 0",
        "weft expose orders 80 --remove",
        "weft bind orders",
        "weft bind --tls 8443",
        "weft bind orders 8443 --name orders.example=orders",
        "weft bind --tls 8443 --name orders.example",
        "weft bind orders --tls 8443 --name orders.example=orders",
        "weft bind orders 80 --remove 80",
        "weft token create --ttl 0s",
        "weft token create --ttl soon",
        "weft token create --label team",
        "weft token create --label team=",
        "weft token create --label team=a,b",
        "weft why vm-a.6f1c2a9e00d41b77 --label team=payments",
        "weft ls everything",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn exit_codes_are_the_documented_ones() {
    assert_eq!(exit_code(Code::TokenUsed), 1);
    assert_eq!(exit_code(Code::UsageInvalid), 2);
    assert_eq!(exit_code(Code::RestartBudgetSpent), 70);
}
