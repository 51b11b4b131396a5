//! How is an answer kept?
//!
//! As text, much as HTTP/1 writes it: the status, a line for each field, an empty line, the
//! body. A field holds no line break, so nothing has to be escaped.

use ::http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{AGE, DATE, RETRY_AFTER},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use memchr::{memchr, memmem};

use crate::{
    http::{Body, Response},
    middleware::answer::{RATELIMIT, RATELIMIT_POLICY},
    problem::AnswerFault,
};

/// What an application was told of the upstream's answer.
#[derive(Debug)]
pub enum Kept {
    /// The answer itself.
    Passed(Response),
    /// That it cannot be passed on.
    Refused {
        /// Its status.
        status: StatusCode,
        /// Why not.
        fault: AnswerFault,
    },
}

/// What was true at the time of the answer, and not later.
const OF_THE_MOMENT: [HeaderName; 5] = [DATE, AGE, RETRY_AFTER, RATELIMIT, RATELIMIT_POLICY];

/// Each fault and its name in a record.
const FAULTS: [(AnswerFault, &str); 4] = [
    (AnswerFault::CutOff, "cut-off"),
    (AnswerFault::TooLarge, "too-large"),
    (AnswerFault::Redirect, "redirect"),
    (AnswerFault::ContainsToken, "contains-token"),
];

impl Kept {
    /// Writes down an answer that was passed on.
    pub fn passed(answer: &Response) -> Bytes {
        let body = answer.body().bytes().unwrap_or_default();
        let mut text = BytesMut::with_capacity(256 + body.len());
        text.put_slice(answer.status().as_str().as_bytes());
        text.put_u8(b'\n');
        for (name, value) in answer.headers() {
            let is_of_the_moment =
                OF_THE_MOMENT.contains(name) || name.as_str().starts_with("x-ratelimit-");
            if !is_of_the_moment {
                text.put_slice(name.as_str().as_bytes());
                text.put_u8(b':');
                text.put_slice(value.as_bytes());
                text.put_u8(b'\n');
            }
        }
        text.put_u8(b'\n');
        text.put_slice(&body);
        text.freeze()
    }

    /// Writes down an answer that could not be passed on.
    pub fn refused(status: StatusCode, fault: AnswerFault) -> Bytes {
        let name = FAULTS.iter().find(|(known, _)| *known == fault);
        let name = name.map_or("", |(_, name)| name);
        format!("{} {name}\n\n", status.as_str()).into()
    }

    /// Reads what was written. None if it is nothing that this version writes.
    pub fn read(text: &Bytes) -> Option<Self> {
        // Without fields, the line of the status is followed by the empty one.
        let end = memmem::find(text, b"\n\n")?;
        let (head, body) = (text.slice(..end), text.slice(end + 2..));
        let mut lines = head.split(|byte| *byte == b'\n');
        let first = str::from_utf8(lines.next()?).ok()?;
        let (status, fault) = first.split_once(' ').unzip();
        let status = status.unwrap_or(first).parse().ok()?;
        if let Some(name) = fault {
            let (fault, _) = FAULTS.into_iter().find(|(_, known)| *known == name)?;
            return Some(Self::Refused { status, fault });
        }
        let mut fields = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_at(memchr(b':', line)?);
            fields.append(
                HeaderName::from_bytes(name).ok()?,
                HeaderValue::from_bytes(&value[1..]).ok()?,
            );
        }
        let mut answer = Response::new(Body::full(body));
        *answer.status_mut() = status;
        *answer.headers_mut() = fields;
        Some(Self::Passed(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_it_was_written_but_for_what_was_of_the_moment() {
        for (fields, body, left) in [
            (&[][..], &b""[..], &[][..]),
            (&[], b"\n\na: b\n\n", &[]),
            (
                &[
                    ("content-type", "application/json"),
                    ("date", "Mon, 23 Nov 2026 12:00:00 GMT"),
                    ("retry-after", "3"),
                    ("ratelimit", "\"a\";r=1"),
                    ("x-ratelimit-remaining", "1"),
                    ("x-empty", ""),
                    ("x-twice", "a: b"),
                    ("x-twice", "\u{e9}"),
                ],
                b"{\"id\":7}\xff",
                &[
                    ("content-type", "application/json"),
                    ("x-empty", ""),
                    ("x-twice", "a: b"),
                    ("x-twice", "\u{e9}"),
                ],
            ),
        ] {
            let answer = answer(201, fields, body);

            let Some(Kept::Passed(read)) = Kept::read(&Kept::passed(&answer)) else {
                panic!("it is an answer");
            };

            assert_eq!(read.status(), 201);
            assert_eq!(read.body().bytes().unwrap(), body);
            assert_eq!(read.headers(), answer_with(left).headers());
        }
    }

    #[test]
    fn that_an_answer_was_not_passed_on_is_kept_with_the_reason() {
        for (fault, _) in FAULTS {
            let text = Kept::refused(StatusCode::CREATED, fault);

            let Some(Kept::Refused {
                status,
                fault: read,
            }) = Kept::read(&text)
            else {
                panic!("it was not passed on");
            };

            assert_eq!((status, read), (StatusCode::CREATED, fault));
        }
    }

    #[test]
    fn what_is_no_answer_is_not_read_as_one() {
        for text in [
            "",
            "200",
            "200\n",
            "20\n\n",
            "200 why\n\n",
            "200\nno field\n\n",
        ] {
            assert!(Kept::read(&Bytes::from(text)).is_none(), "{text:?}");
        }
    }

    fn answer_with(fields: &[(&str, &str)]) -> Response {
        answer(200, fields, b"")
    }

    fn answer(status: u16, fields: &[(&str, &str)], body: &[u8]) -> Response {
        let mut answer = Response::new(Body::full(Bytes::copy_from_slice(body)));
        *answer.status_mut() = status.try_into().unwrap();
        for (name, value) in fields {
            answer.headers_mut().append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        answer
    }
}
