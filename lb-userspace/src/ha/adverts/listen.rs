//! The task that receives adverts. It checks them completely, so a flood of forged adverts only
//! increments counters and does not reach the pair state machine.

use std::{
    future::pending,
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use lb_ha::advert::{Advert, Decoder, Packet, Refusal};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::{MissedTickBehavior, interval},
};

use super::{
    Received, Shared, locked,
    log_limit::LogLimit,
    socket::{LONGEST, Socket},
    utc,
};

/// Interval at which the task checks that its socket still works. It is the longest time until an
/// interface that was re-created is used.
const CARE: Duration = Duration::from_millis(500);

/// Receives adverts until the receiver that they are sent to is dropped.
pub(super) async fn listen(
    shared: Arc<Shared>,
    sender: mpsc::Sender<Received>,
    log_limit: LogLimit,
) {
    let mut listener = AdvertListener {
        decoder: Decoder::new(shared.wire.clone(), utc()),
        listener: sender.clone(),
        log_limit,
        peer_advertises: false,
        shared,
    };
    let mut buffer = vec![0; LONGEST];
    let mut care = interval(CARE);
    care.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let socket = listener.shared.socket();
        // Other tasks of the runtime get to run during a flood of adverts, too: `select!` keeps to
        // tokio's budget.
        tokio::select! {
            () = sender.closed() => return,
            () = listener.shared.trouble.notified() => listener.care_for_socket(),
            _ = care.tick() => listener.care_for_socket(),
            received = receive(socket.as_deref(), &mut buffer) => match received {
                Ok(packet) => listener.take(packet),
                Err(error) => listener.give_socket_up(&error),
            },
        }
    }
}

/// Waits for a packet from the socket; waits forever if there is no socket.
async fn receive<'a>(
    socket: Option<&Socket>,
    buffer: &'a mut [u8],
) -> io::Result<Result<Packet<'a>, Refusal>> {
    match socket {
        Some(socket) => socket.receive(buffer).await,
        None => pending().await,
    }
}

struct AdvertListener {
    shared: Arc<Shared>,
    decoder: Decoder,
    listener: mpsc::Sender<Received>,
    log_limit: LogLimit,
    /// Whether the peer's last advert had addresses although this host advertises none. It is
    /// logged when this becomes true.
    peer_advertises: bool,
}

impl AdvertListener {
    /// Forwards a valid advert to the pair thread, and counts a packet that is refused.
    fn take(&mut self, packet: Result<Packet<'_>, Refusal>) {
        let packet = match packet {
            Ok(packet) => packet,
            Err(refusal) => return self.refuse(&refusal, None),
        };
        match self.decoder.decode(&packet, utc()) {
            Ok(advert) => self.hand_on(advert, packet.source),
            Err(refusal) => self.refuse(&refusal, Some(packet.source)),
        }
    }

    fn refuse(&mut self, refusal: &Refusal, from: Option<IpAddr>) {
        locked(&self.shared.counters).count_refused(refusal);
        if refusal.is_everyday() {
            return;
        }
        if let Some(suppressed) = self.log_limit.permit(refusal.word()) {
            let from = from.map(tracing::field::display);
            tracing::warn!(peer = from, reason = %refusal, suppressed, "refused an advert");
        }
    }

    fn hand_on(&mut self, advert: Advert, from: IpAddr) {
        self.compare_addresses(&advert, from);
        let at = Instant::now();
        // The lock on the counters is held while the advert is sent, so whoever has received the
        // advert finds it counted.
        let mut counters = locked(&self.shared.counters);
        match self.listener.try_send(Received { advert, from, at }) {
            // The receiver may have been dropped: the advert counts as received all the same.
            Ok(()) | Err(TrySendError::Closed(_)) => counters.received += 1,
            Err(TrySendError::Full(_)) => counters.overrun += 1,
        }
    }

    /// Warns if the peer advertises addresses and this host does not: if the peer is a keepalived,
    /// it refuses this host's adverts then.
    fn compare_addresses(&mut self, advert: &Advert, from: IpAddr) {
        let differ =
            self.shared.wire.settings().addresses.is_empty() && !advert.addresses.is_empty();
        if differ && !self.peer_advertises {
            tracing::warn!(
                peer = %from,
                addresses = ?advert.addresses,
                "the peer advertises addresses and this host none: keepalived as the peer drops \
                 this host's adverts; set ha.advertised_addresses to its virtual_ipaddress"
            );
        }
        self.peer_advertises = differ;
    }

    fn care_for_socket(&mut self) {
        let (shared, route) = (&self.shared, &self.shared.route);
        let current = (shared.socket()).is_some_and(|socket| socket.is_current(route));
        if current {
            return;
        }
        let opened = self.shared.open_socket(&mut self.log_limit);
        if let Err(error) = opened
            && let Some(suppressed) = self.log_limit.permit("create")
        {
            tracing::error!(%error, suppressed, "cannot open the socket for adverts; retrying");
        }
    }

    /// Closes the socket after an error of the kernel, such as a removed interface. The next
    /// periodic check opens a new one.
    fn give_socket_up(&mut self, error: &io::Error) {
        if let Some(suppressed) = self.log_limit.permit("receive") {
            tracing::warn!(%error, suppressed, "cannot receive adverts; reopening the socket");
        }
        *locked(&self.shared.socket) = None;
    }
}
