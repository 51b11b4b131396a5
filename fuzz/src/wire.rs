//! What do these bytes say to a server that forgives nothing?
//!
//! It shares no code with the gateway, nor with hyper: what judges them must not make
//! their mistakes.

/// A request as the strictest server reads it.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its target.
    pub target: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// The requests up to the first one that a strict server would refuse.
pub fn requests(bytes: &[u8]) -> Vec<Asked> {
    read(bytes).0
}

/// Whether it refuses that one because two servers could disagree on its length.
pub fn is_length_in_doubt(bytes: &[u8]) -> bool {
    read(bytes).1
}

fn read(mut bytes: &[u8]) -> (Vec<Asked>, bool) {
    let (mut requests, mut is_in_doubt) = (Vec::new(), false);
    while let Some((request, rest)) = request(bytes, &mut is_in_doubt) {
        requests.push(request);
        bytes = rest;
    }
    (requests, is_in_doubt)
}

fn request<'a>(mut bytes: &'a [u8], is_in_doubt: &mut bool) -> Option<(Asked, &'a [u8])> {
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    let (line, mut bytes) = line(bytes)?;
    // A fragment is never sent.
    let line = std::str::from_utf8(line)
        .ok()
        .filter(|line| !line.contains('#'))?;
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    let is_known = matches!(version, "HTTP/1.0" | "HTTP/1.1");
    if !is_token(method.as_bytes()) || target.is_empty() || !is_known {
        return None;
    }
    let (mut lengths, mut codings) = (Vec::new(), Vec::new());
    loop {
        let (field, rest) = self::line(bytes)?;
        bytes = rest;
        if field.is_empty() {
            break;
        }
        let colon = field.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&field[..colon], &field[colon + 1..]);
        let is_value = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        if !is_token(name) || !value.iter().all(is_value) {
            return None;
        }
        let value = std::str::from_utf8(value)
            .ok()
            .map(|value| value.trim_matches([' ', '\t']));
        match name.to_ascii_lowercase().as_slice() {
            b"content-length" => lengths.push(value?.to_owned()),
            b"transfer-encoding" => codings.push(value?.to_ascii_lowercase()),
            _ => {}
        }
    }
    let (body, rest) = match (&lengths[..], &codings[..]) {
        ([], []) => (Vec::new(), bytes),
        ([length], []) => {
            let number: usize = length.parse().unwrap_or_default();
            *is_in_doubt = number.to_string() != *length;
            if *is_in_doubt || bytes.len() < number {
                return None;
            }
            (bytes[..number].to_vec(), &bytes[number..])
        }
        ([], [coding]) if coding == "chunked" && version == "HTTP/1.1" => chunks(bytes)?,
        _ => {
            *is_in_doubt = true;
            return None;
        }
    };
    let target = target.to_owned();
    Some((Asked { target, body }, rest))
}

fn chunks(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let (size, rest) = line(bytes)?;
        let is_plain = !size.is_empty() && size.iter().all(u8::is_ascii_hexdigit);
        let size = std::str::from_utf8(size).ok().filter(|_| is_plain)?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if rest.len() < size {
            return None;
        }
        body.extend_from_slice(&rest[..size]);
        bytes = rest[size..].strip_prefix(b"\r\n")?;
        if size == 0 {
            return Some((body, bytes));
        }
    }
}

/// The first line, without its CR LF, and what follows. A CR or LF alone ends nothing
/// and stands nowhere.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes
        .iter()
        .position(|byte| matches!(byte, b'\r' | b'\n'))?;
    let rest = bytes[end..].strip_prefix(b"\r\n")?;
    Some((&bytes[..end], rest))
}

fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}

/// An answer on a connection.
#[derive(Debug)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// Its fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// The final answers on a connection. Panics if a client could not tell where one ends.
pub fn answers(mut bytes: &[u8]) -> Vec<Answered> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .expect("an answer has a whole head");
        let head = std::str::from_utf8(&bytes[..end]).expect("a head is text");
        bytes = &bytes[end + 4..];
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1."))
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .expect("an answer begins with its status");
        let fields: Vec<(String, String)> = lines
            .map(|line| {
                let (name, value) = line.split_once(": ").expect("a field has a name");
                (name.to_ascii_lowercase(), value.to_owned())
            })
            .collect();
        let length = fields
            .iter()
            .find(|(name, _)| name == "content-length")
            .and_then(|(_, length)| length.parse().ok())
            .unwrap_or(0);
        // The answer to HEAD has a length and no body.
        let length = if bytes.is_empty() || bytes.starts_with(b"HTTP/1.") {
            0
        } else {
            length
        };
        let (body, rest) = bytes.split_at(length);
        bytes = rest;
        if 200 <= status {
            answers.push(Answered {
                status,
                fields,
                body: body.to_vec(),
            });
        }
    }
    answers
}
