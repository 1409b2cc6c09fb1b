//! Connections that open and close on another CPU during a measurement.

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

/// Connections that open and close at a given rate.
#[derive(Clone, Copy)]
pub(crate) struct Churn {
    /// CPU on which the packets of these connections arrive.
    pub(crate) cpu: usize,
    /// Number of connections that open and close per second.
    pub(crate) rate: u32,
}

/// How many connections opened and closed during a measurement, and at which rate.
pub(crate) struct Churned {
    /// Connections that opened and closed.
    pub(crate) connections: u32,
    /// Connections that opened and closed per second; fewer than requested if other work runs on
    /// the CPU.
    pub(crate) rate: f64,
}

impl Churn {
    /// Runs `act` while connections open and close on another CPU. Each connection has a client of
    /// its own; the clients are numbered from `first`, and the number determines the client's
    /// address and port.
    ///
    /// # Errors
    /// `act` failed, or the balancer did not forward the packets of a connection.
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

    /// Opens and closes connections at even intervals until stopped.
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

/// Stops the opening and closing of connections when it is dropped, also if the measurement panics.
struct StopsAtEnd<'a>(&'a AtomicBool);

impl Drop for StopsAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
