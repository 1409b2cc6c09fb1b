//! The metric families that the agent exports: names, types and meanings.

use prometheus_client::metrics::MetricType;

/// A metric family.
#[derive(Debug)]
pub struct Family {
    /// The name in Prometheus's text format.
    pub name: &'static str,
    /// What kind of metric it is.
    pub kind: MetricType,
    /// What it means, in one sentence.
    pub help: &'static str,
    /// The labels, in order.
    pub labels: &'static [&'static str],
}

macro_rules! families {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            pub(super) const $constant: Family = Family {
                name: $name,
                kind: MetricType::$kind,
                help: $help,
                labels: &[$($label),*],
            };
        )*

        /// All families, in the order of the exposition.
        pub const FAMILIES: &[Family] = &[$($constant),*];
    };
}

families! {
    BUILD_INFO: Gauge "lb_build_info" ["version", "node"]
        "Always 1; which agent this is.";
    XDP_MODE: Gauge "lb_xdp_mode" ["interface", "mode"]
        "1 for the mode that the XDP program is attached in, 0 for the other.";
    XDP_PACKETS: Counter "lb_xdp_packets_total" ["verdict", "reason"]
        "Packets that the XDP program saw, each in exactly one verdict and reason.";
    SERVICE_PACKETS: Counter "lb_service_packets_total" ["service", "direction"]
        "Packets of a service, in from clients or out to them.";
    SERVICE_BYTES: Counter "lb_service_bytes_total" ["service", "direction"]
        "Bytes of a service from the IP header on, in from clients or out to them.";
    SERVICE_CONNECTIONS: Counter "lb_service_connections_total" ["service"]
        "Connections that clients began with a service.";
    BACKEND_PACKETS: Counter "lb_backend_packets_total" ["service", "backend", "direction"]
        "Packets that the kernel forwarded between clients and a backend, in to it or out of it.";
    BACKEND_SOURCE_PORTS: Gauge "lb_backend_source_ports" ["service", "backend", "state"]
        "Source ports of NAT at a backend that are held, resting or free.";
    BACKEND_UP: Gauge "lb_backend_up" ["pool", "backend"]
        "1 while a backend takes new connections, 0 while it is draining or down.";
    BACKEND_STATE: Gauge "lb_backend_state" ["pool", "backend", "state"]
        "1 for the state that a backend is in, 0 for the others.";
    BACKEND_EJECTED: Gauge "lb_backend_ejected" ["pool", "backend"]
        "1 while a backend is ejected for failing requests, 0 while it is not.";
    BACKEND_CHECK: Gauge "lb_backend_check_seconds" ["pool", "backend"]
        "How long the last health check of a backend took.";
    POOL_ALL_DOWN: Gauge "lb_pool_all_down" ["pool"]
        "1 while no backend of a pool is up, 0 while one is.";
    HTTP_REQUESTS: Counter "lb_http_requests_total" ["service", "backend", "code"]
        "Requests that the HTTP front answered; backend is empty where none was asked.";
    HTTP_ROUTED: Counter "lb_http_route_requests_total" ["service", "route"]
        "Requests that a route took; route is default for those that none took.";
    HTTP_BROKEN: Counter "lb_http_broken_total" ["service", "backend", "reason"]
        "Requests whose response did not reach the client whole; none is in lb_http_requests_total.";
    HTTP_SECONDS: Histogram "lb_http_request_seconds" ["service"]
        "Time from the end of a request's head to the end of its response.";
    HTTP_CONNECTIONS: Gauge "lb_http_connections" ["service"]
        "Client connections that the HTTP front has open.";
    HTTP_BUFFERED: Gauge "lb_http_buffered_bytes" []
        "Bytes of responses that wait for clients of the HTTP front, and of buffers in use.";
    HTTP_CLOSED: Counter "lb_http_connections_closed_total" ["service", "reason"]
        "Client connections and tunnels of the HTTP front that ended early, without a request under way.";
    HTTP_REFUSALS: Counter "lb_http_refusals_total" ["service", "reason"]
        "Requests that the HTTP front answered itself because of what the client sent.";
    HTTP_OWN_ANSWERS: Counter "lb_http_own_answers_total" ["service", "backend", "reason"]
        "Requests that the HTTP front answered in place of a backend for any other reason.";
    HTTP_RETRIES: Counter "lb_http_retries_total" ["service"]
        "Times that a request was sent again, for want of a connection or of an answer.";
    HTTP_RETRIES_REFUSED: Counter "lb_http_retries_refused_total" ["service"]
        "Times that a request was not sent again because retry_budget had nothing left.";
    HTTP_QUEUED: Gauge "lb_http_queued_requests" ["service"]
        "Requests that wait in the queue of a pool for a backend that has room.";
    HTTP_QUEUE_WAITS: Counter "lb_http_queue_waits_total" ["service"]
        "Requests that waited in the queue of a pool.";
    HTTP_QUEUE_REJECTIONS: Counter "lb_http_queue_rejections_total" ["service"]
        "Requests that got 503 because the queue was full, or they waited too long in it.";
    PANICS: Counter "lb_panics_total" ["service"]
        "Faults of the agent itself that ended a client's connection, or one of its streams.";
    LOG_LINES: Counter "lb_access_log_lines_total" []
        "Lines of the access log that were written.";
    LOG_DROPPED: Counter "lb_access_log_dropped_total" ["reason"]
        "Lines of the access log that were dropped.";
    BACKEND_CONNECTIONS: Gauge "lb_backend_connections" ["service", "backend"]
        "Connections of the HTTP front to a backend that have a request under way.";
    BACKEND_EJECTIONS: Counter "lb_backend_ejections_total" ["service", "backend"]
        "Times that a backend was ejected for failing requests, by the service of the last of them.";
    TLS_HANDSHAKES: Counter "lb_tls_handshakes_total" ["version", "resumed"]
        "TLS handshakes that succeeded.";
    TLS_FAILURES: Counter "lb_tls_handshake_failures_total" ["service", "reason"]
        "TLS handshakes that failed or took too long.";
    CERTIFICATE_EXPIRY: Gauge "lb_certificate_expiry_seconds" ["service", "name", "file"]
        "When a certificate ends, in seconds since 1970-01-01 UTC.";
    ACME_ORDERS: Counter "lb_acme_orders_total" ["service", "outcome"]
        "Orders of certificates that ended, by what came of them.";
    ACME_RENEWAL_DUE: Gauge "lb_acme_renewal_due_seconds" ["service"]
        "When a certificate is due to be renewed, in seconds since 1970-01-01 UTC; 0 where there is none yet.";
    VRRP_STATE: Gauge "lb_vrrp_state" ["state"]
        "1 for the state that this host's virtual router is in, 0 for the others.";
    VRRP_PRIORITY: Gauge "lb_vrrp_priority" []
        "The priority of this host, with what is tracked.";
    VRRP_STEPPED_BACK: Gauge "lb_vrrp_stepped_back" []
        "1 while this host has stepped back for a host that it cannot hear.";
    TRACK_OK: Gauge "lb_track_ok" ["name"]
        "1 while something that is tracked is well, 0 while it fails.";
    ADVERTS_SENT: Counter "lb_vrrp_adverts_sent_total" []
        "VRRP adverts that were sent.";
    ADVERTS_RECEIVED: Counter "lb_vrrp_adverts_received_total" []
        "VRRP adverts that were received, good and the peer's.";
    ADVERTS_REFUSED: Counter "lb_vrrp_adverts_refused_total" ["reason"]
        "VRRP adverts that were received and refused.";
    ADVERT_ERRORS: Counter "lb_vrrp_advert_errors_total" []
        "VRRP adverts that could not be sent, and failures of the sockets for them.";
    FAILOVERS: Counter "lb_failovers_total" ["reason"]
        "How many times this host became the active one.";
    VRRP_TRANSITIONS: Counter "lb_vrrp_transitions_total" ["state", "reason"]
        "How many times this host's virtual router came into a state.";
    NOTIFY_RUNS: Counter "lb_notify_runs_total" ["state", "outcome"]
        "Runs of the commands that are told of this host's role.";
    ELASTIC_IP_OWNER: Gauge "lb_elastic_ip_owner" ["owner"]
        "1 for the owner that the Elastic IP had when it was last seen, 0 for the others.";
    ELASTIC_IP_CONFIRMED: Gauge "lb_elastic_ip_confirmed_timestamp_seconds" []
        "When the Elastic IP was last confirmed to be here, in seconds since 1970-01-01 UTC.";
    ELASTIC_IP_CALLS: Counter "lb_elastic_ip_calls_total" ["operation", "outcome"]
        "Calls of the EC2 API that ended.";
    ELASTIC_IP_CALL_SECONDS: Histogram "lb_elastic_ip_call_seconds" ["operation"]
        "How long calls of the EC2 API took.";
    ELASTIC_IP_MOVES: Counter "lb_elastic_ip_moves_total" []
        "How many times this host moved the Elastic IP to itself.";
    VIRTUAL_IP_HELD: Gauge "lb_virtual_ip_held" []
        "1 while this host has the virtual addresses, 0 while it has not.";
    PEER_LINK_UP: Gauge "lb_peer_link_up" []
        "1 while the link to the peer's agent stands, 0 while it does not.";
    PEER_LINK_LAG: Gauge "lb_peer_link_lag_seconds" []
        "How long the last ping over the link took, there and back.";
    PEER_LINK_REFUSED: Counter "lb_peer_link_refused_total" ["reason"]
        "Connections to the port of the link that were refused.";
    PEER_LINK_BYTES: Counter "lb_peer_link_bytes_total" ["direction"]
        "Bytes over the link, in from the peer or out to it.";
    PEER_FLOWS_SYNCED: Gauge "lb_peer_flows_synced" []
        "1 while this host has all flows of the peer, 0 while it has not.";
    PEER_FLOWS_SENT: Counter "lb_peer_flows_sent_total" []
        "Flows sent to the peer.";
    PEER_FLOWS_RECEIVED: Counter "lb_peer_flows_received_total" []
        "Flows that the peer told of and that were taken in.";
    PEER_FLOWS_SKIPPED: Counter "lb_peer_flows_skipped_total" ["reason"]
        "Flows of the peer that were not imported, or flows that cannot be sent to it.";
    PEER_FLOW_EVENTS_LOST: Counter "lb_peer_flow_events_lost_total" []
        "Events of flows that the kernel had no room to tell the agent of.";
    PROCESS_CPU: Counter "process_cpu_seconds_total" []
        "User and system CPU time that the agent spent.";
    PROCESS_MEMORY: Gauge "process_resident_memory_bytes" []
        "Resident memory of the agent.";
    PROCESS_OPEN_FDS: Gauge "process_open_fds" []
        "File descriptors that the agent has open.";
    PROCESS_MAX_FDS: Gauge "process_max_fds" []
        "File descriptors that the agent may have open.";
    PROCESS_START: Gauge "process_start_time_seconds" []
        "When the agent started, in seconds since 1970-01-01 UTC.";
}
