//! Time limits that cost next to nothing while everything is quick.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// One timer for all the waits of a connection. It is touched only when something has to wait, and
/// set anew only when it would fire too late: a timer that fires too early is set on then.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    sleep: Option<Pin<Box<Sleep>>>,
}

/// A wait took longer than its limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Expired;

impl Watchdog {
    /// Waits for `future`, at most for `limit`.
    pub(super) async fn limit<F: Future>(
        &mut self,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Expired> {
        self.watch(None, limit, future).await
    }

    /// Waits for `future`, at most until `limit` after it began or after the time in `progress`,
    /// which may move on meanwhile.
    pub(super) async fn limit_since<F: Future>(
        &mut self,
        progress: &Cell<Option<Instant>>,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Expired> {
        self.watch(Some(progress), limit, future).await
    }

    async fn watch<F: Future>(
        &mut self,
        progress: Option<&Cell<Option<Instant>>>,
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
            let latest = || began.max(progress.and_then(Cell::get).unwrap_or(began));
            self.poll_deadline(&|| latest() + limit, context)
                .map(|()| Err(Expired))
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
        let limited = watchdog.limit_since(&progress, Duration::from_millis(60), wait);
        tokio::select! {
            outcome = limited => assert_eq!(outcome, Err(Expired)),
            () = steps => {}
        }
        assert!(began.elapsed() >= Duration::from_millis(210));
    }
}
