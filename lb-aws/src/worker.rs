//! A task that makes the requested calls to the EC2 API, one at a time, and reports their
//! results.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use lb_ha::elastic::{Answer, Call, Failure};
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    ApiError, Counters, Ec2, ErrorKind, Identity, Inspection, Owner, Settings, counters::Recorder,
};

/// Time limit for a call to the EC2 API, which applies once this host's identity is known.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// How long a requested call to the EC2 API waits until this host's identity is known. After that
/// the call fails, because the caller may want another call by now.
const IDENTITY_LIMIT: Duration = Duration::from_secs(3);

/// How long the worker waits before it first retries to find this host's identity. The delay
/// doubles with each attempt.
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// The longest delay before the worker retries to find this host's identity.
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// How long the worker waits before it retries a check of this host's permissions in AWS that
/// failed.
const CHECK_RETRY: Duration = Duration::from_secs(30);

/// Interval at which the check of this host's permissions in AWS is repeated after it has found
/// obstacles, to see whether an operator has removed them.
const RECHECK_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Makes the requested calls to the EC2 API, never two at the same time. Dropping this
/// abandons the call in flight.
///
/// Between calls the worker checks whether the role of this host permits these calls: at the start,
/// again while the check finds obstacles or fails, and after each association of the Elastic IP.
#[derive(Debug)]
pub struct Worker {
    orders: mpsc::Sender<Call>,
    done: mpsc::Receiver<Done>,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

/// The report of a call to the EC2 API that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The call to the EC2 API that has ended.
    pub order: Call,
    /// The time from the request for the call to the EC2 API to the end of the call.
    pub duration: Duration,
    /// The result of the call to the EC2 API.
    pub outcome: Result<Outcome, ApiError>,
}

/// The result of a call to the EC2 API that succeeded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// AWS has accepted the request to associate the Elastic IP with this host.
    Associated,
    /// AWS has answered who owns the Elastic IP.
    Described(Owner),
}

impl Done {
    /// Converts the result to the answer that the state machine of the Elastic IP
    /// (`lb_ha::elastic`) takes.
    #[must_use]
    pub fn answer(&self) -> Answer {
        match &self.outcome {
            Ok(Outcome::Associated) => Answer::Associated,
            Ok(Outcome::Described(owner)) => Answer::Described(owner.into()),
            Err(error) if error.kind == ErrorKind::Throttled => {
                Answer::Failed(self.order, Failure::Throttled)
            }
            Err(_) => Answer::Failed(self.order, Failure::Other),
        }
    }
}

/// The error that a call to the EC2 API was requested while another is in flight.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a call to the EC2 API is already in progress: wait until it has ended")]
pub struct Busy;

/// A snapshot of what the worker that makes calls to the EC2 API knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// This host's identity in AWS; `None` if it is not known yet.
    pub identity: Option<Identity>,
    /// What the check of this host's permissions in AWS has found; `None` if no check has ended
    /// yet.
    pub inspection: Option<Inspection>,
    /// The counters of calls to the EC2 API.
    pub counters: Counters,
}

impl Worker {
    /// Starts the tasks that find this host's identity in AWS and make the calls to the EC2 API.
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn start(settings: Settings) -> Self {
        let (orders, ordered) = mpsc::channel(1);
        let (finished, done) = mpsc::channel(1);
        let (found, ready) = watch::channel(None);
        let shared = Arc::new(Shared::default());
        let task = CallTask {
            orders: ordered,
            done: finished,
            ready,
            shared: Arc::clone(&shared),
            inspect_at: Some(Instant::now()),
            failing: None,
        };
        let connecting = connect(settings, Arc::clone(&shared), found);
        Self {
            orders,
            done,
            shared,
            tasks: [tokio::spawn(connecting), tokio::spawn(task.run())],
        }
    }

    /// Requests a call to the EC2 API. [`Self::done`] returns the call's result within 8 s.
    ///
    /// # Errors
    /// Another call is in flight, so this one is not made.
    pub fn order(&self, order: Call) -> Result<(), Busy> {
        if self.shared.busy.swap(true, Ordering::AcqRel) {
            return Err(Busy);
        }
        self.orders.try_send(order).map_err(|_| Busy)
    }

    /// Waits until the call to the EC2 API in flight has ended, and returns its result; waits
    /// forever if there is no call. Cancellation-safe.
    pub async fn done(&mut self) -> Done {
        match self.done.recv().await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    /// Returns a snapshot of what the worker knows: this host's identity in AWS, its permissions,
    /// and the counters of calls.
    #[must_use]
    pub fn view(&self) -> View {
        let known = self.shared.known();
        View {
            identity: known.identity.clone(),
            inspection: known.inspection.clone(),
            counters: self.shared.recorder.counters(),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    busy: AtomicBool,
    recorder: Arc<Recorder>,
    known: Mutex<KnownState>,
}

#[derive(Debug, Default)]
struct KnownState {
    identity: Option<Identity>,
    inspection: Option<Inspection>,
    /// Why this host's identity is not known yet; `None` if no attempt to find it has failed.
    obstacle: Option<ApiError>,
}

impl Shared {
    /// Locks what the worker knows of this host in AWS, which is consistent even after a panic,
    /// because every change is one assignment.
    fn known(&self) -> MutexGuard<'_, KnownState> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds this host's identity and loads credentials, with retries until that succeeds.
async fn connect(settings: Settings, shared: Arc<Shared>, found: watch::Sender<Option<Arc<Ec2>>>) {
    let mut wait = FIRST_DELAY;
    loop {
        let recorder = Arc::clone(&shared.recorder);
        match catch_panic(Ec2::connect_with(&settings, recorder)).await {
            Ok(ec2) => {
                let Identity {
                    region,
                    interface,
                    private_ip,
                    ..
                } = ec2.identity();
                tracing::info!(%region, %interface, %private_ip, "resolved EC2 identity");
                let mut known = shared.known();
                known.identity = Some(ec2.identity().clone());
                known.obstacle = None;
                drop(known);
                // Sending fails if the receiving task has ended, in which case nothing needs the
                // EC2 client.
                drop(found.send(Some(Arc::new(ec2))));
                return;
            }
            Err(error) => {
                let before = shared.known().obstacle.replace(error.clone());
                if before.as_ref() != Some(&error) {
                    tracing::warn!(%error, "cannot resolve the EC2 identity; retrying");
                }
                shared.recorder.failed(&error);
            }
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_DELAY);
    }
}

/// The state of the task that makes the calls to the EC2 API.
struct CallTask {
    orders: mpsc::Receiver<Call>,
    done: mpsc::Sender<Done>,
    ready: watch::Receiver<Option<Arc<Ec2>>>,
    shared: Arc<Shared>,
    /// When to check this host's permissions in AWS next; `None` if they need not be checked again.
    inspect_at: Option<Instant>,
    /// The kind of the failure of an EC2 API call that was logged last; `None` if the last call
    /// succeeded.
    failing: Option<ErrorKind>,
}

impl CallTask {
    async fn run(mut self) {
        loop {
            let order = tokio::select! {
                // The selection is biased so that a call that is requested during a permission
                // check aborts the check.
                biased;
                order = self.orders.recv() => order,
                inspected = inspection(self.ready.clone(), self.inspect_at) => {
                    self.record_inspection(inspected);
                    continue;
                }
            };
            let Some(order) = order else {
                return;
            };
            let done = self.execute(order).await;
            self.log_result(&done);
            self.shared.busy.store(false, Ordering::Release);
            if self.done.send(done).await.is_err() {
                return;
            }
        }
    }

    async fn execute(&mut self, order: Call) -> Done {
        let began = Instant::now();
        let outcome = match self.ec2().await {
            Ok(ec2) => match timeout(CALL_LIMIT, catch_panic(perform(&ec2, order))).await {
                Ok(outcome) => outcome,
                Err(_) => Err(ApiError::overdue("an EC2 API call")),
            },
            Err(error) => Err(error),
        };
        Done {
            order,
            duration: began.elapsed(),
            outcome,
        }
    }

    async fn ec2(&mut self) -> Result<Arc<Ec2>, ApiError> {
        let found = timeout(IDENTITY_LIMIT, self.ready.wait_for(Option::is_some)).await;
        if let Ok(Ok(found)) = found
            && let Some(ec2) = &*found
        {
            return Ok(Arc::clone(ec2));
        }
        let obstacle = self.shared.known().obstacle.clone();
        Err(obstacle.unwrap_or_else(|| ApiError::overdue("looking up this host's AWS identity")))
    }

    fn log_result(&mut self, done: &Done) {
        let took = done.duration;
        match &done.outcome {
            Err(error) => {
                if self.failing.replace(error.kind) != Some(error.kind) {
                    tracing::warn!(?took, %error, event = "ec2_failed", "EC2 call failed");
                }
            }
            Ok(outcome) => {
                if self.failing.take().is_some() {
                    tracing::info!(event = "ec2_restored", "EC2 calls are succeeding again");
                }
                if *outcome == Outcome::Associated {
                    // AWS has accepted the association, so what the permission check found earlier
                    // is fixed: check again now.
                    self.shared.known().inspection = None;
                    self.inspect_at = Some(Instant::now());
                    tracing::info!(?took, "AWS accepted moving the Elastic IP to this host");
                }
            }
        }
    }

    fn record_inspection(&mut self, inspected: Result<Inspection, ApiError>) {
        let inspection = match inspected {
            Ok(inspection) => inspection,
            Err(error) => {
                tracing::warn!(%error, "EC2 permission check failed");
                self.inspect_at = Some(Instant::now() + CHECK_RETRY);
                return;
            }
        };
        self.inspect_at = (!inspection.is_clean()).then(|| Instant::now() + RECHECK_INTERVAL);
        let before = self.shared.known().inspection.replace(inspection.clone());
        if before.as_ref() != Some(&inspection) {
            for sentence in inspection.sentences() {
                tracing::error!(
                    finding = sentence,
                    "EC2 would refuse to move the Elastic IP to this host"
                );
            }
            if inspection.is_clean() {
                tracing::info!("EC2 permission check passed");
            }
        }
    }
}

async fn perform(ec2: &Ec2, order: Call) -> Result<Outcome, ApiError> {
    match order {
        Call::Associate => ec2.associate().await.map(|()| Outcome::Associated),
        Call::Describe => ec2.describe().await.map(Outcome::Described),
    }
}

/// Waits until the check of this host's permissions in AWS is due and its identity is known, and
/// makes the check.
async fn inspection(
    mut ready: watch::Receiver<Option<Arc<Ec2>>>,
    at: Option<Instant>,
) -> Result<Inspection, ApiError> {
    let found = match ready.wait_for(Option::is_some).await {
        Ok(found) => found.clone(),
        Err(_) => None,
    };
    let (Some(ec2), Some(at)) = (found, at) else {
        return std::future::pending().await;
    };
    sleep_until(at).await;
    catch_panic(ec2.dry_run()).await
}

/// Turns a panic in `work` into an error: if this task ended, nothing would move the Elastic IP in
/// a failover.
async fn catch_panic<T>(work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    CatchPanic(Box::pin(work)).await
}

struct CatchPanic<F>(Pin<Box<F>>);

impl<T, F: Future<Output = Result<T, ApiError>>> Future for CatchPanic<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let work = self.0.as_mut();
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| work.poll(context)));
        polled.unwrap_or_else(|_| {
            let why = "a call to the EC2 API panicked, which is a bug in lb; it is retried";
            Poll::Ready(Err(ApiError::new(ErrorKind::Other, why.to_owned())))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_failure() {
        let result: Result<(), _> = catch_panic(async { panic!("on purpose") }).await;
        let error = result.expect_err("a failure");
        assert_eq!(error.kind, ErrorKind::Other);
    }
}
