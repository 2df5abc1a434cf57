//! The documents as they are written: one raw table a kind. The reader, the JSON Schema and the reference page come from these
//! tables; the compiler turns them into types that are always valid.

pub mod route;
pub mod traffic;

use std::time::Duration;

use http::HeaderName;
use weft_identity::{GrantedLabels, NodeId, ServiceName};

use crate::strict::{DocumentName, Either, Method, Whole};
use crate::{raw_table, raw_words};

pub use route::RawMatch;

raw_words! {
    /// What a rule or a default says.
    Action {
        /// The call may pass.
        Allow = "allow",
        /// The call is refused.
        Deny = "deny",
    }
}

raw_words! {
    /// Whether a document decides.
    Mode {
        /// It decides.
        Enforce = "enforce",
        /// It only reports what it would have refused.
        Shadow = "shadow",
    }
}

raw_words! {
    /// The one name of the document of the whole mesh.
    MeshDocument {
        /// The only one.
        Defaults = "defaults",
    }
}

raw_words! {
    /// What requests are counted by.
    CountBy {
        /// Each calling identity for itself.
        Identity = "identity",
        /// All calls together.
        Service = "service",
    }
}

raw_table! {
    /// What holds in the whole mesh where no document of a service says otherwise. There is one, named `defaults`.
    RawMesh, "[[mesh]]" {
        /// Always `defaults`.
        name: needed MeshDocument,
        /// What happens to a call when no rule and no service default decides it. Change it to `deny` once every service has its rules.
        authorisation: optional Action = "`allow`",
    }
}

raw_table! {
    /// Who may call a service. Says for which services it holds by exactly one of `service`, `services` and `mesh`.
    RawAuthorisation, "[[authorisation]]" {
        /// Names the document: a label of `a-z`, `0-9` and `-`, once among all documents of this kind.
        name: needed DocumentName,
        /// The called service.
        service: optional ServiceName = "none",
        /// Several called services.
        services: list ServiceName,
        /// `true`: the rules hold for every service of the mesh.
        mesh: optional bool = "false",
        /// What happens to a call of these services that no rule decides. Not with `mesh = true`: that is `[[mesh]]`.
        default: optional Action = "none",
        /// `shadow` tries the document out: it refuses nothing, and each call that it would have refused is counted in `weft_shadow_refusals_total` and named in the field `shadow` of the called node's [access log](access-log.md).
        mode: optional Mode = "`enforce`",
        /// The rules.
        rule: list RawRule,
    }
}

raw_table! {
    /// One rule. It matches when the caller matches and every key that it states matches. A rule with `methods`, `paths` or
    /// `headers` never matches a TCP stream, be it an `allow` or a `deny`; one without them holds for HTTP and TCP.
    RawRule, "[[authorisation.rule]]" {
        /// What happens to a call that matches.
        action: needed Action,
        /// Whose calls.
        from: needed RawFrom,
        /// Any of these methods; without it every method.
        methods: list Method,
        /// Any of these paths, each a path such as `/orders`, a template such as `/orders/{id}`, or one of these with `/**` at its end, which also takes everything below. One slash at the end of the request's path makes no difference. A request's path with parameters (`/orders;v=1`) meets a `deny` rule with them or without, and `allow` rules only if it meets some both ways.
        paths: list String,
        /// All of these conditions. A field that comes more than once, or is a list with commas, meets a condition of an `allow` rule only if each of its values does, and of a `deny` rule if any does.
        headers: list RawHeaderMatch,
    }
}

raw_table! {
    /// Callers, by their certificates: those of any of the lists, or everybody; with `labels`, only those of them that have all of these.
    RawFrom, "from" {
        /// `true`: every identity of the mesh. Then no list may stand.
        any: optional bool = "false",
        /// Replicas of these services.
        services: list ServiceName,
        /// These nodes themselves: what calls from a machine without being one of its services.
        nodes: list NodeId,
        /// These gateways.
        gateways: list ServiceName,
        /// Only callers whose node has all of these labels by a signer's grant (`weft token create --label`), as their certificates say. Alone: any caller with them. What a node says of itself (`weft expose --label`) counts for nothing here.
        labels: optional GrantedLabels = "none",
    }
}

raw_table! {
    /// A condition on a header field: its name and exactly one of the others. Of `host` it looks at the full name in lower case, without port:
    /// `orders.weft.internal`, however it was dialled.
    RawHeaderMatch, "headers" {
        /// The field's name, in any case of letters.
        name: needed HeaderName,
        /// Its value is this one.
        value: optional String = "none",
        /// Its value starts so.
        prefix: optional String = "none",
        /// Its whole value matches this regular expression (RE2 syntax, bytes, no backtracking).
        regex: optional String = "none",
        /// `true`: the field is there; `false`: it is not.
        present: optional bool = "none",
    }
}

raw_table! {
    /// How many requests a service takes from each node that offers it, beyond which they get 429. Each such node counts for itself. Its
    /// answers tell the limits in `RateLimit-Policy` and what they leave in `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11):
    /// `"orders-placed";r=7;t=1` means seven more at once, and one more in a second. A refusal says in `Retry-After` when the next one
    /// passes. A request that one limit refuses costs nothing at the others.
    RawRateLimit, "[[rate-limit]]" {
        /// Names the document: a label of `a-z`, `0-9` and `-`, once among all documents of this kind.
        name: needed DocumentName,
        /// The called service.
        service: needed ServiceName,
        /// So many requests …
        requests: needed Whole<1, 1_000_000_000>,
        /// … in this span.
        per: needed Duration,
        /// So many may come at once after a pause. Lower it to smooth, raise it for callers that come in bursts.
        burst: optional Whole<1, 1_000_000_000> = "as `requests`",
        /// What is counted for itself: `identity` (each caller), `service` (all together) or the values of a header field.
        by: optional Either<CountBy, RawByHeader> = "`identity`",
        /// Only requests that match any of these; without it every request, and every TCP stream.
        r#match as "match": list RawMatch,
    }
}

raw_table! {
    /// Counts by the values of a header field, without regard to the case of letters. Requests without the field, or with an empty one, are counted together. A request with several lines of it is refused with 400 (`request-malformed`): nobody knows which of them the application takes. A line with commas is one value, so count by no field that the application reads as a list.
    RawByHeader, "by" {
        /// The field.
        header: needed HeaderName,
    }
}

raw_table! {
    /// Takes trust away. Says what by exactly one of `node`, `key` and `token`.
    RawRevocation, "[[revocation]]" {
        /// Names the document: a label of `a-z`, `0-9` and `-`, once among all documents of this kind.
        name: needed DocumentName,
        /// A node: every certificate of it and of its replicas is refused, and its open connections are closed.
        node: optional NodeId = "none",
        /// A public key of a replica or a node, as 64 hexadecimal digits; `weft cert ls` on its node shows it.
        key: optional String = "none",
        /// A join token that was not used yet, by its id of 16 hexadecimal digits.
        token: optional String = "none",
        /// Why, for those who read the history.
        reason: needed String,
    }
}
