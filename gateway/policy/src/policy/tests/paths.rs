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
        (&"/a".repeat(65), PathFault::Segments),
    ] {
        assert_eq!(NormalPath::of(raw), Err(fault), "{raw}");
    }
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
            prop_assert!(!normal.as_str().contains("//"));
            prop_assert!(normal.as_str().split('/').all(|part| part != "." && part != ".."));
        }
    }
}
