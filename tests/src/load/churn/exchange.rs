//! One short connection: connect, one request, its response, close.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Error, Result, anyhow, bail, ensure};
use nix::sys::{
    epoll::{Epoll, EpollEvent, EpollFlags},
    socket::{setsockopt, sockopt::IpBindAddressNoPort},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::Closing;

/// Maximum size of a response in bytes; the pages of this load have only a few.
const LONGEST_ANSWER: usize = 64 << 10;

/// An open connection of the load, with its progress.
pub(super) struct Exchange {
    socket: Socket,
    began: Instant,
    state: State,
    received: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Connecting,
    Waiting,
    /// The response is complete, and took this long after the SYN; the server has not closed yet.
    Answered(Duration),
}

impl Exchange {
    /// Opens a connection. Its epoll events carry `data`; they are edge-triggered, so
    /// [`Exchange::advance`] must be called after each.
    pub(super) fn open(
        epoll: &Epoll,
        data: u64,
        source: Ipv4Addr,
        server: SocketAddrV4,
    ) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
            .context("could not make a socket")?;
        socket.set_nonblocking(true)?;
        // With this option the kernel chooses the source port only when the server's address is
        // known; without it, no two connections from one source address could use the same port.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        (socket.bind(&SocketAddrV4::new(source, 0).into()))
            .with_context(|| format!("could not bind to the source address {source}"))?;
        let began = Instant::now();
        match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
                return Err(Error::new(error).context("could not begin to connect"));
            }
            _ => {}
        }
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        (epoll.add(&socket, EpollEvent::new(interest, data)))
            .context("could not wait for the connection's events")?;
        Ok(Self {
            socket,
            began,
            state: State::Connecting,
            received: Vec::new(),
        })
    }

    /// Sends and reads as much as the socket allows. Once the connection may be closed, returns the
    /// time from the SYN to the last byte of the response; before, `None`.
    pub(super) fn advance(&mut self, request: &[u8], closing: Closing) -> Result<Option<Duration>> {
        if let State::Connecting = self.state {
            if let Some(error) = self.socket.take_error()? {
                return Err(Error::new(error).context("could not connect"));
            }
            if !self.send(request)? {
                return Ok(None);
            }
            self.state = State::Waiting;
        }
        self.receive(closing)
    }

    pub(super) fn is_older(&self, patience: Duration, now: Instant) -> bool {
        now.duration_since(self.began) > patience
    }

    /// Returns the error of a connection that timed out after `patience`.
    pub(super) fn gave_up(&self, patience: Duration) -> Error {
        let missing = match self.state {
            State::Connecting => "not connected",
            State::Waiting => "no whole answer",
            State::Answered(_) => "answered, and not closed by the server",
        };
        anyhow!("{missing} after {patience:?}")
    }

    /// Sends the request. Returns false if the connection is not established yet, so nothing was
    /// sent.
    fn send(&self, request: &[u8]) -> Result<bool> {
        match (&self.socket).write(request) {
            Ok(sent) => {
                ensure!(sent == request.len(), "the request was sent only in part");
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::NotConnected
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(Error::new(error).context("could not send the request")),
        }
    }

    fn receive(&mut self, closing: Closing) -> Result<Option<Duration>> {
        let mut buffer = [0; 4096];
        loop {
            let read = match (&self.socket).read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(Error::new(error).context("could not read the answer")),
            };
            match self.state {
                State::Answered(took) => {
                    ensure!(read == 0, "the server sent more than its answer");
                    return Ok(Some(took));
                }
                State::Connecting | State::Waiting => {
                    ensure!(read > 0, "the connection was closed before the answer");
                }
            }
            self.received.extend_from_slice(&buffer[..read]);
            if is_whole(&self.received)? {
                let took = self.began.elapsed();
                if closing == Closing::Client {
                    return Ok(Some(took));
                }
                self.state = State::Answered(took);
            }
        }
    }
}

/// Whether the received bytes are a complete response with status 200.
fn is_whole(received: &[u8]) -> Result<bool> {
    ensure!(
        received.len() <= LONGEST_ANSWER,
        "the answer is longer than {LONGEST_ANSWER} bytes"
    );
    let Some(head) = received.windows(4).position(|end| end == b"\r\n\r\n") else {
        return Ok(false);
    };
    let text = std::str::from_utf8(&received[..head]).context("the answer's head is not text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200") {
        bail!("the answer was {status:?}");
    }
    let length: usize = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .context("the answer has no Content-Length")?
        .1
        .trim()
        .parse()
        .context("the answer's Content-Length is no number")?;
    Ok(received.len() >= head + 4 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx\r\ncontent-length: 5\r\n\r\nweb1\n";

    #[test]
    fn an_answer_is_whole_with_the_last_byte_of_its_body() {
        for end in 0..ANSWER.len() {
            assert!(!is_whole(&ANSWER[..end]).expect("so far it is an answer"));
        }
        assert!(is_whole(ANSWER).expect("it is an answer"));
    }

    #[test]
    fn an_answer_of_another_status_or_of_unknown_length_is_a_failure() {
        assert!(
            is_whole(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").is_err()
        );
        assert!(is_whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(is_whole(&[b'x'; LONGEST_ANSWER + 1]).is_err());
    }
}
