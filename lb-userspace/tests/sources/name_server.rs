//! A small name server on loopback, whose answers each test sets.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use hickory_resolver::proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, SRV},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
    task::JoinHandle,
};

/// How the server treats one question.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// It answers with these records.
    Records(Vec<Record>),
    /// It answers with this code and no records.
    Code(ResponseCode),
    /// It answers by UDP that the answer is too long, and by TCP with these records.
    Long(Vec<Record>),
    /// It answers by UDP that the answer is too long, and closes connections of TCP.
    LongWithoutTcp,
    /// It does not answer.
    Silence,
}

/// A name server. For a name without any reply it answers NXDOMAIN; for a name with a reply of
/// another type only, it answers without records. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Debug, Default)]
struct State {
    replies: HashMap<(Name, RecordType), Reply>,
    /// The questions so far, each with the protocol.
    questions: Vec<(String, RecordType, &'static str)>,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
                .await
                .expect("a port");
            // Another process may have the port of the same number.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("an address")).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().expect("an address");
        let state = Arc::default();
        let tasks = [
            tokio::spawn(serve_udp(udp, Arc::clone(&state))),
            tokio::spawn(serve_tcp(tcp, Arc::clone(&state))),
        ];
        Self {
            address,
            state,
            tasks,
        }
    }

    /// Sets the reply to a question.
    pub(crate) fn reply(&self, asked: &str, kind: RecordType, reply: Reply) {
        let mut state = self.state.lock().expect("the state");
        state.replies.insert((name(asked), kind), reply);
    }

    /// Returns the questions so far, each with the protocol, and forgets them.
    pub(crate) fn questions(&self) -> Vec<(String, RecordType, &'static str)> {
        std::mem::take(&mut self.state.lock().expect("the state").questions)
    }
}

async fn serve_udp(socket: UdpSocket, state: Arc<Mutex<State>>) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = answer(&buffer[..length], &state, "udp") {
            drop(socket.send_to(&answer, from).await);
        }
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let Ok(length) = stream.read_u16().await else {
            continue;
        };
        let mut question = vec![0; length.into()];
        if stream.read_exact(&mut question).await.is_err() {
            continue;
        }
        if let Some(answer) = answer(&question, &state, "tcp") {
            let length = u16::try_from(answer.len()).expect("a short answer");
            drop(stream.write_u16(length).await);
            drop(stream.write_all(&answer).await);
        }
    }
}

fn answer(question: &[u8], state: &Mutex<State>, protocol: &'static str) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let (asked, kind) = (query.name().clone(), query.query_type());
    let mut state = state.lock().expect("the state");
    state
        .questions
        .push((asked.to_ascii().to_lowercase(), kind, protocol));
    let known = state.replies.keys().any(|(name, _)| *name == asked);
    let reply = state.replies.get(&(asked, kind)).cloned();
    let reply = reply.unwrap_or(match known {
        true => Reply::Records(Vec::new()),
        false => Reply::Code(ResponseCode::NXDomain),
    });
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.add_query(query);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    match (reply, protocol) {
        (Reply::Records(records), _) | (Reply::Long(records), "tcp") => {
            answer.add_answers(records);
        }
        (Reply::Code(code), _) => answer.metadata.response_code = code,
        (Reply::Long(_) | Reply::LongWithoutTcp, "udp") => answer.metadata.truncation = true,
        (Reply::Silence | Reply::LongWithoutTcp | Reply::Long(_), _) => return None,
    }
    answer.to_vec().ok()
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).expect("a name")
}

pub(crate) fn a(owner: &str, ttl: u32, address: [u8; 4]) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A(address.into())))
}

pub(crate) fn aaaa(owner: &str, ttl: u32, address: &str) -> Record {
    let address = address.parse().expect("an address");
    Record::from_rdata(name(owner), ttl, RData::AAAA(AAAA(address)))
}

pub(crate) fn cname(owner: &str, ttl: u32, target: &str) -> Record {
    Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
}

/// A record of type SRV: its TTL, and its priority, weight and port.
pub(crate) fn srv(owner: &str, ttl: u32, values: [u16; 3], target: &str) -> Record {
    let [priority, weight, port] = values;
    let target = if target == "." {
        Name::root()
    } else {
        name(target)
    };
    let data = SRV::new(priority, weight, port, target);
    Record::from_rdata(name(owner), ttl, RData::SRV(data))
}
