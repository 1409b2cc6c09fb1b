//! A session of the link between the agents: one connection from its greeting to its end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    sync::mpsc::{self, error::TrySendError},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};

use super::{
    DownReason, Event, FlowChunk,
    credit::{Credit, Ledger},
    frame::{Frame, Urgent},
    record::{HEADER_BYTES, Incoming, ReadError},
    send_queue::{SendHandle, SendQueue},
    view::Counters,
};

/// How often a ping is sent over the link to the peer, and when the session times out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rhythm {
    /// The interval between two pings.
    pub(super) ping: Duration,
    /// The session ends when no ping was answered for this long.
    pub(super) silence: Duration,
}

impl Rhythm {
    /// Returns a ping interval that is the advert interval, limited to between 100 ms and 1 s, and
    /// a time-out of three pings, like VRRP's three adverts. It is at least 300 ms because TCP
    /// takes some 200 ms to retransmit a lost segment.
    pub(super) fn of(advert_interval: Duration) -> Self {
        let ping = advert_interval.clamp(Duration::from_millis(100), Duration::from_secs(1));
        Self {
            ping,
            silence: 3 * ping,
        }
    }
}

/// The channels that deliver the peer's messages to the agent.
#[derive(Clone, Debug)]
pub(super) struct Outlets {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) flows: mpsc::Sender<FlowChunk>,
}

/// A session of the link to the peer that is running; it receives, sends, pings and watches for a
/// time-out, all concurrently.
pub(super) struct Session<'a> {
    number: u64,
    began: Instant,
    rhythm: Rhythm,
    counters: &'a Counters,
    outlets: &'a Outlets,
    handle: SendHandle,
    credit: Arc<Credit>,
    ledger: Arc<Ledger>,
    /// When the newest ping that was answered was sent, in microseconds since the session began.
    answered: AtomicU64,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        number: u64,
        rhythm: Rhythm,
        counters: &'a Counters,
        outlets: &'a Outlets,
    ) -> (Self, SendQueue) {
        let credit = Arc::new(Credit::default());
        let ledger = Arc::new(Ledger::default());
        let (handle, send_queue) = SendQueue::new(Arc::clone(&credit), Arc::clone(&ledger));
        let session = Self {
            number,
            began: Instant::now(),
            rhythm,
            counters,
            outlets,
            handle,
            credit,
            ledger,
            answered: AtomicU64::new(0),
        };
        (session, send_queue)
    }

    /// Returns a handle that puts messages into the session's send queue.
    pub(super) fn handle(&self) -> SendHandle {
        self.handle.clone()
    }

    /// Runs the connection until receiving, sending, pinging or the watch for a time-out ends,
    /// which ends the session. Returns why it ended.
    pub(super) async fn run(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        send_queue: SendQueue,
    ) -> DownReason {
        let (reader, writer) = tokio::io::split(stream);
        // The selection is not biased: a future that is always ready would keep the others from
        // running.
        tokio::select! {
            down = self.watch() => down,
            down = self.read(reader) => down,
            down = self.write(writer, send_queue) => down,
            down = self.ping() => down,
        }
    }

    /// Waits until no ping was answered for as long as [`Rhythm::silence`].
    async fn watch(&self) -> DownReason {
        loop {
            let answered = Duration::from_micros(self.answered.load(Relaxed));
            let dead = self.began + answered + self.rhythm.silence;
            if Instant::now() >= dead {
                return DownReason::Silent;
            }
            sleep_until(dead).await;
        }
    }

    async fn ping(&self) -> DownReason {
        let mut ticks = interval_at(self.began, self.rhythm.ping);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // If the queue has no room for a ping, it is not sent and not answered; after enough of
            // these the session times out.
            let _queued = self.handle.urgent(Urgent::Ping { sent: self.age() });
        }
    }

    async fn write(
        &self,
        mut writer: impl AsyncWrite + Unpin,
        mut send_queue: SendQueue,
    ) -> DownReason {
        let mut record = Vec::new();
        loop {
            let Some(is_last) = send_queue.next(&mut record).await else {
                return DownReason::Overrun;
            };
            // Each record is flushed immediately: bytes that TLS keeps in a buffer would delay the
            // next heartbeat.
            let written = match writer.write_all(&record).await {
                Ok(()) => writer.flush().await,
                failed => failed,
            };
            if let Err(error) = written {
                return DownReason::Broken(error.to_string());
            }
            self.counters.sent.count(record.len(), is_last);
        }
    }

    async fn read(&self, reader: impl AsyncRead + Unpin) -> DownReason {
        let mut incoming = Incoming::new(BufReader::new(reader));
        loop {
            let (lane, message) = match incoming.next().await {
                Ok(message) => message,
                Err(ReadError::Malformed(what)) => return malformed(what),
                Err(ReadError::Io(error)) => return ended(&error),
            };
            self.counters
                .received
                .count(message.len() + HEADER_BYTES, true);
            let Some(frame) = Frame::decode(lane, message) else {
                return malformed("a frame that cannot be read");
            };
            if let Err(down) = self.take(frame) {
                return down;
            }
        }
    }

    /// Handles a frame that was received. Never waits, because the next frame may be a heartbeat.
    fn take(&self, frame: Frame) -> Result<(), DownReason> {
        match frame {
            Frame::Urgent(Urgent::Ping { sent }) => {
                let _queued = self.handle.urgent(Urgent::Pong { sent });
                Ok(())
            }
            Frame::Urgent(Urgent::Pong { sent }) => self.answered(sent),
            Frame::Urgent(Urgent::Credit(messages)) => self
                .credit
                .grant(messages)
                .ok_or_else(|| malformed("credit for nothing")),
            Frame::Urgent(Urgent::Pair(message)) => {
                if self
                    .outlets
                    .events
                    .try_send(Event::PairMessage(message))
                    .is_err()
                {
                    self.counters.dropped_words.fetch_add(1, Relaxed);
                }
                Ok(())
            }
            Frame::Control(message) => {
                let told = self.outlets.events.try_send(Event::Message(message));
                told.map_err(|_| DownReason::Overrun)
            }
            Frame::Unknown => {
                tracing::debug!("ignored a message of a later version of lb");
                Ok(())
            }
            Frame::Flows(bytes) => self.flows(bytes),
        }
    }

    fn answered(&self, sent: u64) -> Result<(), DownReason> {
        let age = self.age();
        if sent > age || sent < self.answered.load(Relaxed) {
            return Err(malformed("an answer to a ping that was not sent"));
        }
        self.answered.store(sent, Relaxed);
        self.counters.round_trip(Duration::from_micros(age - sent));
        Ok(())
    }

    fn flows(&self, bytes: Vec<u8>) -> Result<(), DownReason> {
        let chunk = self.ledger.book(self.number, bytes);
        let chunk = chunk.ok_or_else(|| malformed("more flows than it has credit for"))?;
        match self.outlets.flows.try_send(chunk) {
            // If the receiver of flows is gone, dropping the chunk acknowledges it.
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(_)) => Err(DownReason::Overrun),
        }
    }

    /// Returns the microseconds since the session began.
    fn age(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

fn malformed(what: &str) -> DownReason {
    DownReason::Malformed(what.to_owned())
}

fn ended(error: &std::io::Error) -> DownReason {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => DownReason::Closed,
        // TLS refused the bytes that were received.
        std::io::ErrorKind::InvalidData => DownReason::Malformed(error.to_string()),
        _ => DownReason::Broken(error.to_string()),
    }
}
