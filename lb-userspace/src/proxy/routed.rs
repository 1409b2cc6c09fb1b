//! A routed request: the decision of the routing table about it, and what follows from that.

use std::{rc::Rc, time::SystemTime};

use super::{
    message::{
        Answer, Changes, FieldEdits, Http2Request, Refusal, ReplyChanges, Request, own_body,
    },
    reason::Reason,
    routing::{self, Decision, Fields, Outcome, Table},
    selection::Selection,
    served_pool::ServedPool,
};

/// A request with the decision of the routing table about it.
#[derive(Debug)]
pub(super) struct Routed {
    /// The pool that serves the request; `None` if the front answers it.
    pub(super) pool: Option<Rc<ServedPool>>,
    /// The decision of the routing table; `None` if the service has no routing table.
    pub(super) decision: Option<Decision>,
    /// The inputs for choosing a backend of the pool for the request.
    pub(super) selection: Selection,
}

impl Routed {
    /// Returns the changes that the front makes to the request's head.
    pub(super) fn changes<'a>(&'a self, request: &routing::Request<'a>) -> Changes<'a> {
        let Some(decision) = &self.decision else {
            return Changes {
                hidden_cookie: self.selection.hidden_cookie(),
                ..Changes::default()
            };
        };
        let target = match &decision.outcome {
            Outcome::Pool(_, target) => target.as_deref(),
            _ => None,
        };
        let edits = decision.request_edits();
        Changes {
            target,
            fields: edits.map(|edits| (edits, request.values())),
            hidden_cookie: self.selection.hidden_cookie(),
        }
    }

    /// Returns the changes that the front makes to the header of a backend's response. `set_cookie`
    /// is the session cookie for the client, if it gets one.
    pub(super) fn reply_changes<'a>(&'a self, set_cookie: Option<&'a str>) -> ReplyChanges<'a> {
        ReplyChanges {
            edits: self.response_edits(),
            set_cookie,
        }
    }

    /// Returns the header edits that the service and the route make to the response; `None` if
    /// there are none.
    pub(super) fn response_edits(&self) -> Option<&FieldEdits> {
        self.decision.as_ref()?.response_edits()
    }

    /// Returns the reason for the front's own answer to a request that no pool serves.
    pub(super) fn reason(&self) -> Reason {
        match self.decision.as_ref().map(|decision| &decision.outcome) {
            Some(Outcome::Redirect(..)) => Reason::LbHeadRedirect,
            Some(Outcome::Unmatched(_)) | None => Reason::LbHeadNoRoute,
            Some(_) => Reason::LbHeadFixedAnswer,
        }
    }

    /// Returns the routing table that made the decision; `None` if the service has none.
    pub(super) fn table(&self) -> Option<&Table> {
        Some(&self.decision.as_ref()?.table)
    }

    /// Builds the front's own answer to a request that no pool serves, and passes it to
    /// `hand_over`.
    pub(super) fn with_answer<T>(&self, hand_over: impl FnOnce(&Answer<'_>) -> T) -> T {
        let outcome = self.decision.as_ref().map(|decision| &decision.outcome);
        let edits = self.response_edits();
        if let Some(Outcome::Redirect(status, location)) = outcome {
            return hand_over(&Answer {
                status: *status,
                body: None,
                location: Some(location),
                failure: false,
                edits,
            });
        }
        let fixed = self.decision.as_ref().and_then(Decision::fixed_answer);
        if let Some((status, body)) = fixed {
            return hand_over(&Answer {
                status,
                body,
                location: None,
                failure: false,
                edits,
            });
        }
        let status = match outcome {
            Some(Outcome::Unmatched(status)) => *status,
            _ => 404,
        };
        with_own_answer(self.table(), (status, None), edits, hand_over)
    }
}

/// Builds the front's answer with an error status, from the service's error page or a default text,
/// and passes it to `hand_over`.
pub(super) fn with_own_answer<T>(
    table: Option<&Table>,
    (status, refusal): (u16, Option<Refusal>),
    edits: Option<&FieldEdits>,
    hand_over: impl FnOnce(&Answer<'_>) -> T,
) -> T {
    let page = table.and_then(|table| table.error_page(status));
    let own = page.is_none().then(|| own_body(status, refusal));
    let own = own
        .as_ref()
        .map(|(content_type, text)| (*content_type, &**text));
    hand_over(&Answer {
        status,
        body: page.or(own),
        location: None,
        failure: true,
        edits,
    })
}

/// Converts an answer of the front to the head of an HTTP/2 response and its body.
pub(super) fn http2_response(answer: &Answer<'_>) -> Option<(http::Response<()>, Vec<u8>)> {
    let mut response = http::Response::builder().status(answer.status);
    for (name, value) in answer.fields(SystemTime::now()) {
        response = response.header(name, &*value);
    }
    Some((response.body(()).ok()?, answer.bytes().to_vec()))
}

/// The header of an HTTP/1 request, and whether the client that sent it is a trusted proxy.
pub(super) struct Http1Fields<'a>(pub(super) &'a Request<'a, 'a>, pub(super) bool);

impl Fields for Http1Fields<'_> {
    fn has(&self, name: &str, test: &dyn Fn(&[u8]) -> bool) -> bool {
        self.0.has_field(self.1, name, test)
    }
}

/// The header of an HTTP/2 request, and whether the client that sent it is a trusted proxy.
pub(super) struct Http2Fields<'a>(pub(super) &'a Http2Request<'a>, pub(super) bool);

impl Fields for Http2Fields<'_> {
    fn has(&self, name: &str, test: &dyn Fn(&[u8]) -> bool) -> bool {
        self.0.has_field(self.1, name, test)
    }
}
