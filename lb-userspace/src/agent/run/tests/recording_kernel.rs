//! A packet path for tests of the agent, which records how it is called.

use super::*;

/// A packet path that records how it is called, and changes nothing in the kernel. Clones share the
/// records.
#[derive(Clone, Default)]
pub(super) struct RecordingKernel(pub(super) Arc<Recorded>);

#[derive(Default)]
pub(super) struct Recorded {
    /// The states of the backends of pool `web` that the agent wrote last, and the names of the
    /// services.
    pub(super) told: Mutex<(Vec<BackendState>, Vec<String>)>,
    pub(super) refuses: AtomicBool,
    /// The backend that packets cannot reach; `None` if they reach all backends.
    pub(super) unreachable: Mutex<Option<SocketAddr>>,
    pub(super) was_opened: AtomicBool,
    pub(super) was_taken_back: AtomicBool,
}

impl RecordingKernel {
    pub(super) fn open(&self) -> Self {
        self.0.was_opened.store(true, SeqCst);
        self.clone()
    }

    pub(super) fn states(&self) -> Vec<BackendState> {
        self.0.told.lock().expect("no panic").0.clone()
    }

    pub(super) fn services(&self) -> Vec<String> {
        self.0.told.lock().expect("no panic").1.clone()
    }

    pub(super) fn refuse(&self, refuses: bool) {
        self.0.refuses.store(refuses, SeqCst);
    }

    /// Makes packets to this backend count as undeliverable from now on.
    pub(super) fn lose(&self, backend: SocketAddr) {
        *self.0.unreachable.lock().expect("no panic") = Some(backend);
    }

    pub(super) fn verdict(&self) -> Result<(), dataplane::Error> {
        if self.0.refuses.load(SeqCst) {
            return Err(dataplane::Error::EndpointsFull {
                address: [10, 0, 0, 6].into(),
                port: 80,
            });
        }
        Ok(())
    }
}

impl Kernel for RecordingKernel {
    fn apply(
        &mut self,
        services: &[crate::config::Service],
        pools: &[Arc<PoolView>],
    ) -> Result<(), dataplane::Error> {
        self.verdict()?;
        let names = services.iter().map(|service| service.name.to_string());
        *self.0.told.lock().expect("no panic") = (pools[0].states.clone(), names.collect());
        Ok(())
    }

    fn pools_changed(&mut self, pools: &[Arc<PoolView>]) -> Result<(), dataplane::Error> {
        self.verdict()?;
        let told = &mut self.0.told.lock().expect("no panic").0;
        told.clone_from(&pools[0].states);
        Ok(())
    }

    fn counters(&self) -> Result<Counters, dataplane::Error> {
        Ok(Counters::default())
    }

    fn attachments(&self) -> Vec<Attachment> {
        vec![Attachment {
            interface: "lo".to_owned(),
            mode: XdpMode::Native,
        }]
    }

    fn unreachable(
        &self,
        services: &[crate::config::Service],
    ) -> Result<Vec<Unreachable>, dataplane::Error> {
        let unreachable = *self.0.unreachable.lock().expect("no panic");
        let pools = services.iter().filter_map(|service| service.pool.as_ref());
        let found = pools.flat_map(|pool| {
            let backends = pool.backends.iter();
            let lost = backends.filter(|backend| Some(backend.address) == unreachable);
            lost.map(|backend| Unreachable {
                pool: pool.name.clone(),
                address: backend.address,
                message: format!("backend {}: there is no route to it", backend.name),
                hint: "add a route".to_owned(),
            })
        });
        Ok(found.collect())
    }

    fn adopted(&self) -> bool {
        false
    }

    fn hold(&self, _on: bool) -> Result<(), dataplane::Error> {
        Ok(())
    }

    fn flows(&self) -> Option<dataplane::flows::Flows> {
        None
    }

    fn occupancy(&self) -> Option<dataplane::Occupancy> {
        None
    }

    fn program_pin(&self) -> PathBuf {
        "/nonexistent".into()
    }

    fn pause(&mut self) -> Result<Option<(PathBuf, std::os::fd::OwnedFd)>, dataplane::Error> {
        Ok(None)
    }

    fn resume(&mut self) -> Result<(), dataplane::Error> {
        Ok(())
    }

    fn give_up(&mut self) {}

    fn take_back(self) -> Result<(), dataplane::Error> {
        self.0.was_taken_back.store(true, SeqCst);
        Ok(())
    }
}
