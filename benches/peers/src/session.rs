//! A bare session on a blocking socket: what the floors are built on.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::IsNull;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::{backend, frontend};
use tokio_postgres::config::Host;

use crate::{Result, world};

/// Opens a session.
pub fn log_in(url: &str) -> Result<TcpStream> {
    let config: tokio_postgres::Config = url.parse()?;
    let (Some(Host::Tcp(host)), Some(port)) = (config.get_hosts().first(), config.get_ports().first()) else {
        return Err("the floor needs a host and a port".into());
    };
    let mut stream = TcpStream::connect((host.as_str(), *port))?;
    stream.set_nodelay(true)?;
    let user = config.get_user().unwrap_or("postgres");
    let mut bytes = BytesMut::new();
    let database = config.get_dbname().unwrap_or("postgres");
    frontend::startup_message([("user", user), ("database", database)], &mut bytes)?;
    stream.write_all(&bytes)?;
    let mut scram =
        ScramSha256::new(config.get_password().unwrap_or_default(), ChannelBinding::unsupported());
    let mut input = BytesMut::new();
    loop {
        let message = next_message(&mut stream, &mut input)?;
        bytes.clear();
        match message {
            backend::Message::AuthenticationSasl(_) => {
                frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut bytes)?;
            }
            backend::Message::AuthenticationSaslContinue(body) => {
                scram.update(body.data())?;
                frontend::sasl_response(scram.message(), &mut bytes)?;
            }
            backend::Message::AuthenticationSaslFinal(body) => scram.finish(body.data())?,
            backend::Message::ReadyForQuery(_) => return Ok(stream),
            _ => {}
        }
        stream.write_all(&bytes)?;
    }
}

fn next_message(stream: &mut TcpStream, input: &mut BytesMut) -> Result<backend::Message> {
    loop {
        match backend::Message::parse(input)? {
            Some(backend::Message::ErrorResponse(body)) => {
                let text = body.fields().find(|field| Ok(field.type_() == b'M'))?;
                let text = text.map(|field| String::from_utf8_lossy(field.value_bytes()).into_owned());
                return Err(text.unwrap_or_default().into());
            }
            Some(message) => return Ok(message),
            None => {}
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk)? {
            0 => return Err("the server hung up".into()),
            count => input.extend_from_slice(&chunk[..count]),
        }
    }
}

/// A session that knows the statement of [`world`] by the name `s`.
pub fn prepared(url: &str) -> Result<TcpStream> {
    let mut stream = log_in(url)?;
    let mut bytes = BytesMut::new();
    frontend::parse("s", world::SELECT, [], &mut bytes)?;
    frontend::sync(&mut bytes);
    stream.write_all(&bytes)?;
    let mut input = BytesMut::new();
    while !matches!(next_message(&mut stream, &mut input)?, backend::Message::ReadyForQuery(_)) {}
    Ok(stream)
}

/// So many Binds and Executes of it, then a Sync; and where the ids lie, to be written over.
pub fn request(members: usize) -> Result<(Vec<u8>, Vec<usize>)> {
    let marker = i32::from_be_bytes(*b"\xff\xfe\xfd\xfc");
    let mut bytes = BytesMut::new();
    for _ in 0..members {
        let encode = |id: i32, bytes: &mut BytesMut| {
            bytes.extend_from_slice(&id.to_be_bytes());
            Ok(IsNull::No)
        };
        frontend::bind("", "s", [1], [marker], encode, [1], &mut bytes)
            .map_err(|_| "the request can't be encoded")?;
        frontend::execute("", 0, &mut bytes)?;
    }
    frontend::sync(&mut bytes);
    let ids = bytes.windows(4).enumerate().filter(|(_, window)| **window == marker.to_be_bytes());
    let ids: Vec<usize> = ids.map(|(at, _)| at).collect();
    if ids.len() != members {
        return Err("the request has not as many ids as it should".into());
    }
    Ok((bytes.to_vec(), ids))
}
