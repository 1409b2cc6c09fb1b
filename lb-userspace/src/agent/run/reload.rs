//! The reload: puts a new configuration in force as a whole, or keeps the old one as a whole.

use std::{sync::Arc, time::SystemTime};

use super::{Agent, changes::changes, discovery::log_excluded};
use crate::{
    agent::{Draft, feeds::Feeds, file_watch::Stamps, kernel::Kernel, summary},
    config::{Config, Effective, Excluded},
    discovery::Discovered,
    pool::{BackendRegistry, PoolView},
    proxy,
};

/// A new configuration with the state that will be in force together with it.
struct Next {
    config: Config,
    discovered: Discovered,
    /// The discovered backends that the new configuration cannot use.
    excluded: Vec<Excluded>,
    registry: BackendRegistry,
    feeds: Feeds,
    /// The stamps (metadata that changes with a file's content) that the TLS files had before they
    /// were read.
    tls_files: Stamps,
}

impl<K: Kernel> Agent<K> {
    /// Reads the configuration again and puts it in force. Returns a sentence for the operator
    /// about what is in force now.
    ///
    /// # Errors
    /// All problems of the new configuration, as text. The old configuration stays in force.
    pub(super) fn reload(&mut self) -> Result<String, String> {
        self.try_reload().map_err(|error| {
            tracing::error!(
                file = %self.file.display(),
                error = %error,
                event = "configuration_refused",
                "the new configuration was refused, and the old one stays in force"
            );
            format!("{error}\nThe old configuration stays in force.")
        })
    }

    fn try_reload(&mut self) -> Result<String, String> {
        let draft = Draft::read(&self.file).map_err(|error| error.to_string())?;
        self.refuse_unreachable(&draft)?;
        let next = self.next(&draft.config)?;
        self.put_in_force(&next)?;
        let (file, contents) = (self.file.display(), summary(&next.config));
        let changed = changes(&self.shared.read().config, &next.config);
        tracing::info!(
            file = %file, configuration = %contents, changed, event = "configuration_loaded",
            "configuration is in force"
        );
        let mut done = format!("{file} is in force: {contents}");
        for warning in draft.warnings {
            tracing::warn!(warning = %warning, "configuration warning");
            done.push_str(&format!("\n{warning}"));
        }
        self.commit(next);
        Ok(done)
    }

    fn refuse_unreachable(&self, draft: &Draft) -> Result<(), String> {
        let unreachable = self.shared.kernel().unreachable(&draft.config.services);
        let unreachable = unreachable.map_err(|error| error.to_string())?;
        draft
            .refuse(unreachable)
            .map_err(|errors| errors.to_string())
    }

    fn next(&self, config: &Config) -> Result<Next, String> {
        let state = self.shared.read();
        refuse_what_takes_a_restart(&state.config, config)?;
        let mut discovered = state
            .discovered
            .reloaded(&config.pools, &state.config.pools);
        let config = config.clone().keeping_backends_of(&state.config);
        let effective = self.effective(&config, &discovered);
        let Effective { config, excluded } = effective.map_err(|error| error.to_string())?;
        let excluded = discovered.set_excluded(excluded);
        let registry = state.registry.reloaded(&config.pools, SystemTime::now());
        Ok(Next {
            feeds: self.feeds.renewed(&registry),
            tls_files: Stamps::of(proxy::tls_files(&config.services)),
            config,
            discovered,
            excluded,
            registry,
        })
    }

    /// Applies the new configuration to the HTTP front and to the kernel. Each of them checks
    /// everything before it changes anything. If the kernel refuses the new configuration, the old
    /// one is restored in the HTTP front.
    fn put_in_force(&self, next: &Next) -> Result<(), String> {
        self.apply_to_proxy(&next.config, &next.feeds)?;
        let views: Vec<Arc<PoolView>> = next.registry.views().cloned().collect();
        let applied = self.shared.kernel().apply(&next.config.services, &views);
        applied.map_err(|error| {
            let old = self.shared.read().config.clone();
            match self.apply_to_proxy(&old, &self.feeds) {
                Ok(()) => error.to_string(),
                Err(back) => format!("{error}\nand the HTTP front could not be restored: {back}"),
            }
        })
    }

    pub(super) fn apply_to_proxy(&self, config: &Config, feeds: &Feeds) -> Result<(), String> {
        let proxy = self.shared.proxy();
        let proxy = proxy.as_ref().ok_or("the agent is stopping")?;
        let applied = proxy.apply((&config.http, &config.log), feeds.frontends(config));
        applied.map_err(|errors| {
            let sentences = errors.iter().map(ToString::to_string);
            sentences.collect::<Vec<_>>().join("\n")
        })
    }

    /// Replaces the old configuration and its state by the new ones. No step of this can fail.
    fn commit(&mut self, next: Next) {
        self.logging.configure(&next.config.log);
        self.checks.apply(&next.config.pools);
        self.discovery.query(&next.config);
        next.feeds.send_all(&next.registry);
        self.feeds = next.feeds;
        {
            let mut state = self.shared.write();
            state.replace(next.config, next.registry);
            state.discovered = next.discovered;
            state.unusable.clear();
        }
        self.remember();
        self.save_discovered();
        log_excluded(&next.excluded);
        self.file_watch.watch(next.tls_files);
        self.acme.apply(&self.shared.read().config);
        self.reconfigure_pair();
        self.send_certificates();
    }
}

/// Returns an error if settings have changed that take effect only at the start of an agent, such
/// as addresses to listen on.
fn refuse_what_takes_a_restart(old: &Config, new: &Config) -> Result<(), String> {
    let changed = [
        ("node.name", old.node.name != new.node.name),
        (
            "node.interfaces",
            old.node.interfaces != new.node.interfaces,
        ),
        ("admin.listen", old.admin.listen != new.admin.listen),
        ("admin.socket", old.admin.socket != new.admin.socket),
        (
            "admin.certificate",
            old.admin.certificate != new.admin.certificate,
        ),
        (
            "admin.token_file",
            old.admin.token_file != new.admin.token_file,
        ),
        (
            "admin.client_authorities",
            old.admin.authorities() != new.admin.authorities(),
        ),
        (
            "admin.client_revocations",
            old.admin.revocations() != new.admin.revocations(),
        ),
        ("dataplane", old.dataplane != new.dataplane),
        ("http.workers", old.http.workers != new.http.workers),
    ];
    let changed = changed.into_iter().filter(|(_, changed)| *changed);
    let changed = changed.map(|(name, _)| name);
    let of_pair = match (&old.ha, &new.ha) {
        (Some(old), Some(new)) => old.needs_restart(new),
        (None, None) => Vec::new(),
        (Some(_), None) | (None, Some(_)) => vec!["ha"],
    };
    let changed = changed.chain(of_pair);
    let names: Vec<_> = changed.map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} changed, which requires a new process: run `lb upgrade`; flows in the kernel continue",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(admin: &str) -> Config {
        let text = format!(
            "[node]\nname = \"lb-a\"\ninterface = \"eth0\"\n\
             [[pool]]\nname = \"web\"\nbackends = [\"10.0.0.6:80\"]\n\
             [[service]]\nname = \"http\"\nlisten = \"172.31.0.68:80\"\nmode = \"http\"\npool = \"web\"\n\
             [admin]\ncertificate = \"/etc/lb/tls/admin.pem\"\n{admin}"
        );
        Config::parse(Path::new("lb.toml"), &text)
            .expect("valid")
            .config
    }

    #[test]
    fn other_files_of_the_authorities_of_operators_take_a_restart() {
        let authorities = "client_authorities = [\"/etc/lb/tls/ca.pem\"]\n";
        let revocations = "client_revocations = [\"/etc/lb/tls/crl.pem\"]\n";
        let (none, some) = (config(""), config(authorities));
        let all = config(&format!("{authorities}{revocations}"));
        assert_eq!(refuse_what_takes_a_restart(&all, &all), Ok(()));
        let refused = refuse_what_takes_a_restart(&none, &some).expect_err("refused");
        assert!(
            refused.starts_with("`admin.client_authorities` changed"),
            "{refused}"
        );
        let refused = refuse_what_takes_a_restart(&some, &all).expect_err("refused");
        assert!(
            refused.starts_with("`admin.client_revocations` changed"),
            "{refused}"
        );
    }
}
