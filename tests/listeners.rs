//! How can applications connect?
//!
//! Over TLS with HTTP/1.1 and HTTP/2, with a certificate of their own, over unix sockets:
//! to the real binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    fs, io,
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    process::Command,
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portaria::app::App;
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{io::AsyncReadExt as _, net::TcpStream, task::JoinSet};
use tokio_rustls::{TlsConnector, client::TlsStream};

use support::{
    Authority, CHAT, Client, Home, Portaria, Running, Script, Upstream, assert_refused, key,
    message, plan, post, within,
};

/// The name that certificates are for.
const NAME: &str = "portaria.test";
/// No test lasts so long.
const LATER: i32 = 2100;

#[tokio::test]
async fn a_message_goes_through_over_tls_with_http_1() {
    let authority = Authority::new();
    let (upstream, home) = gateway().await;
    authority.issue(NAME, LATER).install(&home);
    home.speak_tls();
    let portaria = Portaria::start(Portaria::serve(&home));
    let address = portaria.address().await;

    for (alpn, chosen) in [(&["http/1.1"][..], Some(&b"http/1.1"[..])), (&[], None)] {
        let tls = connect(address, authority.client(None, alpn))
            .await
            .unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), chosen);
        let answer = Client::over(tls).exchange(request()).await;

        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("portaria-delivery"), Some("sent"));
    }
    assert_eq!(upstream.ledger().deliveries_of(&message()), 2);
    upstream.ledger().assert_clean();
}

#[tokio::test]
async fn a_message_goes_through_over_tls_with_http_2() {
    let authority = Authority::new();
    let (upstream, home) = gateway().await;
    authority.issue(NAME, LATER).install(&home);
    home.speak_tls();
    home.set_up_server(&format!("hosts = [\"{NAME}\"]"));
    let portaria = Portaria::start(Portaria::serve(&home));
    let alpn = authority.client(None, &["h2", "http/1.1"]);
    let tls = connect(portaria.address().await, alpn).await.unwrap();
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = Http2::over(tls).await;

    let good = client
        .post(&format!("https://{NAME}:8443{PATH}"), &[])
        .await;
    let same = client
        .post(&format!("https://{NAME}{PATH}"), &[("host", NAME)])
        .await;
    let other = client
        .post(&format!("https://{NAME}{PATH}"), &[("host", "a.test")])
        .await;
    let foreign = client.post(&format!("https://a.test{PATH}"), &[]).await;
    let long = client
        .post(
            &format!("https://{NAME}{PATH}"),
            &[("x", &"x".repeat(17_000))],
        )
        .await;
    let cut = client
        .post(&format!("https://{NAME}{PATH}"), &[("content-length", "1")])
        .await;

    assert_eq!(good, Some((200, None)));
    assert_eq!(same, Some((200, None)));
    assert_eq!(other, Some((400, Some("malformed-request".into()))));
    assert_eq!(foreign, Some((421, Some("misdirected-request".into()))));
    assert_eq!(long, Some((431, Some("headers-too-large".into()))));
    // h2 itself resets a request whose body is not as long as it says.
    assert_eq!(cut, None);
    assert_eq!(upstream.ledger().deliveries_of(&message()), 2);
    upstream.ledger().assert_clean();
}

#[tokio::test]
async fn refusals_over_http_2_use_nothing_of_the_connection_up() {
    let authority = Authority::new();
    let (_upstream, home) = gateway().await;
    authority.issue(NAME, LATER).install(&home);
    home.speak_tls();
    let portaria = Portaria::start(Portaria::serve(&home));
    let alpn = authority.client(None, &["h2"]);
    let tls = connect(portaria.address().await, alpn).await.unwrap();
    let mut client = Http2::over(tls).await;

    // More than the window of the connection, of bodies that nobody reads.
    for _ in 0..50 {
        let uri = format!("https://{NAME}/nowhere");
        let answer = client.send(&uri, &[], vec![b'x'; 10_000]).await;
        assert_eq!(answer, Some((404, Some("no-such-route".into()))));
    }
    let good = client.post(&format!("https://{NAME}{PATH}"), &[]).await;

    assert_eq!(good, Some((200, None)));
}

#[tokio::test]
async fn an_http_2_connection_is_told_when_the_gateway_stops() {
    let authority = Authority::new();
    let (_upstream, home) = gateway().await;
    authority.issue(NAME, LATER).install(&home);
    home.speak_tls();
    let portaria = Portaria::start(Portaria::serve(&home));
    let alpn = authority.client(None, &["h2"]);
    let tls = connect(portaria.address().await, alpn).await.unwrap();
    let mut client = Http2::over(tls).await;
    client.post(&format!("https://{NAME}{PATH}"), &[]).await;

    portaria.signal("TERM");
    let ended = portaria.exit().await;

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stdout);
    // A connection that was only cut would have failed.
    within("the end", client.connection.join_next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn only_a_client_with_the_right_certificate_gets_a_connection() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (upstream, home) = gateway().await;
    ours.issue(NAME, LATER).install(&home);
    home.speak_mtls(&ours.pem());
    let portaria = Portaria::start(Portaria::serve(&home));
    let address = portaria.address().await;

    for (own, is_served) in [
        (None, false),
        (Some(theirs.issue("app.test", LATER)), false),
        (Some(ours.issue("app.test", 2021)), false),
        (Some(ours.issue("app.test", LATER)), true),
    ] {
        let client = ours.client(own.as_ref(), &["http/1.1"]);
        // In TLS 1.3 a client hears of its refusal only when it reads.
        let mut tls = connect(address, client).await.unwrap();
        if is_served {
            let answer = Client::over(tls).exchange(request()).await;
            assert_eq!(answer.status, 200);
        } else {
            let end = within("a refusal", tls.read_u8()).await;
            assert_ne!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }
    assert_eq!(upstream.ledger().deliveries_of(&message()), 1);
}

#[tokio::test]
async fn who_does_not_speak_tls_is_not_heard() {
    let authority = Authority::new();
    let (upstream, home) = gateway().await;
    authority.issue(NAME, LATER).install(&home);
    home.speak_tls();
    let portaria = Portaria::start(Portaria::serve(&home));
    let mut client = Client::connect(portaria.address().await).await;

    client.send(request()).await;
    let heard = client.read_to_end().await;

    // An alert of TLS, and no HTTP.
    assert_eq!(heard.first(), Some(&21));
    upstream.ledger().assert_nothing_sent();
}

#[tokio::test]
async fn a_handshake_that_is_not_finished_is_cut() {
    let authority = Authority::new();
    let (_upstream, home) = gateway().await;
    authority.issue(NAME, LATER).install(&home);
    home.speak_tls();
    home.set_up_server("head_timeout = \"100ms\"");
    let portaria = Portaria::start(Portaria::serve(&home));

    for start in [&b""[..], &[22, 3, 1]] {
        let mut client = Client::connect(portaria.address().await).await;
        client.send(start).await;

        assert!(client.is_closed_by_peer().await);
    }
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_breaks_no_other() {
    let authority = Authority::new();
    let (_upstream, home) = gateway().await;
    let [old, new] = [2100, 2101].map(|year| authority.issue(NAME, year));
    old.install(&home);
    home.speak_tls();
    let gateway = Running::at(&home, []).await;
    let client = || authority.client(None, &["http/1.1"]);
    let before = connect(gateway.address(), client()).await.unwrap();
    assert_eq!(certificate_of(&before), old.der());
    let mut before = Client::over(before);
    assert_eq!(before.exchange(request()).await.status, 200);

    new.install(&home);
    assert_eq!(gateway.reload().await.status, 200);

    let after = connect(gateway.address(), client()).await.unwrap();
    assert_eq!(certificate_of(&after), new.der());
    for mut client in [before, Client::over(after)] {
        assert_eq!(client.exchange(request()).await.status, 200);
    }
}

#[tokio::test]
async fn a_unix_socket_beside_tls_stays_plain() {
    let authority = Authority::new();
    let (_upstream, home) = gateway().await;
    authority.issue(NAME, LATER).install(&home);
    let socket = home.path("portaria.sock");
    home.edit(|text| {
        let both = format!(
            "[\"127.0.0.1:0\", \"127.0.0.1:0\", \"unix:{}\"]",
            socket.display()
        );
        text.replacen("[\"127.0.0.1:0\"]", &both, 1)
    });
    home.speak_tls();
    let portaria = Portaria::start(Portaria::serve(&home));
    portaria.admin_address().await;

    let plain = Client::connect_unix(&socket)
        .await
        .exchange(request())
        .await;
    let mut statuses = vec![plain.status];
    for address in portaria.addresses() {
        let tls = connect(address, authority.client(None, &["http/1.1"])).await;
        statuses.push(Client::over(tls.unwrap()).exchange(request()).await.status);
    }

    assert_eq!(statuses, [200, 200, 200]);
}

#[test]
fn a_certificate_is_judged_before_anybody_connects() {
    let authority = Authority::new();
    let home = Home::new("http://127.0.0.1:9");
    home.speak_mtls("nothing");
    authority.issue(NAME, LATER).install(&home);
    home.write("key.pem", &authority.issue(NAME, LATER).key);

    let (code, said) = check(&home);

    assert_eq!(code, Some(64));
    for part in [
        "key.pem` is not the key of the certificate",
        "clients.pem` holds no certificate",
        "the config has 2 mistakes",
        "portaria.toml:4:",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

#[test]
fn what_can_never_be_used_is_a_mistake() {
    let authority = Authority::new();
    let home = Home::new("http://127.0.0.1:9");
    authority.issue(NAME, LATER).install(&home);
    home.speak_tls();
    home.edit(|text| text.replacen("127.0.0.1:0", "unix:/run/portaria.sock", 1));

    let (code, said) = check(&home);

    assert_eq!(code, Some(64));
    assert!(said.contains("`tls` is never used"), "{said}");
}

#[test]
fn a_certificate_that_has_expired_is_said_and_allowed() {
    let authority = Authority::new();
    let home = Home::new("http://127.0.0.1:9");
    authority.issue(NAME, 2021).install(&home);
    home.speak_tls();

    let (code, said) = check(&home);

    assert_eq!(code, Some(0), "{said}");
    for part in ["cert.pem\n", "key.pem", "expired at 2021-01-01T00:00:00Z\n"] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

#[tokio::test]
async fn a_unix_socket_has_the_mode_the_owner_and_the_group_that_were_asked_for() {
    let upstream = Upstream::start(Script::serve()).await;
    let own = fs::metadata(Home::new("http://127.0.0.1:9").config()).unwrap();
    let (user, group) = (own.uid(), own.gid());
    // Only root may give files away.
    let (other_user, other_group) = if user == 0 {
        (12345, 23456)
    } else {
        (user, group)
    };
    let asked = format!("mode = '0606', owner = '{other_user}', group = '{other_group}'");

    for (fields, expected) in [
        (String::new(), (0o660, user, group)),
        ("unix = { mode = '0622' }".to_owned(), (0o622, user, group)),
        (
            format!("unix = {{ {asked} }}"),
            (0o606, other_user, other_group),
        ),
    ] {
        let home = Home::new(&upstream.url());
        let socket = home.path("portaria.sock");
        home.edit(|text| text.replacen("127.0.0.1:0", &format!("unix:{}", socket.display()), 1));
        home.set_up_server(&fields);
        let gateway = Running::at(&home, []).await;

        let answer = Client::connect_unix(&gateway.socket())
            .await
            .exchange(request())
            .await;

        assert_eq!(answer.status, 200);
        let file = fs::symlink_metadata(&socket).unwrap();
        assert_eq!((file.mode() & 0o777, file.uid(), file.gid()), expected);
    }
}

#[test]
fn owner_and_group_are_names_or_numbers_that_there_are() {
    let home = Home::new("http://127.0.0.1:9");
    home.set_up_server("unix = { owner = 'root', group = 'nobody-has-this-name' }");
    let (unknown, told) = check(&home);
    home.edit(|text| text.replace("nobody-has-this-name", "4294967295"));
    let (no_number, _) = check(&home);
    home.edit(|text| text.replace("4294967295", "0"));
    let (right, _) = check(&home);
    home.edit(|text| text.replace("owner = 'root'", "mode = '0440'"));
    let (for_nobody, _) = check(&home);

    assert!(
        told.contains("there is no group `nobody-has-this-name` here"),
        "{told}"
    );
    assert_eq!(
        [unknown, no_number, right, for_nobody],
        [Some(64), Some(64), Some(0), Some(64)]
    );
}

#[tokio::test]
async fn a_socket_that_cannot_be_had_is_said_with_the_reason() {
    let home = Home::new("http://127.0.0.1:9");
    let socket = home.path("portaria.sock");
    home.edit(|text| text.replacen("127.0.0.1:0", &format!("unix:{}", socket.display()), 1));

    let _other = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let error = App::bind(plan(&home, [])).await.unwrap_err().to_string();

    assert!(
        error.ends_with("portaria.sock: another process listens there"),
        "{error}"
    );
}

#[tokio::test]
async fn sockets_that_systemd_passes_are_served() {
    let authority = Authority::new();
    let (upstream, home) = gateway().await;
    authority.issue(NAME, LATER).install(&home);
    home.speak_tls();
    home.edit(|text| text.replacen("127.0.0.1:0", "systemd:web", 1));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();

    let portaria = activated(&home, listener, "web");
    assert_eq!(portaria.address().await, address);
    let tls = connect(address, authority.client(None, &["http/1.1"]))
        .await
        .unwrap();
    let answer = Client::over(tls).exchange(request()).await;

    assert_eq!(answer.status, 200);
    assert_eq!(upstream.ledger().deliveries_of(&message()), 1);
}

#[tokio::test]
async fn a_unix_socket_of_systemds_stays_when_the_gateway_ends() {
    let (_upstream, home) = gateway().await;
    home.edit(|text| text.replacen("127.0.0.1:0", "systemd:portaria.socket", 1));
    let socket = home.path("passed.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();

    let portaria = activated(&home, listener, "portaria.socket");
    portaria.admin_address().await;
    let answer = Client::connect_unix(&socket)
        .await
        .exchange(request())
        .await;
    portaria.signal("TERM");
    let ended = portaria.exit().await;

    assert_eq!(answer.status, 200);
    assert_eq!(ended.status.code(), Some(0));
    assert!(socket.exists());
}

#[tokio::test]
async fn a_socket_that_was_not_passed_is_named() {
    let (_upstream, home) = gateway().await;
    home.edit(|text| text.replacen("127.0.0.1:0", "systemd:web", 1));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();

    let other = activated(&home, listener, "api").exit().await;
    let none = Portaria::start(Portaria::serve(&home)).exit().await;

    for (ended, passed) in [(other, "api"), (none, "none at all")] {
        assert_eq!(ended.status.code(), Some(70));
        let sentence = format!(
            "cannot listen on systemd:web: no socket of this name was passed, but {passed}\n"
        );
        assert!(ended.stderr.ends_with(&sentence), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn connections_wait_while_descriptors_are_short_and_are_served_after() {
    let (upstream, home) = gateway().await;
    let portaria = Portaria::start(in_shell("ulimit -n 64; exec \"$@\"", &home));
    let address = portaria.address().await;
    portaria.await_line("connections may have to wait").await;

    let mut greedy = Vec::new();
    for _ in 0..100 {
        greedy.push(Client::connect(address).await);
    }
    portaria.await_line("cannot accept connections").await;
    let mut patient = Client::connect(address).await;
    patient.send(request()).await;
    drop(greedy);
    let answer = patient.read_answer().await;
    portaria.signal("TERM");
    let ended = portaria.exit().await;

    assert_eq!(answer.status, 200);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stdout);
    assert_eq!(ended.stdout.matches("cannot accept connections").count(), 1);
    upstream.ledger().only_request();
}

#[tokio::test]
async fn p9_a_message_for_which_there_is_no_descriptor_is_not_sent() {
    let (upstream, home) = gateway().await;
    let portaria = Portaria::start(in_shell("ulimit -n 64; exec \"$@\"", &home));
    let address = portaria.address().await;
    let mut client = Client::connect(address).await;
    let unknown = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(client.exchange(unknown).await.status, 404);
    let mut greedy = Vec::new();
    for _ in 0..100 {
        greedy.push(Client::connect(address).await);
    }
    portaria.await_line("cannot accept connections").await;

    let answer = client.exchange(request()).await;

    assert_refused(&answer, 502, "upstream-unreachable", "not_sent");
    upstream.ledger().assert_nothing_sent();
}

#[test]
fn a_limit_of_open_files_that_is_too_low_is_said_before() {
    let home = Home::new("http://127.0.0.1:9");
    let check = |limit: &str, connections: &str| {
        let ended = Command::new("sh")
            .args(["-c", &format!("ulimit -n {limit}; exec \"$@\"")])
            .args(["sh", env!("CARGO_BIN_EXE_portaria"), "check", "--config"])
            .arg(home.config())
            .env("PORTARIA__SERVER__MAX_CONNECTIONS", connections)
            .env("PORTARIA__SERVER__MAX_IN_FLIGHT", "10")
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(0));
        String::from_utf8(ended.stdout).unwrap()
    };

    let few = check("200", "100");
    let enough = check("200", "60");

    assert!(
        few.contains("may need 238 open files, and the limit is 200"),
        "{few}"
    );
    assert!(!enough.contains("open files"), "{enough}");
}

/// Runs the gateway with a socket, as systemd does: as its fourth descriptor.
fn activated(home: &Home, socket: impl Into<OwnedFd>, name: &str) -> Portaria {
    let script = "export LISTEN_PID=$$; exec \"$@\" 3<&0 0</dev/null";
    let mut command = in_shell(script, home);
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
    Portaria::start_with(command, socket.into())
}

/// Runs the gateway by a shell, which can set up what the standard library cannot.
fn in_shell(script: &str, home: &Home) -> Command {
    let serve = Portaria::serve(home);
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .arg(serve.get_program())
        .args(serve.get_args())
        .current_dir(home.path(""));
    command
}

#[tokio::test]
async fn an_operator_is_warned_of_an_expired_certificate_and_an_open_key() {
    let (_upstream, home) = gateway().await;
    Authority::new().issue(NAME, 2021).install(&home);
    let everybody = fs::Permissions::from_mode(0o644);
    fs::set_permissions(home.path("key.pem"), everybody).unwrap();
    home.speak_tls();

    let portaria = Portaria::start(Portaria::serve(&home));

    portaria.address().await;
    for warning in [
        "everybody on this machine can read this private key",
        "has expired",
    ] {
        portaria.await_line(warning).await;
    }
}

/// What `portaria check` ends with, and says.
fn check(home: &Home) -> (Option<i32>, String) {
    let ended = Command::new(env!("CARGO_BIN_EXE_portaria"))
        .args(["check", "--config"])
        .arg(home.config())
        .output()
        .unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.code(), String::from_utf8(said).unwrap())
}

/// An upstream that takes every message, and a config of a gateway before it.
async fn gateway() -> (Upstream, Home) {
    let upstream = Upstream::start(Script::serve()).await;
    let home = Home::new(&upstream.url());
    (upstream, home)
}

/// A message with a good key.
fn request() -> Vec<u8> {
    post(CHAT, &key("billing"))
        .header("Accept", "*/*")
        .to_bytes()
}

const PATH: &str =
    "/integrations/external/chats/7d444840-9dc0-11d1-b245-5ffdce74fad2/messages/interactive";

async fn connect(address: SocketAddr, client: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let tcp = within("a TCP connection", TcpStream::connect(address)).await?;
    let name = ServerName::try_from(NAME).unwrap();
    let handshake = TlsConnector::from(Arc::new(client)).connect(name, tcp);
    within("a handshake", handshake).await
}

/// The certificate that the gateway has shown.
fn certificate_of(tls: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let (_, session) = tls.get_ref();
    session.peer_certificates().unwrap()[0].clone().into_owned()
}

/// A client that speaks HTTP/2.
struct Http2 {
    sender: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    connection: JoinSet<hyper::Result<()>>,
}

impl Http2 {
    async fn over(stream: TlsStream<TcpStream>) -> Self {
        let (sender, driver) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let mut connection = JoinSet::new();
        connection.spawn(driver);
        Self { sender, connection }
    }

    /// Sends a message with a good key; returns the status of the answer and its code, or
    /// nothing if the request was reset.
    async fn post(&mut self, uri: &str, fields: &[(&str, &str)]) -> Option<(u16, Option<String>)> {
        self.send(uri, fields, message()).await
    }

    async fn send(
        &mut self,
        uri: &str,
        fields: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Option<(u16, Option<String>)> {
        let mut request = http::Request::post(uri)
            .header("authorization", format!("Bearer {}", key("billing")))
            .header("content-type", "application/json");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body)).unwrap();
        let answer = within("an answer", self.sender.send_request(request))
            .await
            .ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        Some((status, document["code"].as_str().map(str::to_owned)))
    }
}
