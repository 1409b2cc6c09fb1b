//! HTTP requests to the agent's admin port, sent from the agent's host.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

/// Returns the body of `GET path`, sent from the network of the calling thread.
///
/// # Errors
/// When nothing listens, the response is late by more than `patience`, or its status is not 200.
pub(super) fn read(address: SocketAddr, path: &str, patience: Duration) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, patience)
        .with_context(|| format!("nothing listens at {address}"))?;
    stream.set_read_timeout(Some(patience))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) =
        (answer.split_once("\r\n\r\n")).context("the answer has no end of a head")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(
        status.starts_with("HTTP/1.1 200"),
        "the answer to {path} is {status:?}"
    );
    Ok(body.to_owned())
}
