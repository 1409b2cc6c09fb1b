//! A stack of CloudFormation in moto, made from the template that operators use.
//!
//! Differences from AWS that matter here: moto gives the network interfaces of a template addresses
//! of its own choice, attaches none of them to an instance, and deletes neither route tables nor
//! Elastic IPs with a stack.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    Ec2, Interface, Moto, Owner, REGION,
    moto::{all, text},
    query,
};
use crate::Host;

/// The template that operators use.
const TEMPLATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/aws/pair.yaml");

/// The name of the stack.
const NAME: &str = "pair";

/// The name of the parameter with the machine image, as AWS has public ones.
const IMAGE_PARAMETER: &str = "/lab/image";

/// A CloudFormation stack of a pair of balancers. Its Elastic IP and its two network interfaces are
/// an [`Ec2`].
#[derive(Debug)]
pub struct Stack {
    moto: Moto,
    host: Host,
    outputs: BTreeMap<String, String>,
    interfaces: Vec<Interface>,
    user_data: Vec<String>,
}

impl Stack {
    /// Creates the stack in moto, which runs on `host`, with these additional parameters, and reads
    /// the outputs of the stack. `addresses` are the private addresses that the Elastic IP is
    /// translated to.
    ///
    /// # Errors
    /// moto refuses the template, or an output is missing.
    pub fn create(
        host: &Host,
        moto: Moto,
        addresses: [Ipv4Addr; 2],
        parameters: &[(&str, &str)],
    ) -> Result<Self> {
        let mut stack = Self {
            moto,
            host: host.clone(),
            outputs: BTreeMap::new(),
            interfaces: Vec::new(),
            user_data: Vec::new(),
        };
        stack.put_image_parameter()?;
        stack.make(parameters)?;
        stack.outputs = stack.read_outputs()?;
        for (letter, address) in ["A", "B"].into_iter().zip(addresses) {
            let interface = Interface {
                id: stack.output(&format!("Interface{letter}"))?.to_owned(),
                instance_id: stack.output(&format!("Balancer{letter}"))?.to_owned(),
                private_ip: address,
                mac: String::new(),
            };
            stack.ec2(&format!(
                "Action=AssignPrivateIpAddresses&NetworkInterfaceId={}&PrivateIpAddress.1={address}",
                interface.id
            ))?;
            let user_data = stack.read_user_data(&interface.instance_id)?;
            stack.user_data.push(user_data);
            stack.interfaces.push(interface);
        }
        Ok(stack)
    }

    /// Returns the script that a balancer, 0 or 1, runs at its first boot.
    #[must_use]
    pub fn user_data(&self, balancer: usize) -> &str {
        &self.user_data[balancer]
    }

    /// Returns an output of the stack.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn output(&self, name: &str) -> Result<&str> {
        let output = self.outputs.get(name);
        output
            .map(String::as_str)
            .with_context(|| format!("the stack has no output {name}: {:?}", self.outputs))
    }

    /// Calls the EC2 API, as [`Moto::call`].
    ///
    /// # Errors
    /// As [`Moto::call`].
    pub fn ec2(&self, form: &str) -> Result<String> {
        self.moto.call(form)
    }

    /// Returns the policy of the balancers' IAM role, as JSON.
    ///
    /// # Errors
    /// There is none.
    pub fn policy(&self) -> Result<String> {
        let resource = self.cloud_formation(&[
            "Action=DescribeStackResource",
            &format!("StackName={NAME}"),
            "LogicalResourceId=BalancerRole",
        ])?;
        let role = text(&resource, "PhysicalResourceId").context("the role has no name")?;
        let role = format!("RoleName={role}");
        let policy = ["Action=GetRolePolicy", &role, "PolicyName=move-the-address"];
        let answer = self.call("iam", "2010-05-08", &policy)?;
        let document = text(&answer, "PolicyDocument").context("the policy has no document")?;
        Ok(query::decoded(document))
    }

    /// Deletes the stack, and returns its last status.
    ///
    /// # Errors
    /// moto refuses.
    pub fn delete(&self) -> Result<String> {
        self.delete_route_tables()?;
        let name = format!("StackName={NAME}");
        self.cloud_formation(&["Action=DeleteStack", &name])?;
        let listed = self.cloud_formation(&["Action=ListStacks"])?;
        Ok(text(&listed, "StackStatus")
            .context("no stack was listed")?
            .to_owned())
    }

    /// Deletes the stack's route tables, because moto does not, and then refuses to delete their
    /// VPCs.
    fn delete_route_tables(&self) -> Result<()> {
        let name = format!("StackName={NAME}");
        let resources = self.cloud_formation(&["Action=DescribeStackResources", &name])?;
        // The id of a route is that of its table, `~`, and the network; that of an association is
        // its table's.
        let tables: BTreeSet<_> = all(&resources, "PhysicalResourceId")
            .filter(|id| id.starts_with("rtb-") && !id.contains('~'))
            .collect();
        for table in tables {
            let described = self.ec2(&format!(
                "Action=DescribeRouteTables&RouteTableId.1={table}"
            ))?;
            for association in all(&described, "routeTableAssociationId") {
                self.ec2(&format!(
                    "Action=DisassociateRouteTable&AssociationId={association}"
                ))?;
            }
            self.ec2(&format!("Action=DeleteRouteTable&RouteTableId={table}"))?;
        }
        Ok(())
    }

    fn put_image_parameter(&self) -> Result<()> {
        let body = format!(
            r#"{{"Name":"{IMAGE_PARAMETER}","Value":"{}","Type":"String"}}"#,
            super::moto::IMAGE
        );
        let header = |value: &str| ["--header".to_owned(), value.to_owned()];
        let mut arguments: Vec<_> = header("X-Amz-Target: AmazonSSM.PutParameter").into();
        arguments.extend(header("Content-Type: application/x-amz-json-1.1"));
        arguments.extend(["--data".to_owned(), body]);
        self.curl("ssm", &arguments).map(drop)
    }

    fn make(&self, parameters: &[(&str, &str)]) -> Result<()> {
        ensure!(Path::new(TEMPLATE).is_file(), "there is no {TEMPLATE}");
        let mut form = vec![
            "Action=CreateStack".to_owned(),
            format!("StackName={NAME}"),
            "Capabilities.member.1=CAPABILITY_IAM".to_owned(),
            format!("TemplateBody@{TEMPLATE}"),
        ];
        let image = ("Image", IMAGE_PARAMETER);
        for (number, (key, value)) in (1..).zip([&image].into_iter().chain(parameters)) {
            form.push(format!("Parameters.member.{number}.ParameterKey={key}"));
            form.push(format!("Parameters.member.{number}.ParameterValue={value}"));
        }
        let form: Vec<_> = form.iter().map(String::as_str).collect();
        self.cloud_formation(&form).map(drop)
    }

    fn read_outputs(&self) -> Result<BTreeMap<String, String>> {
        let name = format!("StackName={NAME}");
        let described = self.cloud_formation(&["Action=DescribeStacks", &name])?;
        ensure!(
            text(&described, "StackStatus") == Some("CREATE_COMPLETE"),
            "the stack was not created: {described}"
        );
        let keys = all(&described, "OutputKey").map(str::to_owned);
        let values = all(&described, "OutputValue").map(str::to_owned);
        Ok(keys.zip(values).collect())
    }

    fn read_user_data(&self, instance: &str) -> Result<String> {
        let attribute = self.ec2(&format!(
            "Action=DescribeInstanceAttribute&InstanceId={instance}&Attribute=userData"
        ))?;
        from_base64(text(&attribute, "value").context("the instance has no user data")?)
    }

    fn cloud_formation(&self, form: &[&str]) -> Result<String> {
        self.call("cloudformation", "2010-05-15", form)
    }

    /// Calls an API of AWS with a form. A field `NAME@FILE` has the content of that file.
    fn call(&self, service: &str, version: &str, form: &[&str]) -> Result<String> {
        let version = format!("Version={version}");
        let fields = form.iter().copied().chain([version.as_str()]);
        let arguments: Vec<_> = fields
            .flat_map(|field| ["--data-urlencode".to_owned(), field.to_owned()])
            .collect();
        self.curl(service, &arguments)
    }

    fn curl(&self, service: &str, arguments: &[String]) -> Result<String> {
        let authorization = format!(
            "Authorization: AWS4-HMAC-SHA256 Credential=LAB/20260101/{REGION}/{service}/aws4_request, \
             SignedHeaders=host, Signature=0"
        );
        let fixed = ["-sS", "--fail-with-body", "--max-time", "60", "--header"];
        let mut all: Vec<_> = fixed.to_vec();
        all.push(&authorization);
        all.extend(arguments.iter().map(String::as_str));
        all.push(self.moto.endpoint());
        self.host.run("curl", &all)
    }
}

impl Ec2 for Stack {
    fn endpoint(&self) -> &str {
        self.moto.endpoint()
    }

    fn allocation_id(&self) -> &str {
        self.outputs.get("AllocationId").map_or("", String::as_str)
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    fn owner(&self) -> Result<Option<Owner>> {
        let described = self.ec2(&format!(
            "Action=DescribeAddresses&AllocationId.1={}",
            self.allocation_id()
        ))?;
        let id = text(&described, "networkInterfaceId").filter(|id| !id.is_empty());
        let Some(id) = id else {
            return Ok(None);
        };
        let mut interfaces = self.interfaces.iter();
        let interface = interfaces
            .position(|interface| interface.id == id)
            .with_context(|| format!("the Elastic IP is at {id}, which is of neither balancer"))?;
        Ok(Some(Owner {
            interface,
            private_ip: self.interfaces[interface].private_ip,
        }))
    }
}

/// Decodes base64 by coreutils.
fn from_base64(text: &str) -> Result<String> {
    let mut base64 = Command::new("base64")
        .arg("--decode")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = base64.stdin.take().context("base64 has no stdin")?;
    stdin.write_all(text.as_bytes())?;
    drop(stdin);
    let output = base64.wait_with_output()?;
    ensure!(output.status.success(), "the user data are not base64");
    Ok(String::from_utf8(output.stdout)?)
}
