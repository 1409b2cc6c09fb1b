//! The API of the fake EC2: it receives calls, injects faults, executes and records the calls.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Cloud, Faults, descriptions,
    faults::Fault,
    http::{Request, Response, Server, Waiting},
    query::{self, Parameters, Service},
    refusal::Refusal,
};

/// How long past states of the account are kept, for answers of DescribeAddresses and the like that
/// lag behind the true state.
const MEMORY: Duration = Duration::from_secs(300);

/// The recorded outcome of a call whose caller closed the connection before the answer.
const GAVE_UP: &str = "gave up";

/// Maximum time until the fake EC2 API notices that a caller has closed its connection.
const HANGING_UP: Duration = Duration::from_millis(100);

/// A recorded call of the fake EC2 API.
#[derive(Clone, Debug)]
pub struct Call {
    pub(super) number: u64,
    /// IP address of the caller.
    pub from: IpAddr,
    /// Port of the caller, which differs for each connection.
    pub from_port: u16,
    /// The action that the call requested, such as `AssociateAddress`.
    pub action: String,
    /// Whether the call was a dry run, which changes nothing.
    pub dry_run: bool,
    /// The network interface that the call named; `None` if it named none.
    pub network_interface_id: Option<String>,
    /// The access key that the call was signed with; `None` if it was not signed.
    pub access_key: Option<String>,
    /// When the call arrived.
    pub began: Instant,
    /// When the call was answered, or its caller gave up; `None` while the call is pending.
    pub ended: Option<Instant>,
    /// Result of the call: `ok`, an error code of EC2, or `gave up`; `None` while the call is
    /// pending.
    pub outcome: Option<String>,
    /// Whether the call changed the owner of the Elastic IP.
    pub moved: bool,
}

impl Call {
    /// Whether the caller was waiting for its answer at the time `then`. If a caller gave up, the
    /// recorded end may be later than the real end by the time that detecting it takes, which is
    /// allowed for.
    pub(super) fn is_under_way_at(&self, then: Instant) -> bool {
        let unseen = match self.outcome.as_deref() {
            Some(GAVE_UP) => HANGING_UP,
            _ => Duration::ZERO,
        };
        self.ended.is_none_or(|ended| then + unseen < ended)
    }
}

/// The fake API: its state, shared by the threads that serve callers.
pub(super) struct Api(Mutex<State>);

pub(super) struct State {
    pub(super) cloud: Cloud,
    /// Past states of the account, the oldest first, each with the time at which it was replaced.
    past: VecDeque<(Instant, Cloud)>,
    pub(super) faults: Faults,
    pub(super) calls: Vec<Call>,
    /// Total number of calls so far, from which each call gets its number.
    count: u64,
}

impl State {
    fn call(&mut self, number: u64) -> Option<&mut Call> {
        self.calls.iter_mut().find(|call| call.number == number)
    }

    /// Returns the state of the account as it was `ago` before now.
    pub(super) fn as_of(&self, ago: Duration) -> &Cloud {
        let now = Instant::now();
        self.past
            .iter()
            .find(|(until, _)| now.duration_since(*until) < ago)
            .map_or(&self.cloud, |(_, cloud)| cloud)
    }
}

impl Api {
    pub(super) fn new(cloud: Cloud) -> Self {
        Self(Mutex::new(State {
            cloud,
            past: VecDeque::new(),
            faults: Faults::default(),
            calls: Vec::new(),
            count: 0,
        }))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn serve(api: &Arc<Self>, listener: TcpListener) -> Server {
        let api = Arc::clone(api);
        Server::start(listener, move |request, waiting| {
            api.answer(request, waiting)
        })
    }

    /// Changes the state of the account; also returns whether the owner of the Elastic IP changed.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Cloud) -> T) -> (T, bool) {
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
        let service = Service::of(&parameters);
        let action = parameters.text("Action").unwrap_or_default();
        let fault = self.state().faults.of(action);
        let response = match fault {
            Some(Fault::Hang) => {
                self.end(call, waiting.until_given_up(), GAVE_UP);
                return None;
            }
            Some(Fault::Throttle) => Err(service.throttled()),
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
                    self.end(call, when, GAVE_UP);
                    return None;
                }
                done
            }
        };
        let outcome = response
            .as_ref()
            .map_or_else(|refusal| refusal.code, |_| "ok");
        self.end(call, Instant::now(), outcome);
        if self.state().faults.babbles(action) {
            return Some(Response::new(200, "<AssociateAddressResp"));
        }
        Some(response.unwrap_or_else(|refusal| service.refused(&refusal)))
    }

    fn begin(&self, request: &Request, parameters: &Parameters) -> u64 {
        let mut state = self.state();
        state.count += 1;
        let number = state.count;
        state.calls.push(Call {
            number,
            from: request.from.ip(),
            from_port: request.from.port(),
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
        let service = Service::of(parameters);
        let action = parameters.wanted("Action")?;
        if self.state().faults.denied.contains(action) {
            return Err(service.denied(action));
        }
        let content = match (service, action) {
            (Service::Ec2, "DescribeAddresses") => self.describe_addresses(parameters)?,
            (Service::Ec2, "DescribeNetworkInterfaces") => self.describe_interfaces(parameters)?,
            (Service::Ec2, "DescribeInstances") => self.describe_instances(parameters)?,
            (Service::AutoScaling, "DescribeAutoScalingGroups") => {
                self.describe_groups(parameters)?
            }
            (Service::AutoScaling, _) => return Err(unknown(action)),
            (Service::Ec2, _) => {
                let (content, moved) = self.act(action, parameters);
                if let Some(call) = self.state().call(call) {
                    call.moved = moved;
                }
                content?
            }
        };
        Ok(service.done(action, &content))
    }

    /// Executes an action of the API. Returns the content of the response or the refusal, and
    /// whether the owner of the Elastic IP changed.
    fn act(&self, action: &str, parameters: &Parameters) -> (Result<String, Refusal>, bool) {
        let refuses_to_reassign = self.state().faults.refuses_to_reassign;
        self.change(|cloud| changed(cloud, action, parameters, refuses_to_reassign))
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

    fn describe_instances(&self, parameters: &Parameters) -> Result<String, Refusal> {
        let state = self.state();
        let fleet = &state.as_of(state.faults.stale).fleet;
        let described = descriptions::instances(fleet, parameters, &state.faults)?;
        refuse_dry_run(parameters)?;
        Ok(described)
    }

    fn describe_groups(&self, parameters: &Parameters) -> Result<String, Refusal> {
        let state = self.state();
        let fleet = &state.as_of(state.faults.stale).fleet;
        descriptions::groups(fleet, parameters, &state.faults)
    }
}

/// Executes an action that changes the state of the account; returns the content of the response.
fn changed(
    cloud: &mut Cloud,
    action: &str,
    parameters: &Parameters,
    refuses_to_reassign: bool,
) -> Result<String, Refusal> {
    match action {
        "AssociateAddress" => {
            known_address(cloud, parameters)?;
            let interface = match parameters.text("InstanceId") {
                Some(instance) => cloud.interface_of_instance(instance)?,
                None => cloud.interface(parameters.wanted("NetworkInterfaceId")?)?,
            };
            let private_ip = parameters.address("PrivateIpAddress")?;
            refuse_dry_run(parameters)?;
            // As on AWS, an Elastic IP that is associated already is moved unless the call forbids
            // it.
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
                if refuses_to_reassign && cloud.has(interface, address) {
                    return Err(Refusal::invalid(format!("[{address}] is assigned already")));
                }
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
        _ => Err(unknown(action)),
    }
}

fn unknown(action: &str) -> Refusal {
    Refusal::new(
        400,
        "InvalidAction",
        format!("The action {action} is not valid for this web service"),
    )
}

/// Checks that a call names the Elastic IP: by its allocation ID, or by its address, as scripts
/// written before VPCs existed do.
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

/// Returns the access key that a request was signed with. The signature is not verified.
fn access_key(request: &Request) -> Option<&str> {
    let authorization = request.header("authorization")?;
    let signed = authorization.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let scope = signed.split("Credential=").nth(1)?;
    scope.split('/').next().filter(|key| !key.is_empty())
}
