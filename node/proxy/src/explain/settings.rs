//! What holds for a request, setting by setting, as steps: each with the document that states it, or without one where the node's own
//! file or a default does. For [`super::question`].

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use weft_identity::ServiceName;
use weft_policy::change::Asked;
use weft_policy::raw::route::RetryOn;
use weft_policy::route::{HeaderChanges, Mirror, RouteRule, Target};
use weft_policy::strict::Percent;
use weft_policy::traffic::{Preference, Traffic};
use weft_policy::{Place, RequestView, Routed};
use weft_world::settings::Settings;

use super::Step;

/// What a rule does to a request, in the order in which it is done.
pub(super) fn of_rule(
    routed: &Routed<'_>,
    dialled: &ServiceName,
    asked: Asked<'_>,
    view: &RequestView<'_>,
) -> Vec<Step> {
    let rule = routed.rule;
    let fault = &rule.fault;
    let redirect = rule.redirect.as_ref().map(|redirect| {
        format!("it is answered with {} and leads to {}", redirect.status.as_u16(), redirect.location(asked, view))
    });
    let said = [
        ("fault delay", fault.delay.map(|(share, span)| format!("{} of the requests wait {span:?}", percent(share)))),
        (
            "fault abort",
            fault.abort.map(|(share, status)| {
                format!("{} of the requests are answered with {}", percent(share), status.as_u16())
            }),
        ),
        ("redirect", redirect),
        ("request headers", changes(&rule.request_headers)),
        ("rewrite", rewrite(routed, view)),
        ("split", (!rule.to.is_empty()).then(|| split(&rule.to, dialled))),
        ("mirror", rule.mirror.as_ref().map(|mirror| copies(mirror, dialled))),
        ("response headers", changes(&rule.response_headers)),
    ];
    said.into_iter().filter_map(|(what, text)| Some(Step::at(what, &rule.place, text?))).collect()
}

/// How the request is carried: the rule's word, else the service's, else the node's own.
pub(super) fn of_carriage(rule: Option<&RouteRule>, traffic: &Traffic, settings: &Settings) -> Vec<Step> {
    let own = traffic.place.as_ref();
    let of_rule = rule.map(|rule| &rule.place);
    let timeout = match (rule.and_then(|rule| rule.timeout), traffic.request_timeout) {
        (Some(span), _) => begins("timeout", of_rule, span),
        (None, Some(span)) => begins("timeout", own, span),
        (None, None) => begins("timeout", None, settings.request_timeout),
    };
    let try_timeout = match rule.and_then(|rule| rule.try_timeout) {
        Some(span) => placed("try timeout", of_rule, format!("one try may take {span:?}")),
        None => placed("try timeout", None, "one try may take all of that time".to_owned()),
    };
    let connect = placed(
        "connect timeout",
        own.filter(|_| traffic.connect_timeout.is_some()),
        format!("a connection may take {:?}", traffic.connect_timeout.unwrap_or(settings.connect_timeout)),
    );
    let retries = match rule.and_then(|rule| rule.retries.as_ref()) {
        Some(retries) => placed("retries", of_rule, tries(retries.attempts, &retries.on)),
        None => placed("retries", own, tries(traffic.retries.attempts, &traffic.retries.on)),
    };
    vec![
        timeout,
        try_timeout,
        connect,
        retries,
        placed("retry budget", own, budget(traffic)),
        placed("outlier", own, outlier(traffic)),
        placed("limits", own, limits(traffic)),
        placed("zone", own, zone(traffic)),
    ]
}

fn placed(what: &str, place: Option<&Place>, text: String) -> Step {
    match place {
        Some(place) => Step::at(what, place, text),
        None => Step::new(what, text),
    }
}

fn begins(what: &str, place: Option<&Place>, span: Duration) -> Step {
    placed(what, place, format!("an answer must begin within {span:?}, over all tries"))
}

fn percent(share: Percent) -> String {
    format!("{} %", f64::from(share.millionths()) / 10_000.0)
}

fn changes(changes: &HeaderChanges) -> Option<String> {
    let field =
        |(name, value): &(HeaderName, HeaderValue)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    let fields = |fields: &[(HeaderName, HeaderValue)]| fields.iter().map(field).collect::<Vec<_>>().join(", ");
    let removed = changes.remove.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ");
    let said = [("removed", removed), ("set", fields(&changes.set)), ("added", fields(&changes.add))];
    let said: Vec<_> =
        said.iter().filter(|(_, text)| !text.is_empty()).map(|(what, text)| format!("{what} {text}")).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn rewrite(routed: &Routed<'_>, view: &RequestView<'_>) -> Option<String> {
    let rewrite = &routed.rule.rewrite;
    let path = rewrite.path.is_some().then(|| format!("the path becomes {}", routed.path(view)));
    let host =
        rewrite.host.as_ref().map(|host| format!("the host becomes {}", String::from_utf8_lossy(host.as_bytes())));
    let said: Vec<_> = [path, host].into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn split(to: &[Target], dialled: &ServiceName) -> String {
    let of: u64 = to.iter().map(|target| u64::from(target.weight)).sum();
    let side = |target: &Target| {
        let service = target.service.as_ref().unwrap_or(dialled);
        let version = target.version.as_ref().map(|version| format!(" version {version}")).unwrap_or_default();
        let labels: String = target.labels.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        format!("{} of {of} go to {service}{version}{labels}", target.weight)
    };
    to.iter().map(side).collect::<Vec<_>>().join(", ")
}

fn copies(mirror: &Mirror, dialled: &ServiceName) -> String {
    let service = mirror.service.as_ref().unwrap_or(dialled);
    let version = mirror.version.as_ref().map(|version| format!(" version {version}")).unwrap_or_default();
    let behind = mirror.behind_bytes_max >> 10;
    format!(
        "{} of the requests are copied to {service}{version}, while at most {behind} KiB behind",
        percent(mirror.percent)
    )
}

fn tries(attempts: u32, on: &[RetryOn]) -> String {
    let words = on.iter().map(|on| on.word()).collect::<Vec<_>>().join(", ");
    match (attempts, on.is_empty()) {
        (0, _) => "none".to_owned(),
        (_, true) => format!("at most {attempts}, after what brought no answer, where that is safe"),
        (_, false) => format!("at most {attempts}, after {words}, where that is safe"),
    }
}

fn budget(traffic: &Traffic) -> String {
    let retries = &traffic.retries;
    format!("{} of the requests and {} a second", percent(retries.budget), retries.budget_per_second)
}

fn outlier(traffic: &Traffic) -> String {
    let outlier = &traffic.outlier;
    format!(
        "a replica is left out after {} failures in a row, for {:?} and at most {:?}, unless over {} would be",
        outlier.consecutive_failures,
        outlier.ejection,
        outlier.ejection_max,
        percent(outlier.ejected_max)
    )
}

fn limits(traffic: &Traffic) -> String {
    let limit =
        |max: Option<u32>, what| max.map_or(format!("any number of {what}"), |max| format!("at most {max} {what}"));
    format!(
        "{} and {}",
        limit(traffic.in_flight_max, "requests and streams"),
        limit(traffic.connections_max, "connections")
    )
}

fn zone(traffic: &Traffic) -> String {
    match traffic.zone.preference {
        Preference::Near => {
            format!("the own one alone while {} of its replicas can serve", percent(traffic.zone.overflow))
        }
        Preference::None => "every one alike".to_owned(),
    }
}
