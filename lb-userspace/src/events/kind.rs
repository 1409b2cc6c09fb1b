//! The kinds of events.

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($variant:ident $word:literal $subject:literal $sentence:literal $meaning:literal;)*) => {
        /// The kind of an event: the value of the field `event` of the event's line in the log.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
        pub enum Kind {
            $(
                #[doc = $meaning]
                #[serde(rename = $word)]
                $variant,
            )*
        }

        impl Kind {
            /// All kinds of events.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the word of the kind, as in the log, in JSON and for `lb events --kind`.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Returns what the kind means, as a sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// Returns the template from which the subject of an event of this kind is made.
            pub(super) fn subject(self) -> &'static str {
                match self { $(Self::$variant => $subject,)* }
            }

            /// Returns the template of the sentence that says what happened and why, for events of
            /// this kind.
            pub(super) fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }
    };
}

// In these templates, a name in braces is replaced by that field of the log line; a part in
// brackets is left out if the line lacks a field in it.
kinds! {
    AgentStarted "agent_started" "agent"
        "The agent {version} started[ after {previous}]: {configuration}"
        "The agent started.";
    AgentUpgraded "agent_upgraded" "agent"
        "The agent {version} took over from the previous process: {configuration}"
        "A new process took over from the running one (`lb upgrade`).";
    UpgradeFailed "upgrade_failed" "agent"
        "The upgrade failed and the running agent continues to serve: {error}"
        "`lb upgrade` failed.";
    AgentStopping "agent_stopping" "agent"
        "The agent is stopping: {reason}"
        "The agent is stopping, on request or because of a failure.";
    ConfigurationLoaded "configuration_loaded" "{file}"
        "A new configuration is in force: {changed}"
        "A reload put a new configuration in force.";
    ConfigurationRefused "configuration_refused" "{file}"
        "The new configuration was refused and the old one stays in force: {error}"
        "A reload was refused.";
    BackendUp "backend_up" "{pool}/{backend}"
        "The backend went from {from} to {to}: {reason}"
        "A backend gets new connections again.";
    BackendDraining "backend_draining" "{pool}/{backend}"
        "The backend went from {from} to {to}: {reason}"
        "A backend gets no new connections, and those that exist continue.";
    BackendDown "backend_down" "{pool}/{backend}"
        "The backend went from {from} to {to}: {reason}"
        "A backend gets no traffic.";
    BackendOverride "backend_override" "{backend}"
        "The operator override was set to {order}"
        "The operator set an override of a backend (`lb backend drain`, `down` or `ready`).";
    BackendOverrideReceived "backend_override_received" "{backend}"
        "The peer sent a newer operator override"
        "An operator override was set at the peer.";
    BackendEjected "backend_ejected" "{pool}/{backend}"
        "The backend is not used for {time}; number of failed requests: {failures}"
        "A backend was ejected for failing requests.";
    BackendEjectionEnded "backend_ejection_ended" "{pool}/{backend}"
        "The backend is used again: its ejection ended"
        "The ejection of a backend ended.";
    BackendDiscovered "backend_discovered" "{pool}/{backend}"
        "The backend was added to the pool: {source} lists it"
        "The source of a pool has a new backend.";
    BackendChanged "backend_changed" "{pool}/{backend}"
        "The name, weight or backup state of the backend was changed by {source}"
        "The source of a pool has changed a backend.";
    BackendLeaving "backend_leaving" "{pool}/{backend}"
        "The backend is drained and leaves the pool: {source} no longer lists it"
        "The source of a pool no longer has a backend, which gets no new connections.";
    BackendRemoved "backend_removed" "{pool}/{backend}"
        "The backend was removed from the pool: its drain time has passed"
        "A backend that its source no longer has was removed from its pool.";
    BackendExcluded "backend_excluded" "{pool}/{backend}"
        "The backend was discovered, but cannot be used: {reason}"
        "A backend of a source cannot be used.";
    DiscoveryFailed "discovery_failed" "{pool}"
        "The backends cannot be discovered, and stay as they are: {error}"
        "The source of a pool fails, or has no backends.";
    DiscoveryRestored "discovery_restored" "{pool}"
        "The backends are discovered again by {source}"
        "The source of a pool answers again.";
    PoolDown "pool_down" "{pool}"
        "No backend of the pool is up: new connections are {new_connections}"
        "The last backend of a pool went down.";
    PoolRestored "pool_restored" "{pool}"
        "The pool has a backend that is up again: {backend}"
        "A backend came up in a pool that had none.";
    RoleChanged "role_changed" "role"
        "The role changed from {from} to {to}: {cause}"
        "The role of this host in the pair changed.";
    HandoverRequested "handover_requested" "role"
        "The operator requested a hand-over to the peer"
        "The operator ran `lb failover`.";
    HandoverCompleted "handover_completed" "role"
        "The hand-over succeeded: the peer is active and has the address"
        "A hand-over succeeded.";
    HandoverFailed "handover_failed" "role"
        "The hand-over failed: {reason}"
        "A hand-over failed.";
    LinkUp "link_up" "link"
        "The link to {node} ({peer}, lb {version}) is up"
        "The link to the peer is up.";
    LinkDown "link_down" "link"
        "The link to the peer is down: {reason}"
        "The link to the peer is down.";
    AddressAdded "address_added" "{address}"
        "This host took the address: it was added to {interface}"
        "A virtual IP was added to this host.";
    AddressRemoved "address_removed" "{address}"
        "This host released the address: it was removed from {interface}"
        "A virtual IP was removed from this host.";
    ElasticIpOwner "elastic_ip_owner" "Elastic IP"
        "The EC2 API says that the Elastic IP belongs to {owner}[ and no longer to {before}]"
        "The EC2 API named another owner of the Elastic IP than before.";
    Ec2Failed "ec2_failed" "EC2 API"
        "A call to the EC2 API failed: {error}"
        "Calls to the EC2 API fail, or fail for another reason than before.";
    Ec2Restored "ec2_restored" "EC2 API"
        "Calls to the EC2 API succeed again"
        "Calls to the EC2 API succeed again.";
    NotifyFailed "notify_failed" "{state}"
        "The notify command failed: {reason}"
        "A command of `[ha.notify]` failed.";
    TrackedFailed "tracked_failed" "{object}"
        "The tracked object is unhealthy: {reason}"
        "A tracked object failed.";
    TrackedRestored "tracked_restored" "{object}"
        "The tracked object is healthy again: {reason}"
        "A tracked object is healthy again.";
    TlsFilesChanged "tls_files_changed" "{files}"
        "TLS files changed on disk and were read again: {files}"
        "Certificates, client authorities or revocation lists changed on disk.";
    TlsFileInvalid "tls_file_invalid" "TLS files"
        "A TLS file is invalid and its previous content stays in use: {error}"
        "A TLS file that changed cannot be used.";
    CertificateObtained "certificate_obtained" "{service}"
        "The first certificate for {domains} was obtained, valid until {until}"
        "A certificate was obtained by ACME for the first time.";
    CertificateRenewed "certificate_renewed" "{service}"
        "The certificate for {domains} was renewed, valid until {until}"
        "A certificate was renewed by ACME.";
    CertificateFailed "certificate_failed" "{service}"
        "No certificate was obtained; the next order begins at {again}: {error}"
        "A certificate order failed.";
    CertificateReceived "certificate_received" "[{service}][{files}]"
        "The peer sent a certificate[ for service {service}][: {files}]"
        "Certificates were received from the peer and installed.";
    CertificateExpiring "certificate_expiring" "{file}"
        "The certificate expires on {expires}, days left: {days}"
        "A certificate in use expires soon: in 14, 7, 3 or 1 days.";
    CertificateExpired "certificate_expired" "{file}"
        "The certificate expired on {expires}"
        "A certificate in use has expired.";
    LogLevelChanged "log_level_changed" "log"
        "The log level is now {level}: {reason}"
        "The log level was changed, or its time has expired (`lb log-level`).";
    LimitReached "limit_reached" "{limit}"
        "A limit was reached: {effect}"
        "A limit was reached: of client connections or of file descriptors.";
}

impl Kind {
    /// Returns the kind with this word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.word() == word)
    }
}
