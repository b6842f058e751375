//! The server's half of SCRAM-SHA-256 (RFC 5802, RFC 7677). Uses: backend, frame, raw.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::backend::{authentication_sasl, authentication_sasl_continue, authentication_sasl_final};
use super::raw::Peer;

const SALT: &[u8] = b"a salt of no secrecy";

/// Asks for a proof with so many iterations. Returns the signature that proves the server to the client if the
/// client's proof was right; nothing if it was not, or the client went away.
pub(crate) fn challenge(peer: &mut Peer, password: &str, iterations: u32) -> Option<Vec<u8>> {
    peer.send(&authentication_sasl(&["SCRAM-SHA-256"]));
    let initial = peer.receive()?;
    let initial = String::from_utf8(initial.body().to_vec()).ok()?;
    // The mechanism, a NUL, four bytes of length, and then "n,,n=,r=…".
    let bare = &initial[initial.find("n=,r=")?..];
    let nonce = format!("{}theserverspart", bare.strip_prefix("n=,r=")?);
    let first = format!("r={nonce},s={},i={iterations}", STANDARD.encode(SALT));
    peer.send(&authentication_sasl_continue(first.as_bytes()));
    let last = peer.receive()?;
    let last = String::from_utf8(last.body().to_vec()).ok()?;
    let (without_proof, proof) = last.rsplit_once(",p=")?;
    let text = format!("{bare},{first},{without_proof}");
    let salted = salted_password(password.as_bytes(), iterations);
    let client_key = hmac(&salted, b"Client Key");
    let signature = hmac(&Sha256::digest(&client_key), text.as_bytes());
    let right: Vec<u8> = client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
    if STANDARD.decode(proof).ok()? != right {
        return None;
    }
    Some(hmac(&hmac(&salted, b"Server Key"), text.as_bytes()))
}

/// Sends the server's own proof.
pub(crate) fn prove(peer: &Peer, signature: &[u8]) {
    peer.send(&authentication_sasl_final(format!("v={}", STANDARD.encode(signature)).as_bytes()));
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// PBKDF2 with one block.
fn salted_password(password: &[u8], iterations: u32) -> Vec<u8> {
    let mut last = hmac(password, &[SALT, &[0, 0, 0, 1]].concat());
    let mut salted = last.clone();
    for _ in 1..iterations {
        last = hmac(password, &last);
        salted.iter_mut().zip(&last).for_each(|(sum, byte)| *sum ^= byte);
    }
    salted
}
