//! An HTTP/2 client that sends arbitrary frames and keeps account of flow-control windows (RFC
//! 9113).

use std::{
    collections::HashMap,
    io::Write as _,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName, version};

use crate::{
    clients::client_config,
    raw_http2::{
        ACK, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE,
        frame, read_frame,
    },
};

/// Identifier of the HTTP/2 setting `SETTINGS_INITIAL_WINDOW_SIZE`.
const INITIAL_WINDOW: u16 = 4;

/// The client's side of an HTTP/2 connection over TLS.
pub(crate) struct Frames {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// Initial flow-control window of each request's body, in bytes. The next field, `window`, is
    /// the current window of the connection.
    first_window: i64,
    window: i64,
    /// The current flow-control windows of the uploads in flight, in bytes, by stream ID.
    windows: HashMap<u32, i64>,
}

/// The initial value of every flow-control window, in bytes (RFC 9113 §6.9.2).
const DEFAULT_WINDOW: i64 = 65_535;
/// The payload of the largest frame that a server accepts by default: 16 KiB of zeros.
const PIECE: [u8; 16_384] = [0; 16_384];
const PIECE_BYTES: i64 = 16_384;

impl Frames {
    /// Connects to the front, and gives it a window of `window` bytes for each stream and the
    /// largest possible window for the connection.
    pub(crate) fn connect(address: SocketAddr, window: u32) -> Self {
        let mut config = client_config(&version::TLS13);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from("localhost").expect("a name");
        let mut session = ClientConnection::new(Arc::new(config), name).expect("a session");
        let mut tcp = TcpStream::connect(address).expect("connected");
        tcp.set_nodelay(true).expect("nodelay");
        let patience = Some(Duration::from_secs(10));
        tcp.set_read_timeout(patience).expect("a limit");
        tcp.set_write_timeout(patience).expect("a limit");
        while session.is_handshaking() {
            session.complete_io(&mut tcp).expect("a handshake");
        }
        let mut frames = Self {
            stream: StreamOwned::new(session, tcp),
            first_window: DEFAULT_WINDOW,
            window: DEFAULT_WINDOW,
            windows: HashMap::new(),
        };
        frames.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let setting = [&INITIAL_WINDOW.to_be_bytes()[..], &window.to_be_bytes()].concat();
        frames.send(SETTINGS, 0, 0, &setting);
        frames.send(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
        frames
    }

    /// Sends the head of a request on this stream; `end` says that the request has no body.
    pub(crate) fn request(&mut self, stream: u32, method: &str, path: &str, end: bool) {
        let literal = |index: u8, value: &str| {
            let length = u8::try_from(value.len()).expect("short");
            [&[index, length], value.as_bytes()].concat()
        };
        // In HPACK (RFC 7541), these are literals for `:method`, `:path` and `:authority`, and
        // `:scheme: https` from the static table.
        let block = [
            literal(0x02, method),
            literal(0x04, path),
            literal(0x01, "localhost"),
            vec![0x87],
        ];
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.send(HEADERS, flags, stream, &block.concat());
    }

    /// Sends a part of a request's body on this stream; `end` says that it is the last part.
    pub(crate) fn data(&mut self, stream: u32, data: &[u8], end: bool) {
        self.send(DATA, if end { END_STREAM } else { 0 }, stream, data);
    }

    /// Sends bodies on these streams for as long as the server opens their flow-control windows:
    /// until no frame arrives for 500 ms.
    pub(crate) fn upload_all_that_goes(&mut self, streams: &[u32]) {
        for stream in streams {
            self.windows.insert(*stream, self.first_window);
        }
        let soon = Some(Duration::from_millis(500));
        self.stream.sock.set_read_timeout(soon).expect("a limit");
        loop {
            for stream in streams {
                while self.window >= PIECE_BYTES && self.windows[stream] >= PIECE_BYTES {
                    self.window -= PIECE_BYTES;
                    *self.windows.get_mut(stream).expect("under way") -= PIECE_BYTES;
                    self.data(*stream, &PIECE, false);
                }
            }
            if self.next().is_none() {
                break;
            }
        }
        let patience = Some(Duration::from_secs(10));
        self.stream
            .sock
            .set_read_timeout(patience)
            .expect("a limit");
    }

    /// Sends a body of `pieces` × 16 KiB on this stream for as long as the server opens its
    /// flow-control windows. Returns whether the whole body was sent.
    pub(crate) fn upload(&mut self, stream: u32, pieces: usize) -> bool {
        self.windows.insert(stream, self.first_window);
        for piece in 1..=pieces {
            while self.window < PIECE_BYTES || self.windows[&stream] < PIECE_BYTES {
                if self.next().is_none() {
                    return false;
                }
            }
            self.window -= PIECE_BYTES;
            *self.windows.get_mut(&stream).expect("under way") -= PIECE_BYTES;
            self.data(stream, &PIECE, piece == pieces);
        }
        true
    }

    /// Cancels the request on this stream, with RST_STREAM and the error code CANCEL.
    pub(crate) fn reset(&mut self, stream: u32) {
        self.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    }

    /// Returns the next frame from the server; `None` if the connection has ended.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let frame = read_frame(&mut self.stream)?;
        self.note(&frame);
        Some(frame)
    }

    /// Updates the windows of the connection and its streams according to a received frame.
    fn note(&mut self, frame: &Frame) {
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |all, byte| all << 8 | i64::from(*byte))
        };
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => {
                for setting in frame.payload.chunks(6) {
                    if number(&setting[..2]) == i64::from(INITIAL_WINDOW) {
                        let window = number(&setting[2..]);
                        let change = window - std::mem::replace(&mut self.first_window, window);
                        self.windows.values_mut().for_each(|left| *left += change);
                    }
                }
                self.send(SETTINGS, ACK, 0, &[]);
            }
            WINDOW_UPDATE if frame.stream == 0 => self.window += number(&frame.payload),
            WINDOW_UPDATE => {
                if let Some(window) = self.windows.get_mut(&frame.stream) {
                    *window += number(&frame.payload);
                }
            }
            _ => {}
        }
    }

    /// Reads frames until `wanted` returns true for one, and returns that frame; `None` if the
    /// connection ends before.
    pub(crate) fn find(&mut self, mut wanted: impl FnMut(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.raw(&frame(kind, flags, stream, payload));
    }

    /// Sends these bytes. Errors are ignored: the server may have closed the connection, but what
    /// it sent before can still be read.
    fn raw(&mut self, bytes: &[u8]) {
        let _sent = self
            .stream
            .write_all(bytes)
            .and_then(|()| self.stream.flush());
    }
}
