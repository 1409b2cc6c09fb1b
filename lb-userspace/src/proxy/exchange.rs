//! One request to a backend and its response back, whatever the client speaks.

use std::{
    cell::Cell,
    future::poll_fn,
    io::{ErrorKind, IoSlice},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::{
    net::tcp::{ReadHalf, WriteHalf},
    time::Instant,
};

use super::{
    account::{Notes, Stage},
    admission::admit,
    front::{Front, Peer},
    gate::{Place, Slot},
    memory::Relay,
    message::{Framing, Refusal, Response},
    metered::Progress,
    observed::Observed,
    reason::{By, Left, Reason},
    receive::{Received, receive},
    retries::{Retries, Retry},
    selection::Selection,
    served_pool::{Choice, ServedPool},
    upload::upload,
    upstream::{Lease, Member},
    watchdog::{Expired, Watchdog},
    wire::write_all,
};
use crate::config::Http;

/// A request, ready to be sent.
#[derive(Debug)]
pub(super) struct UpstreamRequest<'a> {
    /// The service.
    pub(super) front: &'a Front,
    /// The pool that serves it.
    pub(super) pool: &'a ServedPool,
    /// What the choice of a backend depends on.
    pub(super) selection: &'a Selection,
    /// The client.
    pub(super) peer: &'a Peer,
    /// The limits when the request came.
    pub(super) limits: &'a Http,
    /// The head for the backend.
    pub(super) head: &'a [u8],
    /// How the body goes to the backend.
    pub(super) framing: Framing,
    /// Whether the method is HEAD.
    pub(super) to_head: bool,
    /// Whether it may be sent twice.
    pub(super) idempotent: bool,
    /// Whether the client asked for another protocol.
    pub(super) upgrade: bool,
    /// How far the body is.
    pub(super) upload: &'a Upload,
    /// What the client takes of the response.
    pub(super) progress: &'a Progress,
    /// What is noted of the request.
    pub(super) notes: &'a Notes,
}

impl UpstreamRequest<'_> {
    /// The client left just now.
    pub(super) fn client_left(&self, left: Left) -> Reason {
        Reason::client_left(self.notes.phase(), left)
    }
}

/// How far a request's body is, and its response.
#[derive(Debug, Default)]
pub(super) struct Upload {
    /// When it last went on; `None`: not yet.
    pub(super) progress: Cell<Option<Instant>>,
    /// Whether the backend has all of it.
    pub(super) complete: Cell<bool>,
    /// Whether the head of the response has come.
    pub(super) answered: Cell<bool>,
    /// Whether the client has all that there is of the response, and the backend is waited for.
    pub(super) waiting: Cell<bool>,
}

/// A part of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    /// Its bytes.
    pub(super) data: &'a [u8],
    /// Whether the body ends with it.
    pub(super) last: bool,
}

/// The body of a request, as the client sends it.
pub(super) trait Body {
    /// The current piece, without waiting: empty when nothing arrived yet. The same one until
    /// [`Self::next`] is called.
    fn current(&mut self) -> Result<Piece<'_>, Refusal>;

    /// Lets go of the current piece and waits for another one, or for the end.
    async fn next(&mut self) -> Result<(), BodyError>;

    /// Whether a piece was let go of, so that the request cannot be sent again.
    fn has_moved(&self) -> bool;

    /// Once the body has been taken to its end: waits until the client has gone, so that nobody
    /// waits for the response.
    async fn gone(&mut self, request: &UpstreamRequest<'_>) -> Left;
}

/// Why there is no more of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BodyError {
    /// The client broke the rules.
    Refused(Refusal),
    /// The client went away.
    Gone(Left),
}

/// Where a response goes.
pub(super) trait Sink {
    /// Waits until a part of the response has room on its way to the client, and says how many
    /// bytes: more is not read from the backend.
    fn poll_room(&mut self, _context: &mut Context<'_>) -> Poll<Result<usize, ClientGone>> {
        Poll::Ready(Ok(usize::MAX))
    }

    /// Takes an interim head; [`Self::body`] or [`Self::flush`] sends it.
    fn interim(&mut self, response: &Response<'_, '_>);

    /// Takes the head of the response; [`Self::body`] sends it.
    fn begin(&mut self, response: &Response<'_, '_>);

    /// Sends what was taken.
    async fn flush(&mut self) -> Result<(), ClientGone>;

    /// Sends a part of the body, and what was taken before. `more`: the caller sends another part
    /// before it waits for anything, so that this one may wait for that.
    async fn body(&mut self, piece: Piece<'_>, more: bool) -> Result<(), ClientGone>;
}

/// The client cannot be written to any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ClientGone(pub(super) Left);

/// How an exchange ended. The backend that had it last is in the order's notes.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The client has the whole response.
    Answered(u16),
    /// The backend speaks another protocol from here on; the client was told. The buffer holds what
    /// the backend said already.
    Upgraded(Lease, Relay),
    /// The client got nothing yet: it is to be told.
    Failed(Reason),
    /// The client's request is at fault.
    Refused(Refusal),
    /// The client is gone, or has a part of a response that will not be completed.
    Broken(Reason),
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// The request's body is at fault.
    Refused(Refusal),
    /// Anything else.
    Ended(Reason),
}

impl Outcome {
    /// What it says of the backend.
    fn observed(&self) -> Observed {
        match self {
            Self::Answered(status) => Observed::Answered(*status),
            _ => Observed::Answered(101),
        }
    }

    /// A tunnel is a request under way for as long as it lasts.
    fn keeping(mut self, slot: Option<Slot>) -> Self {
        if let Self::Upgraded(lease, _) = &mut self {
            lease.slot = slot;
        }
        self
    }
}

impl UpstreamRequest<'_> {
    /// Chooses a backend, not one of `tried`. `place`: that of the request in the pool's queue, if it
    /// waits there.
    pub(super) fn choose(&self, tried: &[Rc<Member>], place: Option<&Place>) -> Choice {
        let dependent = (self.peer.hash, self.selection);
        self.pool.choose(dependent, tried, place)
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Ended(reason)
    }
}

/// Sends a request to a backend and its response to the client. Where a backend refuses the
/// connection, another one is tried; where sending the request twice is sure to do no harm, also
/// when its connection died or its backend went down before it answered (see [`Retries`]).
pub(super) async fn exchange<B: Body, K: Sink>(
    request: &UpstreamRequest<'_>,
    body: &mut B,
    sink: &mut K,
    watchdog: &mut Watchdog,
) -> Outcome {
    let Some(limit) = request.limits.timeouts.request else {
        return attempts(request, body, sink, watchdog).await;
    };
    // In a box, so that other requests carry no room for it.
    let attempts = Box::pin(attempts(request, body, sink, watchdog));
    if let Ok(ended) = tokio::time::timeout(limit, attempts).await {
        return ended;
    }
    let failure = Reason::request_timeout(request.notes.phase());
    if let Some(member) = &*request.notes.member() {
        let reused = false;
        request
            .pool
            .observe(member, Observed::Ended { failure, reused });
    }
    end(request, failure)
}

async fn attempts<B: Body, K: Sink>(
    request: &UpstreamRequest<'_>,
    body: &mut B,
    sink: &mut K,
    watchdog: &mut Watchdog,
) -> Outcome {
    let (pool, notes) = (request.pool, request.notes);
    pool.count_request(notes.began.unwrap_or_else(|| Instant::now().into_std()));
    let mut tried: Vec<Rc<Member>> = Vec::new();
    let mut retries = Retries::new(pool.retries(), request.limits.timeouts.connect);
    let admitted = admit(request, &tried, body, watchdog).await;
    let (mut member, mut slot) = match admitted {
        Ok(admitted) => admitted,
        Err(reason) => return end(request, reason),
    };
    let mut lease = Lease::idle(&member);
    loop {
        let reused = lease.is_some();
        notes.attempt(&member);
        let failure = match attempt(request, (&member, lease), body, sink, watchdog).await {
            Ok(outcome) => {
                pool.observe(&member, outcome.observed());
                return outcome.keeping(slot);
            }
            Err(Failure::Refused(refusal)) => return Outcome::Refused(refusal),
            Err(Failure::Ended(reason)) => reason,
        };
        if tells_of_backend(failure, reused) {
            member.upstream.avoid();
        }
        pool.observe(&member, Observed::Ended { failure, reused });
        let harmless = request.idempotent && !body.has_moved();
        let now = Instant::now();
        let budget = || pool.may_retry(now.into_std());
        match retries.after(failure, (reused, harmless), budget, now) {
            Retry::No => return end(request, failure),
            Retry::OverBudget => {
                request.front.counters.retries_refused.add(1);
                return end(request, failure.over_budget());
            }
            Retry::SameBackend if member.up.get() => {}
            Retry::SameBackend | Retry::OtherBackend => {
                tried.push(Rc::clone(&member));
                drop(slot.take());
                let Ok(other) = admit(request, &tried, body, watchdog).await else {
                    return end(request, failure);
                };
                (member, slot) = other;
            }
        }
        lease = if retries.only_new_connections() {
            None
        } else {
            Lease::idle(&member)
        };
        request.front.counters.retries.add(1);
    }
}

/// Whether others are better for a moment than a backend at which that happened.
fn tells_of_backend(failure: Reason, reused: bool) -> bool {
    match failure {
        Reason::BackendConnectRefused
        | Reason::BackendConnectUnreachable
        | Reason::BackendConnectDown
        | Reason::BackendConnectTimeout => true,
        Reason::BackendResponseHeadClosed | Reason::BackendResponseHeadReset => !reused,
        _ => false,
    }
}

fn end(request: &UpstreamRequest<'_>, reason: Reason) -> Outcome {
    if reason.by() == By::Client || request.upload.answered.get() {
        Outcome::Broken(reason)
    } else {
        Outcome::Failed(reason)
    }
}

async fn attempt<B: Body, K: Sink>(
    request: &UpstreamRequest<'_>,
    (member, lease): (&Rc<Member>, Option<Lease>),
    body: &mut B,
    sink: &mut K,
    watchdog: &mut Watchdog,
) -> Result<Outcome, Failure> {
    let mut lease = match lease {
        Some(lease) => lease,
        None => {
            let connect = connect(request, member, watchdog);
            // Nobody waits for a connection to a backend that is known to be down by now.
            let connected = request.pool.unless_down(member, connect).await;
            connected.unwrap_or(Err(Reason::BackendConnectDown))?
        }
    };
    request.notes.enter(Stage::Connected);
    request.notes.times.connect();
    let mut relay = Relay::new(&request.front.spares);
    let received = converse(request, &mut lease, &mut relay, (body, sink), watchdog).await;
    match received {
        Ok(Received::Upgrade) => Ok(Outcome::Upgraded(lease, relay)),
        Ok(Received::Complete { status, keep_alive }) => {
            if keep_alive && relay.is_empty() && request.upload.complete.get() {
                lease.keep(request.limits.idle_connections);
            }
            Ok(Outcome::Answered(status))
        }
        Err(failure) => Err(failure),
    }
}

async fn connect(
    request: &UpstreamRequest<'_>,
    member: &Rc<Member>,
    watchdog: &mut Watchdog,
) -> Result<Lease, Reason> {
    let no_descriptor = Reason::LbConnectNoDescriptor;
    let open = request.front.open_backend().ok_or(no_descriptor)?;
    let limit = request.limits.timeouts.connect;
    match watchdog.limit(limit, Lease::connect(member, open)).await {
        Ok(Ok(lease)) => Ok(lease),
        Ok(Err(error)) if is_out_of_descriptors(&error) => Err(no_descriptor),
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
            Err(Reason::BackendConnectRefused)
        }
        Ok(Err(_)) => Err(Reason::BackendConnectUnreachable),
        Err(Expired) => Err(Reason::BackendConnectTimeout),
    }
}

/// Whether it is this host, and not the backend, that a connection failed for.
fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Sends the request and receives the response, both at once where there is a body.
async fn converse<B: Body, K: Sink>(
    request: &UpstreamRequest<'_>,
    lease: &mut Lease,
    relay: &mut Relay,
    (body, sink): (&mut B, &mut K),
    watchdog: &mut Watchdog,
) -> Result<Received, Failure> {
    let member = Rc::clone(lease.member());
    let (mut reader, mut writer) = lease.stream.split();
    request.upload.progress.set(None);
    if request.framing == Framing::Empty {
        request.upload.complete.set(true);
        let mut slices = [IoSlice::new(request.head)];
        let taken = Progress::default();
        let write = write_all(&mut writer, &mut slices, &taken);
        let limit = request.limits.timeouts.send;
        match watchdog.limit_pauses(&taken, limit, write).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Reason::BackendResponseHeadReset.into()),
            Err(Expired) => return Err(Reason::BackendRequestBodyTimeout.into()),
        }
        let elsewhere = request.idempotent.then_some(&*member);
        let mut received = pin!(receive(
            request,
            (&mut reader, elsewhere),
            relay,
            sink,
            watchdog
        ));
        let mut gone = pin!(body.gone(request));
        return poll_fn(|context| {
            let received = received.as_mut().poll(context);
            if received.is_pending()
                && let Poll::Ready(left) = gone.as_mut().poll(context)
            {
                return Poll::Ready(Err(request.client_left(left).into()));
            }
            received.map_err(Failure::Ended)
        })
        .await;
    }
    request.upload.complete.set(false);
    // In a box, so that requests without a body carry no room for it.
    Box::pin(both_ways(
        request,
        (&mut reader, &mut writer),
        relay,
        (body, sink),
        watchdog,
    ))
    .await
}

async fn both_ways<B: Body, K: Sink>(
    request: &UpstreamRequest<'_>,
    (reader, writer): (&mut ReadHalf<'_>, &mut WriteHalf<'_>),
    relay: &mut Relay,
    (body, sink): (&mut B, &mut K),
    watchdog: &mut Watchdog,
) -> Result<Received, Failure> {
    let mut up_watchdog = Watchdog::default();
    let mut up = pin!(upload(request, body, writer, &mut up_watchdog));
    let mut down = pin!(receive(request, (reader, None), relay, sink, watchdog));
    let mut sending = true;
    poll_fn(|context| {
        loop {
            if sending && let Poll::Ready(end) = up.as_mut().poll(context) {
                sending = false;
                if let Err(failure) = end {
                    return Poll::Ready(Err(failure));
                }
            }
            let answered = request.upload.answered.get();
            let received = down.as_mut().poll(context);
            // The upload waits for this one as well.
            if received.is_ready() || answered == request.upload.answered.get() {
                return received.map_err(Failure::Ended);
            }
        }
    })
    .await
}
