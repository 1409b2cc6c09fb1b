//! The answers of the fake EC2 API to `DescribeInstances`, and of its Auto Scaling API to
//! `DescribeAutoScalingGroups`.

use super::{
    Faults,
    fake_fleet::{FakeFleet, FleetInstance, Group, InstanceState, Member},
    query::{Parameters, escaped},
    refusal::Refusal,
};

/// Maximum number of instances that `DescribeInstances` returns in an answer.
const MOST_INSTANCES: usize = 1000;

/// Number of groups that `DescribeAutoScalingGroups` returns in an answer, unless the call wants
/// another.
const USUAL_GROUPS: usize = 50;

/// Returns the content of the response to `DescribeInstances`. The values of filters are compared
/// literally, without AWS's wildcards.
pub(super) fn instances(
    fleet: &FakeFleet,
    parameters: &Parameters,
    faults: &Faults,
) -> Result<String, Refusal> {
    let ids = parameters.list("InstanceId");
    if let Some(unknown) = (ids.iter()).find(|id| !fleet.instances.iter().any(|one| one.id == **id))
    {
        return Err(Refusal::new(
            400,
            "InvalidInstanceID.NotFound",
            format!("The instance ID '{unknown}' does not exist"),
        ));
    }
    let filters = filters(parameters)?;
    let wanted: Vec<_> = (fleet.instances.iter())
        .filter(|_| !faults.empty)
        .filter(|one| ids.is_empty() || ids.contains(&one.id.as_str()))
        .filter(|one| filters.iter().all(|filter| filter.matches(one)))
        .collect();
    let usual = number(parameters, "MaxResults")?.unwrap_or(MOST_INSTANCES);
    let page = page(&wanted, parameters, usual, faults)?;
    let items: String = page.of.iter().map(|one| instance(one)).collect();
    let next = (page.next)
        .map(|next| format!("<nextToken>{next}</nextToken>"))
        .unwrap_or_default();
    Ok(format!("<reservationSet>{items}</reservationSet>{next}"))
}

/// Returns the content of the result of `DescribeAutoScalingGroups`. As on AWS, names without a
/// group are ignored.
pub(super) fn groups(
    fleet: &FakeFleet,
    parameters: &Parameters,
    faults: &Faults,
) -> Result<String, Refusal> {
    let names = parameters.list("AutoScalingGroupNames.member");
    let wanted: Vec<_> = (fleet.groups.iter())
        .filter(|_| !faults.empty)
        .filter(|group| names.is_empty() || names.contains(&group.name.as_str()))
        .collect();
    let usual = number(parameters, "MaxRecords")?.unwrap_or(USUAL_GROUPS);
    let page = page(&wanted, parameters, usual, faults)?;
    let items: String = page.of.iter().map(|one| group(one)).collect();
    let next = (page.next)
        .map(|next| format!("<NextToken>{next}</NextToken>"))
        .unwrap_or_default();
    Ok(format!(
        "<AutoScalingGroups>{items}</AutoScalingGroups>{next}"
    ))
}

/// A filter of `DescribeInstances`: an instance must have one of the values.
struct Filter<'a> {
    subject: Subject<'a>,
    values: Vec<&'a str>,
}

/// What a filter compares with its values.
enum Subject<'a> {
    Id,
    State,
    Tag(&'a str),
    TagKey,
}

impl Filter<'_> {
    fn matches(&self, instance: &FleetInstance) -> bool {
        let has = |value: &str| self.values.contains(&value);
        match self.subject {
            Subject::Id => has(&instance.id),
            Subject::State => has(instance.state.described().1),
            Subject::Tag(key) => instance.tags.get(key).is_some_and(|value| has(value)),
            Subject::TagKey => instance.tags.keys().any(|key| has(key)),
        }
    }
}

fn filters(parameters: &Parameters) -> Result<Vec<Filter<'_>>, Refusal> {
    (1..)
        .map_while(|number| Some((number, parameters.text(&format!("Filter.{number}.Name"))?)))
        .map(|(number, name)| {
            let subject =
                match name {
                    "instance-id" => Subject::Id,
                    "instance-state-name" => Subject::State,
                    "tag-key" => Subject::TagKey,
                    _ => Subject::Tag(name.strip_prefix("tag:").ok_or_else(|| {
                        Refusal::invalid(format!("The filter '{name}' is invalid"))
                    })?),
                };
            let values = parameters.list(&format!("Filter.{number}.Value"));
            Ok(Filter { subject, values })
        })
        .collect()
}

/// A part of a list, and the token with which the next part is called for.
struct Page<'a, T> {
    of: &'a [T],
    next: Option<usize>,
}

/// Returns the part of `list` that the call wants: it has at most `most` entries, and at most
/// [`Faults::page_size`].
fn page<'a, T>(
    list: &'a [T],
    parameters: &Parameters,
    most: usize,
    faults: &Faults,
) -> Result<Page<'a, T>, Refusal> {
    let most = faults.page_size.map_or(most, |size| most.min(size)).max(1);
    let start = number(parameters, "NextToken")?
        .unwrap_or(0)
        .min(list.len());
    let end = (start + most).min(list.len());
    Ok(Page {
        of: &list[start..end],
        next: (end < list.len()).then_some(end),
    })
}

fn number(parameters: &Parameters, name: &str) -> Result<Option<usize>, Refusal> {
    let invalid = |value| Refusal::invalid(format!("Value ({value}) of {name} is invalid"));
    let value = parameters.text(name);
    value
        .map(|value| {
            value
                .parse::<u16>()
                .map(usize::from)
                .map_err(|_| invalid(value))
        })
        .transpose()
}

fn instance(instance: &FleetInstance) -> String {
    let FleetInstance { id, state, .. } = instance;
    let (code, name) = state.described();
    let address = match state {
        InstanceState::Terminated => String::new(),
        _ => format!(
            "<privateIpAddress>{}</privateIpAddress>",
            instance.private_ip
        ),
    };
    let tags: String = (instance.tags.iter())
        .map(|(key, value)| {
            let (key, value) = (escaped(key), escaped(value));
            format!("<item><key>{key}</key><value>{value}</value></item>")
        })
        .collect();
    format!(
        "<item><reservationId>r-{}</reservationId><ownerId>123456789012</ownerId><groupSet/>\
         <instancesSet><item><instanceId>{id}</instanceId><imageId>ami-12c6146b</imageId>\
         <instanceState><code>{code}</code><name>{name}</name></instanceState>\
         <instanceType>t3.micro</instanceType>\
         <placement><availabilityZone>me-central-1a</availabilityZone></placement>\
         {address}<tagSet>{tags}</tagSet></item></instancesSet></item>",
        id.trim_start_matches("i-")
    )
}

fn group(group: &Group) -> String {
    let name = escaped(&group.name);
    let size = group.members.len();
    let members: String = group.members.iter().map(member).collect();
    format!(
        "<member><AutoScalingGroupName>{name}</AutoScalingGroupName><MinSize>0</MinSize>\
         <MaxSize>100</MaxSize><DesiredCapacity>{size}</DesiredCapacity>\
         <DefaultCooldown>300</DefaultCooldown>\
         <AvailabilityZones><member>me-central-1a</member></AvailabilityZones>\
         <HealthCheckType>EC2</HealthCheckType><CreatedTime>2026-01-01T00:00:00Z</CreatedTime>\
         <Instances>{members}</Instances></member>"
    )
}

fn member(member: &Member) -> String {
    let health = if member.healthy {
        "Healthy"
    } else {
        "Unhealthy"
    };
    format!(
        "<member><InstanceId>{}</InstanceId><InstanceType>t3.micro</InstanceType>\
         <AvailabilityZone>me-central-1a</AvailabilityZone>\
         <LifecycleState>{}</LifecycleState><HealthStatus>{health}</HealthStatus>\
         <ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>",
        member.instance_id,
        escaped(&member.lifecycle)
    )
}
