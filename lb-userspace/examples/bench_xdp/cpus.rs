//! Pinning threads to CPUs.

use std::{sync::Barrier, thread};

use anyhow::Context as _;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// Returns the CPUs that this thread may run on. A test stage pins its thread to the first of them.
pub(crate) fn allowed() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(THIS_THREAD).context("cannot read this thread's CPUs")?;
    Ok((0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .collect())
}

/// Pins this thread to a CPU.
pub(crate) fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(THIS_THREAD, &set).with_context(|| format!("cannot run on CPU {cpu}"))
}

/// Runs `act` concurrently on one thread per CPU, with the index of the CPU in `cpus`. The threads
/// share this thread's network namespace.
pub(crate) fn at_once<T: Send>(
    cpus: &[usize],
    act: impl Fn(u32) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    let start = Barrier::new(cpus.len());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(cpus)
            .map(|(position, &cpu)| {
                let (act, start) = (&act, &start);
                scope.spawn(move || {
                    let pinned = pin(cpu);
                    start.wait();
                    pinned?;
                    act(position)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("the thread ends without a panic"))
            .collect()
    })
}

const THIS_THREAD: Pid = Pid::from_raw(0);
