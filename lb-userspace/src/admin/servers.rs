//! Starts and stops the two admin servers: the HTTP server and the Unix socket.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use super::{
    AdminSocket, Command, Source, TlsError, accept::Shutdown, http::Server, tls::AdminTls,
    token::OperatorToken,
};
use crate::config;

/// Time limit for the answers that are still being sent when the servers shut down.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Who may use the HTTP server, and how.
#[derive(Clone, Default)]
pub struct Access {
    token: Option<OperatorToken>,
    tls: Option<AdminTls>,
}

impl Access {
    /// Sets up the HTTP server's TLS, operator token and authorities of operators as configured.
    ///
    /// # Errors
    /// The certificate cannot be served, or the certificates of operators cannot be verified.
    pub fn of(admin: &config::Admin) -> Result<Self, TlsError> {
        let authorities = admin.client_authorities.as_ref();
        let tls = admin.certificate.as_deref();
        let tls = tls.map(|certificate| AdminTls::new(certificate, authorities));
        Ok(Self {
            token: admin.token_file.clone().map(OperatorToken::at),
            tls: tls.transpose()?,
        })
    }
}

/// The HTTP server for Prometheus and browsers, and the Unix socket for the commands of `lb`.
#[derive(Debug)]
pub struct Servers {
    tasks: JoinSet<()>,
    /// The task that keeps the status page up to date.
    _background: JoinSet<()>,
    /// Dropping this sender shuts both admin servers down.
    shutdown: watch::Sender<()>,
}

impl Servers {
    /// Starts both servers on these sockets. Requests that change something are sent to `commands`.
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn start(
        (listener, access): (TcpListener, Access),
        socket: AdminSocket,
        source: &Arc<dyn Source>,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        let (sender, shutdown) = Shutdown::channel();
        let mut tasks = JoinSet::new();
        let by_socket = socket.serve(Arc::clone(source), commands.clone(), shutdown.clone());
        let _handle = tasks.spawn(by_socket);
        let Access { token, tls } = access;
        let http = Server::new(Arc::clone(source), commands, token, tls);
        // The agent aborts the task in this set, which updates the status page, by dropping the
        // set.
        let mut background = JoinSet::new();
        let _handle = background.spawn(http.live.clone().run());
        let _handle = tasks.spawn(http.serve(listener, shutdown));
        Self {
            tasks,
            _background: background,
            shutdown: sender,
        }
    }

    /// Stops accepting connections and waits for the answers that are being sent, at most 5 s, so
    /// that no client gets a truncated answer.
    pub async fn finish(self) {
        let Self {
            mut tasks,
            shutdown,
            _background,
        } = self;
        drop(shutdown);
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout(LAST_ANSWERS, all).await.is_err() {
            tracing::warn!(timeout = ?LAST_ANSWERS, "admin client did not read its answer in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;
    use crate::admin::examples::Example;

    #[tokio::test]
    async fn answers_that_are_under_way_end_and_nothing_is_accepted_meanwhile() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = AdminSocket::bind(&folder.path().join("lb.sock")).expect("bound");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let source: Arc<dyn Source> = Arc::new(Example {
            problems: Vec::new(),
        });
        let (commands, _received) = mpsc::channel(1);
        let servers = Servers::start((listener, Access::default()), socket, &source, commands);
        let mut client = TcpStream::connect(address).await.expect("connected");
        client.write_all(b"GET /healthz ").await.expect("sent");
        // When this later client has been answered, the server has accepted the first client.
        let mut other = TcpStream::connect(address).await.expect("connected");
        other
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .expect("sent");
        other.read_to_end(&mut Vec::new()).await.expect("answered");

        let finished = tokio::spawn(servers.finish());
        let refused = async { while TcpStream::connect(address).await.is_ok() {} };
        timeout(Duration::from_secs(5), refused)
            .await
            .expect("no listener");
        assert!(!finished.is_finished());
        client.write_all(b"HTTP/1.1\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        drop((client, other));
        let ended = timeout(Duration::from_secs(3), finished).await;
        ended.expect("soon").expect("no panic");
    }
}
