//! Connections that open and close on another CPU while something is measured.

use std::{
    hint,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;

use crate::{balancer::Balancer, cpus, packets::Clients};

/// How long connections open and close before the measurement begins.
const WARM_UP: Duration = Duration::from_millis(50);

/// Connections that open and close at a stated rate.
#[derive(Clone, Copy)]
pub(crate) struct Churn {
    /// The CPU that their packets come in on.
    pub(crate) cpu: usize,
    /// Connections a second.
    pub(crate) rate: u32,
}

/// What the churn came to.
pub(crate) struct Churned {
    /// Connections that opened and closed.
    pub(crate) connections: u32,
    /// The same a second. Where something else runs on the CPU it is lower than was asked for.
    pub(crate) rate: f64,
}

impl Churn {
    /// Runs `act` beside the churn, whose first client is number `first`.
    ///
    /// # Errors
    /// `act` failed, or a connection was not steered.
    pub(crate) fn beside<T>(
        self,
        balancer: &impl Balancer,
        first: u32,
        act: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, Churned)> {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let churning = scope.spawn(|| self.open_and_close(balancer, first, &stop));
            let acted = {
                let _stops = StopsAtEnd(&stop);
                thread::sleep(WARM_UP);
                act()
            };
            let churned = churning.join().expect("the thread ends without a panic")?;
            Ok((acted?, churned))
        })
    }

    /// Opens and closes connections, evenly spaced, until it is stopped.
    fn open_and_close(
        self,
        balancer: &impl Balancer,
        first: u32,
        stop: &AtomicBool,
    ) -> anyhow::Result<Churned> {
        cpus::pin(self.cpu)?;
        let mut out = Vec::new();
        let mut opened = 0;
        let began = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let due = Duration::from_secs(1) * opened / self.rate;
            if began.elapsed() < due {
                hint::spin_loop();
                continue;
            }
            let client = Clients::CHURNING.key(first.wrapping_add(opened));
            ensure!(
                balancer.open_and_close(client, &mut out),
                "connection {opened} of those that open and close was not steered"
            );
            opened += 1;
        }
        Ok(Churned {
            connections: opened,
            rate: f64::from(opened) / began.elapsed().as_secs_f64(),
        })
    }
}

/// Stops the churn, also where the measurement panics.
struct StopsAtEnd<'a>(&'a AtomicBool);

impl Drop for StopsAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
