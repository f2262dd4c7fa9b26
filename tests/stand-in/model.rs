//! One question to the model, as the CLI asks it: by the address and with the key that
//! the environment names.

use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;

const QUESTION: &str =
    r#"{"model":"claude-sonnet-5","max_tokens":16,"messages":[{"role":"user","content":"hello"}]}"#;

pub fn ask() -> Result<()> {
    let setting = |name| std::env::var(name).map_err(Error::other);
    let (base, key) = (setting("ANTHROPIC_BASE_URL")?, setting("ANTHROPIC_API_KEY")?);
    let host = base.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host)?;
    write!(
        stream,
        "POST /v1/messages HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{QUESTION}",
        QUESTION.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.starts_with("HTTP/1.1 200") {
        true => Ok(()),
        false => Err(Error::other(answer)),
    }
}
