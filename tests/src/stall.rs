//! How late the machine is: what a test of time must not blame on who it tests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What the meter asks for each time.
const NAP: Duration = Duration::from_millis(1);

/// Naps all the time, and remembers the longest that a nap went on beyond its end.
#[derive(Debug)]
pub struct Meter {
    stop: Arc<AtomicBool>,
    longest: JoinHandle<Duration>,
}

impl Meter {
    /// Starts napping.
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

    /// Stops, and says how late the machine was at its worst.
    #[must_use]
    pub fn stop(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        // Without a reading nothing is forgiven.
        self.longest.join().unwrap_or_default()
    }
}
