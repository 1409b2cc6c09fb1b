//! The servers behind both proxies: they record every request as they receive it.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use lab::{Host, host::joined};

/// The name of the header field that numbers the requests of a comparison.
pub(crate) const NUMBER: &str = "x-case";

/// The name of the header field that asks a server for an answer with this status.
const WANTED_STATUS: &str = "x-answer";

/// A request as a server received it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Received {
    /// The section of haproxy.cfg that the server belongs to.
    pub(crate) section: String,
    /// The request line.
    pub(crate) line: String,
    /// The lines of the header, with names in lower case, in the order in which they came.
    pub(crate) header: Vec<(String, String)>,
    pub(crate) body: String,
}

type Requests = Arc<Mutex<BTreeMap<String, Vec<Received>>>>;

/// The servers of one host. Their threads end with the process of the test.
#[derive(Debug, Default)]
pub(crate) struct Servers(Requests);

impl Servers {
    /// Starts a server of this host on each address, which belongs to a section of haproxy.cfg.
    pub(crate) fn start(host: &Host, addresses: &[(String, SocketAddr)]) -> Result<Self> {
        let servers = Self::default();
        for (section, address) in addresses {
            let (section, address) = (section.clone(), *address);
            let requests = Arc::clone(&servers.0);
            let listening = host.inside(move || {
                let listener = TcpListener::bind(address)
                    .with_context(|| format!("could not listen on {address}"))?;
                // A thread stays in the network of the thread that starts it.
                thread::spawn(move || accept(&listener, &section, &requests));
                Ok(())
            });
            joined(listening)?;
        }
        Ok(servers)
    }

    /// Returns the requests that arrived with a number.
    pub(crate) fn received(&self, number: &str) -> Vec<Received> {
        let requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        requests.get(number).cloned().unwrap_or_default()
    }
}

fn accept(listener: &TcpListener, section: &str, requests: &Requests) {
    for stream in listener.incoming().map_while(Result::ok) {
        let (section, requests) = (section.to_owned(), Arc::clone(requests));
        // An error ends the connection: the proxy reports it as a fault of the server.
        thread::spawn(move || serve(stream, &section, &requests));
    }
}

/// Answers the requests of a connection until it is closed.
fn serve(stream: TcpStream, section: &str, requests: &Requests) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(received) = request(&mut reader, section)? {
        let value = |name: &str| {
            let mut lines = received.header.iter();
            lines
                .find(|(other, _)| other == name)
                .map(|(_, value)| value.clone())
        };
        let status = value(WANTED_STATUS).unwrap_or_else(|| "200".to_owned());
        let body = format!("answer of {section}\n");
        let head = format!(
            "HTTP/1.1 {status} Answer\r\nContent-Type: text/plain\r\nServer: origin\r\n\
             X-Powered-By: origin\r\nX-Backend: origin\r\nVary: Origin\r\n\
             Set-Cookie: app=1; Path=/\r\nSet-Cookie: theme=dark\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let sent = if received.line.starts_with("HEAD ") {
            ""
        } else {
            &*body
        };
        // The request is recorded before the answer: the test looks it up when it has the answer.
        if let Some(number) = value(NUMBER) {
            let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
            requests.entry(number).or_default().push(received);
        }
        writer.write_all(format!("{head}{sent}").as_bytes())?;
    }
    Ok(())
}

/// Reads a request; `None` if the connection is closed before one.
fn request(reader: &mut BufReader<TcpStream>, section: &str) -> Result<Option<Received>> {
    let line = line(reader)?;
    if line.is_empty() {
        return Ok(None);
    }
    let mut header = Vec::new();
    loop {
        let line = self::line(reader)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        header.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let has = |wanted: &str| {
        let mut lines = header.iter();
        lines
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| &**value)
    };
    let mut body = Vec::new();
    if has("transfer-encoding").is_some() {
        loop {
            let size = usize::from_str_radix(&self::line(reader)?, 16)?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk)?;
            body.extend(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = has("content-length") {
        body = vec![0; length.parse()?];
        reader.read_exact(&mut body)?;
    }
    Ok(Some(Received {
        section: section.to_owned(),
        line,
        header,
        body: String::from_utf8_lossy(&body).into_owned(),
    }))
}

fn line(reader: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}
