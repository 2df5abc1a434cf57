//! The normal form of paths.

use proptest::prelude::*;

use super::*;
use crate::path::{PathFault, Pattern};

#[test]
fn a_path_has_one_normal_form() {
    for (raw, matching, forward) in [
        ("", "/", "/"),
        ("*", "/*", "*"),
        ("/", "/", "/"),
        ("/orders/7", "/orders/7", "/orders/7"),
        ("/orders/", "/orders/", "/orders/"),
        ("/orders//7", "/orders/7", "/orders/7"),
        ("///", "/", "/"),
        ("/orders/%37", "/orders/7", "/orders/%37"),
        ("/a/../orders", "/orders", "/orders"),
        ("/a//../orders", "/orders", "/orders"),
        ("/a/./b/.", "/a/b/", "/a/b/"),
        ("/a/b/..", "/a/", "/a/"),
        ("/..", "/", "/"),
        ("/a/%2e%2E/b", "/b", "/b"),
        ("/a%40b/%c3%b6", "/a@b/%C3%B6", "/a%40b/%c3%b6"),
        ("/a%20b", "/a%20b", "/a%20b"),
        ("/ö", "/%C3%B6", "/ö"),
        ("/.well-known/x", "/.well-known/x", "/.well-known/x"),
        ("/a;v=1/b", "/a;v=1/b", "/a;v=1/b"),
        ("/a/...", "/a/...", "/a/..."),
        ("/a/%252e", "/a/%252e", "/a/%252e"),
    ] {
        let normal = NormalPath::of(raw).unwrap();
        assert_eq!((normal.as_str(), normal.forward()), (matching, forward), "{raw}");
    }
}

#[test]
fn a_path_that_servers_disagree_about_is_refused() {
    for (raw, fault) in [
        ("orders", PathFault::Relative),
        ("/a%2Fb", PathFault::Slash),
        ("/a%5cb", PathFault::Slash),
        ("/a\\b", PathFault::Slash),
        ("/a%00", PathFault::Control),
        ("/a%0d%0a", PathFault::Control),
        ("/a%7f", PathFault::Control),
        ("/a%", PathFault::Percent),
        ("/a%4", PathFault::Percent),
        ("/a%zz", PathFault::Percent),
        ("/a%+1", PathFault::Percent),
        ("/a/..;/b", PathFault::DotParameters),
        ("/a/.;x=1/b", PathFault::DotParameters),
        ("/a/%2e.%3bx/b", PathFault::DotParameters),
        ("/;x/admin", PathFault::Parameters),
        ("/a/;x/b", PathFault::Parameters),
        ("/a/%3B/b", PathFault::Parameters),
        ("/;x/", PathFault::Parameters),
        ("/;x/admin/..", PathFault::Parameters),
        (&"/a".repeat(65), PathFault::Segments),
    ] {
        assert_eq!(NormalPath::of(raw), Err(fault), "{raw}");
    }
}

#[test]
fn a_path_with_parameters_is_read_with_and_without_them() {
    for (raw, whole, bare) in [
        ("/a;v=1/b", "/a;v=1/b", "/a/b"),
        ("/a;v=%2e/b;", "/a;v=./b;", "/a/b"),
        ("/a%3Bv/b%3b", "/a;v/b;", "/a/b"),
        ("/a/;jsessionid=1", "/a/;jsessionid=1", "/a/"),
        ("/;jsessionid=1", "/;jsessionid=1", "/"),
        ("/a;x;y/", "/a;x;y/", "/a/"),
        ("/b;x/../a;y", "/a;y", "/a"),
        ("/;x/../a;y", "/a;y", "/a"),
    ] {
        let normal = NormalPath::of(raw).unwrap();
        assert_eq!(normal.readings().collect::<Vec<_>>(), [whole, bare], "{raw}");
    }
    for plain in ["/a/b", "/", "", "*", "/a/%253b", "/a%20b"] {
        assert_eq!(NormalPath::of(plain).unwrap().readings().count(), 1, "{plain}");
    }
}

/// A path as a servlet container maps it: of each segment what stands before `;`, then decoded, dots and runs of slashes resolved.
fn mapped(sent: &str) -> String {
    let mut kept: Vec<String> = Vec::new();
    let mut ends_in_slash = false;
    for segment in sent[1..].split('/') {
        let name = segment.replace("%3b", ";").replace("%3B", ";");
        let name = name.split(';').next().unwrap();
        let decoded = NormalPath::of(&format!("/{name}")).map(|path| path.as_str()[1..].to_owned());
        ends_in_slash = name.is_empty();
        match name.replace("%2e", ".").replace("%2E", ".").as_str() {
            "" | "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(decoded.unwrap()),
        }
    }
    let end = if ends_in_slash && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

#[test]
fn a_pattern_that_could_never_match_is_refused() {
    for (text, says) in [
        ("orders", "must start with /"),
        ("", "must start with /"),
        ("/orders//7", "two slashes"),
        ("/orders//**", "two slashes"),
        ("/a/../b", "not in normal form"),
        ("/a/%37", "not in normal form; requests are matched as \"7\""),
        ("/a%2fb", "encoded slash"),
        ("/a?b", "not in normal form"),
        ("/a/;x/b", "nothing but parameters"),
        ("/a/;x/**", "nothing but parameters"),
        ("/orders/{}", "between the braces"),
        ("/orders/{a b}", "between the braces"),
        ("/orders/{id}/{id}", "stands twice"),
        ("/orders/x{id}", "whole segment"),
        ("/orders/*", "write {name}"),
        ("/**/x", "write {name}"),
    ] {
        let error = Pattern::template(text).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
    assert!(Pattern::exact("/orders/{id}").is_err(), "braces are never plain in a path");
}

proptest! {
    #[test]
    fn the_normal_form_is_its_own_normal_form(raw in "/[a-b%2eF5C7/.;@ö]{0,12}") {
        if let Ok(normal) = NormalPath::of(&raw) {
            let again = NormalPath::of(normal.as_str()).unwrap();
            prop_assert_eq!(again.as_str(), normal.as_str());
            let sent = NormalPath::of(normal.forward()).unwrap();
            prop_assert_eq!(sent.as_str(), normal.as_str(), "what is sent on is decided the same");
            prop_assert!(sent.readings().eq(normal.readings()));
            for reading in normal.readings() {
                prop_assert!(!reading.contains("//"));
                prop_assert!(reading.split('/').all(|part| part != "." && part != ".."));
            }
            let bare = normal.readings().last().unwrap();
            prop_assert_eq!(mapped(normal.forward()), bare, "what a container cuts off is no way around");
        }
    }
}
