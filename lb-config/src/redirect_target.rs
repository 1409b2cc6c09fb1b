//! The targets of redirects: URLs and paths with variables.

use super::{
    Template, TemplatePart,
    kind::{Complaint, Text},
    route_text::{LONGEST, template},
};

/// A value that is the target URL of a redirect.
pub(super) const URL: Text<Template> = Text {
    what: "URL, may have variables",
    parse: url,
};

fn url(text: &str) -> Result<Template, Complaint> {
    let example = "write a URL such as \"https://{host}{path}{query}\"";
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`|".contains(&byte);
    if !text.bytes().all(plain) || text.len() > LONGEST {
        return Err(Complaint::new("is not a URL", example));
    }
    let template = template(text)?;
    let literal = |part: &TemplatePart| match part {
        TemplatePart::Text(text) => !text.contains(['{', '}']),
        TemplatePart::Variable(_) => true,
    };
    if !template.0.iter().all(literal) {
        return Err(Complaint::new("has a brace outside a variable", example));
    }
    // A path stays at the host and the port that the client connected to. A second slash would begin
    // the name of a host, and so could the value of a variable.
    let path = text.strip_prefix('/');
    if path.is_some_and(|rest| !rest.starts_with(['/', '{'])) {
        return Ok(template);
    }
    let schemes = ["https://", "http://", "{scheme}://"];
    let rest = schemes
        .into_iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let Some(rest) = rest else {
        let hint = format!(
            "it begins with https://, http:// or {{scheme}}://, or is a path such as /new: {example}"
        );
        return Err(Complaint::new(
            "is neither an absolute URL nor a path",
            hint,
        ));
    };
    let ends = ["/", "?", "#", "{path}", "{query}"];
    let end = ends.iter().filter_map(|end| rest.find(end)).min();
    let authority = &rest[..end.unwrap_or(rest.len())];
    if authority.is_empty() || authority.contains("{client_ip}") || authority.contains("{scheme}") {
        return Err(Complaint::new("has no host", example));
    }
    if authority.contains('@') {
        let hint = "browsers hide or refuse it: remove everything up to the @";
        return Err(Complaint::new("has a user name", hint));
    }
    Ok(template)
}
