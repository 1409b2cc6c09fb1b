//! Timeouts that cost next to nothing for operations that do not have to wait.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use super::metered::Progress;

/// One timer for all waits of a connection. The timer is touched only when an operation has to
/// wait, and reset only when it would fire too late. If it fires early, it is extended.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    sleep: Option<Pin<Box<Sleep>>>,
}

/// The error of a wait that exceeded its limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Expired;

impl Watchdog {
    /// Waits for `future` for at most the time `limit`.
    pub(super) async fn limit<F: Future>(
        &mut self,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Expired> {
        let mut future = pin!(future);
        let mut began = None;
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            let began = *began.get_or_insert_with(Instant::now);
            self.poll_deadline(&|| began + limit, context)
                .map(|()| Err(Expired))
        })
        .await
    }

    /// Waits for `future` until `limit` after the later of `progress`, which may change during the
    /// wait, and `began`, the beginning of this wait or of an earlier one that it continues.
    pub(super) async fn limit_since<F: Future>(
        &mut self,
        (progress, began): (&Cell<Option<Instant>>, &mut Option<Instant>),
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Expired> {
        let mut future = pin!(future);
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            let began = *began.get_or_insert_with(Instant::now);
            let latest = || began.max(progress.get().unwrap_or(began));
            self.poll_deadline(&|| latest() + limit, context)
                .map(|()| Err(Expired))
        })
        .await
    }

    /// Waits for `future`, a write, as long as no pause in the counter `progress` exceeds `limit`.
    /// Only `future` may advance `progress`.
    pub(super) async fn limit_pauses<F: Future>(
        &mut self,
        progress: &Progress,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Expired> {
        let mut future = pin!(future);
        let mut last = None;
        let mut probed = false;
        poll_fn(|context| {
            loop {
                if let Poll::Ready(output) = future.as_mut().poll(context) {
                    return Poll::Ready(Ok(output));
                }
                let bytes = progress.bytes.get();
                let since = match last {
                    Some((since, before)) if before == bytes => since,
                    _ => {
                        probed = false;
                        Instant::now()
                    }
                };
                last = Some((since, bytes));
                ready!(self.poll_deadline(&|| since + limit, context));
                if probed {
                    return Poll::Ready(Err(Expired));
                }
                probed = true;
                progress.probe.set(true);
            }
        })
        .await
    }

    fn poll_deadline(
        &mut self,
        deadline: &impl Fn() -> Instant,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let wanted = deadline();
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(wanted)));
        if sleep.deadline() > wanted {
            sleep.as_mut().reset(wanted);
        }
        loop {
            ready!(sleep.as_mut().poll(context));
            let wanted = deadline();
            if sleep.deadline() >= wanted {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_wait_has_its_own_limit_on_the_one_timer() {
        let mut watchdog = Watchdog::default();
        let began = Instant::now();
        let long = watchdog
            .limit(Duration::from_secs(60), tokio::task::yield_now())
            .await;
        assert_eq!(long, Ok(()));
        let never = std::future::pending::<()>();
        let short = watchdog.limit(Duration::from_millis(20), never).await;
        assert_eq!(short, Err(Expired));
        assert!(began.elapsed() < Duration::from_secs(30));
        let never = std::future::pending::<()>();
        let again = Instant::now();
        assert_eq!(
            watchdog.limit(Duration::from_millis(50), never).await,
            Err(Expired)
        );
        assert!(again.elapsed() >= Duration::from_millis(50));
    }

    #[tokio::test]
    async fn progress_moves_the_deadline_on() {
        let mut watchdog = Watchdog::default();
        let progress = Cell::new(None);
        let began = Instant::now();
        let steps = async {
            for _ in 0..6 {
                tokio::time::sleep(Duration::from_millis(25)).await;
                progress.set(Some(Instant::now()));
            }
            std::future::pending::<()>().await;
        };
        let wait = std::future::pending::<()>();
        let mut first = None;
        let since = (&progress, &mut first);
        let limited = watchdog.limit_since(since, Duration::from_millis(60), wait);
        tokio::select! {
            outcome = limited => assert_eq!(outcome, Err(Expired)),
            () = steps => {}
        }
        assert!(began.elapsed() >= Duration::from_millis(210));
    }

    #[tokio::test]
    async fn a_wait_goes_on_while_something_moves() {
        let mut watchdog = Watchdog::default();
        let progress = Progress::default();
        let began = Instant::now();
        let steps = async {
            for _ in 0..6 {
                tokio::time::sleep(Duration::from_millis(25)).await;
                progress.add(1);
            }
            std::future::pending::<()>().await;
        };
        let limited = watchdog.limit_pauses(&progress, Duration::from_millis(60), steps);
        assert_eq!(limited.await, Err(Expired));
        assert!(began.elapsed() >= Duration::from_millis(210));
    }

    #[tokio::test]
    async fn a_wait_that_goes_on_with_another_one_has_its_limit() {
        let mut watchdog = Watchdog::default();
        let progress = Cell::new(None);
        let mut began = None;
        let first = Instant::now();
        for _ in 0..100 {
            let step = tokio::time::sleep(Duration::from_millis(20));
            let since = (&progress, &mut began);
            let limit = Duration::from_millis(100);
            if watchdog.limit_since(since, limit, step).await == Err(Expired) {
                break;
            }
        }
        let took = first.elapsed();
        assert!(took < Duration::from_millis(1000), "{took:?}");
    }
}
