//! Tests of agents of two versions of `lb` that use the same version of the link's protocol.

use tokio::io::AsyncWriteExt as _;

use super::{attacks::greeted, *};
use crate::acme::PeerMessage;

fn acme() -> Message {
    Message::Acme(PeerMessage::Serving(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_one_of_them_knows_is_not_said_to_the_other() {
    let net = Net::new();
    let mut ours = settings(net, A, B);
    ours.hello.version = frame::Capabilities::ours();
    let older = settings(net, B, A);
    let Pair { a, mut b } = Pair::with(ours, older, &secret()).await;
    assert!(!a.link.send(&acme()), "it would end the link there");
    assert!(a.link.send_pair_message(PairMessage::Ask));
    assert_eq!(b.event().await, Event::PairMessage(PairMessage::Ask));

    let net = Net::new();
    let secret = secret();
    let [mut one, mut other] = [settings(net, A, B), settings(net, B, A)];
    for settings in [&mut one, &mut other] {
        settings.hello.version = frame::Capabilities::ours();
    }
    let mut b = Link::start_with(other, &secret).expect("listening");
    let mut a = Link::start_with(one, &secret).expect("dialling");
    assert_eq!(a.up().await.version, env!("CARGO_PKG_VERSION"));
    b.up().await;
    assert!(a.link.send(&acme()));
    assert_eq!(b.event().await, Event::Message(acme()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_a_later_version_does_not_end_the_link() {
    let net = Net::new();
    let secret = secret();
    let mut b = Link::start_with(settings(net, B, A), &secret).expect("listening");
    let mut stream = greeted(net, &secret).await;
    b.up().await;
    // A complete record with a message about shared state of a kind that does not exist yet.
    let later = [0x81, 0, 0, 4, 100, 1, 2, 3];
    let known = frame::encode(record::Lane::Control, &acme()).expect("short");
    let mut outgoing = record::Outgoing::new(record::Lane::Control, known);
    let mut bytes = Vec::new();
    outgoing.next_record(&mut bytes);
    stream.write_all(&later).await.expect("sent");
    stream.write_all(&bytes).await.expect("sent");
    stream.flush().await.expect("sent");
    assert_eq!(b.event().await, Event::Message(acme()));
    assert_eq!(b.link.view().ups, 1);
}
