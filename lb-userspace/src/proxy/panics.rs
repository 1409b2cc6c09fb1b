//! A panic in the task of a client's connection ends that connection alone, and is counted.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::Once,
    task::Poll,
    time::{Duration, Instant},
};

use super::counters::ServiceCounters;
use crate::config::Name;

/// A worker logs at most one panic in this time; the others are only counted.
const LOGGED_EVERY: Duration = Duration::from_secs(60);

thread_local! {
    /// Whether this thread runs the task of a connection at this moment.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic of such a task was.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    /// When this thread logged a panic last.
    static LOGGED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Runs a connection's task, which is in a box, as each layer around it would hold a copy of it
/// otherwise. A panic in it drops the task, so that whatever it holds is given back,
/// is counted in `counters`, and is logged with the service's name.
pub(super) async fn contained(
    service: &Name,
    counters: &ServiceCounters,
    task: Pin<Box<impl Future<Output = ()>>>,
) {
    if let Err(payload) = caught(task).await {
        counters.panics.add(1);
        log(service, &*payload);
    }
}

/// Has panics of connections' tasks be logged by [`contained`] and not printed one by one, as
/// [`std::panic`] does it. Panics elsewhere are reported as before.
pub(super) fn report_by_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if IN_TASK.get() {
                let place = panic.location().map(ToString::to_string);
                PLACE.with(|last| *last.borrow_mut() = place);
            } else {
                report(panic);
            }
        }));
    });
}

async fn caught<T>(mut task: Pin<Box<impl Future<Output = T>>>) -> std::thread::Result<T> {
    std::future::poll_fn(|context| {
        IN_TASK.set(true);
        let polled = panic::catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context)));
        IN_TASK.set(false);
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(payload) => Poll::Ready(Err(payload)),
        }
    })
    .await
}

fn log(service: &Name, payload: &(dyn Any + Send)) {
    if LOGGED
        .get()
        .is_some_and(|last| last.elapsed() < LOGGED_EVERY)
    {
        return;
    }
    LOGGED.set(Some(Instant::now()));
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    let place = PLACE.with(RefCell::take).unwrap_or_default();
    tracing::error!(
        service = %service,
        place,
        "a connection ended because of a fault in lb: {text}; the others go on; please report it \
         (lb_panics_total counts each, the log has one a minute)"
    );
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::proxy::counters::{WorkerCounters, sum};

    struct Counted(Rc<Cell<u32>>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    #[tokio::test]
    async fn a_panic_is_counted_and_gives_back_what_the_task_held() {
        let worker = WorkerCounters::default();
        let service = Name::parse("web").expect("a good name");
        let counters = worker.service(&service);
        let open = Rc::new(Cell::new(1));
        let held = Counted(Rc::clone(&open));
        let task = Box::pin(async move {
            let _held = held;
            tokio::task::yield_now().await;
            panic!("on purpose");
        });
        contained(&service, &counters, task).await;
        assert_eq!(open.get(), 0);
        assert_eq!(sum(&[&worker]).panics, [(service, 1)]);
    }
}
