//! A small EC2 that does as it is told.

use std::{
    collections::VecDeque,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    Cloud, Ec2, Faults, Interface, Owner,
    faults::Fault,
    http::{self, Request, Response, Server, Waiting},
    query::{self, Parameters, Refusal},
};
use crate::{Host, topology::ELASTIC_IP};

/// How much of the past is kept, for those who see it late.
const MEMORY: Duration = Duration::from_secs(300);

/// An EC2 API of our own: the six actions that a balancer needs, with AWS's semantics, and with
/// [`Faults`] as they are wanted. It ends when it is dropped.
pub struct FakeEc2 {
    endpoint: String,
    place: (Option<Host>, SocketAddr),
    allocation_id: String,
    interfaces: Vec<Interface>,
    api: Arc<Api>,
    server: Mutex<Option<Server>>,
}

/// A call that somebody made.
#[derive(Clone, Debug)]
pub struct Call {
    number: u64,
    /// Who called.
    pub from: IpAddr,
    /// The action, such as `AssociateAddress`.
    pub action: String,
    /// Whether it was only asked whether it would be allowed.
    pub dry_run: bool,
    /// The interface that was named, if it was.
    pub network_interface_id: Option<String>,
    /// The access key that the call was signed with.
    pub access_key: Option<String>,
    /// When it came.
    pub began: Instant,
    /// When it was answered, or its caller gave up. `None`: not yet.
    pub ended: Option<Instant>,
    /// What came of it: `ok`, a code of EC2's, or `gave up`. `None`: not yet.
    pub outcome: Option<String>,
    /// Whether it made the Elastic IP belong to another interface or private address.
    pub moved: bool,
}

impl FakeEc2 {
    /// Starts one at `address`: on a host of the lab, or in the network that we are in ourselves.
    /// It has an interface for each of `balancers`; the Elastic IP belongs to nobody.
    ///
    /// # Errors
    /// When the address cannot be listened at.
    pub fn start(
        host: Option<&Host>,
        address: SocketAddr,
        balancers: &[(&str, Ipv4Addr)],
    ) -> Result<Self> {
        let interfaces: Vec<_> = (1..)
            .zip(balancers)
            .map(|(number, (_, address))| interface(number, *address))
            .collect();
        let cloud = Cloud::new(ELASTIC_IP, interfaces.clone());
        let allocation_id = cloud.allocation_id.clone();
        let api = Arc::new(Api::new(cloud));
        let listener = http::listen(host, address)?;
        let address = listener.local_addr()?;
        let server = Api::serve(&api, listener);
        Ok(Self {
            endpoint: format!("http://{address}"),
            place: (host.cloned(), address),
            allocation_id,
            interfaces,
            api,
            server: Mutex::new(Some(server)),
        })
    }

    /// Changes what is wrong with the API.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.api.state().faults);
    }

    /// Mends everything that is wrong with the API.
    pub fn mend(&self) {
        self.faults(|faults| *faults = Faults::default());
    }

    /// Moves the Elastic IP to the primary address of an interface, or takes it from everybody, as
    /// a person at AWS's console would. It is no call.
    pub fn move_to(&self, interface: Option<usize>) {
        self.api.change(|cloud| match interface {
            Some(interface) => drop(cloud.associate(interface, None, true)),
            None => cloud.association = None,
        });
    }

    /// Gives an interface a secondary private address, as a person would. It is no call.
    pub fn give_secondary(&self, interface: usize, address: Ipv4Addr) {
        self.api
            .change(|cloud| drop(cloud.assign(interface, address, true)));
    }

    /// What there is in the account.
    #[must_use]
    pub fn cloud(&self) -> Cloud {
        self.api.state().cloud.clone()
    }

    /// Every call so far, in the order in which they came.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.api.state().calls.clone()
    }

    /// Forgets the calls that have ended.
    pub fn forget_calls(&self) {
        self.api.state().calls.retain(|call| call.ended.is_none());
    }

    /// Two calls of one caller that were under way at the same time, if there were any.
    #[must_use]
    pub fn overlap(&self) -> Option<(Call, Call)> {
        let calls = self.calls();
        let of_one_caller = calls.iter().enumerate().flat_map(|(index, earlier)| {
            let later = &calls[index + 1..];
            later
                .iter()
                .filter(|later| later.from == earlier.from)
                .map(move |later| (earlier, later))
        });
        of_one_caller
            .filter(|(earlier, later)| earlier.ended.is_none_or(|ended| later.began < ended))
            .map(|(earlier, later)| (earlier.clone(), later.clone()))
            .next()
    }

    /// How often calls made the Elastic IP belong to somebody else.
    #[must_use]
    pub fn moves(&self) -> usize {
        self.calls().iter().filter(|call| call.moved).count()
    }

    /// Stops listening and ends every connection: callers are refused. What there is stays.
    pub fn close(&self) {
        drop(self.server().take());
    }

    /// Listens again.
    ///
    /// # Errors
    /// When somebody else listens there by now.
    pub fn open(&self) -> Result<()> {
        let mut server = self.server();
        if server.is_none() {
            let (host, address) = &self.place;
            let listener = http::listen(host.as_ref(), *address)?;
            *server = Some(Api::serve(&self.api, listener));
        }
        Ok(())
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ec2 for FakeEc2 {
    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn allocation_id(&self) -> &str {
        &self.allocation_id
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    fn owner(&self) -> Result<Option<Owner>> {
        let state = self.api.state();
        let association = &state.as_of(state.faults.settling).association;
        Ok(association.as_ref().map(|association| Owner {
            interface: association.interface,
            private_ip: association.private_ip,
        }))
    }
}

impl fmt::Debug for FakeEc2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeEc2")
            .field("endpoint", &self.endpoint)
            .field("cloud", &self.cloud())
            .finish_non_exhaustive()
    }
}

fn interface(number: u8, address: Ipv4Addr) -> Interface {
    Interface {
        id: format!("eni-0123456789abcdef{number:x}"),
        instance_id: format!("i-0123456789abcdef{number:x}"),
        private_ip: address,
        mac: format!("02:00:00:00:00:{number:02x}"),
    }
}

struct Api(Mutex<State>);

struct State {
    cloud: Cloud,
    /// What the cloud was until then, oldest first.
    past: VecDeque<(Instant, Cloud)>,
    faults: Faults,
    calls: Vec<Call>,
    /// How many calls there ever were.
    count: u64,
}

impl State {
    fn call(&mut self, number: u64) -> Option<&mut Call> {
        self.calls.iter_mut().find(|call| call.number == number)
    }

    /// The cloud as it was that long ago.
    fn as_of(&self, ago: Duration) -> &Cloud {
        let now = Instant::now();
        self.past
            .iter()
            .find(|(until, _)| now.duration_since(*until) < ago)
            .map_or(&self.cloud, |(_, cloud)| cloud)
    }
}

impl Api {
    fn new(cloud: Cloud) -> Self {
        Self(Mutex::new(State {
            cloud,
            past: VecDeque::new(),
            faults: Faults::default(),
            calls: Vec::new(),
            count: 0,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(api: &Arc<Self>, listener: std::net::TcpListener) -> Server {
        let api = Arc::clone(api);
        Server::start(listener, move |request, waiting| {
            api.answer(request, waiting)
        })
    }

    /// Changes the cloud, and says whether the Elastic IP belongs to somebody else since.
    fn change<T>(&self, change: impl FnOnce(&mut Cloud) -> T) -> (T, bool) {
        let mut state = self.state();
        let before = state.cloud.clone();
        let result = change(&mut state.cloud);
        let place = |cloud: &Cloud| {
            let association = cloud.association.as_ref()?;
            Some((association.interface, association.private_ip))
        };
        let moved = place(&before) != place(&state.cloud);
        let now = Instant::now();
        state.past.push_back((now, before));
        while (state.past.front()).is_some_and(|(until, _)| now.duration_since(*until) > MEMORY) {
            state.past.pop_front();
        }
        (result, moved)
    }

    fn answer(&self, request: &Request, waiting: &Waiting<'_>) -> Option<Response> {
        let parameters = Parameters::parse(&request.body);
        let call = self.begin(request, &parameters);
        let fault = self.state().faults.of_the_whole_api();
        let response = match fault {
            Some(Fault::Hang) => {
                self.end(call, waiting.until_given_up(), "gave up");
                return None;
            }
            Some(Fault::Throttle) => Err(Refusal::new(
                503,
                "RequestLimitExceeded",
                "Request limit exceeded.",
            )),
            Some(Fault::Fail) => Err(Refusal::new(
                500,
                "InternalError",
                "An internal error has occurred",
            )),
            None => {
                let (delay, answer_delay) = {
                    let faults = &self.state().faults;
                    (faults.delay, faults.answer_delay)
                };
                let given_up = waiting.pause(delay);
                let done = self.carry_out(call, request, &parameters);
                if let Some(when) = given_up.or_else(|| waiting.pause(answer_delay)) {
                    self.end(call, when, "gave up");
                    return None;
                }
                done
            }
        };
        let outcome = response
            .as_ref()
            .map_or_else(|refusal| refusal.code, |_| "ok");
        self.end(call, Instant::now(), outcome);
        if self.state().faults.babbles() {
            return Some(Response::new(200, "<AssociateAddressResp"));
        }
        Some(response.unwrap_or_else(|refusal| refusal.response()))
    }

    fn begin(&self, request: &Request, parameters: &Parameters) -> u64 {
        let mut state = self.state();
        state.count += 1;
        let number = state.count;
        state.calls.push(Call {
            number,
            from: request.from,
            action: parameters.text("Action").unwrap_or_default().to_owned(),
            dry_run: parameters.flag("DryRun").unwrap_or_default(),
            network_interface_id: parameters.text("NetworkInterfaceId").map(str::to_owned),
            access_key: access_key(request).map(str::to_owned),
            began: Instant::now(),
            ended: None,
            outcome: None,
            moved: false,
        });
        number
    }

    fn end(&self, call: u64, when: Instant, outcome: &str) {
        if let Some(call) = self.state().call(call) {
            call.ended = Some(when);
            call.outcome = Some(outcome.to_owned());
        }
    }

    fn carry_out(
        &self,
        call: u64,
        request: &Request,
        parameters: &Parameters,
    ) -> Result<Response, Refusal> {
        if access_key(request).is_none() {
            return Err(Refusal::new(
                401,
                "AuthFailure",
                "AWS was not able to validate the provided access credentials",
            ));
        }
        let action = parameters.wanted("Action")?;
        if self.state().faults.denied.contains(action) {
            return Err(Refusal::new(
                403,
                "UnauthorizedOperation",
                format!("You are not authorized to perform this operation: ec2:{action}"),
            ));
        }
        let content = match action {
            "DescribeAddresses" => self.describe_addresses(parameters)?,
            "DescribeNetworkInterfaces" => self.describe_interfaces(parameters)?,
            _ => {
                let (content, moved) = self.change(|cloud| act(cloud, action, parameters));
                if let Some(call) = self.state().call(call) {
                    call.moved = moved;
                }
                content?
            }
        };
        Ok(query::done(action, &content))
    }

    fn describe_addresses(&self, parameters: &Parameters) -> Result<String, Refusal> {
        let state = self.state();
        for id in parameters.list("AllocationId") {
            state.cloud.known_allocation(id)?;
        }
        refuse_dry_run(parameters)?;
        Ok(query::address_set(state.as_of(state.faults.stale)))
    }

    fn describe_interfaces(&self, parameters: &Parameters) -> Result<String, Refusal> {
        let state = self.state();
        let cloud = state.as_of(state.faults.stale);
        let ids = parameters.list("NetworkInterfaceId");
        let wanted = if ids.is_empty() {
            (0..cloud.interfaces.len()).collect()
        } else {
            ids.into_iter()
                .map(|id| cloud.interface(id))
                .collect::<Result<Vec<_>, _>>()?
        };
        refuse_dry_run(parameters)?;
        Ok(query::interface_set(cloud, &wanted))
    }
}

/// Carries out an action that changes something; returns the answer's content.
fn act(cloud: &mut Cloud, action: &str, parameters: &Parameters) -> Result<String, Refusal> {
    match action {
        "AssociateAddress" => {
            known_address(cloud, parameters)?;
            let interface = match parameters.text("InstanceId") {
                Some(instance) => cloud.interface_of_instance(instance)?,
                None => cloud.interface(parameters.wanted("NetworkInterfaceId")?)?,
            };
            let private_ip = parameters.address("PrivateIpAddress")?;
            refuse_dry_run(parameters)?;
            // AWS reassociates unless it is told not to.
            let may_move = parameters.flag("AllowReassociation").unwrap_or(true);
            let id = cloud.associate(interface, private_ip, may_move)?;
            Ok(format!(
                "<return>true</return><associationId>{id}</associationId>"
            ))
        }
        "DisassociateAddress" => {
            let association = match parameters.text("AssociationId") {
                Some(association) => association.to_owned(),
                None => {
                    known_address(cloud, parameters)?;
                    cloud.association_id()?
                }
            };
            refuse_dry_run(parameters)?;
            cloud.disassociate(&association)?;
            Ok("<return>true</return>".to_owned())
        }
        "AssignPrivateIpAddresses" => {
            let interface = cloud.interface(parameters.wanted("NetworkInterfaceId")?)?;
            let may_move = parameters.flag("AllowReassignment").unwrap_or(false);
            for address in secondary_addresses(parameters)? {
                cloud.assign(interface, address, may_move)?;
            }
            Ok("<return>true</return>".to_owned())
        }
        "UnassignPrivateIpAddresses" => {
            let interface = cloud.interface(parameters.wanted("NetworkInterfaceId")?)?;
            for address in secondary_addresses(parameters)? {
                cloud.unassign(interface, address)?;
            }
            Ok("<return>true</return>".to_owned())
        }
        _ => Err(Refusal::new(
            400,
            "InvalidAction",
            format!("The action {action} is not valid for this web service"),
        )),
    }
}

/// That the Elastic IP is named: by its allocation, or by itself, as scripts from before VPCs do.
fn known_address(cloud: &Cloud, parameters: &Parameters) -> Result<(), Refusal> {
    match parameters.address("PublicIp")? {
        Some(address) => cloud.known_public_ip(address),
        None => cloud.known_allocation(parameters.wanted("AllocationId")?),
    }
}

fn secondary_addresses(parameters: &Parameters) -> Result<Vec<Ipv4Addr>, Refusal> {
    let addresses = parameters.list("PrivateIpAddress");
    addresses
        .into_iter()
        .map(|address| {
            address
                .parse()
                .map_err(|_| Refusal::invalid(format!("invalid value for address: {address}")))
        })
        .collect()
}

fn refuse_dry_run(parameters: &Parameters) -> Result<(), Refusal> {
    if parameters.flag("DryRun") == Some(true) {
        return Err(Refusal::new(
            412,
            "DryRunOperation",
            "Request would have succeeded, but DryRun flag is set.",
        ));
    }
    Ok(())
}

/// The key that signed the request. The signature itself is taken on trust.
fn access_key(request: &Request) -> Option<&str> {
    let authorization = request.header("authorization")?;
    let signed = authorization.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let scope = signed.split("Credential=").nth(1)?;
    scope.split('/').next().filter(|key| !key.is_empty())
}
