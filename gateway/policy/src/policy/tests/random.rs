//! The index against a plain walk over all rules, for random documents and requests.

use std::cmp::Reverse;
use std::fmt::Write;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

/// A condition: header `x` or `y` with a test.
type HeaderSpec = (char, u8);

#[derive(Debug, Clone)]
struct RuleSpec {
    is_deny: bool,
    callers: Vec<&'static str>,
    labels: Vec<&'static str>,
    methods: Vec<&'static str>,
    paths: Vec<String>,
    headers: Vec<HeaderSpec>,
}

#[derive(Debug, Clone)]
struct DocumentSpec {
    is_mesh: bool,
    is_shadow: bool,
    default: Option<bool>,
    rules: Vec<RuleSpec>,
}

#[derive(Debug, Clone)]
struct RequestSpec {
    caller: &'static str,
    labels: Vec<&'static str>,
    method: &'static str,
    segments: Vec<&'static str>,
    ends_in_slash: bool,
    headers: Vec<(char, &'static str)>,
    query: Option<&'static str>,
}

const TESTS: [&str; 5] = ["value = \"1\"", "value = \"2\"", "prefix = \"1\"", "regex = \"[12]2?\"", "present = false"];

fn value_meets(test: u8, value: &str) -> bool {
    match test {
        0 => value == "1",
        1 => value == "2",
        2 => value.starts_with('1'),
        3 => matches!(value, "1" | "2" | "12" | "22"),
        _ => false,
    }
}

fn header_meets((name, test): HeaderSpec, request: &RequestSpec, all: bool) -> bool {
    let values: Vec<&str> = request.headers.iter().filter(|(n, _)| *n == name).map(|(_, value)| *value).collect();
    if test == 4 {
        return values.is_empty();
    }
    let meets = |value: &str| value_meets(test, value);
    let members = |value: &'static str| value.split(',').filter(|member| !member.is_empty());
    if all {
        // A list is longer than any value here, so that an exact one never meets it.
        !values.is_empty() && values.iter().all(|value| meets(value) && members(value).all(meets))
    } else {
        values.iter().any(|value| meets(value) || members(value).any(meets))
    }
}

/// Segments against a pattern's, by hand.
fn fits(pattern: &str, path: &[&str]) -> bool {
    let (head, below) = pattern.strip_suffix("/**").map_or((pattern, false), |head| (head, true));
    let wanted: Vec<&str> = if head.is_empty() { vec![] } else { head[1..].split('/').collect() };
    let long_enough = if below { path.len() >= wanted.len() } else { path.len() == wanted.len() };
    long_enough
        && wanted
            .iter()
            .zip(path)
            .all(|(want, have)| if want.starts_with('{') { !have.is_empty() } else { want == have })
}

fn comes_from(rule: &RuleSpec, request: &RequestSpec) -> bool {
    (rule.callers.contains(&"any") || rule.callers.contains(&request.caller))
        && rule.labels.iter().all(|label| request.labels.contains(label))
}

/// The segments of a request's path, without their parameters where those are cut off.
fn read(request: &RequestSpec, cut: bool) -> Vec<&'static str> {
    let name = |segment: &&'static str| if cut { segment.split(';').next().unwrap_or_default() } else { segment };
    request.segments.iter().map(name).collect()
}

fn rule_matches(rule: &RuleSpec, request: &RequestSpec, cut: bool) -> bool {
    let segments = read(request, cut);
    comes_from(rule, request)
        && (rule.methods.is_empty() || rule.methods.contains(&request.method))
        && (rule.paths.is_empty() || rule.paths.iter().any(|path| fits(path, &segments)))
        && rule.headers.iter().all(|header| header_meets(*header, request, !rule.is_deny))
}

fn stream_matches(rule: &RuleSpec, request: &RequestSpec) -> bool {
    comes_from(rule, request) && rule.methods.is_empty() && rule.paths.is_empty() && rule.headers.is_empty()
}

/// Whether the call passes, by which (document, rule), and which shadows object.
type Decided = (bool, Option<(usize, usize)>, Vec<usize>);

/// The words of docs/reference/authorisation.md, one by one.
fn plainly(mesh: Option<bool>, documents: &[DocumentSpec], matches: &dyn Fn(&RuleSpec, bool) -> bool) -> Decided {
    let enforced = |documents: &[(usize, &DocumentSpec)]| -> (bool, Option<(usize, usize)>) {
        let mut all: Vec<(usize, usize, &RuleSpec)> = Vec::new();
        for is_mesh in [false, true] {
            for (at, document) in documents.iter().filter(|(_, document)| document.is_mesh == is_mesh) {
                all.extend(document.rules.iter().enumerate().map(|(number, rule)| (*at, number, rule)));
            }
        }
        for is_deny in [true, false] {
            let first = |cut| all.iter().find(|(_, _, rule)| rule.is_deny == is_deny && matches(rule, cut));
            let found = if is_deny { first(false).or(first(true)) } else { first(true).and(first(false)) };
            if let Some((at, number, _)) = found {
                return (!is_deny, Some((*at, *number)));
            }
        }
        // A shadow's default, which comes last, overrides in its trial.
        let stated = documents.iter().rev().find_map(|(_, document)| document.default);
        let has_allow = all.iter().any(|(_, _, rule)| !rule.is_deny);
        (stated.unwrap_or(if has_allow { false } else { mesh.unwrap_or(true) }), None)
    };
    let numbered: Vec<(usize, &DocumentSpec)> = documents.iter().enumerate().collect();
    let real: Vec<_> = numbered.iter().copied().filter(|(_, document)| !document.is_shadow).collect();
    let (passes, by) = enforced(&real);
    let mut shadows = Vec::new();
    for (at, document) in numbered.iter().filter(|(_, document)| document.is_shadow && passes) {
        let mut with = real.clone();
        with.push((*at, document));
        if !enforced(&with).0 {
            shadows.push(*at);
        }
    }
    (passes, by, shadows)
}

fn written(mesh: Option<bool>, documents: &[DocumentSpec]) -> String {
    let word = |allow: bool| if allow { "allow" } else { "deny" };
    let mut text = String::new();
    if let Some(allow) = mesh {
        writeln!(text, "[[mesh]]\nname = \"defaults\"\nauthorisation = \"{}\"", word(allow)).unwrap();
    }
    for (at, document) in documents.iter().enumerate() {
        let target = if document.is_mesh { "mesh = true" } else { "service = \"a\"" };
        writeln!(text, "[[authorisation]]\nname = \"d{at:03}\"\n{target}").unwrap();
        if document.is_shadow {
            writeln!(text, "mode = \"shadow\"").unwrap();
        }
        if let Some(allow) = document.default {
            writeln!(text, "default = \"{}\"", word(allow)).unwrap();
        }
        for rule in &document.rules {
            writeln!(text, "[[authorisation.rule]]\naction = \"{}\"", word(!rule.is_deny)).unwrap();
            let list = |prefix: &str| {
                let names = rule.callers.iter().filter_map(|name| name.strip_prefix(prefix));
                names.map(str::to_owned).collect::<Vec<_>>()
            };
            let mut from: Vec<String> = Vec::new();
            for (key, prefix) in [("services", "svc/"), ("nodes", "node/"), ("gateways", "gw/")] {
                let names = list(prefix);
                from.extend((!names.is_empty()).then(|| format!("{key} = {names:?}")));
            }
            if rule.callers.contains(&"any") && (rule.labels.is_empty() || rule.methods.is_empty()) {
                from.push("any = true".to_owned());
            }
            let labels = rule.labels.iter().filter_map(|label| label.split_once('='));
            let labels: Vec<String> = labels.map(|(name, value)| format!("{name} = \"{value}\"")).collect();
            from.extend((!labels.is_empty()).then(|| format!("labels = {{ {} }}", labels.join(", "))));
            let from = from.join(", ");
            writeln!(text, "from = {{ {from} }}").unwrap();
            conditions(&mut text, &rule.methods, &rule.headers);
            if !rule.paths.is_empty() {
                writeln!(text, "paths = {:?}", rule.paths).unwrap();
            }
        }
    }
    text
}

fn conditions(text: &mut String, methods: &[&str], headers: &[HeaderSpec]) {
    if !methods.is_empty() {
        writeln!(text, "methods = {methods:?}").unwrap();
    }
    if !headers.is_empty() {
        writeln!(text, "headers = [{}]", header_tables(headers)).unwrap();
    }
}

fn header_tables(headers: &[HeaderSpec]) -> String {
    let table = |(name, test): &HeaderSpec| format!("{{ name = \"{name}\", {} }}", TESTS[usize::from(*test)]);
    headers.iter().map(table).collect::<Vec<_>>().join(", ")
}

impl RequestSpec {
    fn line(&self) -> String {
        let slash = if self.ends_in_slash || self.segments.is_empty() { "/" } else { "" };
        let path: String = self.segments.iter().map(|segment| format!("/{segment}")).collect();
        let query = self.query.map(|query| format!("?{query}")).unwrap_or_default();
        let headers: String = self.headers.iter().map(|(name, value)| format!(" {name}:{value}")).collect();
        format!("{} {path}{slash}{query}{headers}", self.method)
    }
}

/// One value of each name at most.
fn labels() -> impl Strategy<Value = Vec<&'static str>> {
    let one = |values: [&'static str; 2]| option::weighted(0.5, proptest::sample::select(values.to_vec()));
    (one(["a=1", "a=2"]), one(["b=1", "b=2"]), one(["c=1", "c=2"]))
        .prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().collect())
}

const CALLERS: [&str; 5] = ["svc/web", "svc/b", "node/web", "gw/web", "gw/b"];

fn pattern() -> impl Strategy<Value = String> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("{}")];
    (vec(segment, 0..4), any::<bool>()).prop_map(|(segments, below)| {
        let path: String = segments
            .iter()
            .enumerate()
            .map(|(at, segment)| if *segment == "{}" { format!("/{{p{at}}}") } else { format!("/{segment}") })
            .collect();
        if below || path.is_empty() { path + "/**" } else { path }
    })
}

fn headers() -> impl Strategy<Value = Vec<HeaderSpec>> {
    vec((prop_oneof![Just('x'), Just('y')], 0_u8..5), 0..3)
}

fn methods() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(vec!["GET", "POST"], 0..=2)
}

fn rule() -> impl Strategy<Value = RuleSpec> {
    let callers = prop_oneof![Just(vec!["any"]), proptest::sample::subsequence(CALLERS.to_vec(), 1..=3)];
    // Most rules ask for no label.
    let asked = prop_oneof![2 => Just(Vec::new()), 1 => labels()];
    (any::<bool>(), callers, asked, methods(), vec(pattern(), 0..3), headers()).prop_map(
        |(is_deny, callers, labels, methods, paths, headers)| RuleSpec {
            is_deny,
            callers,
            labels,
            methods,
            paths,
            headers,
        },
    )
}

fn document() -> impl Strategy<Value = DocumentSpec> {
    (any::<bool>(), proptest::bool::weighted(0.3), proptest::bool::weighted(0.3), any::<bool>(), vec(rule(), 1..5))
        .prop_map(|(is_mesh, is_shadow, has_default, default, rules)| {
            // One default for the service, so that no two documents contradict each other.
            let default = (has_default && !is_mesh).then_some(if is_shadow { default } else { true });
            DocumentSpec { is_mesh, is_shadow, default, rules }
        })
}

fn request() -> impl Strategy<Value = RequestSpec> {
    let segment = proptest::sample::select(vec!["a", "b", "c", "a", "b", "a;", "b;a"]);
    let value = proptest::sample::select(vec!["1", "2", "12", "1,2", "2,12", "12,1", ",1", "3,2,", "3"]);
    let header = (prop_oneof![Just('x'), Just('y')], value);
    let query = option::of(prop_oneof![Just("q=1"), Just("q=2&r"), Just("r=%31"), Just("q=3&q=1")]);
    let caller = proptest::sample::select(CALLERS.to_vec());
    let method = proptest::sample::select(vec!["GET", "POST", "PROPFIND"]);
    (caller, labels(), method, vec(segment, 0..5), any::<bool>(), vec(header, 0..3), query).prop_map(
        |(caller, labels, method, segments, ends_in_slash, headers, query)| RequestSpec {
            caller,
            labels,
            method,
            segments,
            ends_in_slash,
            headers,
            query,
        },
    )
}

fn decided(text: &str, verdict: &Verdict<'_>) -> Decided {
    let at = |place: &Place| place.document.id.name[1..].parse::<usize>().unwrap();
    let number = |place: &Place| rule_name(text, place).rsplit(' ').next().unwrap().parse::<usize>().unwrap();
    let by = match verdict.reason {
        Reason::Rule(place) => Some((at(place), number(place) - 1)),
        _ => None,
    };
    let mut shadows: Vec<usize> = verdict.shadow.iter().map(|refusal| at(refusal.place)).collect();
    shadows.sort_unstable();
    (verdict.is_allowed(), by, shadows)
}

#[derive(Debug, Clone)]
struct MatchSpec {
    kind: usize,
    path: String,
    methods: Vec<&'static str>,
    headers: Vec<HeaderSpec>,
    query: Vec<u8>,
}

const QUERY_TESTS: [&str; 3] =
    ["name = \"q\", value = \"1\"", "name = \"r\", present = true", "name = \"r\", present = false"];

fn query_meets(test: u8, query: Option<&str>) -> bool {
    let names: Vec<&str> = query.iter().flat_map(|query| query.split('&')).collect();
    let has = |name: &str| names.iter().any(|pair| pair.split('=').next() == Some(name));
    match test {
        0 => names.contains(&"q=1"),
        1 => has("r"),
        _ => !has("r"),
    }
}

fn match_spec() -> impl Strategy<Value = MatchSpec> {
    let literal = vec(prop_oneof![Just("a"), Just("b")], 0..4).prop_map(|segments| {
        let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        if path.is_empty() { "/".to_owned() } else { path }
    });
    (0_usize..5, literal, pattern(), methods(), headers(), vec(0_u8..3, 0..3)).prop_map(
        |(kind, literal, pattern, methods, headers, query)| {
            let path = if kind == 1 { pattern } else { literal };
            MatchSpec { kind, path, methods, headers, query }
        },
    )
}

/// The order of docs/reference/routing.md, one by one; the lowest takes the request.
fn precedence(spec: &MatchSpec) -> impl Ord + use<> {
    let (head, below) = spec.path.strip_suffix("/**").map_or((spec.path.as_str(), false), |head| (head, true));
    let segments: Vec<&str> = head.split('/').skip(1).collect();
    let literals = segments.iter().filter(|segment| !segment.starts_with('{')).count();
    let is_every = spec.kind == 4 || spec.kind == 2 && spec.path == "/";
    let path = match spec.kind {
        _ if is_every => (4, Reverse(0), false, Reverse(0), Reverse(0)),
        1 => (1, Reverse(literals), below, Reverse(segments.len()), Reverse(spec.path.len())),
        2 => (2, Reverse(spec.path.len()), false, Reverse(0), Reverse(0)),
        kind => (kind, Reverse(0), false, Reverse(0), Reverse(0)),
    };
    (path, spec.methods.is_empty(), Reverse(spec.headers.len()), Reverse(spec.query.len()))
}

/// A segment and its slash, without parameters.
fn cut_off(segment: &str) -> String {
    let slash = if segment.ends_with('/') { "/" } else { "" };
    format!("{}{slash}", segment.trim_end_matches('/').split(';').next().unwrap_or_default())
}

fn takes(spec: &MatchSpec, request: &RequestSpec) -> bool {
    let line = request.line();
    let path = line.split([' ', '?']).nth(1).unwrap();
    let cut: String = path.split_inclusive('/').map(cut_off).collect();
    let fits = [path, &cut].into_iter().any(|path| {
        let parts: Vec<&str> = path[1..].split('/').collect();
        match spec.kind {
            0 | 3 => path == spec.path,
            1 => fits(&spec.path, &parts),
            2 => spec.path == "/" || path == spec.path || path.starts_with(&format!("{}/", spec.path)),
            _ => true,
        }
    });
    fits && (spec.methods.is_empty() || spec.methods.contains(&request.method))
        && spec.headers.iter().all(|header| header_meets(*header, request, false))
        && spec.query.iter().all(|test| query_meets(*test, request.query))
}

fn route_text(specs: &[MatchSpec]) -> String {
    let mut text = "[[route]]\nname = \"r\"\nservice = \"a\"\n".to_owned();
    for spec in specs {
        let kind = ["exact", "template", "prefix", "regex"].get(spec.kind);
        let mut parts: Vec<String> =
            kind.iter().map(|kind| format!("path = {{ {kind} = \"{}\" }}", spec.path)).collect();
        if !spec.methods.is_empty() {
            parts.push(format!("methods = {:?}", spec.methods));
        }
        if !spec.headers.is_empty() {
            parts.push(format!("headers = [{}]", header_tables(&spec.headers)));
        }
        if !spec.query.is_empty() {
            let tables: Vec<String> =
                spec.query.iter().map(|test| format!("{{ {} }}", QUERY_TESTS[usize::from(*test)])).collect();
            parts.push(format!("query = [{}]", tables.join(", ")));
        }
        writeln!(text, "[[route.rule]]\nmatch = [{{ {} }}]", parts.join(", ")).unwrap();
    }
    text
}

proptest! {
    #[test]
    fn the_index_decides_as_a_plain_walk(
        mesh in option::of(any::<bool>()),
        documents in vec(document(), 1..5),
        requests in vec(request(), 8),
    ) {
        let text = written(mesh, &documents);
        let policy = policy(&text);
        for request in requests {
            let from = caller(&format!("{} {}", request.caller, request.labels.join(",")));
            let wanted = plainly(mesh, &documents, &|rule, cut| rule_matches(rule, &request, cut));
            let found = Request::of(&request.line())
                .ask(|view| decided(&text, &policy.authorise(from.calls(), &service("a"), Call::Http(view))));
            prop_assert_eq!(found, wanted, "{}\n{}", text, request.line());
            let wanted = plainly(mesh, &documents, &|rule, _| stream_matches(rule, &request));
            let found = decided(&text, &policy.authorise(from.calls(), &service("a"), Call::Tcp));
            prop_assert_eq!(found, wanted, "{}\ntcp", text);
        }
    }

    #[test]
    fn the_index_routes_as_a_plain_walk(specs in vec(match_spec(), 1..20), requests in vec(request(), 8)) {
        let text = route_text(&specs);
        let policy = policy(&text);
        let mut ordered: Vec<(usize, &MatchSpec)> = specs.iter().enumerate().collect();
        ordered.sort_by_key(|(_, spec)| precedence(spec));
        for request in requests {
            let wanted = ordered.iter().find(|(_, spec)| takes(spec, &request)).map(|(at, _)| at + 1);
            let found = Request::of(&request.line()).ask(|view| {
                let routed = policy.route(&service("a"), "a", view)?;
                rule_name(&text, &routed.rule.place).rsplit(' ').next().unwrap().parse::<usize>().ok()
            });
            prop_assert_eq!(found, wanted, "{}\n{}", text, request.line());
        }
    }
}
