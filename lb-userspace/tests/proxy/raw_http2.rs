//! An HTTP/2 client that sends arbitrary bytes, valid or not (RFC 9113, RFC 7541).

use std::{io::Read, net::SocketAddr, sync::Arc};

use crate::clients::{TlsClient, client_config};

/// The types of HTTP/2 frames (RFC 9113 §6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

/// The flags of HTTP/2 frames.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The setting SETTINGS_HEADER_TABLE_SIZE with the value 0, so the server does not use the dynamic
/// table.
const NO_TABLE: [u8; 6] = [0, 1, 0, 0, 0, 0];

/// The client's side of an HTTP/2 connection over TLS.
pub(crate) struct FrameClient {
    pub(crate) tls: TlsClient,
    next_stream: u32,
}

/// A frame that the client has received.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The outcome of the request on one stream.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Answer {
    /// Status of the response; 0 if no head of a response arrived.
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Whether the response ended with the flag END_STREAM.
    pub(crate) complete: bool,
    /// The error code of a RST_STREAM frame; `None` if none arrived.
    pub(crate) reset: Option<u32>,
    /// Whether the connection ended, with or without a GOAWAY frame, before the stream did.
    pub(crate) connection_ended: bool,
}

impl FrameClient {
    /// Connects to the front and exchanges HTTP/2 settings with it.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut config = client_config(&rustls::version::TLS13);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tls = TlsClient::tls_with(address, &Arc::new(config), "localhost");
        let mut client = Self {
            tls,
            next_stream: 1,
        };
        client.tls.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.tls.send(frame(SETTINGS, 0, 0, &NO_TABLE));
        client.tls.send(frame(SETTINGS, ACK, 0, &[]));
        client
    }

    /// Opens flow-control windows of almost 2 GiB, so that the server never has to wait for them.
    pub(crate) fn widen(&mut self) {
        let window = [0, 4, 0x7f, 0xff, 0xff, 0xff];
        self.tls.send(frame(SETTINGS, 0, 0, &window));
        self.tls
            .send(frame(WINDOW_UPDATE, 0, 0, &0x7f00_0000_u32.to_be_bytes()));
    }

    /// Returns the stream ID of a new request, and the bytes of the request.
    pub(crate) fn request(
        &mut self,
        fields: &[(&str, &[u8])],
        body: Option<&[u8]>,
    ) -> (u32, Vec<u8>) {
        let stream = self.next_stream;
        self.next_stream += 2;
        let ends = if body.is_none() { END_STREAM } else { 0 };
        let mut bytes = frame(HEADERS, END_HEADERS | ends, stream, &literals(fields));
        if let Some(body) = body {
            bytes.extend(frame(DATA, END_STREAM, stream, body));
        }
        (stream, bytes)
    }

    /// Sends a request and returns its outcome.
    pub(crate) fn ask(&mut self, fields: &[(&str, &[u8])], body: Option<&[u8]>) -> Answer {
        let (stream, bytes) = self.request(fields, body);
        self.tls.send(bytes);
        self.answer(stream)
    }

    /// Reads frames until this stream ends, and returns the outcome of its request.
    pub(crate) fn answer(&mut self, stream: u32) -> Answer {
        let mut answer = Answer::default();
        loop {
            let Some(frame) = self.frame() else {
                answer.connection_ended = true;
                return answer;
            };
            if frame.kind == GOAWAY {
                answer.connection_ended = true;
                return answer;
            }
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS => match status(&frame.payload) {
                    100..200 => continue,
                    status => answer.status = status,
                },
                DATA => {
                    let length = u32::try_from(frame.payload.len()).expect("short");
                    answer.body.extend(frame.payload);
                    if length > 0 {
                        let more = self::frame(WINDOW_UPDATE, 0, 0, &length.to_be_bytes());
                        self.tls.send(more);
                    }
                }
                RST_STREAM => {
                    let code = frame.payload.try_into().expect("four bytes");
                    answer.reset = Some(u32::from_be_bytes(code));
                    return answer;
                }
                _ => continue,
            }
            if frame.flags & END_STREAM != 0 {
                answer.complete = true;
                return answer;
            }
        }
    }

    /// Reads a frame from the server; `None` at the end of the connection.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        read_frame(self.tls.reader())
    }
}

impl Frame {
    pub(crate) fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// Reads an HTTP/2 frame; `None` at the end of the connection.
pub(crate) fn read_frame(reader: &mut impl Read) -> Option<Frame> {
    let mut head = [0; 9];
    reader.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    reader.read_exact(&mut payload).ok()?;
    Some(Frame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        payload,
    })
}

/// Returns the header fields of a GET request, followed by `more`.
pub(crate) fn get<'f>(more: &[(&'f str, &'f [u8])]) -> Vec<(&'f str, &'f [u8])> {
    let mut fields: Vec<(&str, &[u8])> = vec![
        (":method", b"GET"),
        (":scheme", b"https"),
        (":authority", b"localhost"),
        (":path", b"/"),
    ];
    fields.extend_from_slice(more);
    fields
}

/// Returns the bytes of an HTTP/2 frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Encodes header fields as HPACK literals without indexing (RFC 7541 §6.2.2).
pub(crate) fn literals(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        push_string(&mut block, name.as_bytes());
        push_string(&mut block, value);
    }
    block
}

fn push_string(block: &mut Vec<u8>, text: &[u8]) {
    match u8::try_from(text.len()) {
        Ok(length @ ..127) => block.push(length),
        _ => {
            block.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                block.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            block.push(rest as u8);
        }
    }
    block.extend(text);
}

/// Decodes the status at the beginning of a response's field block: it is an indexed field, or a
/// literal whose name has index 8.
fn status(block: &[u8]) -> u16 {
    // A block may begin with a size update of the dynamic table (RFC 7541 §6.3), which is one byte
    // here and is skipped.
    let block = block.strip_prefix(&[0x20]).unwrap_or(block);
    match block[0] {
        index @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
        _ if block[1] & 0x80 == 0 => String::from_utf8_lossy(&block[2..5])
            .parse()
            .expect("a status"),
        _ => huffman_digits(&block[2..]),
    }
}

/// Decodes three digits in HPACK's Huffman code (RFC 7541 appendix B), in which the digits `0` to
/// `2` have five bits.
fn huffman_digits(coded: &[u8]) -> u16 {
    let mut bits = coded
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut number = 0;
    for _ in 0..3 {
        let mut code = 0;
        for _ in 0..5 {
            code = code << 1 | u16::from(bits.next().expect("a bit"));
        }
        let digit = if code < 3 {
            code
        } else {
            (code << 1 | u16::from(bits.next().expect("a bit"))) - 0x19 + 3
        };
        number = number * 10 + digit;
    }
    number
}
