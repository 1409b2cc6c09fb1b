//! Converts HAProxy's format strings into texts with lb's variables, for header values and
//! redirects.

/// The properties of the service for which a format string is converted, as far as its text depends
/// on them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Of {
    /// Whether clients connect to the service over TLS.
    pub(crate) tls: bool,
    /// The port that clients connect to.
    pub(crate) port: u16,
}

/// Converts a format string. The error says which part of it lb has no equivalent for.
pub(crate) fn template(format: &str, of: Of) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        text.push_str(literal(&rest[..at])?);
        let after = &rest[at + 1..];
        let (value, left) = variable(after, of)?;
        text.push_str(&value);
        rest = left;
    }
    text.push_str(literal(rest)?);
    Ok(text)
}

/// Returns a literal text; an error if lb would take a part of it for a variable.
fn literal(text: &str) -> Result<&str, String> {
    const VARIABLES: [&str; 6] = [
        "{client_ip}",
        "{scheme}",
        "{host}",
        "{bare_host}",
        "{path}",
        "{query}",
    ];
    match VARIABLES.iter().find(|variable| text.contains(**variable)) {
        Some(variable) => Err(format!("lb would interpret {variable} as a variable")),
        None => Ok(text),
    }
}

fn variable(after: &str, of: Of) -> Result<(String, &str), String> {
    if let Some(rest) = after.strip_prefix('%') {
        return Ok(("%".to_owned(), rest));
    }
    if let Some((sample, rest)) = after
        .strip_prefix('[')
        .and_then(|after| after.split_once(']'))
    {
        let value = match sample.replace(' ', "").as_str() {
            "src" => "{client_ip}".to_owned(),
            "path" => "{path}".to_owned(),
            "hdr(host)" | "req.hdr(host)" | "hdr(Host)" | "req.hdr(Host)" | "req.fhdr(host)" => {
                "{host}".to_owned()
            }
            "dst_port" => of.port.to_string(),
            "ssl_fc" => u8::from(of.tls).to_string(),
            "capture.req.uri" => "{path}{query}".to_owned(),
            _ => return Err(format!("lb has no variable for %[{sample}]")),
        };
        return Ok((value, rest));
    }
    let known = [
        ("ci", "{client_ip}"),
        ("HU", "{path}{query}"),
        ("HP", "{path}"),
        ("HQ", "{query}"),
    ];
    for (word, value) in known {
        if let Some(rest) = after.strip_prefix(word) {
            return Ok((value.to_owned(), rest));
        }
    }
    let word: String = after
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    Err(format!("lb has no variable for %{word}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_those_of_lb() {
        let of = Of {
            tls: true,
            port: 443,
        };
        assert_eq!(
            template("https://%[hdr(host)]%[capture.req.uri]", of).as_deref(),
            Ok("https://{host}{path}{query}")
        );
        assert_eq!(
            template("%[dst_port] 100%% %ci", of).as_deref(),
            Ok("443 100% {client_ip}")
        );
        assert!(template("%[ssl_c_s_dn(cn)]", of).is_err());
        assert!(template("{host}", of).is_err());
    }
}
