use super::*;

fn keys() -> TicketKeys {
    TicketKeys::new().expect("random numbers")
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

#[test]
fn a_ticket_is_read_by_its_own_service_alone() {
    let keys = keys();
    let [one, same, other] = ["one", "one", "other"].map(|text| keys.ticketer(&name(text)));
    let ticket = one.encrypt(b"a session").expect("sealed");
    assert_eq!(same.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
    assert_eq!(other.decrypt(&ticket), None);
}

#[test]
fn a_ticket_that_was_touched_or_cut_is_not_read() {
    let ticketer = keys().ticketer(&name("one"));
    let ticket = ticketer.encrypt(b"a session").expect("sealed");
    for index in 0..ticket.len() {
        let mut forged = ticket.clone();
        forged[index] ^= 1;
        assert_eq!(ticketer.decrypt(&forged), None, "byte {index}");
        assert_eq!(ticketer.decrypt(&ticket[..index]), None, "cut at {index}");
        assert_eq!(ticketer.decrypt(&ticket[index + 1..]), None);
    }
    assert_eq!(ticketer.decrypt(&[ticket.as_slice(), &[0]].concat()), None);
    assert_eq!(ticketer.decrypt(&[0; 4096]), None);
    assert_eq!(ticketer.decrypt(&[]), None);
}

#[test]
fn no_two_tickets_are_alike_and_none_shows_the_session() {
    let ticketer = keys().ticketer(&name("one"));
    let session = [0x5a; 64];
    let one = ticketer.encrypt(&session).expect("sealed");
    let other = ticketer.encrypt(&session).expect("sealed");
    assert_ne!(one[16..], other[16..]);
    assert!(!one.windows(8).any(|bytes| bytes == [0x5a; 8]));
    assert_eq!(
        ticketer.encrypt(&[0; 4096]),
        None,
        "too long to be a session"
    );
}

#[test]
fn tickets_say_how_long_they_live() {
    assert_eq!(keys().ticketer(&name("one")).lifetime(), 12 * 60 * 60);
}

#[test]
fn what_is_offered_is_accepted_by_the_peer_and_shown_by_nobody() {
    let (a, b) = (keys(), keys());
    let ticket = a.ticketer(&name("one")).encrypt(b"a session");
    let ticket = ticket.expect("sealed");
    assert_eq!(b.ticketer(&name("one")).decrypt(&ticket), None);
    let offer = a.link_up().expect("an offer");
    let bytes = postcard::to_allocvec(&offer).expect("encoded");
    let secret: Vec<String> = bytes[17..25].iter().map(u8::to_string).collect();
    let shown = format!("{offer:?} {a:?}");
    assert!(!shown.contains(&secret.join(", ")), "{shown}");
    b.heard(postcard::from_bytes(&bytes).expect("decoded"));
    let read = b.ticketer(&name("one")).decrypt(&ticket);
    assert_eq!(read.as_deref(), Some(&b"a session"[..]));
}

mod handshakes;
