//! What would Wegly answer?
//!
//! A stand-in with Wegly's one documented endpoint, for people who try Portaria and
//! for tests that need an upstream. It expects a token and, like a Wegly key with
//! `allowed_domain`, possibly an origin. It can be told to be slow or to fail.
//!
//! Deliberately absent: TLS, timeouts and limits. The shape of its errors is a guess;
//! Wegly documents none.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN, REFERER, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{net::TcpListener, sync::mpsc::UnboundedSender, task::JoinSet};
use url::Url;
use uuid::Uuid;

use crate::http::{Body, Response};

/// How the stand-in behaves.
#[derive(Clone, Debug, Default)]
pub struct Mock {
    /// The token that a request must carry.
    pub token: SecretString,
    /// The origin that a request must come from: `https://app.example.com`.
    pub require_origin: Option<String>,
    /// How long each answer takes.
    pub latency: Duration,
    /// Which share of requests fails with a 500: 0.0 none, 1.0 all.
    pub fail_rate: f64,
    /// The status of every answer; a successful one only of those that would succeed.
    pub status: Option<StatusCode>,
    /// The seconds in `Retry-After` of every answer that is no success.
    pub retry_after: Option<u32>,
    /// Is told of every request, as it came, before it is answered.
    pub observer: Option<UnboundedSender<http::Request<Bytes>>>,
}

/// Answers until told to stop, then ends at once, whatever is still running.
pub async fn serve(listener: TcpListener, mock: Mock, stop: impl Future<Output = ()>) {
    let mock = Arc::new(mock);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // Out of files, most likely. Others will be closed meanwhile.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                // Or an answer waits for an acknowledgement that is late on purpose.
                let _ = stream.set_nodelay(true);
                let mock = Arc::clone(&mock);
                let service = service_fn(move |req| {
                    let mock = Arc::clone(&mock);
                    async move { mock.receive(req).await }
                });
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        }
    }
}

impl Mock {
    async fn receive(&self, req: http::Request<Incoming>) -> Result<Response, hyper::Error> {
        let (head, body) = req.into_parts();
        let req = http::Request::from_parts(head, body.collect().await?.to_bytes());
        if let Some(observer) = &self.observer {
            // Nobody may be listening any more.
            let _ = observer.send(req.clone());
        }
        tokio::time::sleep(self.latency).await;

        let mut answer = self.answer(&req);
        if !answer.status().is_success()
            && let Some(seconds) = self.retry_after
        {
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        Ok(answer)
    }

    fn answer(&self, req: &http::Request<Bytes>) -> Response {
        let success = match self.status {
            Some(fault) if !fault.is_success() => return refuse(fault, "As you asked."),
            Some(success) => success,
            None => StatusCode::OK,
        };
        if is_unlucky(self.fail_rate) {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error");
        }
        if req.method() != Method::POST || !is_interactive(req.uri().path()) {
            return refuse(StatusCode::NOT_FOUND, "Not found");
        }
        if !self.knows_token(req.headers()) {
            let mut answer = refuse(StatusCode::UNAUTHORIZED, "Unauthorized");
            let challenge = HeaderValue::from_static("Bearer");
            answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            return answer;
        }
        if !self.allows_origin(req.headers()) {
            return refuse(StatusCode::FORBIDDEN, "Domain not allowed");
        }
        match serde_json::from_slice::<Message>(req.body()) {
            Ok(message) => json_response(success, &sent(&message)),
            Err(_) => refuse(StatusCode::BAD_REQUEST, "Invalid message"),
        }
    }

    fn knows_token(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(only), None) = (values.next(), values.next()) else {
            return false;
        };
        only.to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .is_some_and(|(scheme, token)| {
                scheme.eq_ignore_ascii_case("bearer") && token == self.token.expose_secret()
            })
    }

    /// Looks at `Origin`, then at `Referer`, as Wegly's page says.
    fn allows_origin(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        match (&self.require_origin, text(ORIGIN), text(REFERER)) {
            (None, _, _) => true,
            (Some(required), Some(origin), _) => origin == required,
            (Some(required), None, Some(referer)) => Url::parse(referer)
                .is_ok_and(|referer| referer.origin().ascii_serialization() == *required),
            (Some(_), None, None) => false,
        }
    }
}

fn is_unlucky(rate: f64) -> bool {
    getrandom::u32().is_ok_and(|drawn| f64::from(drawn) < rate * (f64::from(u32::MAX) + 1.0))
}

fn is_interactive(path: &str) -> bool {
    path.strip_prefix("/integrations/external/chats/")
        .and_then(|rest| rest.strip_suffix("/messages/interactive"))
        // With its hyphens; `try_parse` knows other spellings too.
        .is_some_and(|chat| chat.len() == 36 && Uuid::try_parse(chat).is_ok())
}

/// What Wegly documents as required.
#[derive(Deserialize)]
struct Message {
    #[serde(rename = "interactive_type")]
    _interactive_type: InteractiveType,
    body: MessageBody,
    #[serde(rename = "action")]
    _action: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum InteractiveType {
    Button,
    List,
}

#[derive(Deserialize)]
struct MessageBody {
    text: Option<String>,
}

/// The documented answer, field by field.
fn sent(message: &Message) -> Value {
    let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    json!({
        "total": 1,
        "records": [{
            "id": Uuid::now_v7().to_string(),
            "type": "interactive",
            "origin": "OUTBOUND",
            "from_me": true,
            "sent_via": "INTEGRATION",
            "status": "sent",
            "body_text": message.body.text,
            "reactions": [],
            "meta_timestamp": now,
            "created_at": now,
            "is_history": false,
            "history_phase": null,
            "history_chunk_order": null,
            "history_progress": null,
            "is_media_placeholder": false,
            "agent": null,
            "user": null,
            "media": null,
            "call": null,
            "quoted_message": null,
            "crm_marketing_lead_source": [],
        }],
    })
}

fn refuse(status: StatusCode, message: &str) -> Response {
    json_response(
        status,
        &json!({ "statusCode": status.as_u16(), "message": message }),
    )
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::full(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        sync::{mpsc, oneshot},
        time::Instant,
    };

    use super::*;

    const PATH: &str =
        "/integrations/external/chats/3c90c3cc-0d44-4b50-8888-8dd25736052a/messages/interactive";
    const MESSAGE: &str = r#"{"interactive_type":"button","body":{"text":"Olá"},"action":{}}"#;
    const TOKEN: &str = "Authorization: Bearer fake";

    #[tokio::test]
    async fn a_message_is_answered_as_documented() {
        let (status, headers, body) = ask(Mock::fake(), PATH, &[TOKEN], MESSAGE).await;

        assert_eq!(status, 200);
        assert!(headers.contains("content-type: application/json; charset=utf-8\r\n"));
        assert_eq!(body["total"], 1);
        let record = &body["records"][0];
        assert_eq!(record["body_text"], "Olá");
        assert_eq!(record["from_me"], true);
        assert!(Uuid::try_parse(record["id"].as_str().unwrap()).is_ok());
        assert!(humantime::parse_rfc3339(record["created_at"].as_str().unwrap()).is_ok());
        let documented = "agent,body_text,call,created_at,crm_marketing_lead_source,from_me,\
            history_chunk_order,history_phase,history_progress,id,is_history,\
            is_media_placeholder,media,meta_timestamp,origin,quoted_message,reactions,\
            sent_via,status,type,user";
        let mut fields: Vec<_> = record.as_object().unwrap().keys().cloned().collect();
        fields.sort();
        assert_eq!(fields.join(","), documented);
    }

    #[tokio::test]
    async fn a_request_meets_path_then_token_then_origin_then_body() {
        let picky = Mock {
            require_origin: Some("https://app.example.com".to_owned()),
            ..Mock::fake()
        };
        let origin = "Origin: https://app.example.com";
        let chat =
            "/integrations/external/chats/3c90c3cc0d444b5088888dd25736052a/messages/interactive";
        for (path, headers, body, expected) in [
            ("/", &[TOKEN, origin][..], MESSAGE, 404),
            (chat, &[TOKEN, origin], MESSAGE, 404),
            ("/messages/interactive", &[], "{", 404),
            (PATH, &[origin], MESSAGE, 401),
            (PATH, &["Authorization: Bearer other"], "{", 401),
            (PATH, &["Authorization: Basic fake", origin], MESSAGE, 401),
            (PATH, &[TOKEN, TOKEN, origin], MESSAGE, 401),
            (PATH, &[TOKEN], "{", 403),
            (
                PATH,
                &[TOKEN, "Origin: https://app.example.com.evil.test"],
                MESSAGE,
                403,
            ),
            (
                PATH,
                &[TOKEN, "Origin: null", "Referer: https://app.example.com/"],
                MESSAGE,
                403,
            ),
            (
                PATH,
                &[TOKEN, "Referer: https://evil.test/?https://app.example.com"],
                MESSAGE,
                403,
            ),
            (PATH, &[TOKEN, origin], "{", 400),
            (PATH, &[TOKEN, origin], "{}", 400),
            (
                PATH,
                &[TOKEN, origin],
                r#"{"interactive_type":"flow","body":{},"action":{}}"#,
                400,
            ),
            (PATH, &[TOKEN, origin], MESSAGE, 200),
            (PATH, &["Authorization: bearer fake", origin], MESSAGE, 200),
            (
                PATH,
                &[TOKEN, "Referer: https://app.example.com/a?b"],
                MESSAGE,
                200,
            ),
        ] {
            let (status, _, answer) = ask(picky.clone(), path, headers, body).await;

            assert_eq!(status, expected, "{path} {headers:?} {body}");
            if expected != 200 {
                assert_eq!(answer["statusCode"], expected);
            }
        }
    }

    #[tokio::test]
    async fn faults_are_played_as_asked() {
        let always = Mock {
            fail_rate: 1.0,
            ..Mock::fake()
        };
        assert_eq!(ask(always, PATH, &[TOKEN], MESSAGE).await.0, 500);

        let created = Mock {
            status: Some(StatusCode::CREATED),
            ..Mock::fake()
        };
        assert_eq!(ask(created.clone(), PATH, &[TOKEN], MESSAGE).await.0, 201);
        assert_eq!(ask(created, PATH, &[], MESSAGE).await.0, 401);

        let busy = Mock {
            status: Some(StatusCode::SERVICE_UNAVAILABLE),
            retry_after: Some(7),
            ..Mock::fake()
        };
        let (status, headers, _) = ask(busy, "/", &[], "").await;
        assert_eq!(status, 503);
        assert!(headers.contains("retry-after: 7\r\n"), "{headers}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_takes_as_long_as_asked() {
        let before = Instant::now();
        let slow = Mock {
            latency: Duration::from_secs(3600),
            ..Mock::fake()
        };

        assert_eq!(ask(slow, PATH, &[TOKEN], MESSAGE).await.0, 200);
        assert!(before.elapsed() >= Duration::from_secs(3600));
    }

    #[tokio::test]
    async fn the_observer_is_told_what_came() {
        let (observer, mut seen) = mpsc::unbounded_channel();
        let mock = Mock {
            observer: Some(observer),
            ..Mock::fake()
        };

        ask(mock, "/elsewhere?q", &[TOKEN], "any").await;

        let req = seen.try_recv().unwrap();
        assert_eq!(req.method(), Method::POST);
        assert_eq!(req.uri(), "/elsewhere?q");
        assert_eq!(req.headers()[AUTHORIZATION], "Bearer fake");
        assert_eq!(req.body(), "any");
    }

    #[tokio::test]
    async fn stopping_closes_connections() {
        let (address, stop, server) = start(Mock::fake()).await;
        tokio::pin!(server);
        let mut kept = TcpStream::connect(address).await.unwrap();
        let first = async {
            kept.write_all(b"GET / HTTP/1.1\r\nHost: wegly\r\n\r\n")
                .await
                .unwrap();
            kept.read_exact(&mut [0; 12]).await.unwrap();
        };
        tokio::select! {
            () = first => {}
            () = &mut server => panic!("the stand-in ended by itself"),
        }

        stop.send(()).unwrap();
        server.await;

        kept.read_to_end(&mut Vec::new()).await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    impl Mock {
        fn fake() -> Self {
            Self {
                token: "fake".into(),
                ..Self::default()
            }
        }
    }

    /// Sends one request; returns the status, the head and the body of the answer.
    async fn ask(mock: Mock, path: &str, headers: &[&str], body: &str) -> (u16, String, Value) {
        let (address, _stop, server) = start(mock).await;
        let exchange = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
            let length = body.len();
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: wegly\r\nConnection: close\r\n\
                 Content-Length: {length}\r\n{headers}\r\n{body}"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = tokio::select! {
            answer = exchange => answer,
            () = server => panic!("the stand-in ended by itself"),
        };

        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head["HTTP/1.1 ".len()..][..3].parse().unwrap();
        (
            status,
            format!("{head}\r\n"),
            serde_json::from_str(body).unwrap(),
        )
    }

    async fn start(mock: Mock) -> (SocketAddr, oneshot::Sender<()>, impl Future<Output = ()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = serve(listener, mock, async move {
            let _ = stopped.await;
        });
        (address, stop, server)
    }
}
