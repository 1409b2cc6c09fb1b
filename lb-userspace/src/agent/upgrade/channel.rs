//! Sends messages with file descriptors between two processes of one host.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
    sockopt::{Timeout, set_socket_timeout},
};
use serde::{Serialize, de::DeserializeOwned};

/// The longest message that can be sent, in bytes.
const MAX_MESSAGE: usize = 64 << 10;

/// Highest number of file descriptors in one message: the kernel's `SCM_MAX_FD`
/// (include/net/scm.h).
pub(super) const MAX_DESCRIPTORS: usize = 253;

/// One end of a Unix socket of type `SOCK_SEQPACKET`, which delivers a message and its file
/// descriptors together.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// Returns one end of a new channel, and the other end for another process.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(ours), theirs))
    }

    /// Makes a channel of the end that this process received from another process.
    pub(super) fn from_end(end: OwnedFd) -> Self {
        Self(end)
    }

    /// Sends a message with at most [`MAX_DESCRIPTORS`] file descriptors.
    ///
    /// # Errors
    /// The other process has ended, or the kernel refused the message.
    pub(super) fn send<M: Serialize>(
        &self,
        message: &M,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let mut space =
            vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors))
        {
            return Err(io::Error::other("too many file descriptors in one message"));
        }
        let sent = sendmsg(
            &self.0,
            &[IoSlice::new(&bytes)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )?;
        if sent < bytes.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }

    /// Receives the next message, which must arrive within `limit`.
    ///
    /// # Errors
    /// `TimedOut` if no message arrived within `limit`, `UnexpectedEof` if the other process has
    /// ended, and other kinds if the message is cut off or of another type.
    pub(super) fn receive<M: DeserializeOwned>(
        &self,
        limit: Duration,
    ) -> io::Result<(M, Vec<OwnedFd>)> {
        set_socket_timeout(&self.0, Timeout::Recv, Some(limit))?;
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut space =
            vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
        .map_err(|errno| match io::Error::from(errno) {
            error if error.kind() == io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            error => error,
        })?;
        let descriptors = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if (received.flags).intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::other("a message was cut off"));
        }
        let message = serde_json::from_slice(&bytes[..received.bytes])?;
        Ok((message, descriptors))
    }
}

/// Returns another file descriptor of the same open file.
///
/// # Errors
/// The process has no file descriptor left.
pub(super) fn duplicate(descriptor: &impl AsFd) -> io::Result<OwnedFd> {
    descriptor.as_fd().try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn channel() -> (Channel, Channel) {
        let (ours, theirs) = Channel::pair().expect("a channel");
        (ours, Channel::from_end(theirs))
    }

    #[test]
    fn a_listener_goes_on_in_the_receivers_hands() {
        let (ours, theirs) = channel();
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let mut waiting = TcpStream::connect(address).expect("in the backlog");
        waiting.write_all(b"hello").expect("sent");
        ours.send(&"one listener", &[listener.as_fd()])
            .expect("sent");
        drop(listener);
        let (text, mut descriptors) = theirs.receive::<String>(SOON).expect("received");
        assert_eq!((&*text, descriptors.len()), ("one listener", 1));
        let listener = TcpListener::from(descriptors.remove(0));
        let (mut accepted, _) = listener.accept().expect("what waited");
        let mut bytes = [0; 5];
        accepted.read_exact(&mut bytes).expect("its bytes");
        assert_eq!(&bytes, b"hello");
    }

    #[test]
    fn as_many_descriptors_as_the_kernel_allows_come_with_one_message() {
        let (ours, theirs) = channel();
        let file = std::fs::File::open("/dev/null").expect("opened");
        let most = [file.as_fd(); MAX_DESCRIPTORS];
        ours.send(&1, &most).expect("sent");
        let (_, descriptors) = theirs.receive::<u8>(SOON).expect("received");
        assert_eq!(descriptors.len(), MAX_DESCRIPTORS);
        let more = [file.as_fd(); MAX_DESCRIPTORS + 1];
        ours.send(&1, &more).expect_err("one too many");
    }

    #[test]
    fn silence_and_the_end_of_the_other_process_are_errors() {
        let (ours, theirs) = channel();
        let late = theirs.receive::<u8>(Duration::from_millis(20));
        assert_eq!(late.expect_err("late").kind(), io::ErrorKind::TimedOut);
        drop(ours);
        let ended = theirs.receive::<u8>(SOON);
        assert_eq!(
            ended.expect_err("ended").kind(),
            io::ErrorKind::UnexpectedEof
        );
        theirs.send(&1, &[]).expect_err("no receiver");
    }
}
