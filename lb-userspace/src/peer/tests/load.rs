//! Tests that heartbeats arrive in time, whatever else is sent over the link.

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpSocket,
};

use super::*;

/// Sends a heartbeat every [`BEAT`] for a while. Returns the longest time between two heartbeats
/// that arrived.
async fn longest_pause(from: &Link, to: &mut mpsc::Receiver<Event>) -> Duration {
    const BEAT: Duration = Duration::from_millis(50);
    const BEATS: u32 = 40;
    let mut longest = Duration::ZERO;
    let mut last = Instant::now();
    let mut ticks = tokio::time::interval(BEAT);
    for _ in 0..BEATS {
        ticks.tick().await;
        assert!(from.send_pair_message(PairMessage::Ask));
        let message = timeout(PATIENCE, to.recv()).await.expect("in time");
        assert_eq!(message, Some(Event::PairMessage(PairMessage::Ask)));
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    longest
}

/// Longest permitted time between two heartbeats: far less than if a heartbeat had to wait for a
/// queue of flows.
const SHORT: Duration = Duration::from_millis(350);

/// Starts a relay between the hosts, at the address with number 3, that carries 2 MB/s and buffers
/// little.
async fn narrow_line(net: Net) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(64 << 10).expect("set");
    socket
        .bind(SocketAddr::new(net.host(3), PORT))
        .expect("free");
    let listener = socket.listen(8).expect("listening");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpSocket::new_v4().expect("a socket");
            far.set_recv_buffer_size(64 << 10).expect("set");
            far.set_send_buffer_size(64 << 10).expect("set");
            let far = far.connect(SocketAddr::new(net.host(B), PORT)).await;
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.expect("listening").into_split();
            tokio::spawn(slowly(near_read, far_write));
            tokio::spawn(slowly(far_read, near_write));
        }
    });
}

async fn slowly(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut bytes = vec![0; 4 << 10];
    let mut turns = tokio::time::interval(Duration::from_millis(2));
    loop {
        turns.tick().await;
        let count = from.read(&mut bytes).await.unwrap_or(0);
        if count == 0 || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_that_fill_the_line_do_not_hold_up_heartbeats() {
    let net = Net::new();
    let mut through = settings(net, A, B);
    through.peer = SocketAddr::new(net.host(3), PORT);
    let mut behind = settings(net, B, A);
    behind.check_source = false;
    narrow_line(net).await;
    let Pair { mut a, mut b } = Pair::with(through, behind, &secret()).await;
    let bulk = a.link.bulk().expect("up");
    let sender = tokio::spawn(async move {
        let mut sent = 0_u64;
        while bulk.send(vec![1; BULK_BYTES]).await.is_ok() {
            sent += BULK_BYTES as u64;
        }
        sent
    });
    let mut flows = b.flows;
    let receiver = tokio::spawn(async move {
        let mut received = 0_u64;
        while let Some(chunk) = flows.recv().await {
            received += chunk.bytes.len() as u64;
        }
        received
    });
    let forth = longest_pause(&a.link, &mut b.events).await;
    let back = longest_pause(&b.link, &mut a.events).await;
    let round_trip = a.link.view().connected.and_then(|it| it.round_trip);
    println!("longest pauses {forth:?} and {back:?}; a ping takes {round_trip:?}");
    assert!(
        forth < SHORT && back < SHORT,
        "{forth:?}, {back:?}, {round_trip:?}"
    );
    assert_eq!((a.link.view().ups, a.link.view().dropped_words), (1, 0));
    drop((a.link, b.link));
    let (sent, received) = (
        sender.await.expect("no panic"),
        receiver.await.expect("no panic"),
    );
    println!("{received} bytes of flows");
    // The relay was busy all the time: it can carry 8 MB in these 4 seconds.
    assert!(
        received <= sent && received > 2 << 20,
        "{received} of {sent} bytes"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_consumer_holds_up_the_flows_and_nothing_else() {
    let Pair { a, mut b } = Pair::new().await;
    let bulk = a.link.bulk().expect("up");
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let sender = tokio::spawn(async move {
        for number in 0..200_u8 {
            bulk.send(vec![number; 1000]).await.expect("up");
            counted.fetch_add(1, Relaxed);
        }
    });
    // No flows are received at B, so A can send only as many as the credit and the queues have room
    // for.
    let pause = longest_pause(&a.link, &mut b.events).await;
    assert!(pause < SHORT, "{pause:?}");
    let stuck = sent.load(Relaxed);
    assert!((16..=24).contains(&stuck), "{stuck}");
    // B has received a chunk of flows and not dropped it, so A may not send another one in its
    // place.
    let held = b.flows.recv().await.expect("flows");
    assert_eq!(held.bytes, vec![0; 1000]);
    for number in 1..200_u8 {
        let chunk = timeout(PATIENCE, b.flows.recv()).await.expect("in time");
        assert_eq!(
            chunk.expect("flows").bytes,
            vec![number; 1000],
            "all, in order"
        );
    }
    sender.await.expect("all sent");
    assert_eq!((a.link.view().ups, b.link.view().ups), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_reads_nothing_loses_messages_and_keeps_the_link() {
    const PATIENT: Rhythm = Rhythm {
        ping: Duration::from_millis(100),
        silence: Duration::from_secs(1),
    };
    let net = Net::new();
    let (mut ours, mut theirs) = (settings(net, A, B), settings(net, B, A));
    (ours.rhythm, theirs.rhythm) = (PATIENT, PATIENT);
    let Pair { a, b } = Pair::with(ours, theirs, &secret()).await;
    for _ in 0..50 {
        for _ in 0..20 {
            a.link.send_pair_message(PairMessage::Ask);
        }
        sleep(Duration::from_millis(10)).await;
    }
    b.until("words were dropped", |view| view.dropped_words > 0)
        .await;
    let before = b.link.view();
    sleep(2 * PATIENT.silence).await;
    let view = b.link.view();
    assert_eq!(
        (view.ups, view.downs),
        (1, before.downs),
        "pings are answered all the same"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_to_agree_on_than_is_taken_in_ends_the_connection() {
    let Pair { mut a, b } = Pair::new().await;
    let keys = tickets::TicketKeys::new().expect("random numbers");
    let message = Message::Tickets(keys.link_up().expect("an offer"));
    let mut sent = 0;
    while sent < 2 * WAITING_EVENTS && a.link.send(&message) {
        sent += 1;
        sleep(Duration::from_micros(100)).await;
    }
    b.until("overrun", |view| view.downs.contains(&("overrun", 1)))
        .await;
    assert!(matches!(
        a.down().await,
        DownReason::Closed | DownReason::Broken(_)
    ));
}
