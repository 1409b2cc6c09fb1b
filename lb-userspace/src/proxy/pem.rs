//! Parses PEM files leniently (RFC 7468): a block may begin anywhere in the file. A block that
//! cannot be used is not ignored, but is an error that names the block's line.

use std::fmt;

use memchr::memmem;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject as _},
};
use x509_parser::prelude::FromDer as _;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
/// The longest PEM label that is parsed, in bytes: longer than any known label.
const MAX_LABEL: usize = 64;

/// A PEM block of a file.
#[derive(Debug)]
pub(super) struct Block {
    /// The line of the file in which the block begins, counted from 1.
    pub(super) line: usize,
    /// The label of the block, such as `CERTIFICATE`.
    pub(super) label: String,
    /// The decoded content of the block.
    pub(super) content: Content,
}

/// The content of a PEM block.
#[derive(Debug)]
pub(super) enum Content {
    /// The block has a certificate.
    Certificate(CertificateDer<'static>),
    /// The block has an unencrypted private key.
    Key(PrivateKeyDer<'static>),
    /// Something else that a server does not need, such as key parameters.
    Other,
}

/// Why a PEM file cannot be parsed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PemProblem {
    /// The file is in UTF-16, not in ASCII or UTF-8.
    #[error("it is UTF-16; save it as ASCII or UTF-8")]
    Utf16,
    /// The end line of a block is missing.
    #[error("the {label} that begins on line {line} has no end: the file is truncated")]
    NoEnd {
        /// The line of the file in which the block begins.
        line: usize,
        /// The label of the block.
        label: String,
    },
    /// The end line of a block has another label than its first line.
    #[error("the {label} that begins on line {line} ends as {end}: a part of the file is missing")]
    OtherEnd {
        /// The line of the file in which the block begins.
        line: usize,
        /// The label at the beginning of the block.
        label: String,
        /// The label at the end of the block.
        end: String,
    },
    /// A private key is encrypted.
    #[error(
        "the {label} on line {line} is encrypted, and the agent cannot ask for its password; decrypt it with: openssl pkey -in FILE"
    )]
    Encrypted {
        /// The line of the file in which the block begins.
        line: usize,
        /// The label of the block.
        label: String,
    },
    /// A private key is in OpenSSH's format.
    #[error(
        "the {label} on line {line} is OpenSSH's; convert it with: ssh-keygen -p -m PKCS8 -f FILE"
    )]
    OpenSsh {
        /// The line of the file in which the block begins.
        line: usize,
        /// The label of the block.
        label: String,
    },
    /// The content of a block is not valid base64, or is not what its label says.
    #[error("the {label} that begins on line {line} cannot be decoded: {what}")]
    Content {
        /// The line of the file in which the block begins.
        line: usize,
        /// The label of the block.
        label: String,
        /// The decoder's error, as text.
        what: String,
    },
}

/// Returns the PEM blocks of a file, in the order of the file.
pub(super) fn blocks(text: &[u8]) -> Result<Vec<Block>, PemProblem> {
    if text.starts_with(&[0xff, 0xfe]) || text.starts_with(&[0xfe, 0xff]) {
        return Err(PemProblem::Utf16);
    }
    let mut blocks = Vec::new();
    let mut place = 0;
    while let Some(found) = memmem::find(&text[place..], BEGIN) {
        let begin = place + found;
        let Some((label, body)) = label(&text[begin + BEGIN.len()..]) else {
            place = begin + BEGIN.len();
            continue;
        };
        let line = 1 + memchr::memchr_iter(b'\n', &text[..begin]).count();
        let (body, rest) = up_to_end(body, line, &label)?;
        let content = content(&label, body, line)?;
        blocks.push(Block {
            line,
            label,
            content,
        });
        place = text.len() - rest.len();
    }
    Ok(blocks)
}

/// Parses the label at the beginning of `text`, which is for example `CERTIFICATE-----…`. Returns
/// the label and the text after its dashes; `None` if there is no label.
fn label(text: &[u8]) -> Option<(String, &[u8])> {
    let window = &text[..text.len().min(MAX_LABEL + DASHES.len())];
    let length = memmem::find(window, DASHES)?;
    let is_label = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ';
    let label = &text[..length];
    label
        .iter()
        .all(|byte| is_label(byte) || matches!(byte, b'.' | b'-'))
        .then(|| {
            let label = String::from_utf8_lossy(label).trim().to_owned();
            (label, &text[length + DASHES.len()..])
        })
}

/// Returns the body of a PEM block, and the text that follows the block.
fn up_to_end<'t>(
    body: &'t [u8],
    line: usize,
    label_: &str,
) -> Result<(&'t [u8], &'t [u8]), PemProblem> {
    let no_end = || PemProblem::NoEnd {
        line,
        label: label_.to_owned(),
    };
    let end = memmem::find(body, END).ok_or_else(no_end)?;
    let body_alone = &body[..end];
    // If another block begins before the end line, the end line of this block is missing.
    if memmem::find(body_alone, BEGIN).is_some() {
        return Err(no_end());
    }
    let (found, rest) = label(&body[end + END.len()..]).ok_or_else(no_end)?;
    if found == label_ {
        Ok((body_alone, rest))
    } else {
        Err(PemProblem::OtherEnd {
            line,
            label: label_.to_owned(),
            end: found,
        })
    }
}

fn content(label: &str, body: &[u8], line: usize) -> Result<Content, PemProblem> {
    let label_owned = label.to_owned();
    match label {
        // `X509 CERTIFICATE` is an old label that OpenSSL wrote. A `TRUSTED CERTIFICATE` block has
        // OpenSSL's trust settings after the certificate, which must not be sent to clients.
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
            let decoded = CertificateDer::from_pem_slice(&plain("CERTIFICATE", body));
            let decoded = decoded.map_err(|error| undecodable(label, line, &error))?;
            Ok(Content::Certificate(first_element(decoded)))
        }
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
            if memmem::find(body, b"ENCRYPTED").is_some() {
                return Err(PemProblem::Encrypted {
                    line,
                    label: label_owned,
                });
            }
            let decoded = PrivateKeyDer::from_pem_slice(&plain(label, body));
            let key = decoded.map_err(|error| undecodable(label, line, &error))?;
            Ok(Content::Key(key))
        }
        "ENCRYPTED PRIVATE KEY" => Err(PemProblem::Encrypted {
            line,
            label: label_owned,
        }),
        "OPENSSH PRIVATE KEY" => Err(PemProblem::OpenSsh {
            line,
            label: label_owned,
        }),
        _ => Ok(Content::Other),
    }
}

fn undecodable(label: &str, line: usize, error: &pem::Error) -> PemProblem {
    PemProblem::Content {
        line,
        label: label.to_owned(),
        what: error.to_string(),
    }
}

/// Formats a PEM block with line breaks, as the decoder requires.
fn plain(label: &str, body: &[u8]) -> Vec<u8> {
    let digits = body.iter().filter(|byte| !byte.is_ascii_whitespace());
    let digits: Vec<u8> = digits.copied().collect();
    let mut text = format!("-----BEGIN {label}-----\n").into_bytes();
    for line in digits.chunks(64) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
    text
}

/// Returns the first DER element (the certificate) without the data that follows it; all bytes if
/// they cannot be parsed.
fn first_element(der: CertificateDer<'static>) -> CertificateDer<'static> {
    let rest = match x509_parser::certificate::X509Certificate::from_der(&der) {
        Ok((rest, _)) => rest.len(),
        Err(_) => 0,
    };
    if rest == 0 {
        return der;
    }
    CertificateDer::from(der[..der.len() - rest].to_vec())
}

/// A list of the PEM blocks of a file, as text for error messages.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Contents(Vec<String>);

impl Contents {
    /// Describes the PEM blocks of a file.
    pub(super) fn of(blocks: &[Block]) -> Self {
        Self(blocks.iter().map(Block::describe).collect())
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it holds no PEM block (-----BEGIN …) at all");
        }
        write!(f, "it holds: {}", self.0.join("; "))
    }
}

impl Block {
    fn describe(&self) -> String {
        let Self { line, label, .. } = self;
        let what = match &self.content {
            Content::Certificate(der) => subject(der),
            Content::Key(_) => String::new(),
            Content::Other => " (not used)".to_owned(),
        };
        format!("line {line}: {label}{what}")
    }
}

fn subject(der: &CertificateDer<'_>) -> String {
    match x509_parser::certificate::X509Certificate::from_der(der) {
        Ok((_, certificate)) => format!(" \"{}\"", certificate.subject()),
        Err(error) => format!(" (cannot be parsed: {error})"),
    }
}

#[cfg(test)]
#[path = "pem_tests.rs"]
mod tests;
