//! An advert with an HMAC is accepted once, and only while its time is recent.

use super::*;

fn signing() -> Settings {
    Settings {
        authentication: hmac(),
        ..sender()
    }
}

struct Pair {
    settings: Settings,
    encoder: Encoder,
    decoder: Decoder,
}

impl Pair {
    fn new(settings: Settings) -> Self {
        Self {
            encoder: Encoder::new(wire(settings.clone())),
            decoder: decoder(&other_end(&settings)),
            settings,
        }
    }

    fn send(&mut self, utc: Duration) -> Vec<u8> {
        self.encoder.encode(Priority::new(100), utc)
    }

    fn hear(&mut self, payload: &[u8], utc: Duration) -> Result<(), Refusal> {
        let packet = packet(&self.settings, payload);
        self.decoder.decode(&packet, utc).map(drop)
    }
}

#[test]
fn an_advert_is_taken_once_and_none_from_before_it() {
    let mut pair = Pair::new(signing());
    let [first, second, third] = [0, 100, 200].map(|ms| pair.send(NOW + Duration::from_millis(ms)));
    assert_eq!(pair.hear(&first, NOW), Ok(()));
    assert_eq!(pair.hear(&first, NOW), Err(Refusal::Replayed));
    assert_eq!(pair.hear(&third, NOW), Ok(()));
    assert_eq!(pair.hear(&second, NOW), Err(Refusal::Replayed));
}

#[test]
fn adverts_of_one_moment_are_told_apart() {
    let mut pair = Pair::new(signing());
    let [first, second] = [(); 2].map(|()| pair.send(NOW));
    assert_eq!(pair.hear(&second, NOW), Ok(()));
    assert_eq!(pair.hear(&first, NOW), Err(Refusal::Replayed));
}

#[test]
fn an_advert_out_of_the_window_is_stale_either_way() {
    let seconds = Duration::from_secs;
    for late in [0, 5] {
        let mut pair = Pair::new(signing());
        let advert = pair.send(NOW);
        assert_eq!(pair.hear(&advert, NOW + seconds(late)), Ok(()));
    }
    let mut pair = Pair::new(signing());
    let advert = pair.send(NOW);
    let stale = |late| Err(Refusal::Stale { late });
    assert_eq!(pair.hear(&advert, NOW + seconds(6)), stale(6));
    assert_eq!(pair.hear(&advert, NOW - seconds(6)), stale(-6));
}

#[test]
fn the_window_is_three_intervals_where_those_are_longer() {
    let mut pair = Pair::new(Settings {
        interval: centiseconds(1_000),
        ..signing()
    });
    let advert = pair.send(NOW);
    let later = NOW + Duration::from_secs(30);
    assert_eq!(pair.hear(&advert, later), Ok(()));
}

#[test]
fn a_forgery_does_not_move_the_mark() {
    let mut pair = Pair::new(signing());
    let mut forged = pair.send(NOW + Duration::from_secs(4));
    *forged.last_mut().expect("a byte") ^= 1;
    assert_eq!(pair.hear(&forged, NOW), Err(Refusal::Hmac));
    let genuine = Encoder::new(wire(signing())).encode(Priority::new(100), NOW);
    assert_eq!(pair.hear(&genuine, NOW), Ok(()));
}

#[test]
fn a_sender_whose_clock_was_put_back_far_is_heard_again() {
    let mut pair = Pair::new(signing());
    let ahead = NOW + Duration::from_secs(3_600);
    let advert = pair.send(ahead);
    assert_eq!(pair.hear(&advert, ahead), Ok(()));
    let advert = pair.send(NOW);
    assert_eq!(pair.hear(&advert, NOW), Ok(()), "and the receiver's was");
}

#[test]
fn a_sender_whose_clock_was_put_back_a_little_goes_on_counting() {
    let mut pair = Pair::new(signing());
    let advert = pair.send(NOW + Duration::from_secs(2));
    assert_eq!(pair.hear(&advert, NOW), Ok(()));
    let advert = pair.send(NOW);
    assert_eq!(pair.hear(&advert, NOW), Ok(()));
}

#[test]
fn times_are_compared_across_the_end_of_32_bits_of_seconds() {
    let mut pair = Pair::new(signing());
    let end = Duration::from_secs(1 << 32);
    let before = pair.send(end - Duration::from_millis(1));
    let after = pair.send(end + Duration::from_millis(1));
    assert_eq!(pair.hear(&before, end), Ok(()));
    assert_eq!(pair.hear(&after, end), Ok(()));
    assert_eq!(pair.hear(&before, end), Err(Refusal::Replayed));
}

#[test]
fn a_goodbye_from_before_a_restart_is_refused() {
    let goodbye = |utc| Encoder::new(wire(signing())).encode(Priority::GOODBYE, utc);
    let seconds = Duration::from_secs;
    let restarted = |captured: &[u8], utc| {
        let mut decoder = Decoder::new(wire(other_end(&signing())), NOW);
        decoder.decode(&packet(&signing(), captured), utc).map(drop)
    };
    let later = NOW + seconds(2);
    // One goodbye was sent a second before the restart, by a host with the same clock; the other by
    // a host whose clock is 4 s ahead.
    for captured in [NOW - seconds(1), NOW + seconds(3)] {
        let replayed = restarted(&goodbye(captured), later);
        assert_eq!(replayed, Err(Refusal::Replayed));
    }
    let advert = Encoder::new(wire(signing())).encode(Priority::new(100), NOW - seconds(1));
    assert_eq!(restarted(&advert, later), Ok(()), "a clock may be behind");
    let sent = NOW + seconds(6);
    assert_eq!(restarted(&goodbye(sent), sent), Ok(()));
}

#[test]
fn senders_have_marks_of_their_own() {
    let anybody = Settings {
        senders: Senders::Anybody,
        ..signing()
    };
    let mut decoder = decoder(&other_end(&anybody));
    let from = |last: u8, utc: Duration| {
        let settings = Settings {
            source: IpAddr::from([10, 77, 0, last]),
            ..anybody.clone()
        };
        let advert = Encoder::new(wire(settings.clone())).encode(Priority::new(100), utc);
        (settings, advert)
    };
    let mut hear = |(settings, advert): &(Settings, Vec<u8>)| {
        let packet = packet(settings, advert);
        decoder.decode(&packet, NOW).map(drop)
    };
    let later = from(10, NOW + Duration::from_secs(1));
    assert_eq!(hear(&later), Ok(()));
    for last in 11..14 {
        assert_eq!(hear(&from(last, NOW)), Ok(()));
    }
    assert_eq!(hear(&later), Err(Refusal::Replayed), "four are remembered");
}
