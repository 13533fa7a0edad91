//! Who may join: the core says whether the name is free, a token whether whoever asks is expected.

use crate::clock;
use crate::controller::Controller;
use crate::model::{JoinRefusal, NodeMember, Roll};
use crate::trust::TokenStore;
use crate::wire::JoinAsk;
use std::sync::Arc;
use tokio::sync::watch;

/// The tokens, and whom the server lets in.
pub(super) struct Registry {
    pub(super) trusted: watch::Sender<Arc<Roll>>,
    pub(super) tokens: Option<TokenStore>,
}

/// What becomes of a host that asks.
pub(super) enum Verdict {
    /// It is on record.
    Known,
    /// It is new, and its token was used.
    New { member: NodeMember, token: String },
}

impl Registry {
    /// Asks the core, and then the token: a name that is not free costs none.
    pub(super) fn judge(&self, core: &Controller, ask: JoinAsk) -> Result<Verdict, JoinRefusal> {
        let JoinAsk { node, key, token } = ask;
        if core.admission(&node, &key)? {
            return Ok(Verdict::Known);
        }
        let (Some(tokens), Some(token)) = (&self.tokens, token) else { return Err(JoinRefusal::NoToken(node)) };
        // Writing the use down takes a moment, in which nothing else is decided: two hosts cannot use one token at once.
        let labels = tokens.redeem(&token, &node, clock::wall())?;
        Ok(Verdict::New { member: NodeMember { key, labels }, token: token.id })
    }
}
