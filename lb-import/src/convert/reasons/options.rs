//! Options of haproxy.cfg that become no setting, with the reason.

use super::Row;
use crate::Loss::{NotCarriedOver as Lost, NotNeeded as Needless};

/// Names of options, the word after `option` in haproxy.cfg, and the reason why each is left out.
pub(super) const OPTIONS: &[Row] = &[
    (
        &["forwardfor"],
        Needless,
        "lb always sends X-Forwarded-For, and replaces the one of untrusted clients",
    ),
    (
        &["originalto", "forwarded"],
        Lost,
        "lb sends X-Forwarded-For, -Proto and -Host",
    ),
    (
        &[
            "httplog",
            "tcplog",
            "dontlognull",
            "dontlog-normal",
            "log-separate-errors",
            "logasap",
            "log-health-checks",
            "socket-stats",
            "contstats",
            "httpslog",
            "clf",
        ],
        Needless,
        "lb's access log is [log.access], its metrics are at /metrics",
    ),
    (
        &[
            "http-server-close",
            "http-keep-alive",
            "httpclose",
            "forceclose",
            "http-pretend-keepalive",
            "http-tunnel",
            "http-no-delay",
            "prefer-last-server",
            "http-use-htx",
            "http-buffer-request",
            "http-ignore-probes",
            "idle-close-on-response",
            "http-use-proxy-header",
        ],
        Needless,
        "lb keeps connections alive on both sides, and gives each request a backend",
    ),
    (
        &["httpchk"],
        Needless,
        "no server that is carried over is checked by it",
    ),
    (
        &["redispatch", "allbackends", "abortonclose", "persist"],
        Needless,
        "lb skips a backend that fails, and aborts requests whose client has disconnected",
    ),
    (
        &[
            "tcpka",
            "clitcpka",
            "srvtcpka",
            "nolinger",
            "splice-auto",
            "splice-request",
            "splice-response",
            "tcp-smart-accept",
            "tcp-smart-connect",
            "independent-streams",
        ],
        Needless,
        "lb sets its socket options itself",
    ),
    (
        &[
            "tcp-check",
            "ssl-hello-chk",
            "mysql-check",
            "pgsql-check",
            "redis-check",
            "smtpchk",
            "ldap-check",
            "external-check",
            "spop-check",
        ],
        Lost,
        "lb checks by a TCP connection or an HTTP request: for other checks, let a script on the backend answer the HTTP request",
    ),
    (
        &[
            "accept-invalid-http-request",
            "accept-invalid-http-response",
            "accept-unsafe-violations-in-http-request",
            "accept-unsafe-violations-in-http-response",
            "h1-case-adjust-bogus-client",
            "h1-case-adjust-bogus-server",
            "disable-h2-upgrade",
            "http-restrict-req-hdr-names",
        ],
        Lost,
        "lb always refuses invalid messages",
    ),
    (
        &["transparent", "http_proxy", "checkcache"],
        Lost,
        "lb has no such mode",
    ),
    (
        &["allbackups"],
        Needless,
        "lb uses all backups of a pool when no other backend is up",
    ),
    (
        &["http-drop-request-trailers", "http-drop-response-trailers"],
        Lost,
        "lb has no such setting for trailers",
    ),
    (&["use-small-buffers"], Needless, "lb needs no such tuning"),
];
