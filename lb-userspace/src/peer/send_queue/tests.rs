use std::future::ready;

use lb_ha::pair::PairMessage;

use super::*;
use crate::peer::{credit::WINDOW, record::PART_BYTES};

struct Bench {
    handle: SendHandle,
    send_queue: SendQueue,
    credit: Arc<Credit>,
}

impl Bench {
    fn new() -> Self {
        let credit = Arc::new(Credit::default());
        let (handle, send_queue) = SendQueue::new(Arc::clone(&credit), Arc::default());
        Self {
            handle,
            send_queue,
            credit,
        }
    }

    /// Returns the first byte of the next record to send, which tells the lane (class of urgency)
    /// and whether the record is the last one of its message; `None` if nothing may be sent now.
    async fn next(&mut self) -> Option<u8> {
        let mut record = Vec::new();
        tokio::select! {
            biased;
            is_last = self.send_queue.next(&mut record) => {
                assert_eq!(is_last, Some(record[0] & 0x80 != 0));
                Some(record[0])
            }
            () = ready(()) => None,
        }
    }
}

#[tokio::test]
async fn what_is_urgent_goes_between_the_parts_of_what_is_long() {
    let mut bench = Bench::new();
    bench
        .handle
        .bulk(vec![0; 2 * PART_BYTES])
        .await
        .expect("room");
    assert_eq!(bench.next().await, Some(0x02));
    assert!(bench.handle.urgent(Urgent::Pair(PairMessage::Ask)));
    assert!(bench.handle.urgent(Urgent::Ping { sent: 1 }));
    assert_eq!(bench.next().await, Some(0x80));
    assert_eq!(bench.next().await, Some(0x80));
    assert_eq!(bench.next().await, Some(0x82));
    assert_eq!(bench.next().await, None);
}

#[tokio::test]
async fn flows_stop_when_there_is_no_credit_and_nothing_else_does() {
    let mut bench = Bench::new();
    for _ in 0..WINDOW {
        bench.handle.bulk(vec![1]).await.expect("room");
        assert_eq!(bench.next().await, Some(0x82));
    }
    bench.handle.bulk(vec![1]).await.expect("room");
    assert_eq!(bench.next().await, None);
    assert!(bench.handle.urgent(Urgent::Pair(PairMessage::Ask)));
    assert_eq!(bench.next().await, Some(0x80));
    assert_eq!(bench.next().await, None);
    assert_eq!(bench.credit.grant(1), Some(()));
    assert_eq!(bench.next().await, Some(0x82));
    assert_eq!(
        bench.credit.grant(WINDOW + 1),
        None,
        "so many were not sent"
    );
}

#[tokio::test]
async fn urgent_frames_that_find_no_room_are_dropped_and_do_not_wait() {
    let bench = Bench::new();
    let sent = (0..1000).filter(|_| bench.handle.urgent(Urgent::Pair(PairMessage::Ask)));
    assert_eq!(sent.count(), WAITING_URGENT);
}
