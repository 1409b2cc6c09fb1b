//! Heartbeats go their way whatever else is on the line.

use super::*;

/// Sends a word every [`BEAT`] for a while; returns the longest pause between two that arrived.
async fn longest_pause(from: &Link, to: &mut mpsc::Receiver<Event>) -> Duration {
    const BEAT: Duration = Duration::from_millis(50);
    const BEATS: u32 = 40;
    let mut longest = Duration::ZERO;
    let mut last = Instant::now();
    let mut ticks = tokio::time::interval(BEAT);
    for _ in 0..BEATS {
        ticks.tick().await;
        assert!(from.send_word(Word::Ask));
        let word = timeout(PATIENCE, to.recv()).await.expect("in time");
        assert_eq!(word, Some(Event::Word(Word::Ask)));
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    longest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_at_full_speed_do_not_hold_up_heartbeats() {
    let Pair { mut a, mut b } = Pair::new().await;
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
    // An interval of 50 ms, and as much again.
    for pause in [forth, back] {
        assert!(
            pause < Duration::from_millis(150),
            "{forth:?}, {back:?}, {round_trip:?}"
        );
    }
    assert_eq!((a.link.view().ups, a.link.view().dropped_words), (1, 0));
    drop((a.link, b.link));
    let (sent, received) = (
        sender.await.expect("no panic"),
        receiver.await.expect("no panic"),
    );
    println!("{received} bytes of flows; longest pauses {forth:?} and {back:?}; {round_trip:?}");
    assert!(
        received <= sent && received > 64 << 20,
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
    // Nothing is taken in: what goes out is the window, and what waits.
    let pause = longest_pause(&a.link, &mut b.events).await;
    assert!(pause < Duration::from_millis(150), "{pause:?}");
    let stuck = sent.load(Relaxed);
    assert!((16..=24).contains(&stuck), "{stuck}");
    // Holding on to a chunk is not taking it in.
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
async fn an_agent_that_takes_in_nothing_loses_words_and_keeps_the_link() {
    let Pair { a, b } = Pair::new().await;
    for _ in 0..50 {
        for _ in 0..20 {
            a.link.send_word(Word::Ask);
        }
        sleep(Duration::from_millis(10)).await;
    }
    b.until("words were dropped", |view| view.dropped_words > 0)
        .await;
    let before = b.link.view();
    sleep(2 * FAST.silence).await;
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
