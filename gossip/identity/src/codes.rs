//! The registry of error codes. Every refusal or failure that a user can meet has one: the CLI, the HTTP reply and the log
//! name it, and `weft explain CODE` prints its page, `docs/errors/<code>.md`.

use std::fmt;

/// Where a failure arose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The caller sent something that cannot be served.
    Client,
    /// The called service or its node.
    Upstream,
    /// This node.
    Node,
    /// The operator's command, its arguments or files.
    Operator,
}

/// One entry of the registry.
#[derive(Debug)]
pub struct CodeEntry {
    /// The code as users see it.
    pub code: &'static str,
    /// One line: what happened.
    pub title: &'static str,
    /// Where it arose.
    pub origin: Origin,
    /// The HTTP status of a reply with this code; 0 where it never is one.
    pub status: u16,
    /// The error type of the `proxy-status` header (RFC 9209, section 2.3); empty where there is none.
    pub proxy_status: &'static str,
    /// What to do next, one line.
    pub next_step: &'static str,
    /// The page that `weft explain` prints (Markdown).
    pub page: &'static str,
}

macro_rules! codes {
    ($($variant:ident, $code:literal, $origin:ident, $status:literal, $proxy:literal, $title:literal, $next:literal;)*) => {
        /// A code of the registry.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        /// Every code, in the order of the registry.
        pub const ALL: &[Code] = &[$(Code::$variant,)*];

        impl Code {
            /// The entry of this code.
            pub const fn entry(self) -> &'static CodeEntry {
                match self {
                    $(Code::$variant => &CodeEntry {
                        code: $code,
                        title: $title,
                        origin: Origin::$origin,
                        status: $status,
                        proxy_status: $proxy,
                        next_step: $next,
                        page: include_str!(concat!("../../../docs/errors/", $code, ".md")),
                    },)*
                }
            }
        }
    };
}

codes! {
    // The data path: what a caller of a service gets.
    ServiceUnknown, "service-unknown", Client, 404, "destination_not_found", "no node offers this service", "run `weft ls services`; expose it with `weft expose`";
    NoHealthyReplica, "no-healthy-replica", Upstream, 503, "destination_unavailable", "the service is known but no replica of it can serve", "run `weft ls services` and look at the replicas' health";
    ConnectRefused, "connect-refused", Upstream, 502, "connection_refused", "the replica refused the connection", "check that the application listens on the exposed port";
    ConnectTimeout, "connect-timeout", Upstream, 504, "connection_timeout", "connecting to the replica took too long", "check that port 4510 is open between the machines";
    RequestTimeout, "request-timeout", Upstream, 504, "http_response_timeout", "the service did not answer in time", "look at the service's latency, or raise the timeout";
    UpstreamReset, "upstream-reset", Upstream, 502, "connection_terminated", "the connection to the service broke before it answered", "look at the log of the service and of its node";
    IdentityMismatch, "identity-mismatch", Upstream, 502, "tls_certificate_error", "what answered could not prove to be the service that was dialled", "run `weft ls certs` on the node that answered";
    IdentityRefused, "identity-refused", Upstream, 403, "tls_alert_received", "the called node refused this caller's identity", "run `weft status` and `weft ls certs` here: is this node revoked, is its certificate current?";
    ProtocolMismatch, "protocol-mismatch", Client, 502, "http_protocol_error", "the service does not speak the protocol that was asked of it", "see `weft ls services`: reach a TCP service through `weft bind`, offer a service as the other nodes do";
    HostMissing, "host-missing", Client, 400, "http_request_error", "the request names no service", "send `Host: <service>.weft.internal`";
    RequestMalformed, "request-malformed", Client, 400, "http_request_error", "the request is not valid HTTP", "correct the request; the detail names what was wrong";
    HeadTooLarge, "head-too-large", Client, 431, "http_request_error", "the request's head is over the limit", "send fewer or smaller headers";
    NotAllowed, "not-allowed", Client, 403, "http_request_denied", "a policy does not allow this caller to make this call", "run `weft why` with the id of the reply; then change the policy that it names";
    RateLimited, "rate-limited", Client, 429, "http_request_denied", "the caller is over a rate limit of the service", "wait as long as `retry-after` says, or raise the limit that is named";
    AnswerMalformed, "answer-malformed", Upstream, 502, "http_protocol_error", "the service's answer is not valid HTTP", "look at the answer itself: `curl -v` at the application; the detail names what was wrong";
    CallerTooSlow, "caller-too-slow", Client, 408, "http_request_error", "the caller did not send its request in time", "send the whole head within `timeouts.head`, and the body without long pauses";
    CallLoops, "call-loops", Client, 508, "proxy_loop_detected", "the call came back to where it had been", "run `weft ls services`: is a node's own port exposed as a service, or does an application send calls back?";
    Overloaded, "overloaded", Node, 503, "connection_limit_reached", "this node is at its limit of connections or requests", "retry later, or raise the limit";
    Internal, "internal", Node, 500, "proxy_internal_error", "something in this node failed that should not", "run `weft status` and report the log line";
    // Identity and joining.
    TokenMalformed, "token-malformed", Operator, 0, "", "the join token cannot be read", "copy the whole line that `weft token create` printed";
    TokenExpired, "token-expired", Operator, 0, "", "the join token has expired", "create a new one with `weft token create`";
    TokenUsed, "token-used", Operator, 0, "", "the join token was used before", "create a new one with `weft token create`; a token admits one node";
    TokenUnknown, "token-unknown", Operator, 0, "", "the signer did not issue this token", "create the token on a signer of this mesh";
    RootMismatch, "root-mismatch", Operator, 0, "", "the machine that answered does not belong to the token's mesh", "check the address; the token names the mesh's root";
    ClockSkew, "clock-skew", Operator, 0, "", "this machine's clock and the mesh's differ too much", "set the clock (for example with chrony) and try again";
    NodeNameTaken, "node-name-taken", Operator, 0, "", "another node of the mesh has this name", "choose another with `--node`";
    NotSigner, "not-signer", Operator, 0, "", "this node is not a signer", "run the command on a node with the signer role";
    NoSigner, "no-signer", Node, 0, "", "no signer answered", "start a node with the signer role; certificates last until they expire";
    EnrolmentRefused, "enrolment-refused", Operator, 0, "", "the signer does not accept this node's enrolment", "join again with a new token";
    GrantMissing, "grant-missing", Operator, 0, "", "this node's enrolment does not grant the service", "create a token with `--grant SERVICE` and join again with it";
    CellFull, "cell-full", Operator, 0, "", "the cell has as many nodes as it admits", "start another cell, or raise the limit";
    PassphraseMissing, "passphrase-missing", Operator, 0, "", "the root key needs a passphrase and none was given", "give --passphrase-file or WEFT_PASSPHRASE, or run on a terminal";
    PassphraseWrong, "passphrase-wrong", Operator, 0, "", "the passphrase does not open the key file", "give the passphrase of `weft init`";
    RootKeyWrong, "root-key-wrong", Operator, 0, "", "the key is not that of the root that must sign this", "run `weft ca show`; give the key file of the root that is active";
    KeyFileWrong, "key-file-wrong", Operator, 0, "", "the key file cannot be read, is no key file, or holds another key", "give the file that the named option asks for; `weft init` wrote keys/root.key and keys/operator.key";
    RotationRefused, "rotation-refused", Operator, 0, "", "the change of signers or roots would cut nodes off, or is out of order", "run `weft ca show` and do the step before first";
    BundleRefused, "bundle-refused", Operator, 0, "", "the trust bundle does not follow the one that the node holds", "make the change again; somebody else made one meanwhile";
    // The ledger.
    RevisionUnknown, "revision-unknown", Operator, 0, "", "there is no such revision on this node", "run `weft history` for the list";
    RevisionAmbiguous, "revision-ambiguous", Operator, 0, "", "several change sets have this revision", "name one by its hash, from `weft history`";
    ChangeSetInvalid, "change-set-invalid", Operator, 0, "", "the change set would be refused by every node", "correct what the detail names and apply again";
    ReachTooSmall, "reach-too-small", Operator, 0, "", "the change would reach fewer than half of the nodes", "find out why the others are silent, or say --anyway";
    LedgerFull, "ledger-full", Operator, 0, "", "the ledger holds as much as it may", "found a new mesh, or remove what fills it; see the page of this code";
    JournalRefused, "journal-refused", Operator, 0, "", "this node's journal does not take the entry", "read the detail; a frozen journal needs a new node name";
    RevisionIncomplete, "revision-incomplete", Operator, 0, "", "the change stands, and not every node that answers has it in force", "run `weft history`, and look at the nodes named";
    RevisionSetAside, "revision-set-aside", Operator, 0, "", "another change of the same document came first", "look at `weft plan`, then run `weft apply --again` with the revision";
    OperatorKeyMissing, "operator-key-missing", Operator, 0, "", "there is no operator key to sign with", "give --operator-key FILE";
    RefusalUnknown, "refusal-unknown", Operator, 0, "", "this node keeps no refusal of this id", "ask the node that the id names, soon: it keeps the last 1,024";
    PolicyInvalid, "policy-invalid", Operator, 0, "", "the policy files have mistakes", "correct the lines named; `weft plan` reads them without changing anything";
    // The machine and its state.
    StateExists, "state-exists", Operator, 0, "", "the state directory already holds a node", "choose another --dir, or remove it on purpose";
    StateMissing, "state-missing", Operator, 0, "", "the state directory holds no node", "run `weft init` or `weft join` first";
    StateOtherMesh, "state-other-mesh", Operator, 0, "", "the state directory belongs to another mesh", "choose another --dir";
    StateBroken, "state-broken", Operator, 0, "", "a file of the state directory cannot be used", "restore it, or join again with a new state directory";
    StateInUse, "state-in-use", Operator, 0, "", "another process uses this state directory", "stop the other `weft run`, or choose another --dir";
    PortInUse, "port-in-use", Operator, 0, "", "a port that the node needs is taken", "stop what holds it, or change the port in node.toml";
    AddressInvalid, "address-invalid", Operator, 0, "", "an address is not usable here", "give an address of this machine that the other nodes reach";
    NameInvalid, "name-invalid", Operator, 0, "", "a name is not valid", "use a-z, 0-9 and -, at most 63 bytes (32 for a node)";
    ConfigInvalid, "config-invalid", Operator, 0, "", "the configuration file has mistakes", "correct the lines named; `weft check` reads it without starting";
    BindingConflict, "binding-conflict", Operator, 0, "", "the local port is bound to another service", "choose another port, or unbind it with `weft bind --remove PORT`";
    RecordTooLarge, "record-too-large", Operator, 0, "", "the node's record would not fit into gossip", "offer fewer replicas from this node, or shorter labels";
    NodeNotRunning, "node-not-running", Operator, 0, "", "no node runs on this state directory", "start it with `weft run`";
    AnswerMissing, "answer-missing", Operator, 0, "", "the node did not answer a request that it may have carried out", "find out once the node answers: `weft history` for policies, `weft status` for the rest";
    NodeUnreachable, "node-unreachable", Operator, 0, "", "the other node does not answer", "check the address and that port 4510 (TCP and UDP) is open";
    RestartBudgetSpent, "restart-budget-spent", Node, 0, "", "a part of the node crashed again and again", "read the last WARN lines of the log and `weft explain restart-budget-spent`";
    CheckFailed, "check-failed", Operator, 0, "", "a check did not hold", "the output shows what did not hold: a line marked as failed, or the answer";
    OutputFailed, "output-failed", Operator, 0, "", "the result could not be written", "make room where standard output goes; `weft history` and `weft status` tell whether something changed";
    CodeUnknown, "code-unknown", Operator, 0, "", "there is no such error code", "run `weft explain` for the list";
    UsageInvalid, "usage-invalid", Operator, 0, "", "the command line is not valid", "run the command with --help";
}

impl Code {
    /// The code as users see it, for example `service-unknown`.
    pub const fn as_str(self) -> &'static str {
        self.entry().code
    }

    /// Finds a code by its text.
    pub fn find(text: &str) -> Option<Code> {
        ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error as an operator reads it: a code, what was being done, and what to do next.
///
/// Every command of the CLI ends with one of these or not at all; the admin API carries it as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Failure {
    /// The code of the registry.
    pub code: Code,
    /// What was being done, where, and the likely cause.
    pub detail: String,
}

impl Failure {
    /// A failure with its detail.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_text_and_has_a_page() {
        for code in ALL {
            assert_eq!(Code::find(code.as_str()), Some(*code));
            assert!(code.entry().page.starts_with(&format!("# {code}")), "{code}: page title");
            assert!(code.entry().status == 0 || !code.entry().proxy_status.is_empty(), "{code}");
        }
    }
}
