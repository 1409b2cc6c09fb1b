//! The instance metadata service, version 2 only, as an instance sees it at 169.254.169.254.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use anyhow::Result;

use super::{
    Ec2, Interface, REGION,
    http::{self, Request, Response, Server, Waiting},
};
use crate::Host;

/// Name of the IAM role that all simulated instances have.
const ROLE: &str = "lb";

/// Maximum lifetime in seconds of a token that a request asks for.
const LONGEST_LIFE: u64 = 21600;

const METADATA: &str = "/latest/meta-data/";

/// An instance metadata service, which recognises each instance by its source address. Dropping it
/// stops it.
pub struct Imds {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _server: Server,
}

/// An instance, as the simulated metadata service knows it.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The instance's only network interface, which also contains the instance's ID.
    pub interface: Interface,
    /// The source addresses of the instance's requests.
    pub asks_from: Vec<Ipv4Addr>,
    /// The access key of the credentials that the instance gets through its role.
    pub access_key: String,
}

impl Instance {
    /// Returns an instance for each interface of an EC2 API. Each instance sends its requests from
    /// its private address; their access keys are `ASIALAB1`, `ASIALAB2` and so on.
    #[must_use]
    pub fn of(ec2: &dyn Ec2) -> Vec<Self> {
        (1..)
            .zip(ec2.interfaces())
            .map(|(number, interface): (u32, _)| Self {
                interface: interface.clone(),
                asks_from: vec![interface.private_ip],
                access_key: format!("ASIALAB{number}"),
            })
            .collect()
    }
}

struct State {
    instances: Vec<Instance>,
    silent: bool,
    without_role: bool,
    credentials_last: Duration,
    /// The instance's source address and the time of expiry of each token that was issued.
    tokens: HashMap<String, (IpAddr, Instant)>,
    requests: Vec<String>,
}

impl Imds {
    /// Starts the service at `address`. It listens in the network namespace of `host`; if that is
    /// `None`, in that of this process.
    ///
    /// # Errors
    /// When the service cannot listen at the address.
    pub fn start(
        host: Option<&Host>,
        address: SocketAddr,
        instances: Vec<Instance>,
    ) -> Result<Self> {
        let listener = http::listen(host, address)?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State {
            instances,
            silent: false,
            without_role: false,
            credentials_last: Duration::from_secs(6 * 60 * 60),
            tokens: HashMap::new(),
            requests: Vec::new(),
        }));
        let answering = Arc::clone(&state);
        let server = Server::start(listener, move |request, waiting| {
            answer(&answering, request, waiting)
        });
        Ok(Self {
            address,
            state,
            _server: server,
        })
    }

    /// Returns the service's URL, for `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes the service stop answering (`silent`), or answer again.
    pub fn be_silent(&self, silent: bool) {
        locked(&self.state).silent = silent;
    }

    /// Removes the IAM role from the instances (`taken`), or restores it.
    pub fn take_role(&self, taken: bool) {
        locked(&self.state).without_role = taken;
    }

    /// Sets the lifetime of the credentials that the service issues; it is six hours by default.
    pub fn credentials_last(&self, time: Duration) {
        locked(&self.state).credentials_last = time;
    }

    /// Makes all tokens expired.
    pub fn expire_tokens(&self) {
        locked(&self.state).tokens.clear();
    }

    /// Returns every request so far: its method, its path, and the status of its answer.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        locked(&self.state).requests.clone()
    }
}

impl fmt::Debug for Imds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imds")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(state: &Mutex<State>, request: &Request, waiting: &Waiting<'_>) -> Option<Response> {
    if locked(state).silent {
        waiting.until_given_up();
        return None;
    }
    let mut state = locked(state);
    let response = respond(&mut state, request);
    let line = format!("{} {} {}", request.method, request.target, response.status);
    state.requests.push(line);
    Some(response)
}

fn respond(state: &mut State, request: &Request) -> Response {
    if request.target == "/latest/api/token" {
        return token(state, request);
    }
    if !is_authorized(state, request) {
        return Response::new(401, "Unauthorized");
    }
    if request.method != "GET" {
        return Response::new(405, "Not Allowed");
    }
    let asks_from = |instance: &&Instance| {
        instance
            .asks_from
            .iter()
            .any(|address| IpAddr::V4(*address) == request.from.ip())
    };
    let instance = state.instances.iter().find(asks_from);
    let found = instance.and_then(|instance| metadata(instance, request, state));
    found.map_or_else(
        || Response::new(404, "Not Found"),
        |text| Response::new(200, text).with("Content-Type", "text/plain"),
    )
}

fn token(state: &mut State, request: &Request) -> Response {
    const LIFE: &str = "x-aws-ec2-metadata-token-ttl-seconds";
    if request.method != "PUT" {
        return Response::new(405, "Not Allowed");
    }
    // A request with this field came through a proxy, which must not get a token for its clients.
    if request.header("x-forwarded-for").is_some() {
        return Response::new(403, "Forbidden");
    }
    let life = request.header(LIFE).and_then(|life| life.parse().ok());
    let Some(life @ 1..=LONGEST_LIFE) = life else {
        return Response::new(400, "Bad Request");
    };
    let number = state.requests.len();
    let token = format!("AQAEALab{number:08}{}==", request.from.ip());
    let end = Instant::now() + Duration::from_secs(life);
    state.tokens.insert(token.clone(), (request.from.ip(), end));
    Response::new(200, token).with("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", life.to_string())
}

fn is_authorized(state: &State, request: &Request) -> bool {
    let token = request.header("x-aws-ec2-metadata-token");
    token
        .and_then(|token| state.tokens.get(token))
        .is_some_and(|(owner, end)| *owner == request.from.ip() && Instant::now() < *end)
}

fn metadata(instance: &Instance, request: &Request, state: &State) -> Option<String> {
    let interface = &instance.interface;
    let target = request.target.as_str();
    if target == "/latest/dynamic/instance-identity/document" {
        let id = &interface.instance_id;
        return Some(format!(
            r#"{{"instanceId": "{id}", "region": "{REGION}", "privateIp": "{}"}}"#,
            interface.private_ip
        ));
    }
    let path = target.strip_prefix(METADATA)?.trim_end_matches('/');
    if let Some(path) = path.strip_prefix("iam/security-credentials") {
        return (!state.without_role)
            .then(|| credentials(instance, path, state.credentials_last))?;
    }
    if let Some(path) = path.strip_prefix("network/interfaces/macs") {
        return of_interface(interface, path.trim_start_matches('/'));
    }
    Some(match path {
        "instance-id" => interface.instance_id.clone(),
        "local-ipv4" => interface.private_ip.to_string(),
        "mac" => interface.mac.clone(),
        "placement/region" => REGION.to_owned(),
        "placement/availability-zone" => format!("{REGION}a"),
        _ => return None,
    })
}

fn of_interface(interface: &Interface, path: &str) -> Option<String> {
    if path.is_empty() {
        return Some(format!("{}/", interface.mac));
    }
    let key = path.strip_prefix(&interface.mac)?;
    Some(match key {
        "/device-number" => "0".to_owned(),
        "/interface-id" => interface.id.clone(),
        "/local-ipv4s" => interface.private_ip.to_string(),
        "/mac" => interface.mac.clone(),
        "/subnet-id" => "subnet-0123456789abcdef0".to_owned(),
        "/subnet-ipv4-cidr-block" => "172.31.0.0/20".to_owned(),
        _ => return None,
    })
}

fn credentials(instance: &Instance, path: &str, last: Duration) -> Option<String> {
    match path.trim_start_matches('/') {
        "" => Some(ROLE.to_owned()),
        ROLE => Some(format!(
            r#"{{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "{}", "SecretAccessKey": "secret", "Token": "session", "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "{}"}}"#,
            instance.access_key,
            humantime::format_rfc3339_seconds(SystemTime::now() + last)
        )),
        _ => None,
    }
}
