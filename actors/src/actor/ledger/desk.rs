//! The ledger as members ask for it: answered from the snapshot, so that no question reaches the actor.

use std::sync::Arc;

use weft_identity::NodeId;
use weft_ledger::journal::Reader;
use weft_ledger::sync::{Answer, LedgerDesk, Question, View, answer};

use crate::core::Core;

/// Answers questions of members.
pub(crate) struct Desk(pub(crate) Arc<Core>);

impl LedgerDesk for Desk {
    fn answer(&self, _peer: &NodeId, question: Question) -> Answer {
        let Ok(held) = self.0.held() else {
            return Answer::Refused { label: "starting".to_owned(), detail: "the ledger is being read".to_owned() };
        };
        let rules = self.0.rules();
        // No enrolment has the gateway role yet, so that no peer gets what is for gateways.
        let view = View { ledger: &held.ledger, rules: &rules, journals: &held.journals, reader: Reader::Node };
        answer(question, &view)
    }
}
