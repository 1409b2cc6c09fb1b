//! Model checking of the connection table: every schedule of a scenario is tried, up to a number of
//! preemptions, with every value that a load may return on a weakly ordered machine.
//!
//! `LOOM_MAX_PREEMPTIONS` tries more schedules than a normal run.
#![cfg(feature = "host")]

mod home;

use std::rc::Rc;

use home::{
    ACK, BACKEND, FIN_ACK, HERTZ, Home, NOW, PORT, SYN, SYN_ACK, VIP, client, connection,
    from_backend, is_whole, kept,
};
use lb_common::{
    backend::BackendId,
    connection::{ClientKey, Connection, WORD_PORTS, WORD_STAMP},
    flow::FlowKey,
    import::{Outcome, Target, import, remove},
    port::PortWord,
    record::Record,
    table::{Buckets, find, holder, read},
    tables::{Ports, Shared, Words},
    tcp::State,
    verdict::{DropReason, PassReason, Steered, Verdict},
};
use loom::thread::{self, JoinHandle};

const NEW: Verdict = Verdict::Transmit(Steered::NewFlow);
const ALONG: Verdict = Verdict::Transmit(Steered::Flow);
const CONTENDED: Verdict = Verdict::Drop(DropReason::Contended);

/// Checks all schedules of a scenario that have at most this many preemptions.
fn check(preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.max_branches = 100_000;
    model.preemption_bound = model.preemption_bound.or(Some(preemptions));
    model.check(scenario);
}

/// Starts a thread that steers one packet; the thread returns the verdict and the packet's new
/// addresses.
fn steering(home: &Rc<Home>, key: FlowKey, flags: u8) -> JoinHandle<(Verdict, FlowKey)> {
    let home = Rc::clone(home);
    thread::spawn(move || home.steer(key, flags))
}

/// Waits for a thread to end, and returns its result.
fn ended<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("the thread ends")
}

/// Starts a thread that looks up a client's connection, and the connection that holds a source
/// port, and verifies that each connection found is complete.
fn reading(home: &Rc<Home>, number: u16, port: u16) -> JoinHandle<()> {
    let home = Rc::clone(home);
    thread::spawn(move || {
        let home = &*home;
        let key = ClientKey::of(&client(number));
        let found = find(&home, &key, &Buckets::of(&key, home.settings()));
        if let Some(connection) = found.and_then(|place| read(&home, &place)) {
            assert_eq!(connection.key(), key, "found by its client");
            is_whole(&connection);
        }
        if let Some(connection) = holder(&home, 0, port).and_then(|place| read(&home, &place)) {
            assert_eq!(connection.source_port, port, "found by its port");
            is_whole(&connection);
        }
    })
}

/// Starts a thread that verifies that a source port names an entry only while that entry holds the
/// port.
fn watching(home: &Rc<Home>, port: u16) -> JoinHandle<()> {
    let home = Rc::clone(home);
    thread::spawn(move || {
        let home = &*home;
        let line = home.line(0, u32::from(PORT) / 16).expect("the line");
        for index in 0..2 {
            let entry = home.entry(index).expect("an entry");
            let before = entry.load(WORD_STAMP);
            home.order_loads();
            let named = PortWord(line.load(port.into())).holder() == Some(index);
            let [_, _, held, _]: [u16; 4] = zerocopy::transmute!(entry.load(WORD_PORTS));
            home.order_loads();
            let state = lb_common::connection::Stamp::of_word(before).state;
            if named && state.is_live() && entry.load(WORD_STAMP) == before {
                assert_eq!(held, port, "entry {index} has given the port back");
            }
        }
    })
}

#[test]
fn two_that_begin_one_connection_leave_one_entry() {
    check(3, || {
        let home = Home::with(&[], 2);
        let threads = [1, 2].map(|_| steering(&home, client(1), SYN));
        one_path(&threads.map(ended));
        assert!(home.at_rest().len() <= 1);
    });
}

#[test]
fn three_that_begin_one_connection_leave_one_entry() {
    check(1, || {
        let home = Home::with(&[], 3);
        let threads = [1, 2, 3].map(|_| steering(&home, client(1), SYN));
        one_path(&threads.map(ended));
        assert!(home.at_rest().len() <= 1);
    });
}

/// Asserts that all steered packets left with the same addresses and ports, and that all other
/// packets were dropped as contended.
fn one_path(outcomes: &[(Verdict, FlowKey)]) {
    let mut ways = Vec::new();
    for (verdict, way) in outcomes {
        match *verdict {
            NEW | ALONG => ways.push(way),
            other => assert_eq!(other, CONTENDED),
        }
    }
    assert!(
        ways.windows(2).all(|pair| pair[0] == pair[1]),
        "{outcomes:?}"
    );
    let new = outcomes.iter().filter(|(verdict, _)| *verdict == NEW);
    assert!(new.count() <= 1, "begun twice: {outcomes:?}");
}

#[test]
fn two_that_begin_a_connection_over_leave_one_entry() {
    check(3, || {
        let old = connection(1, PORT, State::CLOSED, 3);
        let home = Home::with(&[old], 3);
        let threads = [1, 2].map(|_| steering(&home, client(1), SYN));
        one_path(&threads.map(ended));
        assert!(home.at_rest().len() <= 1);
    });
}

#[test]
fn a_connection_just_begun_is_lost_to_nobody_while_there_is_room() {
    let over = connection(1, PORT, State::CLOSED, 70);
    for before in [None, Some(over)] {
        check(3, move || {
            let home = Home::with(before.as_slice(), 3);
            let threads = [1, 2].map(|number| steering(&home, client(number), SYN));
            let outcomes = threads.map(ended);
            let left = home.at_rest();
            for (number, (verdict, _)) in (1..).zip(outcomes) {
                let stands = left.iter().any(|one| one.client_port == number);
                assert!(verdict != NEW || stands, "{number}: {left:?}");
            }
        });
    }
}

#[test]
fn one_of_two_that_want_the_last_port_has_it() {
    check(3, || {
        let home = Home::with(&[], 1);
        let threads = [1, 2].map(|number| steering(&home, client(number), SYN));
        let outcomes = threads.map(ended);
        let new = outcomes.iter().filter(|(verdict, _)| *verdict == NEW);
        assert!(new.count() <= 1);
        assert!(home.at_rest().len() <= 1);
    });
}

/// Returns connections that fill both buckets: established ones in all entries but one, and in that
/// entry `one`, which was never opened.
fn full_but_for(one: Connection) -> Vec<Connection> {
    let mut all = vec![one];
    all.extend((100..107).map(kept));
    all
}

#[test]
fn a_reader_never_meets_a_mixture_of_the_old_connection_and_the_new_one() {
    for (number, port) in [(2, PORT), (1, PORT + 1), (2, PORT + 1)] {
        check(3, move || {
            // The old connection has been idle for 70 seconds: long enough for the new one to
            // replace it.
            let home = Home::with(&[connection(1, PORT, State::OPENING, 70)], 2);
            let writer = steering(&home, client(2), SYN);
            let reader = reading(&home, number, port);
            ended(reader);
            assert_eq!(ended(writer).0, NEW);
            assert_eq!(home.at_rest().len(), 1);
        });
    }
}

#[test]
fn one_of_two_that_want_the_last_entry_has_it() {
    check(1, || {
        let old = connection(1, PORT, State::OPENING, 5);
        let home = Home::with(&full_but_for(old), 3);
        let threads = [2, 3].map(|number| steering(&home, client(number), SYN));
        for thread in threads {
            ended(thread);
        }
        assert_eq!(home.at_rest().len(), 8);
    });
}

#[test]
fn a_backends_answer_never_reaches_another_client() {
    check(3, || {
        let old = connection(1, PORT, State::OPENING, 5);
        // There is one source port: it passes from one client's connection to the other client's.
        let home = Home::with(&[old], 1);
        let writer = steering(&home, client(2), SYN);
        let answer = steering(&home, from_backend(PORT), SYN_ACK);
        let (verdict, way) = ended(answer);
        match verdict {
            ALONG => {
                let clients = [client(1), client(2)];
                assert!(clients.contains(&way.reversed()), "{way:?}");
            }
            other => assert!(
                [CONTENDED, Verdict::Pass(PassReason::NoFlow)].contains(&other),
                "{other:?}"
            ),
        }
        ended(writer);
        home.at_rest();
    });
}

#[test]
fn a_port_names_an_entry_only_while_the_entry_holds_it() {
    check(3, || {
        let old = connection(1, PORT, State::CLOSED, 5);
        let home = Home::with(&[old], 2);
        let writer = steering(&home, client(1), SYN);
        let watcher = watching(&home, PORT);
        ended(watcher);
        ended(writer);
        home.at_rest();
    });
}

#[test]
fn a_port_that_is_lent_while_its_owner_begins_over_has_one_owner() {
    check(2, || {
        let old = connection(1, PORT, State::CLOSED, 5);
        let other = connection(3, PORT + 1, State::CLOSED, 5);
        let home = Home::with(&[old, other], 2);
        let threads = [
            steering(&home, client(1), SYN),
            steering(&home, client(2), SYN),
        ];
        for thread in threads {
            ended(thread);
        }
        home.at_rest();
    });
}

#[test]
fn a_port_that_is_lent_while_its_owner_sends_on_has_one_owner() {
    for (state, key, flags) in [
        (State::OPENING, from_backend(PORT), SYN_ACK),
        (State::CLOSED, client(1), FIN_ACK),
        (State::ANSWERED, client(1), ACK),
    ] {
        check(3, move || {
            let home = Home::with(&[connection(1, PORT, state, 5)], 1);
            let owner = steering(&home, key, flags);
            let lender = steering(&home, client(2), SYN);
            ended(lender);
            ended(owner);
            let left = home.at_rest();
            assert_eq!(left.len(), 1);
        });
    }
}

#[test]
fn one_of_two_that_borrow_a_port_has_it() {
    check(2, || {
        let home = Home::with(&[connection(1, PORT, State::CLOSED, 5)], 1);
        let threads = [2, 3].map(|number| steering(&home, client(number), SYN));
        let outcomes = threads.map(ended);
        let new = outcomes.iter().filter(|(verdict, _)| *verdict == NEW);
        assert!(new.count() <= 1);
        home.at_rest();
    });
}

/// Returns the record of client `number`'s connection that the peer sends to this host.
fn record(number: u16, source_port: u16, state: State) -> Record {
    Record {
        client: client(number),
        backend: BACKEND,
        backend_port: 80,
        source_port,
        state: state.0,
        further_source: 0,
        idle: 0,
        padding: 0,
    }
}

/// Starts a thread that imports a record, as the standby's agent does.
fn importing(home: &Rc<Home>, record: Record) -> JoinHandle<Outcome> {
    let home = Rc::clone(home);
    thread::spawn(move || {
        let home = &*home;
        let target = Target {
            backend: BackendId(0),
            row: 0,
            pass: 1,
        };
        import(&home, home.settings(), &record, &target, NOW)
    })
}

#[test]
fn an_importer_and_the_program_write_one_connection_once() {
    check(3, || {
        let home = Home::with(&[], 2);
        let program = steering(&home, client(1), SYN);
        let agent = importing(&home, record(1, PORT, State::ESTABLISHED));
        ended(agent);
        ended(program);
        assert!(home.at_rest().len() <= 1);
    });
}

#[test]
fn a_port_that_an_importer_and_the_program_want_has_one_owner() {
    for before in [None, Some(connection(3, PORT, State::CLOSED, 5))] {
        check(2, move || {
            let home = Home::with(before.as_slice(), 1);
            let program = steering(&home, client(1), SYN);
            let agent = importing(&home, record(2, PORT, State::ESTABLISHED));
            ended(agent);
            ended(program);
            home.at_rest();
        });
    }
}

#[test]
fn an_importer_takes_a_port_from_a_connection_that_changes() {
    for (key, flags) in [
        (client(1), SYN),
        (client(1), FIN_ACK),
        (from_backend(PORT), ACK),
    ] {
        check(2, move || {
            let old = connection(1, PORT, State::CLOSED, 5);
            let home = Home::with(&[old], 2);
            let program = steering(&home, key, flags);
            let agent = importing(&home, record(2, PORT, State::ESTABLISHED));
            ended(agent);
            ended(program);
            home.at_rest();
        });
    }
}

#[test]
fn a_removal_beside_the_program_leaves_no_port_behind() {
    for (key, flags) in [
        (client(1), SYN),
        (client(2), SYN),
        (from_backend(PORT), ACK),
    ] {
        check(3, move || {
            let old = connection(1, PORT, State::CLOSED, 5);
            let home = Home::with(&[old], 1);
            let program = steering(&home, key, flags);
            let agent = Rc::clone(&home);
            let agent = thread::spawn(move || {
                let home = &*agent;
                let key = ClientKey::of(&client(1));
                let found = find(&home, &key, &Buckets::of(&key, home.settings()));
                found.is_some_and(|place| remove(&home, &place, NOW, HERTZ))
            });
            ended(agent);
            ended(program);
            home.at_rest();
        });
    }
}

#[test]
fn what_is_imported_is_read_whole() {
    check(2, || {
        let old = connection(1, PORT, State::ESTABLISHED, 5);
        let home = Home::with(&[old], 2);
        let agent = importing(&home, record(2, PORT, State::ESTABLISHED));
        let reader = reading(&home, 2, PORT);
        ended(reader);
        ended(agent);
        assert_eq!(VIP, home.at_rest()[0].source);
    });
}
