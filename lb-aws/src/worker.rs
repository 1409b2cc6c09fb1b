//! Makes the calls that are ordered, one at a time, and says what came of each.

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

/// The longest that an order may take once this host knows who it is.
const ORDER_LIMIT: Duration = Duration::from_secs(5);

/// The longest that an order waits until this host knows who it is. Then it fails: who ordered it
/// may want something else by now.
const IDENTITY_LIMIT: Duration = Duration::from_secs(3);

/// The first wait before this host asks again who it is; each next one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The longest of these waits.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How soon an inspection that failed is made again.
const INSPECT_AGAIN: Duration = Duration::from_secs(30);

/// How soon it is checked again whether what an inspection found is fixed.
const INSPECT_MENDED: Duration = Duration::from_secs(5 * 60);

/// Makes the calls that are ordered, never two at once. Dropping it gives up the one under way.
///
/// Between orders it inspects, once, whether the calls would be allowed.
#[derive(Debug)]
pub struct Worker {
    orders: mpsc::Sender<Call>,
    done: mpsc::Receiver<Done>,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The order.
    pub order: Call,
    /// From the order to its end.
    pub duration: Duration,
    /// What came of it.
    pub outcome: Result<Outcome, ApiError>,
}

/// What came of an order that succeeded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The Elastic IP will be this host's: AWS said that it will see to it.
    Associated,
    /// Whose it is, as AWS describes it.
    Described(Owner),
}

impl Done {
    /// The same for the keeper of the address.
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

/// An order was given while another is under way.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a call of the EC2 API is under way already: wait until it is done")]
pub struct Busy;

/// What is known, and what was counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Who this host is; `None`: not found out yet.
    pub identity: Option<Identity>,
    /// Whether the calls would be allowed; `None`: not known yet.
    pub inspection: Option<Inspection>,
    /// What was counted.
    pub counters: Counters,
}

impl Worker {
    /// Starts one. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(settings: Settings) -> Self {
        let (orders, ordered) = mpsc::channel(1);
        let (finished, done) = mpsc::channel(1);
        let (found, ready) = watch::channel(None);
        let shared = Arc::new(Shared::default());
        let duty = Duty {
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
            tasks: [tokio::spawn(connecting), tokio::spawn(duty.run())],
        }
    }

    /// Orders a call. [`Self::done`] says what came of it, within 8 s.
    ///
    /// # Errors
    /// Another order is under way.
    pub fn order(&self, order: Call) -> Result<(), Busy> {
        if self.shared.busy.swap(true, Ordering::AcqRel) {
            return Err(Busy);
        }
        self.orders.try_send(order).map_err(|_| Busy)
    }

    /// Waits until the order that is under way is done; for ever when none is. Nothing is lost
    /// when this future is dropped.
    pub async fn done(&mut self) -> Done {
        match self.done.recv().await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    /// What is known, and what was counted.
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
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    identity: Option<Identity>,
    inspection: Option<Inspection>,
    /// Why the identity is not known yet.
    obstacle: Option<ApiError>,
}

impl Shared {
    /// Every change of it is one assignment.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries until this host knows who it is and has credentials.
async fn connect(settings: Settings, shared: Arc<Shared>, found: watch::Sender<Option<Arc<Ec2>>>) {
    let mut wait = FIRST_WAIT;
    loop {
        let recorder = Arc::clone(&shared.recorder);
        match guarded(Ec2::connect_with(&settings, recorder)).await {
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
                // Who waited for it may be gone: then nobody needs it.
                drop(found.send(Some(Arc::new(ec2))));
                return;
            }
            Err(error) => {
                let before = shared.known().obstacle.replace(error.clone());
                if before.as_ref() != Some(&error) {
                    tracing::warn!("{error}; trying again");
                }
                shared.recorder.failed(&error);
            }
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// What the task that makes the calls goes by.
struct Duty {
    orders: mpsc::Receiver<Call>,
    done: mpsc::Sender<Done>,
    ready: watch::Receiver<Option<Arc<Ec2>>>,
    shared: Arc<Shared>,
    /// `None`: there is nothing more to find out.
    inspect_at: Option<Instant>,
    /// The failure that the log speaks of already.
    failing: Option<ErrorKind>,
}

impl Duty {
    async fn run(mut self) {
        loop {
            let order = tokio::select! {
                // An order that comes during an inspection gives that up, and its call with it.
                biased;
                order = self.orders.recv() => order,
                inspected = inspection(self.ready.clone(), self.inspect_at) => {
                    self.note(inspected);
                    continue;
                }
            };
            let Some(order) = order else {
                return;
            };
            let done = self.carry_out(order).await;
            self.tell(&done);
            self.shared.busy.store(false, Ordering::Release);
            if self.done.send(done).await.is_err() {
                return;
            }
        }
    }

    async fn carry_out(&mut self, order: Call) -> Done {
        let began = Instant::now();
        let outcome = match self.ec2().await {
            Ok(ec2) => match timeout(ORDER_LIMIT, guarded(perform(&ec2, order))).await {
                Ok(outcome) => outcome,
                Err(_) => Err(ApiError::overdue("a call of the EC2 API")),
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
        Err(obstacle.unwrap_or_else(|| ApiError::overdue("finding out who this host is in AWS")))
    }

    fn tell(&mut self, done: &Done) {
        let took = done.duration;
        match &done.outcome {
            Err(error) => {
                if self.failing.replace(error.kind) != Some(error.kind) {
                    tracing::warn!(?took, "{error}");
                }
            }
            Ok(outcome) => {
                if self.failing.take().is_some() {
                    tracing::info!("the EC2 API answers again");
                }
                if *outcome == Outcome::Associated {
                    // It may: what an inspection found before is fixed, or about to be found again.
                    self.shared.known().inspection = None;
                    self.inspect_at = Some(Instant::now());
                    tracing::info!(?took, "AWS moves the Elastic IP to this host");
                }
            }
        }
    }

    fn note(&mut self, inspected: Result<Inspection, ApiError>) {
        let inspection = match inspected {
            Ok(inspection) => inspection,
            Err(error) => {
                tracing::warn!("EC2 permission check failed: {error}");
                self.inspect_at = Some(Instant::now() + INSPECT_AGAIN);
                return;
            }
        };
        self.inspect_at = (!inspection.is_clean()).then(|| Instant::now() + INSPECT_MENDED);
        let before = self.shared.known().inspection.replace(inspection.clone());
        if before.as_ref() != Some(&inspection) {
            for sentence in inspection.sentences() {
                tracing::error!("the Elastic IP would not come here: {sentence}");
            }
            if inspection.is_clean() {
                tracing::info!("the EC2 API would move the Elastic IP to this host");
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

/// Inspects when it is time to.
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
    guarded(ec2.dry_run()).await
}

/// Makes a failure of a panic: nobody else would take the Elastic IP if this task ended.
async fn guarded<T>(work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    Guarded(Box::pin(work)).await
}

struct Guarded<F>(Pin<Box<F>>);

impl<T, F: Future<Output = Result<T, ApiError>>> Future for Guarded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let work = self.0.as_mut();
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| work.poll(context)));
        polled.unwrap_or_else(|_| {
            let why =
                "a call of the EC2 API panicked, which is a mistake of ours; it is tried again";
            Poll::Ready(Err(ApiError::new(ErrorKind::Other, why.to_owned())))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_failure() {
        let result: Result<(), _> = guarded(async { panic!("on purpose") }).await;
        let error = result.expect_err("a failure");
        assert_eq!(error.kind, ErrorKind::Other);
    }
}
