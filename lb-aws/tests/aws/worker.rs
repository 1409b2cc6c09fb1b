//! Tests that the worker makes one call to the EC2 API at a time.

use std::time::{Duration, Instant};

use lab::ec2::Ec2 as _;
use lb_aws::{Busy, Done, ErrorKind, Outcome, Owner, Worker};
use lb_ha::elastic::{self, Answer, Call, Failure};
use tokio::time::timeout;

use crate::site::{PATIENCE, Site, until};

async fn obeyed(worker: &mut Worker, order: Call) -> Done {
    worker.order(order).expect("it is free");
    let done = timeout(PATIENCE, worker.done()).await.expect("in time");
    assert_eq!(done.order, order);
    done
}

#[tokio::test]
async fn orders_are_carried_out_and_counted() {
    let site = Site::raise();
    let mut worker = Worker::start(site.settings());
    let done = obeyed(&mut worker, Call::Associate).await;
    assert_eq!(done.outcome, Ok(Outcome::Associated));
    assert_eq!(done.answer(), Answer::Associated);
    let done = obeyed(&mut worker, Call::Describe).await;
    assert_eq!(done.outcome, Ok(Outcome::Described(Owner::Us)));
    assert_eq!(done.answer(), Answer::Described(elastic::Owner::Us));
    site.lastingly(|faults| &mut faults.throttled);
    let done = obeyed(&mut worker, Call::Associate).await;
    assert_eq!(
        done.answer(),
        Answer::Failed(Call::Associate, Failure::Throttled)
    );
    let counters = worker.view().counters;
    let associations: Vec<_> = counters
        .calls
        .iter()
        .filter(|call| call.operation.name() == "AssociateAddress")
        .map(|call| (call.outcome, call.count))
        .collect();
    assert_eq!(associations, [("ok", 1), ("throttled", 1)]);
    let last = counters.last_error.expect("an error").error;
    assert_eq!(last.kind, ErrorKind::Throttled);
}

#[tokio::test]
async fn a_second_order_is_refused_until_the_first_is_done() {
    let site = Site::raise();
    site.ec2
        .faults(|faults| faults.delay = Duration::from_millis(300));
    let mut worker = Worker::start(site.settings());
    for _ in 0..3 {
        worker.order(Call::Associate).expect("it is free");
        assert_eq!(worker.order(Call::Describe), Err(Busy));
        // Dropping the future of `done` loses no result.
        let early = timeout(Duration::from_millis(1), worker.done()).await;
        assert!(early.is_err(), "{early:?}");
        let done = timeout(PATIENCE, worker.done()).await.expect("in time");
        assert_eq!(done.outcome, Ok(Outcome::Associated));
    }
    assert_eq!(site.ec2.moves(), 1);
    let overlap = site.ec2.overlap();
    assert!(overlap.is_none(), "two calls at once: {overlap:?}");
}

#[tokio::test]
async fn an_order_does_not_wait_for_an_inspection_and_makes_no_second_call_beside_it() {
    let site = Site::raise();
    site.lastingly(|faults| &mut faults.hanging);
    let mut worker = Worker::start(site.settings());
    until("the inspection's first call", async || {
        !site.ec2.calls().is_empty()
    })
    .await;
    site.ec2.restore();
    let began = Instant::now();
    let done = obeyed(&mut worker, Call::Associate).await;
    assert_eq!(done.outcome, Ok(Outcome::Associated));
    assert!(began.elapsed() < Duration::from_millis(1400), "{began:?}");
    until("the inspection's end", async || {
        worker.view().inspection.is_some()
    })
    .await;
    assert!(worker.view().inspection.expect("one").is_clean());
    let overlap = site.ec2.overlap();
    assert!(overlap.is_none(), "two calls at once: {overlap:?}");
}

#[tokio::test]
async fn what_an_inspection_finds_is_in_view() {
    let site = Site::raise();
    site.ec2.deny("AssociateAddress");
    let worker = Worker::start(site.settings());
    until("the inspection's end", async || {
        worker.view().inspection.is_some()
    })
    .await;
    let inspection = worker.view().inspection.expect("one");
    assert_eq!(inspection.denied.len(), 1, "{inspection:?}");
}

#[tokio::test]
async fn a_late_metadata_service_fails_the_first_orders_and_no_later_ones() {
    let site = Site::raise();
    site.imds.be_silent(true);
    let mut worker = Worker::start(site.settings());
    let began = Instant::now();
    let done = obeyed(&mut worker, Call::Associate).await;
    let error = done.outcome.expect_err("nobody knows who we are");
    assert!(error.sentence.contains("metadata service"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5), "{began:?}");
    assert_eq!(worker.view().identity, None);
    let counted = worker.view().counters;
    assert_eq!(counted.calls, [], "no call was made");
    assert_eq!(counted.last_error.map(|last| last.error), Some(error));

    site.imds.be_silent(false);
    until("the identity", async || worker.view().identity.is_some()).await;
    let done = obeyed(&mut worker, Call::Associate).await;
    assert_eq!(done.outcome, Ok(Outcome::Associated));
}

#[tokio::test]
async fn an_order_waits_for_an_identity_that_is_about_to_be_known() {
    let site = Site::raise();
    let mut worker = Worker::start(site.settings());
    worker.order(Call::Describe).expect("it is free");
    assert_eq!(worker.view().identity, None, "it has had no time yet");
    let done = timeout(PATIENCE, worker.done()).await.expect("in time");
    assert_eq!(done.outcome, Ok(Outcome::Described(Owner::Nobody)));
}

#[tokio::test]
async fn a_worker_that_is_dropped_gives_its_call_up() {
    let site = Site::raise();
    site.lastingly(|faults| &mut faults.hanging);
    let worker = Worker::start(site.settings());
    worker.order(Call::Associate).expect("it is free");
    let associating = async || {
        let calls = site.ec2.calls();
        calls
            .iter()
            .any(|call| call.action == "AssociateAddress" && !call.dry_run)
    };
    until("the call", associating).await;
    drop(worker);
    until("the call's end", async || {
        site.ec2.calls().iter().all(|call| call.ended.is_some())
    })
    .await;
    assert_eq!(site.ec2.owner().expect("an answer"), None);
}
