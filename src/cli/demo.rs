//! What does it look like when it works?

use std::{
    future::pending,
    io::{self, ErrorKind, Write},
    net::SocketAddr,
    pin::pin,
    time::SystemTime,
};

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{
        Notify,
        mpsc::{self, UnboundedReceiver},
    },
};

use super::{BAD, FAINT, Failure, GOOD, STRONG, example};
use crate::{
    app::{self, App},
    config::Loaded,
    gateway_key::GatewayKey,
    http::Body,
    middleware::answer::PORTARIA_DELIVERY,
    mock::{self, Mock},
    plan::{Plan, Surroundings},
    problem::{Code, Delivery},
};

/// See it work, without a config and without a network
///
/// Starts a stand-in for Wegly and a gateway on this machine, sends six messages through
/// it, and shows what each got and what Wegly saw. Then it stays up for messages of yours.
#[derive(Debug, Args)]
#[command(after_help = example("portaria demo --once"))]
pub(super) struct Demo {
    /// End after the six messages: with 0 if all went as they should, with 1 if not
    #[arg(long)]
    once: bool,
    /// Where the gateway listens; if that is taken, a free port is
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

/// The only token in this demo. It opens nothing but the stand-in.
const TOKEN: &str = "fake-token-of-the-demo";
const TOKEN_VARIABLE: &str = "DEMO_TOKEN";
const PAGE: &str = "https://shop.example.com";
const ANOTHER_PAGE: &str = "https://elsewhere.example";
const PATH: &str =
    "/integrations/external/chats/3c90c3cc-0d44-4b50-8888-8dd25736052a/messages/interactive";

const BUTTONS: &str = r#"{
  "interactive_type": "button",
  "body": { "text": "Podemos confirmar a entrega?" },
  "action": { "buttons": [ { "id": "yes", "title": "Sim" }, { "id": "no", "title": "Não" } ] }
}"#;
const LIST: &str = r#"{
  "interactive_type": "list",
  "body": { "text": "Quando podemos entregar?" },
  "action": { "button": "Horários", "sections": [ { "title": "Amanhã", "rows": [
    { "id": "morning", "title": "Manhã" }, { "id": "afternoon", "title": "Tarde" } ] } ] }
}"#;
const TOO_LONG: &str = r#"{
  "interactive_type": "button",
  "body": { "text": "Podemos confirmar a entrega?" },
  "action": { "buttons": [ { "id": "yes", "title": "Sim, podem entregar amanhã" } ] }
}"#;

/// The config of the gateway: a key for the six messages, and one for the user's own.
fn config(listen: SocketAddr, wegly: SocketAddr, keys: &Keys) -> String {
    let (shop, billing) = (keys.shop.hash(), keys.billing.hash());
    format!(
        r#"
        [server]
        listen = ["{listen}"]
        [admin]
        listen = "127.0.0.1:0"
        [upstream]
        url = "http://{wegly}"
        [credentials.demo]
        token = "env:{TOKEN_VARIABLE}"

        [[keys]]
        name = "shop"
        hash = "{shop}"
        allowed_domains = ["shop.example.com"]
        rate_limit = {{ rate = "3/min", burst = 3 }}

        [[keys]]
        name = "billing"
        hash = "{billing}"
        rate_limit = {{ rate = "20/s", burst = 40 }}
        "#
    )
}

struct Keys {
    shop: GatewayKey,
    billing: GatewayKey,
    nobodys: GatewayKey,
}

/// A message, and what should become of it.
struct Scene<'a> {
    title: &'static str,
    key: (&'static str, &'a GatewayKey),
    page: &'static str,
    message: &'static str,
    /// None: it reaches Wegly.
    refusal: Option<Code>,
}

impl Keys {
    fn new() -> Result<Self, Failure> {
        let key = || GatewayKey::generate().map_err(Failure::internal("no random numbers"));
        Ok(Self {
            shop: key()?,
            billing: key()?,
            nobodys: key()?,
        })
    }

    fn scenes(&self) -> [Scene<'_>; 6] {
        let scene = |title, message, refusal| Scene {
            title,
            key: ("the key of shop", &self.shop),
            page: PAGE,
            message,
            refusal,
        };
        [
            scene("Two buttons", BUTTONS, None),
            scene("A list", LIST, None),
            scene(
                "A title that is too long for WhatsApp",
                TOO_LONG,
                Some(Code::InvalidMessage),
            ),
            Scene {
                page: ANOTHER_PAGE,
                ..scene(
                    "A page that is not the shop's",
                    BUTTONS,
                    Some(Code::OriginNotAllowed),
                )
            },
            Scene {
                key: ("nobody's key", &self.nobodys),
                ..scene("A wrong key", BUTTONS, Some(Code::InvalidKey))
            },
            scene(
                "The fourth in a minute; shop has three",
                BUTTONS,
                Some(Code::RateLimited),
            ),
        ]
    }
}

impl Demo {
    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn run(self, out: &mut impl Write) -> Result<(), Failure> {
        // Before anything is printed: who has read it may stop us.
        let mut signals = app::signals().map_err(Failure::internal("cannot wait for signals"))?;
        let keys = Keys::new()?;
        let wegly = TcpListener::bind("127.0.0.1:0").await;
        let wegly = wegly.map_err(Failure::internal("cannot start the stand-in"))?;
        let wegly_address = wegly
            .local_addr()
            .map_err(Failure::internal("cannot start the stand-in"))?;
        let app = open(self.listen, wegly_address, &keys, out).await?;
        let address = app
            .addresses()
            .first()
            .map(ToString::to_string)
            .unwrap_or_default();
        introduce(&address, wegly_address, out)?;

        let (observer, mut seen) = mpsc::unbounded_channel();
        let mock = Mock {
            token: TOKEN.into(),
            observer: Some(observer),
            ..Mock::default()
        };
        let done = Notify::new();
        let mut gateway = pin!(app.run(async || tokio::select! {
            () = signals() => {}
            () = done.notified() => {}
        }));
        let play = async {
            let all_well = tokio::select! {
                // Somebody has seen enough.
                _ended = &mut gateway => return Ok(()),
                played = play(&address, &keys, &mut seen, out) => played?,
            };
            if self.once {
                done.notify_one();
                gateway.await;
            } else {
                invite(&address, &keys, out)?;
                tokio::select! {
                    _ended = gateway => {}
                    told = tell(&mut seen, out) => told?,
                }
            }
            if all_well {
                Ok(())
            } else {
                Err(Failure::Refused)
            }
        };
        tokio::select! {
            () = mock::serve(wegly, mock, pending()) => Ok(()),
            played = play => played,
        }
    }
}

/// Binds the gateway, to a free port if its own is taken.
async fn open(
    listen: SocketAddr,
    wegly: SocketAddr,
    keys: &Keys,
    out: &mut impl Write,
) -> Result<App, Failure> {
    let app = match App::bind(plan(listen, wegly, keys)?).await {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            writeln!(
                out,
                "{listen} is taken, so the gateway takes a free port.\n"
            )?;
            let free = SocketAddr::new(listen.ip(), 0);
            App::bind(plan(free, wegly, keys)?).await
        }
        bound => bound,
    };
    app.map_err(|error| Failure::Usage(error.to_string()))
}

fn plan(listen: SocketAddr, wegly: SocketAddr, keys: &Keys) -> Result<Plan, Failure> {
    let loaded = Loaded::parse("demo.toml", &config(listen, wegly, keys), [])?;
    let surroundings = Surroundings {
        environment: &|name| (name == TOKEN_VARIABLE).then(|| TOKEN.to_owned()),
        now: SystemTime::now,
    };
    Ok(Plan::compile(&loaded, surroundings)?)
}

fn introduce(gateway: &str, wegly: SocketAddr, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{STRONG}Portaria, in front of a stand-in for Wegly.{STRONG:#} Nothing leaves this machine.

  app ──(gateway key)──▶ {STRONG}portaria{STRONG:#} ──(Wegly token)──▶ Wegly
                         {FAINT}{gateway:<28}{wegly}{FAINT:#}"
    )
}

/// Plays all scenes; says whether each went as it should.
async fn play(
    gateway: &str,
    keys: &Keys,
    seen: &mut UnboundedReceiver<Request<Bytes>>,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut all_well = true;
    for (number, scene) in (1..).zip(keys.scenes()) {
        let answer = scene.send(gateway, &client).await?;
        // The stand-in tells before it answers.
        let seen = seen.try_recv().ok();
        scene.print(number, &answer, seen.as_ref(), out)?;
        if !scene.is_as_it_should(&answer, seen.as_ref()) {
            all_well = false;
            writeln!(out, "   {BAD}That is not as it should be.{BAD:#}")?;
        }
    }
    if all_well {
        writeln!(out, "\n{GOOD}All six went as they should.{GOOD:#}")?;
    }
    Ok(all_well)
}

impl Scene<'_> {
    async fn send(
        &self,
        gateway: &str,
        client: &Client<HttpConnector, Body>,
    ) -> Result<Response<Value>, Failure> {
        let (_, key) = self.key;
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{gateway}{PATH}"))
            .header(header::AUTHORIZATION, format!("Bearer {}", key.expose()))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ORIGIN, self.page)
            .body(Body::full(self.message))
            .map_err(Failure::internal("cannot make a request"))?;
        let answer = client.request(request).await;
        let (head, body) = answer.map_err(Failure::internal("no answer"))?.into_parts();
        let body = body
            .collect()
            .await
            .map_err(Failure::internal("half an answer"))?;
        let document = serde_json::from_slice(&body.to_bytes())
            .map_err(Failure::internal("an answer that is no JSON"))?;
        Ok(Response::from_parts(head, document))
    }

    fn is_as_it_should(&self, answer: &Response<Value>, seen: Option<&Request<Bytes>>) -> bool {
        let token = format!("Bearer {TOKEN}");
        let (status, delivery) = match self.refusal {
            None => (StatusCode::OK, Delivery::Sent),
            Some(code) => (code.status(), code.delivery()),
        };
        answer.status() == status
            && delivery_of(answer) == delivery.name()
            && answer.body()["code"].as_str() == self.refusal.map(Code::name)
            && seen.is_some() == self.refusal.is_none()
            && seen.is_none_or(|seen| authorizations(seen) == [&*token])
    }

    fn print(
        &self,
        number: u32,
        answer: &Response<Value>,
        seen: Option<&Request<Bytes>>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let Self {
            title,
            key: (key, _),
            page,
            ..
        } = self;
        let colour = if answer.status().is_success() {
            GOOD
        } else {
            BAD
        };
        let (status, body) = (answer.status(), answer.body());
        let code = body["code"]
            .as_str()
            .map(|code| format!(", {code}"))
            .unwrap_or_default();
        let delivery = delivery_of(answer);
        writeln!(out, "\n{STRONG}{number}  {title}{STRONG:#}")?;
        say(
            out,
            "app sends",
            &format!("Authorization: Bearer ptr_… ({key}), from {page}"),
        )?;
        say(
            out,
            "app gets",
            &format!("{colour}{status}{colour:#}{code}, delivery {delivery}"),
        )?;
        for line in telling(body) {
            say(out, "", &line)?;
        }
        match seen {
            None => say(out, "Wegly sees", "nothing"),
            Some(seen) => say(out, "Wegly sees", &sight(seen)),
        }
    }
}

fn delivery_of(answer: &Response<Value>) -> &str {
    let field = answer.headers().get(PORTARIA_DELIVERY);
    field
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn say(out: &mut impl Write, who: &str, what: &str) -> io::Result<()> {
    writeln!(out, "   {FAINT}{who:<12}{FAINT:#}{what}")
}

/// What an application would look at.
fn telling(document: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(errors) = document["errors"].as_array() {
        let line =
            |error: &Value| format!("{} {}", text(&error["pointer"]), text(&error["detail"]));
        return errors.iter().map(line).collect();
    }
    let record = &document["records"][0];
    if record.is_null() {
        return vec![text(&document["detail"])];
    }
    let (id, status) = (text(&record["id"]), text(&record["status"]));
    vec![format!("Wegly's own answer: message {id} is {status}")]
}

fn sight(seen: &Request<Bytes>) -> String {
    format!(
        "Authorization: {} {FAINT}(Portaria's token; a fake one here){FAINT:#}",
        authorizations(seen).join(", ")
    )
}

fn authorizations(seen: &Request<Bytes>) -> Vec<&str> {
    let values = seen.headers().get_all(header::AUTHORIZATION).iter();
    values
        .map(|value| value.to_str().unwrap_or_default())
        .collect()
}

/// Shows how to send a message of one's own.
fn invite(gateway: &str, keys: &Keys, out: &mut impl Write) -> io::Result<()> {
    let key = keys.billing.expose();
    writeln!(
        out,
        "
Now you, in another terminal. This key is for servers, and gone when the demo ends.

curl -i 'http://{gateway}{PATH}' \\
  -H 'Authorization: Bearer {key}' \\
  -H 'Content-Type: application/json' \\
  -d '{BUTTONS}'

Ctrl-C ends the demo."
    )
}

/// Tells of messages that reach Wegly.
async fn tell(
    seen: &mut UnboundedReceiver<Request<Bytes>>,
    out: &mut impl Write,
) -> io::Result<()> {
    while let Some(seen) = seen.recv().await {
        say(out, "Wegly sees", &sight(&seen))?;
    }
    Ok(())
}
