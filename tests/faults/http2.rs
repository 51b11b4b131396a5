//! What if the upstream speaks HTTP/2, and fails in its ways? Rows U22 to U24.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{SendResponse, handshake},
};
use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

#[tokio::test]
async fn a_message_goes_out_over_http2_too() {
    let (answer, received) = tell([Says::Answer]).await;

    assert_eq!((answer.status, answer.body), (200, b"{}".to_vec()));
    assert_eq!(received, 1);
}

#[tokio::test]
async fn u22_a_stream_that_was_refused_unseen_is_tried_once_more() {
    let (answer, received) = tell([Says::Reset(Reason::REFUSED_STREAM), Says::Answer]).await;

    assert_eq!(answer.status, 200);
    assert_eq!(received, 2);
}

#[tokio::test]
async fn u22_and_no_more_than_once() {
    let refused = Says::Reset(Reason::REFUSED_STREAM);
    let (answer, received) = tell([refused, refused, Says::Answer]).await;

    assert_refused(&answer, 502, "upstream-unreachable", "not_sent");
    assert_eq!(received, 2);
}

#[tokio::test]
async fn u23_a_connection_that_ends_leaves_its_fate_unknown() {
    let (answer, received) = tell([Says::Goodbye, Says::Answer]).await;

    assert_refused(&answer, 502, "upstream-broke-off", "unknown");
    assert_eq!(received, 1);
}

#[tokio::test]
async fn u24_a_stream_that_is_reset_leaves_its_fate_unknown() {
    for reason in [
        Reason::CANCEL,
        Reason::INTERNAL_ERROR,
        Reason::PROTOCOL_ERROR,
        Reason::ENHANCE_YOUR_CALM,
    ] {
        let (answer, received) = tell([Says::Reset(reason), Says::Answer]).await;

        assert_refused(&answer, 502, "upstream-broke-off", "unknown");
        assert_eq!(received, 1, "{reason}");
    }
}

/// What the upstream does with a request.
#[derive(Clone, Copy)]
enum Says {
    Answer,
    Reset(Reason),
    /// Closes the connection.
    Goodbye,
}

/// Sends one message past an upstream that says this, in turn; returns what the client
/// heard, and how many requests the upstream saw.
async fn tell<const N: usize>(script: [Says; N]) -> (Answer, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let home = Home::new(&format!("http://{}", listener.local_addr().unwrap()));
    let received = Arc::new(AtomicUsize::new(0));
    let serving = serve(listener, script.to_vec(), received.clone());
    let gateway = Running::at(&home, [("UPSTREAM__HTTP_VERSION", "2")]).await;
    let request = post(CHAT, &key("billing")).to_bytes();

    let answer = tokio::select! {
        answer = gateway.exchange(request) => answer,
        () = serving => unreachable!("it serves for ever"),
    };
    (answer, received.load(Ordering::Relaxed))
}

async fn serve(listener: TcpListener, script: Vec<Says>, received: Arc<AtomicUsize>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connection(stream, &script, &received).await;
    }
}

async fn connection(stream: TcpStream, script: &[Says], received: &AtomicUsize) {
    let mut connection = handshake(stream).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        match script[received.fetch_add(1, Ordering::Relaxed)] {
            Says::Answer => answer(request, respond),
            Says::Reset(reason) => {
                let mut respond = respond;
                respond.send_reset(reason);
            }
            Says::Goodbye => return,
        }
    }
}

fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let authorization = format!("Bearer {TOKEN}");
    let tokens = request.headers().get_all("authorization");
    assert!(tokens.iter().eq([authorization.as_str()]));
    let mut body = respond.send_response(Response::new(()), false).unwrap();
    body.send_data("{}".into(), true).unwrap();
}
