//! The clock by which flows are timed: the kernel's jiffies, which only a program in the kernel can
//! read.

use aya::{
    Ebpf,
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::tick::Tick;

use super::Error;

/// The name of the BPF program that returns the time in jiffies.
const PROGRAM: &str = "clock";

/// The shortest packet that the kernel runs a program on: as long as an Ethernet header.
const PACKET: [u8; 14] = [0; 14];

/// The loaded program that returns the time. It is not attached to an interface.
pub(super) struct Clock {
    loaded: Ebpf,
    hertz: u32,
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}

impl Clock {
    /// Loads the program [`PROGRAM`] of the eBPF object that is built into the agent; `hertz` is
    /// the number of ticks (jiffies) in a second.
    pub(super) fn load(mut loaded: Ebpf, hertz: u32) -> Result<Self, Error> {
        let program: &mut Xdp = loaded
            .program_mut(PROGRAM)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(missing)?;
        program.load().map_err(|error| Error::Verifier {
            program: PROGRAM.to_owned(),
            source: error.into(),
        })?;
        Ok(Self { loaded, hertz })
    }

    /// Returns the current time in ticks (jiffies).
    pub(super) fn now(&self) -> Result<Tick, Error> {
        let program: &Xdp = self
            .loaded
            .program(PROGRAM)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(missing)?;
        let ran = program
            .test_run(TestRunOptions {
                data_in: Some(&PACKET),
                ..TestRunOptions::default()
            })
            .map_err(Error::kernel("cannot read the kernel\'s clock"))?;
        Ok(Tick(ran.return_value))
    }

    /// Returns the number of ticks (jiffies) in a second.
    pub(super) fn hertz(&self) -> u32 {
        self.hertz
    }
}

fn missing() -> Error {
    Error::missing_program(PROGRAM)
}
