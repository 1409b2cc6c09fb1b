//! Kinds of values that are identifiers of AWS.

use super::kind::{Complaint, Text};

/// A value that is the allocation ID of an Elastic IP.
pub(super) const ALLOCATION_ID: Text<String> = Text {
    what: "`eipalloc-` and hexadecimal digits",
    parse: |text| resource(text, "eipalloc-"),
};

/// A value that is the ID of a network interface of AWS.
pub(super) const NETWORK_INTERFACE_ID: Text<String> = Text {
    what: "`eni-` and hexadecimal digits",
    parse: |text| resource(text, "eni-"),
};

/// A value that is the name of an AWS region.
pub(super) const REGION: Text<String> = Text {
    what: "AWS region",
    parse: region,
};

/// A value that is the URL of an API of AWS.
pub(super) const ENDPOINT: Text<String> = Text {
    what: "`http` or `https` URL",
    parse: endpoint,
};

/// Parses a resource ID of AWS: the prefix, then 17 hexadecimal digits, or 8 in IDs from before
/// 2018.
fn resource(text: &str, prefix: &str) -> Result<String, Complaint> {
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let digits = text.strip_prefix(prefix);
    if digits
        .is_some_and(|digits| matches!(digits.len(), 8 | 17) && digits.bytes().all(hexadecimal))
    {
        return Ok(text.to_owned());
    }
    let found = format!("is not {prefix} and 17 hexadecimal digits");
    let hint = format!("write an ID such as \"{prefix}0123456789abcdef0\"");
    Err(Complaint::new(found, hint))
}

fn region(text: &str) -> Result<String, Complaint> {
    let parts: Vec<_> = text.split('-').collect();
    let word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let valid = match &*parts {
        [words @ .., number] => {
            words.len() >= 2
                && words.iter().all(word)
                && matches!(number.as_bytes(), [digit] if digit.is_ascii_digit())
        }
        [] => false,
    };
    if !valid {
        return Err(Complaint::new(
            "is not a region",
            "write a region such as \"me-central-1\", not one of its availability zones",
        ));
    }
    Ok(text.to_owned())
}

fn endpoint(text: &str) -> Result<String, Complaint> {
    let hint = "write a URL such as \"https://ec2.me-central-1.amazonaws.com\"";
    let url: Result<http::Uri, _> = text.parse();
    let valid = url.is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.host().is_some_and(|host| !host.is_empty())
    });
    if !valid {
        return Err(Complaint::new("is not an http or https URL", hint));
    }
    Ok(text.to_owned())
}
