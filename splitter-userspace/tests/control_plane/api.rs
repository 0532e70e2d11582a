//! The API over a real socket: what a client gets, and what raw requests that are wrong get.

use crate::daemon::{STATUS, Served, event};
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use splitter_userspace::{
    api::{
        client::ClientError,
        model::{Action, ChangeRequest, Deadline, End, ErrorCode},
        server::MAX_BODY,
    },
    config::PoolName,
};
use tokio::net::UnixStream;

/// Sends any request and returns the status and the JSON body.
async fn raw(served: &Served, method: &str, path: &str, body: impl Into<Bytes>) -> (StatusCode, Value) {
    let stream = UnixStream::connect(&served.socket).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "x");
    let request = request.body(Full::new(body.into())).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_else(|_| panic!("not JSON: {body:?}")))
}

#[track_caller]
fn assert_refused(answer: &(StatusCode, Value), status: StatusCode, words: &str) {
    assert_eq!(answer.0, status);
    assert_eq!(answer.1["code"], "refused");
    let message = answer.1["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
}

#[tokio::test]
async fn answers_are_the_models_json() {
    let served = Served::start();
    let (status, body) = raw(&served, "GET", "/v1/status?service=web", "").await;
    assert_eq!((status, body), (StatusCode::OK, serde_json::from_str(STATUS).unwrap()));
    let (status, body) = raw(&served, "GET", "/v1/explain?service=web&client=198.51.100.7:40000", "").await;
    assert_eq!((status, &body["slot"]), (StatusCode::OK, &json!(7)));
}

#[tokio::test]
async fn a_change_is_taken_as_documented() {
    let served = Served::start();
    let body = r#"{"service":"web","action":"weights","weights":{"canary":5.25},"reason":"ticket"}"#;
    let (status, answer) = raw(&served, "POST", "/v1/change", body).await;
    assert_eq!((status, &answer["generation"]), (StatusCode::OK, &json!(43)));
    let request = served.fake.memory().requests[0].clone();
    assert_eq!(serde_json::to_value(request).unwrap(), serde_json::from_str::<Value>(body).unwrap());
}

#[tokio::test]
async fn a_deadline_is_taken_as_documented() {
    let served = Served::start();
    for body in [
        r#"{"service":"web","action":"switch","pool":"green","deadline":{"after_ms":600000,"then":"reset"},"reason":""}"#,
        r#"{"service":"web","action":"admin","backend":"10.0.1.11:8443","state":"drain",
            "deadline":{"after_ms":1500,"then":"leave"},"reason":""}"#,
    ] {
        assert_eq!(raw(&served, "POST", "/v1/change", body).await.0, StatusCode::OK);
        let request = served.fake.memory().requests.pop().unwrap();
        assert_eq!(serde_json::to_value(request).unwrap(), serde_json::from_str::<Value>(body).unwrap());
    }
    let short = r#"{"service":"web","action":"switch","pool":"green","deadline":{"after_ms":1}}"#;
    assert_eq!(raw(&served, "POST", "/v1/change", short).await.0, StatusCode::OK);
    let request = served.fake.memory().requests.pop().unwrap();
    let deadline = Some(Deadline { after_ms: 1, then: End::Leave });
    assert_eq!(request.action, Action::Switch { pool: PoolName::Green, deadline });
}

#[tokio::test]
async fn wrong_requests_are_refused_in_words() {
    let served = Served::start();
    let refuse = async |method, path, body: &'static str, status, words| {
        assert_refused(&raw(&served, method, path, body).await, status, words);
    };
    refuse("POST", "/v1/change", "{", StatusCode::BAD_REQUEST, "not a change request in JSON").await;
    refuse("POST", "/v1/change", r#"{"service":"web","action":"fly"}"#, StatusCode::BAD_REQUEST, "fly").await;
    let wrong_end =
        r#"{"service":"web","action":"switch","pool":"green","deadline":{"after_ms":1,"then":"fly"}}"#;
    refuse("POST", "/v1/change", wrong_end, StatusCode::BAD_REQUEST, "fly").await;
    let no_time = r#"{"service":"web","action":"switch","pool":"green","deadline":{"then":"reset"}}"#;
    refuse("POST", "/v1/change", no_time, StatusCode::BAD_REQUEST, "after_ms").await;
    let wrong_unit = r#"{"service":"web","action":"switch","pool":"green","deadline":{"after_s":1}}"#;
    refuse("POST", "/v1/change", wrong_unit, StatusCode::BAD_REQUEST, "after_s").await;
    let negative = r#"{"service":"web","action":"switch","pool":"green","deadline":{"after_ms":-1}}"#;
    refuse("POST", "/v1/change", negative, StatusCode::BAD_REQUEST, "-1").await;
    refuse("GET", "/v2/status", "", StatusCode::NOT_FOUND, "there is no /v2/status here").await;
    refuse("GET", "/v1/change", "", StatusCode::METHOD_NOT_ALLOWED, "does not take GET").await;
    refuse("GET", "/v1/status?servise=web", "", StatusCode::BAD_REQUEST, "servise").await;
    refuse("GET", "/v1/explain?service=web", "", StatusCode::BAD_REQUEST, "client").await;
    refuse("GET", "/v1/explain?service=web&client=x", "", StatusCode::BAD_REQUEST, "client").await;
    refuse("GET", "/v1/events?follow=maybe", "", StatusCode::BAD_REQUEST, "follow").await;
    refuse("GET", "/v1/status?service=dns", "", StatusCode::UNPROCESSABLE_ENTITY, "no service `dns`").await;
    assert!(served.fake.memory().requests.is_empty());
}

#[tokio::test]
async fn a_body_may_not_be_too_large() {
    let served = Served::start();
    let answer = raw(&served, "POST", "/v1/change", vec![b' '; MAX_BODY + 1]).await;
    assert_refused(&answer, StatusCode::PAYLOAD_TOO_LARGE, "length limit");
}

#[tokio::test]
async fn the_client_tells_failures_apart() {
    let served = Served::start();
    let client = served.client();
    let mut request = ChangeRequest {
        service: "web".into(),
        action: Action::Switch { pool: PoolName::Green, deadline: None },
        reason: String::new(),
    };
    assert_eq!(client.change(&request).await.unwrap().slots_moved, 3277);
    request.reason = "break".into();
    let failed = client.change(&request).await.unwrap_err();
    assert!(matches!(&failed, ClientError::Api(error) if error.code == ErrorCode::Failed), "{failed}");
    let refused = client.status(Some("a b&c")).await.unwrap_err();
    assert!(refused.to_string().contains("there is no service `a b&c`"), "{refused}");
    served.stop().await;
    let gone = client.status(None).await.unwrap_err();
    assert!(matches!(gone, ClientError::Unreachable { .. }), "{gone}");
}

#[tokio::test]
async fn an_answer_that_is_no_answer_is_broken() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let error = splitter_userspace::api::client::Client::new(&socket).status(None).await.unwrap_err();
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn events_begin_with_the_kept_ones() {
    let served = Served::start();
    let kept: Vec<_> = served.client().events(false).await.unwrap().collect().await;
    assert_eq!(kept.into_iter().map(|event| event.unwrap().sequence).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn followed_events_come_as_they_happen_and_end_with_the_daemon() {
    let served = Served::start();
    let mut events = Box::pin(served.client().events(true).await.unwrap());
    for sequence in 1..=5 {
        if sequence > 2 {
            served.fake.tell(event(sequence));
        }
        assert_eq!(events.next().await.unwrap().unwrap().sequence, sequence);
    }
    served.stop().await;
    assert!(events.next().await.is_none());
}
