//! One connection from its greeting to its end.

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

/// How often the peer is asked for a sign of life, and when it counts as dead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rhythm {
    /// From one ping to the next.
    pub(super) ping: Duration,
    /// A ping that has gone unanswered for so long, and none after it answered, ends the connection.
    pub(super) silence: Duration,
}

impl Rhythm {
    /// As often as adverts, and as patient: three of them. Within 100 ms and 1 s, as a segment that
    /// is lost takes TCP some 200 ms to send again.
    pub(super) fn of(advert_interval: Duration) -> Self {
        let ping = advert_interval.clamp(Duration::from_millis(100), Duration::from_secs(1));
        Self {
            ping,
            silence: 3 * ping,
        }
    }
}

/// Where what comes from the peer goes.
#[derive(Clone, Debug)]
pub(super) struct Outlets {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) flows: mpsc::Sender<FlowChunk>,
}

/// The halves of a connection that work on their own.
pub(super) struct Session<'a> {
    number: u64,
    began: Instant,
    rhythm: Rhythm,
    counters: &'a Counters,
    outlets: &'a Outlets,
    handle: SendHandle,
    credit: Arc<Credit>,
    ledger: Arc<Ledger>,
    /// When the youngest ping that was answered was sent: microseconds since the beginning.
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

    /// Where the agent puts what it says.
    pub(super) fn handle(&self) -> SendHandle {
        self.handle.clone()
    }

    /// Runs the connection to its end. Everything ends with it, whatever it was waiting for.
    pub(super) async fn run(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        send_queue: SendQueue,
    ) -> DownReason {
        let (reader, writer) = tokio::io::split(stream);
        // Not biased: whichever is always ready would leave the others no turn.
        tokio::select! {
            down = self.watch() => down,
            down = self.read(reader) => down,
            down = self.write(writer, send_queue) => down,
            down = self.ping() => down,
        }
    }

    /// Ends when the peer has been silent for too long.
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
            // One that finds no room is missed, and enough of those end the connection.
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
            // Flushed at once: what TLS holds back would be in the way of the next heartbeat.
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

    /// Takes in a frame. Never waits: a heartbeat may come next.
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
            Frame::Urgent(Urgent::Word(word)) => {
                if self.outlets.events.try_send(Event::Word(word)).is_err() {
                    self.counters.dropped_words.fetch_add(1, Relaxed);
                }
                Ok(())
            }
            Frame::Control(message) => {
                let told = self.outlets.events.try_send(Event::Message(message));
                told.map_err(|_| DownReason::Overrun)
            }
            Frame::Unknown => {
                tracing::debug!("the peer said something that a later version of lb knows");
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
            // Nobody here wants flows: they are taken in by dropping them.
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(_)) => Err(DownReason::Overrun),
        }
    }

    /// Microseconds since the beginning.
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
        // Bytes that TLS refuses.
        std::io::ErrorKind::InvalidData => DownReason::Malformed(error.to_string()),
        _ => DownReason::Broken(error.to_string()),
    }
}
