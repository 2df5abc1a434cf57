//! Who may call what: the examples of the book, shadow mode, and what a refusal can name.

use super::*;

fn by(text: &str, verdict: &Verdict<'_>) -> String {
    match verdict.reason {
        Reason::Rule(place) => rule_name(text, place),
        Reason::ServiceDefault(place) => format!("default of `{}`", place.document.id.name),
        Reason::MeshDefault(_) => "mesh default".to_owned(),
        Reason::NoAllowRule => "no allow rule".to_owned(),
        Reason::NothingStated => "nothing stated".to_owned(),
    }
}

fn shadow(text: &str, verdict: &Verdict<'_>) -> String {
    let names = verdict.shadow.iter().map(|refusal| {
        let name = rule_name(text, refusal.place);
        if name.ends_with(" 0") { format!("{}default", name.trim_end_matches('0')) } else { name }
    });
    names.collect::<Vec<_>>().join(", ")
}

#[test]
fn the_examples_of_the_book_are_true() {
    let (text, rows) = page("authorisation.md");
    let policy = policy(&text);
    for row in rows {
        let bare = |at: usize| row[at].trim_matches('`').to_owned();
        let (from, to) = (caller(&bare(0)), service(&bare(1)));
        let check = |verdict: Verdict<'_>, steps: Vec<Step>| {
            let found = [verdict.action.word().to_owned(), by(&text, &verdict), shadow(&text, &verdict)];
            assert_eq!(found, row[3..6], "{row:?}");
            let decided = steps.iter().rev().find(|step| step.what != "shadow").unwrap();
            if verdict.reason == Reason::NoAllowRule {
                assert!(decided.place.is_some(), "the chain says where to look: {row:?}");
            } else {
                let place = decided.place.as_ref();
                assert_eq!(place, verdict.reason.place(), "the chain ends where the verdict does: {row:?}");
            }
        };
        if bare(2) == "tcp" {
            let (verdict, steps) = policy.explain_authorise(from.calls(), &to, Call::Tcp);
            check(verdict, steps);
        } else {
            Request::of(&bare(2)).ask(|view| {
                let (verdict, steps) = policy.explain_authorise(from.calls(), &to, Call::Http(view));
                check(verdict, steps);
            });
        }
    }
}

#[test]
fn without_documents_everything_passes() {
    let policy = Policy::default();
    let verdict = policy.authorise(caller("svc/web").calls(), &service("orders"), Call::Tcp);
    assert!(verdict.is_allowed() && verdict.reason == Reason::NothingStated);
}

#[test]
fn a_refusal_names_document_file_line_and_revision() {
    let text = "# a comment\n\n[[authorisation]]\nname = \"orders\"\nservice = \"orders\"\n\n[[authorisation.rule]]\n\
        action = \"allow\"\nfrom = { any = true }\n\n[[authorisation.rule]]\naction = \"deny\"\nfrom = { services = [\"web\"] }\n";
    let sources = read_file("policies/orders.toml", text).unwrap();
    let policy = compile(&[(sources[0].clone(), 12)]).unwrap();
    let verdict = policy.authorise(caller("svc/web").calls(), &service("orders"), Call::Tcp);
    let place = verdict.reason.place().unwrap();
    assert_eq!(place.to_string(), "policies/orders.toml:11 (revision 12)");
    assert_eq!(place.document.id.to_string(), "authorisation/orders");
    assert_eq!(place.document.line, 3);
    assert_eq!(policy.revision(), 12);
}

#[test]
fn rules_in_one_line_have_their_places_too() {
    let text = "[[authorisation]]\nname = \"a\"\nservice = \"a\"\nrule = [\n  { action = \"allow\", from = { any = true } },\n  \
        { action = \"deny\", from = { services = [\"b\"] } },\n]\n";
    let policy = policy(text);
    let line =
        |from: &str| policy.authorise(caller(from).calls(), &service("a"), Call::Tcp).reason.place().unwrap().line;
    assert_eq!((line("svc/c"), line("svc/b")), (5, 6));
}

#[test]
fn of_two_rules_that_match_the_older_is_named() {
    let document = |name: &str| {
        let text = format!(
            "[[authorisation]]\nname = \"{name}\"\nservice = \"a\"\n[[authorisation.rule]]\naction = \"deny\"\nfrom = {{ any = true }}\n"
        );
        read_file(name, &text).unwrap().remove(0)
    };
    let named = |documents: &[(Source, u64)]| {
        let policy = compile(documents).unwrap();
        policy
            .authorise(caller("svc/c").calls(), &service("a"), Call::Tcp)
            .reason
            .place()
            .unwrap()
            .document
            .id
            .name
            .clone()
    };
    assert_eq!(named(&[(document("a"), 2), (document("z"), 1)]), "z");
    assert_eq!(named(&[(document("z"), 1), (document("b"), 1)]), "b");
}

#[test]
fn another_spelling_of_a_path_gets_around_no_rule() {
    let text = "[[authorisation]]\nname = \"a\"\nservice = \"a\"\ndefault = \"allow\"\n[[authorisation.rule]]\naction = \"deny\"\n\
        from = { any = true }\npaths = [\"/admin/**\", \"/orders/7\", \"/user@home\"]\n";
    let policy = policy(text);
    for path in [
        "/admin",
        "/admin/",
        "/admin/x/y",
        "//admin",
        "/./admin",
        "/%61dmin",
        "/x/../admin",
        "/x/%2e%2E/admin",
        "/x/.%2e/admin/",
        "/orders/7",
        "/orders/7/",
        "/orders//7",
        "/orders/%37",
        "/a/../orders/7",
        "/../orders/7",
        "/orders/./7",
        "/orders/x/%2e%2e/7",
        "/user@home",
        "/user%40home",
        "/%75ser%40h%6Fme",
        "/admin;x",
        "/admin;x/secret",
        "/admin;x=%2e/",
        "/admin%3Bx/secret",
        "/x;y/../admin;z/secret",
        "/orders;a;b/7;c",
        "/user@home;",
    ] {
        let verdict = Request::of(&format!("GET {path}"))
            .ask(|view| policy.authorise(caller("svc/web").calls(), &service("a"), Call::Http(view)).action);
        assert_eq!(verdict, Action::Deny, "{path}");
    }
    for path in ["/", "/administration", "/orders", "/orders/8", "/Admin", "/x;admin", "/;admin", "/orders/8;7"] {
        let verdict = Request::of(&format!("GET {path}"))
            .ask(|view| policy.authorise(caller("svc/web").calls(), &service("a"), Call::Http(view)).action);
        assert_eq!(verdict, Action::Allow, "{path}");
    }
}

#[test]
fn an_allow_rule_needs_a_path_with_and_without_its_parameters() {
    let text = "[[authorisation]]\nname = \"a\"\nservice = \"a\"\n[[authorisation.rule]]\naction = \"allow\"\nfrom = { any = true }\n\
        paths = [\"/orders/{id}\", \"/list\"]\n[[authorisation.rule]]\naction = \"allow\"\nfrom = { any = true }\npaths = [\"/list;all\"]\n";
    let policy = policy(text);
    for (path, wanted) in [
        ("/orders/7", Action::Allow),
        ("/orders/7;v=1", Action::Allow),
        ("/orders/7%3Bv=1", Action::Allow),
        ("/list;all", Action::Allow),
        ("/list;x", Action::Deny),
        ("/orders;x/7", Action::Deny),
        ("/orders/;x", Action::Deny),
    ] {
        let decided = Request::of(&format!("GET {path}"))
            .ask(|view| policy.authorise(caller("svc/web").calls(), &service("a"), Call::Http(view)).action);
        assert_eq!(decided, wanted, "{path}");
    }
}

#[test]
fn a_condition_on_the_host_may_be_written_in_any_form() {
    for condition in [
        "value = \"orders\"",
        "value = \"Orders.weft.internal.:80\"",
        "value = \"orders.weft.internal\"",
        "prefix = \"Orders.\"",
        "regex = \"orders\\\\.weft\\\\.internal\"",
    ] {
        let policy = policy(&format!(
            "[[authorisation]]\nname = \"a\"\nservice = \"a\"\ndefault = \"allow\"\n[[authorisation.rule]]\naction = \"deny\"\n\
             from = {{ any = true }}\nheaders = [{{ name = \"Host\", {condition} }}]\n"
        ));
        for (host, wanted) in [("orders.weft.internal", Action::Deny), ("web.weft.internal", Action::Allow)] {
            let decided = Request::of(&format!("GET / host:{host}"))
                .ask(|view| policy.authorise(caller("svc/web").calls(), &service("a"), Call::Http(view)).action);
            assert_eq!(decided, wanted, "{condition} {host}");
        }
    }
}

#[test]
fn a_value_among_others_of_a_list_gets_around_no_rule() {
    // (test, line, whether a `deny` and whether an `allow` rule takes it)
    for (test, line, denied, allowed) in [
        ("value = \"admin\"", "admin", true, true),
        ("value = \"admin\"", "user,admin", true, false),
        ("value = \"admin\"", "admin,", true, false),
        ("value = \"admin\"", ",admin", true, false),
        ("value = \"admin\"", "user,\tadmin\t,x", true, false),
        ("value = \"admin\"", "user", false, false),
        ("value = \"user,admin\"", "user,admin", true, true),
        ("prefix = \"team-\"", "team-a", true, true),
        ("prefix = \"team-\"", "team-a,team-b", true, true),
        ("prefix = \"team-\"", "team-a,root", true, false),
        ("prefix = \"team-\"", "root,team-a", true, false),
        ("regex = \"team-.*\"", "team-a,root", true, false),
        ("regex = \"[a-z,-]*\"", "team-a,root", true, true),
        ("present = true", "a,b", true, true),
        ("present = false", "a,b", false, false),
        ("value = \"admin\"", &format!("{}admin", "a,".repeat(63)), true, false),
        ("value = \"admin\"", &"a,".repeat(63), false, false),
        ("value = \"admin\"", &"a,".repeat(64), true, false),
        ("regex = \"[a,]*\"", &"a,".repeat(63), true, true),
        ("regex = \"[a,]*\"", &"a,".repeat(64), true, false),
        ("present = true", &"a,".repeat(64), true, true),
    ] {
        for (action, taken, wanted) in [("deny", denied, Action::Deny), ("allow", allowed, Action::Allow)] {
            let default = if action == "deny" { "allow" } else { "deny" };
            let policy = policy(&format!(
                "[[authorisation]]\nname = \"a\"\nservice = \"a\"\ndefault = \"{default}\"\n[[authorisation.rule]]\n\
                 action = \"{action}\"\nfrom = {{ any = true }}\nheaders = [{{ name = \"x-role\", {test} }}]\n"
            ));
            let decided = Request::of(&format!("GET / x-role:{line}"))
                .ask(|view| policy.authorise(caller("svc/web").calls(), &service("a"), Call::Http(view)).action);
            assert_eq!(decided == wanted, taken, "{action} {test} {line}");
        }
    }
}

#[test]
fn an_options_request_for_the_whole_server_is_decided_too() {
    let text = "[[authorisation]]\nname = \"a\"\nservice = \"a\"\n[[authorisation.rule]]\naction = \"deny\"\nfrom = { any = true }\n\
        paths = [\"/**\"]\n";
    let policy = policy(text);
    let denied = Request::of("OPTIONS *")
        .ask(|view| policy.authorise(caller("svc/web").calls(), &service("a"), Call::Http(view)).action);
    assert_eq!(denied, Action::Deny);
}

#[test]
fn a_step_says_which_labels_the_certificate_carries_where_rules_ask_for_them() {
    let labelled = "[[authorisation]]\nname = \"a\"\nservice = \"a\"\nmode = \"shadow\"\n[[authorisation.rule]]\naction = \"allow\"\n\
        from = { labels = { team = \"payments\" } }\n";
    let steps = |text: &str, from: &str| {
        let policy = policy(text);
        let (_, steps) = policy.explain_authorise(caller(from).calls(), &service("a"), Call::Tcp);
        steps.into_iter().filter(|step| step.what == "labels").map(|step| step.outcome).collect::<Vec<_>>()
    };
    assert_eq!(steps(labelled, "svc/web"), ["the caller's certificate carries none"]);
    let with = steps(labelled, "svc/web team=web,env=live");
    assert_eq!(with, ["the caller's certificate carries env=live,team=web"]);
    let without = labelled.replace("labels = { team = \"payments\" }", "any = true");
    assert!(steps(&without, "svc/web team=web").is_empty());
}
