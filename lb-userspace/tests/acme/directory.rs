//! A fake ACME directory. It offers certificate profiles, which the distribution's pebble does not,
//! creates an account, and refuses every order.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};

const URL: &str = "https://127.0.0.1:14000";

/// The payloads of the orders that the fake directory has received.
#[derive(Clone, Default)]
pub(crate) struct Orders(Arc<Mutex<Vec<Value>>>);

impl Orders {
    pub(crate) fn taken(&self) -> Vec<Value> {
        self.0.lock().expect("whole").clone()
    }
}

/// Starts the fake directory at pebble's address, where it runs until the test process exits.
/// Returns the list in which it records the orders that it receives.
pub(crate) fn start(certificate: &Path, key: &Path) -> Orders {
    let chain = CertificateDer::from_pem_file(certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("they fit");
    let config = Arc::new(config);
    let orders = Orders::default();
    let listener = TcpListener::bind("127.0.0.1:14000").expect("free");
    let kept = orders.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(stream, &config, &kept);
        }
    });
    orders
}

/// Serves one request of an ACME client. Returns early if the client breaks the protocol.
fn serve(stream: TcpStream, config: &Arc<ServerConfig>, orders: &Orders) {
    let Ok(session) = ServerConnection::new(Arc::clone(config)) else {
        return;
    };
    let mut stream = StreamOwned::new(session, stream);
    let Some((path, body)) = read(&mut stream) else {
        return;
    };
    let (status, location, answer) = match path.as_str() {
        "/dir" => ("200 OK", "", directory()),
        "/nonce" => ("200 OK", "", Value::Null),
        "/account" => ("201 Created", "/account/1", json!({"status": "valid"})),
        _ => {
            orders.0.lock().expect("whole").push(payload(&body));
            let problem = json!({
                "type": "urn:ietf:params:acme:error:rejectedIdentifier",
                "detail": "no order is taken here",
            });
            ("403 Forbidden", "", problem)
        }
    };
    let text = match answer {
        Value::Null => String::new(),
        answer => answer.to_string(),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nReplay-Nonce: nonce\r\nLocation: {URL}{location}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    let _gone = stream.write_all(format!("{head}{text}").as_bytes());
    stream.conn.send_close_notify();
    let _gone = stream.flush();
}

fn directory() -> Value {
    json!({
        "newNonce": format!("{URL}/nonce"),
        "newAccount": format!("{URL}/account"),
        "newOrder": format!("{URL}/order"),
        "revokeCert": format!("{URL}/revoke"),
        "keyChange": format!("{URL}/key"),
        "meta": {"profiles": {
            "classic": "ninety days",
            "shortlived": "six days",
        }},
    })
}

/// Returns the path and the body of an HTTP request; `None` if the connection ends before.
fn read(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut field = String::new();
        reader.read_line(&mut field).ok()?;
        if field.trim().is_empty() {
            break;
        }
        if let Some(value) = field.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, body))
}

/// Returns the payload of a signed ACME request (RFC 7515).
fn payload(body: &[u8]) -> Value {
    let signed: Value = serde_json::from_slice(body).expect("JSON");
    let payload = signed["payload"].as_str().expect("a payload");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&payload).expect("JSON")
}
