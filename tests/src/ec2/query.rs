//! The query protocol of EC2 and Auto Scaling: parameters in a form, answers in XML.

use std::{collections::HashMap, net::Ipv4Addr};

use super::{Association, Cloud, http::Response, refusal::Refusal};

const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

const AUTO_SCALING_NAMESPACE: &str = "http://autoscaling.amazonaws.com/doc/2011-01-01/";

const REQUEST_ID: &str = "7a62c49f-347e-4fc4-9331-6e8e00000000";

/// A service of AWS that the fake API answers for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Service {
    Ec2,
    AutoScaling,
}

impl Service {
    /// Returns the service that a call is for, by the version of the API that it names.
    pub(super) fn of(parameters: &Parameters) -> Self {
        match parameters.text("Version") {
            Some("2011-01-01") => Self::AutoScaling,
            _ => Self::Ec2,
        }
    }

    /// Returns the refusal of a call because there are too many.
    pub(super) fn throttled(self) -> Refusal {
        match self {
            Self::Ec2 => Refusal::new(503, "RequestLimitExceeded", "Request limit exceeded."),
            Self::AutoScaling => Refusal::new(400, "Throttling", "Rate exceeded"),
        }
    }

    /// Returns the refusal of a call because the caller lacks the permission.
    pub(super) fn denied(self, action: &str) -> Refusal {
        match self {
            Self::Ec2 => Refusal::new(
                403,
                "UnauthorizedOperation",
                format!("You are not authorized to perform this operation: ec2:{action}"),
            ),
            Self::AutoScaling => Refusal::new(
                403,
                "AccessDenied",
                format!(
                    "User: arn:aws:sts::123456789012:assumed-role/lb/lab is not authorized to perform: \
                     autoscaling:{action} because no identity-based policy allows the \
                     autoscaling:{action} action"
                ),
            ),
        }
    }

    /// Formats a refusal as the error response of the service.
    pub(super) fn refused(self, refusal: &Refusal) -> Response {
        let Refusal {
            status,
            code,
            message,
        } = refusal;
        let message = escaped(message);
        let content = match self {
            Self::Ec2 => format!(
                "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error>\
                 </Errors><RequestID>{REQUEST_ID}</RequestID></Response>"
            ),
            Self::AutoScaling => format!(
                "<ErrorResponse xmlns=\"{AUTO_SCALING_NAMESPACE}\"><Error><Type>Sender</Type>\
                 <Code>{code}</Code><Message>{message}</Message></Error>\
                 <RequestId>{REQUEST_ID}</RequestId></ErrorResponse>"
            ),
        };
        xml(*status, &content)
    }

    /// Formats the response to an action that succeeded.
    pub(super) fn done(self, action: &str, content: &str) -> Response {
        let content = match self {
            Self::Ec2 => format!(
                "<{action}Response xmlns=\"{NAMESPACE}\"><requestId>{REQUEST_ID}</requestId>\
                 {content}</{action}Response>"
            ),
            Self::AutoScaling => format!(
                "<{action}Response xmlns=\"{AUTO_SCALING_NAMESPACE}\"><{action}Result>{content}\
                 </{action}Result><ResponseMetadata><RequestId>{REQUEST_ID}</RequestId>\
                 </ResponseMetadata></{action}Response>"
            ),
        };
        xml(200, &content)
    }
}

/// The parameters of a call, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters(HashMap<String, String>);

impl Parameters {
    pub(super) fn parse(form: &[u8]) -> Self {
        let form = String::from_utf8_lossy(form);
        let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
        Self(
            pairs
                .map(|(name, value)| (decoded(name), decoded(value)))
                .collect(),
        )
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn wanted(&self, name: &str) -> Result<&str, Refusal> {
        self.text(name).ok_or_else(|| {
            Refusal::new(
                400,
                "MissingParameter",
                format!("The request must contain the parameter {name}"),
            )
        })
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.text(name).map(|value| value == "true")
    }

    pub(super) fn address(&self, name: &str) -> Result<Option<Ipv4Addr>, Refusal> {
        self.text(name)
            .map(|value| {
                value.parse().map_err(|_| {
                    Refusal::invalid(format!("Value ({value}) for parameter {name} is invalid"))
                })
            })
            .transpose()
    }

    /// Returns the values of the parameters `NAME.1`, `NAME.2` and so on.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        (1..)
            .map_while(|number| self.text(&format!("{name}.{number}")))
            .collect()
    }
}

pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Escapes a text for XML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Returns the content of the response to `DescribeAddresses`.
pub(super) fn address_set(cloud: &Cloud) -> String {
    let association = cloud
        .association
        .as_ref()
        .map(|association| {
            let interface = &cloud.interfaces[association.interface];
            format!(
                "<instanceId>{}</instanceId><associationId>{}</associationId>\
                 <networkInterfaceId>{}</networkInterfaceId>\
                 <networkInterfaceOwnerId>123456789012</networkInterfaceOwnerId>\
                 <privateIpAddress>{}</privateIpAddress>",
                interface.instance_id, association.id, interface.id, association.private_ip
            )
        })
        .unwrap_or_default();
    format!(
        "<addressesSet><item><publicIp>{}</publicIp><allocationId>{}</allocationId>\
         <domain>vpc</domain>{association}</item></addressesSet>",
        cloud.public_ip, cloud.allocation_id
    )
}

/// Returns the content of the response to `DescribeNetworkInterfaces` for the interfaces with the
/// indices `wanted`.
pub(super) fn interface_set(cloud: &Cloud, wanted: &[usize]) -> String {
    let items: String = wanted
        .iter()
        .map(|index| interface(cloud, *index))
        .collect();
    format!("<networkInterfaceSet>{items}</networkInterfaceSet>")
}

fn interface(cloud: &Cloud, index: usize) -> String {
    let own = &cloud.interfaces[index];
    let association = cloud
        .association
        .as_ref()
        .filter(|association| association.interface == index);
    let primary = private_ip(cloud, own.private_ip, true, association);
    let secondary: String = cloud.secondary[index]
        .iter()
        .map(|address| private_ip(cloud, *address, false, association))
        .collect();
    format!(
        "<item><networkInterfaceId>{}</networkInterfaceId><subnetId>subnet-0123456789abcdef0</subnetId>\
         <vpcId>vpc-0123456789abcdef0</vpcId><description/><ownerId>123456789012</ownerId>\
         <requesterManaged>false</requesterManaged><status>in-use</status>\
         <macAddress>{}</macAddress><privateIpAddress>{}</privateIpAddress>\
         <sourceDestCheck>true</sourceDestCheck><attachment><instanceId>{}</instanceId>\
         <deviceIndex>0</deviceIndex><status>attached</status></attachment>\
         <privateIpAddressesSet>{primary}{secondary}</privateIpAddressesSet></item>",
        own.id, own.mac, own.private_ip, own.instance_id
    )
}

fn private_ip(
    cloud: &Cloud,
    address: Ipv4Addr,
    primary: bool,
    association: Option<&Association>,
) -> String {
    let association = association
        .filter(|association| association.private_ip == address)
        .map(|association| {
            format!(
                "<association><publicIp>{}</publicIp><allocationId>{}</allocationId>\
                 <associationId>{}</associationId></association>",
                cloud.public_ip, cloud.allocation_id, association.id
            )
        })
        .unwrap_or_default();
    format!(
        "<item><privateIpAddress>{address}</privateIpAddress><primary>{primary}</primary>\
         {association}</item>"
    )
}

fn xml(status: u16, content: &str) -> Response {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{content}");
    Response::new(status, body).with("Content-Type", "text/xml;charset=UTF-8")
}
