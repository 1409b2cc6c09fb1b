//! Contains a panic in the task of a client connection: only that connection ends, and the panic is
//! counted.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    env,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::{LazyLock, Once},
    task::Poll,
    time::{Duration, Instant},
};

use super::counters::ServiceCounters;
use crate::config::Name;

/// A worker logs at most one panic in this interval; all panics are counted.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

thread_local! {
    /// Whether this thread is running the task of a client connection just now.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
    /// The source location of the last panic in the task of a client connection.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    /// When this thread last logged a panic; `None` if it never did.
    static LOGGED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Runs the task of a client connection. A panic drops the task, which releases what the task
/// holds; it is counted in `counters` and logged with the service's name. The task is boxed,
/// because each future around it would otherwise hold a copy of it.
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

/// Installs a panic hook that leaves panics in the tasks of client connections to [`contained`], so
/// that they are logged and not printed one by one. Other panics are reported as before.
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

/// Panics in a debug build if `target` is the request target that the environment variable
/// `LB_PANIC_TARGET` names. This is how the end-to-end tests make a panic happen in a running
/// agent: a request that causes one would be a bug. A release build has no such code.
pub(super) fn happen_on_demand(target: &str) {
    static NAMED: LazyLock<Option<String>> = LazyLock::new(|| env::var("LB_PANIC_TARGET").ok());
    debug_assert!(
        NAMED.as_deref() != Some(target),
        "a request for the target that LB_PANIC_TARGET names"
    );
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
        .is_some_and(|last| last.elapsed() < LOG_INTERVAL)
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
        panic = text,
        "a connection ended by a panic, which is a bug in lb: please report it; all are counted in \
         lb_panics_total, one a minute is logged"
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
