use super::*;
use crate::{
    admin::{Client, ClientError, examples::Example},
    pool::AdminState,
};

/// Serves an admin socket at `path`. The function `say` makes the answer to every command.
fn serving(path: &Path, say: fn(Request) -> Result<String, String>) {
    let socket = AdminSocket::bind(path).expect("bound");
    let (commands, mut received) = mpsc::channel::<Command>(8);
    let source = Example {
        problems: Vec::new(),
    };
    tokio::spawn(socket.serve(Arc::new(source), commands, Shutdown::never()));
    tokio::spawn(async move {
        while let Some(command) = received.recv().await {
            let _gone = command.answer.send(say(command.request));
        }
    });
}

/// Runs blocking work outside the threads on which the runtime runs tasks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_gets_the_status_and_gives_orders() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run/lb.sock");
    serving(&path, |request| Ok(format!("done: {request:?}")));
    let client = Client::new(&path);
    let (status, errors, said) = blocking(move || {
        let order = Request::Backend {
            name: "web2".to_owned(),
            order: AdminState::Drain,
        };
        (client.status(), client.errors(), client.request(&order))
    })
    .await;
    assert_eq!(status.expect("a status").node, "lb-a");
    assert_eq!(
        errors.expect("errors"),
        [crate::admin::examples_of_ended_early()]
    );
    let said = said.expect("done");
    assert_eq!(said, r#"done: Backend { name: "web2", order: Drain }"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_to_hand_over_reaches_the_agent() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("lb.sock");
    serving(&path, |request| match request {
        Request::Failover => Ok("lb-b is active now".to_owned()),
        other => Err(format!("{other:?}")),
    });
    let said = blocking(move || Client::new(&path).request(&Request::Failover)).await;
    assert_eq!(said.expect("done"), "lb-b is active now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_reaches_the_operator() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("lb.sock");
    serving(&path, |_| Err("lb.toml: line 3: no such key".to_owned()));
    let said = blocking(move || Client::new(&path).request(&Request::Reload)).await;
    let error = said.expect_err("refused");
    assert_eq!(error.to_string(), "lb.toml: line 3: no such key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_gets_a_sentence_and_the_next_client_is_served() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("lb.sock");
    serving(&path, |_| Ok(String::new()));
    let long = vec![b'a'; MAX_REQUEST + 1];
    for (nonsense, sentence) in [
        (
            b"{\"command\":\"explode\"}\n".as_slice(),
            "malformed or unknown request",
        ),
        (b"\xff\xfe\n", "cannot read the request"),
        (&long, "a request is one line"),
    ] {
        let mut stream = UnixStream::connect(&path).await.expect("connected");
        stream.write_all(nonsense).await.expect("sent");
        let mut answer = String::new();
        let read = timeout(DEADLINE, stream.read_to_string(&mut answer)).await;
        read.expect("in time").expect("an answer");
        assert!(
            answer.starts_with("{\"error\":\"") && answer.contains(sentence),
            "{answer}"
        );
    }
    let status = blocking(move || Client::new(&path).status()).await;
    status.expect("a status");
}

#[tokio::test]
async fn the_socket_is_its_owners_alone_and_goes_with_the_agent() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run/lb.sock");
    let socket = AdminSocket::bind(&path).expect("bound");
    let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    drop(socket);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_second_agent_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("lb.sock");
    let first = AdminSocket::bind(&path).expect("bound");
    let second = AdminSocket::bind(&path);
    assert!(matches!(second, Err(SocketError::InUse(_))), "{second:?}");
    drop(first);
    AdminSocket::bind(&path).expect("the first was dropped");
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_file_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("lb.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    assert!(path.exists(), "as a crash leaves it");
    drop(AdminSocket::bind(&path).expect("replaced"));
    fs::write(&path, "precious").expect("written");
    let refused = AdminSocket::bind(&path);
    assert!(
        matches!(refused, Err(SocketError::NotASocket(_))),
        "{refused:?}"
    );
    assert_eq!(fs::read_to_string(&path).expect("read"), "precious");
}

#[test]
fn without_an_agent_the_client_says_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("lb.sock");
    let error = Client::new(&path).status().expect_err("no agent");
    assert!(matches!(error, ClientError::NotRunning(_)), "{error}");
    assert!(error.to_string().contains("systemctl start lb"), "{error}");
}
