//! Measures scheduling delays of the machine, which tests of timing must deduct.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Length of each sleep of the measuring thread.
const NAP: Duration = Duration::from_millis(1);

/// Measures scheduling delays: sleeps repeatedly, and records the longest delay beyond the
/// requested time.
#[derive(Debug)]
pub struct Meter {
    stop: Arc<AtomicBool>,
    longest: JoinHandle<Duration>,
}

impl Meter {
    /// Starts measuring on a thread.
    #[must_use]
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let longest = thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                thread::sleep(NAP);
                longest = longest.max(began.elapsed().saturating_sub(NAP));
            }
            longest
        });
        Self { stop, longest }
    }

    /// Stops measuring, and returns the longest delay so far.
    #[must_use]
    pub fn stop(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        // If the thread panicked there is no measurement: a delay of zero is returned, so nothing
        // is deducted.
        self.longest.join().unwrap_or_default()
    }
}
