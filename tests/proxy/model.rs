//! The model API through the proxy.

use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use http_body_util::BodyExt;
use hyper::body::Bytes;
use hyper::{Request, Response, StatusCode};
use nanoclaw::proxy::{
    Credential, DEFAULT_BASE, Egress, ModelError, Proxy, Secret, Upstream, Usage,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};

use crate::rig::*;

fn headers_text<T>(request: &Request<T>) -> String {
    format!(
        "{:?}",
        request
            .headers()
            .iter()
            .map(|(n, v)| (n, v.as_bytes().escape_ascii().to_string()))
            .collect::<Vec<_>>()
    )
}

#[tokio::test]
async fn the_real_key_arrives_and_the_placeholder_never_does() {
    let (mut server, rig) = to_server().await;
    let big: Bytes = (0..3_000_000u32).map(|n| n as u8).collect::<Vec<_>>().into();
    for header in [("x-api-key", TOKEN.to_owned()), ("authorization", format!("Bearer {TOKEN}"))] {
        let headers = [
            (header.0, header.1.as_str()),
            ("accept-encoding", "gzip"),
            ("anthropic-beta", "a-1,b-2"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("proxy-authorization", "Basic x"),
        ];
        let request = request("POST", "/v1/messages?beta=true", &headers, full(big.clone()));
        let (answer, arrived) = tokio::join!(rig.send(request), async {
            let arrived = server.arrived.recv().await.unwrap();
            arrived.answer_json("{\"type\":\"message\"}").await
        });
        assert_eq!(arrived.uri(), "/v1/messages?beta=true");
        assert_eq!(arrived.headers()["x-api-key"], KEY);
        assert!(!arrived.headers().contains_key("authorization"));
        assert!(!headers_text(&arrived).contains(TOKEN));
        assert_eq!(arrived.headers()["host"], server.address.to_string());
        assert_eq!(arrived.headers()["accept-encoding"], "identity");
        assert_eq!(
            arrived.headers()["anthropic-beta"],
            "a-1,b-2",
            "with a key the betas stay as they are"
        );
        assert!(
            !arrived.headers().contains_key("x-hop")
                && !arrived.headers().contains_key("proxy-authorization")
        );
        assert!(*arrived.body() == big, "the body arrives as it was sent");
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(!format!("{:?}", answer.headers()).contains(KEY));
    }
}

#[tokio::test]
async fn an_oauth_token_brings_its_beta_and_the_base_its_path() {
    let mut server = server().await;
    let proxy = Proxy::new(Upstream {
        base: format!("http://{}/gateway/", server.address),
        credential: Some(Credential::OAuth(Secret::new("real-oauth"))),
        proxy: None,
    });
    let rig = rig(&proxy, Egress::Api);
    let request = request(
        "POST",
        "/v1/messages",
        &[("x-api-key", TOKEN), ("anthropic-beta", "a-1,b-2")],
        full("{}"),
    );
    let (_, arrived) = tokio::join!(rig.send(request), async {
        server.arrived.recv().await.unwrap().answer_json("{}").await
    });
    assert_eq!(arrived.uri(), "/gateway/v1/messages");
    assert_eq!(arrived.headers()["authorization"], "Bearer real-oauth");
    assert!(!arrived.headers().contains_key("x-api-key"));
    assert_eq!(arrived.headers()["anthropic-beta"], "a-1,b-2,oauth-2025-04-20");
}

#[tokio::test]
async fn an_endpoint_without_credential_gets_none() {
    let mut server = server().await;
    let base = format!("http://{}", server.address);
    let rig = rig(&Proxy::new(Upstream { base, credential: None, proxy: None }), Egress::Api);
    let (_, arrived) = tokio::join!(rig.send(messages("{}")), async {
        server.arrived.recv().await.unwrap().answer_json("{}").await
    });
    assert!(!headers_text(&arrived).contains(TOKEN));
    assert!(
        !arrived.headers().contains_key("x-api-key")
            && !arrived.headers().contains_key("authorization")
    );
}

#[tokio::test]
async fn what_is_not_allowed_never_leaves() {
    let (mut server, rig) = to_server().await;
    let auth = [("x-api-key", TOKEN)];
    for (method, path, headers, status, kind) in [
        ("POST", "/v1/messages", &[("x-api-key", "wrong")], 401, "authentication_error"),
        ("POST", "/v1/messages", &[("x-other", TOKEN)], 401, "authentication_error"),
        ("GET", "/v1/models", &[("authorization", "Bearer wrong")], 401, "authentication_error"),
        ("POST", "/v1/messages/batches", &auth, 403, "permission_error"),
        ("GET", "/v1/files", &auth, 403, "permission_error"),
        ("GET", "/v1/models/../files", &auth, 403, "permission_error"),
        ("POST", "/v1/oauth/token", &auth, 403, "permission_error"),
        ("GET", "/v1/organizations/me", &auth, 403, "permission_error"),
        ("GET", "/", &auth, 403, "permission_error"),
    ] {
        let (got, body) = rig.ask(request(method, path, headers, full(""))).await;
        let error: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (got.as_u16(), error["type"].as_str()),
            (status, Some("error")),
            "{method} {path}"
        );
        assert_eq!(error["error"]["type"], kind);
        assert!(error["error"]["message"].as_str().is_some_and(|m| !m.is_empty()));
    }
    for path in ["/", "/api/hello"] {
        assert_eq!(rig.ask(request("HEAD", path, &[], full(""))).await.0, StatusCode::OK);
    }
    assert!(server.arrived.try_recv().is_err(), "nothing of all this went upstream");
    let (_, arrived) =
        tokio::join!(rig.send(request("GET", "/v1/models/claude-x", &auth, full(""))), async {
            server.arrived.recv().await.unwrap().answer_json("{}").await
        });
    assert_eq!(arrived.uri(), "/v1/models/claude-x");
}

#[tokio::test]
async fn each_piece_of_a_stream_is_relayed_before_the_next_is_made() {
    let (mut server, rig) = to_server().await;
    let mut client = rig.connection().await;
    let pending = tokio::spawn(client.send_request(messages("{\"stream\":true}")));
    let arrived = server.arrived.recv().await.unwrap();
    let (sender, body) = pieces();
    let answer =
        Response::builder().header("content-type", "text/event-stream").header("request-id", "r1");
    arrived.answer.send(answer.body(body).unwrap()).ok().unwrap();
    let response = pending.await.unwrap().unwrap();
    assert_eq!(response.headers()["request-id"], "r1");
    let mut body = response.into_body();
    for piece in [
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"usage\":{\"input_tokens\":3,\"cache_read_input_tokens\":4,\"cache_creation_input_tokens\":5,\"output_tokens\":1}}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"hi\"}}\n\n",
        "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":9}}\n\n",
        "data: {\"type\":\"message_stop\"}\n\n",
    ] {
        assert!(rig.serving.take_usage().is_empty());
        sender.send(piece.into()).await.unwrap();
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, piece);
    }
    // The stream is still open: the usage is known before its end is.
    let usage = Usage {
        model: "m".to_owned(),
        input_tokens: 3,
        output_tokens: 9,
        cache_read_tokens: 4,
        cache_write_tokens: 5,
        web_searches: 0,
    };
    assert_eq!(rig.serving.take_usage(), [usage]);
    drop(sender);
    assert!(body.frame().await.is_none());
    assert!(rig.serving.take_usage().is_empty(), "counted once");
}

#[tokio::test]
async fn a_document_is_metered_and_counting_tokens_is_not() {
    let (mut server, rig) = to_server().await;
    let document = r#"{"type":"message","model":"m","content":[],"usage":{"input_tokens":3,"output_tokens":4}}"#;
    let ((_, body), _) = tokio::join!(rig.ask(messages("{}")), async {
        server.arrived.recv().await.unwrap().answer_json(document).await
    });
    assert_eq!(body, document);
    let usage = rig.serving.take_usage();
    assert_eq!(
        usage,
        [Usage { model: "m".to_owned(), input_tokens: 3, output_tokens: 4, ..Usage::default() }]
    );
    let count = request("POST", "/v1/messages/count_tokens", &[("x-api-key", TOKEN)], full("{}"));
    let ((_, body), _) = tokio::join!(rig.ask(count), async {
        server.arrived.recv().await.unwrap().answer_json("{\"input_tokens\":7}").await
    });
    assert_eq!(body, "{\"input_tokens\":7}");
    assert!(rig.serving.take_usage().is_empty());
}

#[tokio::test]
async fn hanging_up_ends_the_request_upstream() {
    let (mut server, rig) = to_server().await;
    // While the model has not begun to answer:
    let mut client = rig.connection().await;
    let pending = tokio::spawn(client.send_request(messages("{}")));
    let mut arrived = server.arrived.recv().await.unwrap();
    pending.abort();
    drop(client);
    soon(arrived.answer.closed()).await;
    let asked = Usage { input_tokens: 1, ..Usage::default() };
    assert_eq!(rig.serving.take_usage(), [asked], "two bytes went out");
    // And in the midst of the answer:
    let mut client = rig.connection().await;
    let pending = tokio::spawn(client.send_request(messages("{}")));
    let arrived = server.arrived.recv().await.unwrap();
    let (sender, body) = pieces();
    let answer =
        Response::builder().header("content-type", "text/event-stream").body(body).unwrap();
    arrived.answer.send(answer).ok().unwrap();
    let start = "data: {\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n";
    sender.send(start.into()).await.unwrap();
    let mut response = pending.await.unwrap().unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    drop((response, client));
    soon(sender.closed()).await;
    let usage = rig.serving.take_usage();
    assert_eq!(
        usage,
        [Usage { model: "m".to_owned(), input_tokens: 3, output_tokens: 1, ..Usage::default() }]
    );
}

#[tokio::test]
async fn a_group_without_the_web_has_the_provider_fetch_and_run_nothing() {
    let mut server = server().await;
    let proxy = Proxy::new(upstream(format!("http://{}", server.address)));
    let search = r#"{"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#;
    let picture = r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://x/?folder"}}]}]}"#;
    let plain = r#"{ "tools":[{"name":"Bash","input_schema":{}}], "messages":[{"role":"user","content":"a\u00e4"}] }"#;
    let ask = |path: &str, body: &str| {
        request("POST", path, &[("x-api-key", TOKEN)], full(body.to_owned()))
    };
    for egress in [Egress::Api, Egress::Domains(vec!["example.org".to_owned()])] {
        let rig = rig(&proxy, egress);
        for path in ["/v1/messages?beta=true", "/v1/messages/count_tokens"] {
            for body in [search, picture, "no JSON", "\u{feff}{}"] {
                let (status, text) = rig.ask(ask(path, body)).await;
                assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}");
                assert!(text.contains("NanoClaw did not pass this request on: "), "{text}");
            }
            assert!(server.arrived.try_recv().is_err(), "nothing of it went upstream");
            let (_, arrived) = tokio::join!(rig.send(ask(path, plain)), async {
                server.arrived.recv().await.unwrap().answer_json("{}").await
            });
            assert_eq!(arrived.body(), plain, "as it was sent");
        }
        let (sender, body) = pieces();
        tokio::spawn(async move { while sender.send(vec![b' '; 1 << 20].into()).await.is_ok() {} });
        let large = request("POST", "/v1/messages", &[("x-api-key", TOKEN)], body);
        assert_eq!(rig.ask(large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    }
    let rig = rig(&proxy, Egress::Web);
    let (_, arrived) = tokio::join!(rig.send(messages(search)), async {
        server.arrived.recv().await.unwrap().answer_json("{}").await
    });
    assert_eq!(arrived.body(), search);
}

#[tokio::test]
async fn a_container_has_so_many_calls_and_no_connection_with_another() {
    let mut server = server().await;
    let proxy = Proxy::new(upstream(format!("http://{}", server.address)));
    let (greedy, other) = (rig(&proxy, Egress::Web), rig(&proxy, Egress::Web));
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut client = greedy.connection().await;
        waiting.push(tokio::spawn(async move {
            let response = client.send_request(messages("{}")).await.unwrap();
            text(response).await
        }));
    }
    let mut arrived = Vec::new();
    for _ in 0..16 {
        arrived.push(soon(server.arrived.recv()).await.unwrap());
    }
    // Another's passes at once, and none of the four that wait.
    let passing = async {
        tokio::join!(other.send(messages("[]")), async {
            server.arrived.recv().await.unwrap().answer_json("{}").await
        })
    };
    assert_eq!(soon(passing).await.1.body(), "[]");
    assert!(server.arrived.try_recv().is_err());
    for one in arrived {
        assert_eq!(one.request.version(), hyper::Version::HTTP_11);
        one.answer_json("{}").await;
    }
    for _ in 0..4 {
        soon(server.arrived.recv()).await.unwrap().answer_json("{}").await;
    }
    for one in waiting {
        assert_eq!(soon(one).await.unwrap(), "{}");
    }
}

#[tokio::test]
async fn while_a_container_is_held_nothing_is_asked_and_what_runs_is_cut() {
    let (mut server, rig) = to_server().await;
    let tomorrow = SystemTime::now() + Duration::from_secs(3600);
    // One that the model has not begun to answer, and one in the midst of it.
    let (mut waiting, mut reading) = (rig.connection().await, rig.connection().await);
    let first = tokio::spawn(waiting.send_request(messages("{}")));
    let mut unanswered = server.arrived.recv().await.unwrap();
    let second = tokio::spawn(reading.send_request(messages("{}")));
    let arrived = server.arrived.recv().await.unwrap();
    let (sender, body) = pieces();
    let answer =
        Response::builder().header("content-type", "text/event-stream").body(body).unwrap();
    arrived.answer.send(answer).ok().unwrap();
    sender.send("data: {}\n\n".into()).await.unwrap();
    let mut response = second.await.unwrap().unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    rig.serving.hold(tomorrow);
    assert!(soon(response.body_mut().frame()).await.unwrap().is_err(), "cut, not ended");
    soon(sender.closed()).await;
    let refused = soon(first).await.unwrap().unwrap();
    soon(unanswered.answer.closed()).await;
    assert_eq!(refused.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(refused.headers()["x-should-retry"], "false");
    let (status, body) = rig.ask(messages("{}")).await;
    assert_eq!(status, StatusCode::PAYMENT_REQUIRED);
    assert!(body.contains("budget is spent"), "{body}");
    assert!(server.arrived.try_recv().is_err(), "nothing of it went upstream");
    assert_eq!(rig.serving.last_model_error(), None, "the model has not failed");
    // Raised, or a new day.
    rig.serving.hold(SystemTime::UNIX_EPOCH);
    let (answer, _) = tokio::join!(rig.send(messages("{}")), async {
        server.arrived.recv().await.unwrap().answer_json("{}").await
    });
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_unreachable_model_is_explained_until_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let upstream = upstream(format!("http://user:hidden@{address}/v1"));
    let shown = format!("{upstream:?}");
    let rig = rig(&Proxy::new(upstream), Egress::Api);
    let (status, body) = rig.ask(messages("{}")).await;
    let error: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &error["error"]["type"]),
        (StatusCode::BAD_GATEWAY, &Value::from("api_error"))
    );
    let message = error["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with(&format!("NanoClaw cannot reach http://{address}: Connection refused")),
        "{message}"
    );
    let noted = rig.serving.last_model_error().unwrap();
    assert!(
        matches!(&noted, ModelError::Unreachable { reason, .. } if reason.contains("refused")),
        "{noted:?}"
    );
    for text in [body, shown, noted.to_string(), format!("{noted:?}")] {
        assert!(!text.contains(KEY) && !text.contains("hidden"), "{text}");
    }
}

#[tokio::test]
async fn refusals_pass_through_and_are_noted_until_a_success() {
    let (mut server, rig) = to_server().await;
    let body =
        r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#;
    let ((status, text), _) = tokio::join!(rig.ask(messages("{}")), async {
        server.arrived.recv().await.unwrap().answer_with(StatusCode::UNAUTHORIZED, body).await
    });
    assert_eq!((status, text.as_str()), (StatusCode::UNAUTHORIZED, body));
    assert_eq!(rig.serving.last_model_error(), Some(ModelError::Status(401)));
    tokio::join!(rig.ask(messages("{}")), async {
        server.arrived.recv().await.unwrap().answer_json("{}").await
    });
    assert_eq!(rig.serving.last_model_error(), None);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (mut server, rig) = to_server().await;
    let elsewhere = Response::builder()
        .status(307)
        .header("location", format!("http://{}/other", server.address));
    let (response, ()) = tokio::join!(rig.send(messages("{}")), async {
        let arrived = server.arrived.recv().await.unwrap();
        arrived.answer.send(elsewhere.body(full("")).unwrap()).ok().unwrap();
    });
    assert_eq!(response.status(), 307);
    assert!(server.arrived.try_recv().is_err());
}

#[tokio::test]
async fn requests_over_64_mb_are_refused_announced_or_not() {
    let (mut server, rig) = to_server().await;
    let mut stream = UnixStream::connect(&rig.socket).await.unwrap();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {TOKEN}\r\ncontent-length: 67108865\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    assert!(server.arrived.try_recv().is_err());
    // In chunks, of which nobody knows the number:
    let (sender, body) = pieces();
    let writing = tokio::spawn(async move {
        let piece = Bytes::from(vec![b' '; 1 << 20]);
        while sender.send(piece.clone()).await.is_ok() {}
    });
    let request = request("POST", "/v1/messages", &[("x-api-key", TOKEN)], body);
    let ((status, text), received) = tokio::join!(rig.ask(request), async {
        let arrived = server.arrived.recv().await.unwrap();
        arrived.request.into_body().collect().await.map(|_| ())
    });
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(text.contains("request_too_large"), "{text}");
    assert!(received.is_err(), "upstream does not take it for complete");
    writing.await.unwrap();
}

#[tokio::test]
async fn an_upstream_proxy_carries_the_model_requests() {
    let mut proxy = server().await;
    let upstream = Upstream {
        base: "http://model.invalid:8000".to_owned(),
        credential: key(),
        proxy: Some(format!("http://{}", proxy.address)),
    };
    let rig = rig(&Proxy::new(upstream), Egress::Api);
    let (answer, arrived) = tokio::join!(rig.send(messages("{}")), async {
        proxy.arrived.recv().await.unwrap().answer_json("{}").await
    });
    assert_eq!(arrived.uri(), "http://model.invalid:8000/v1/messages?beta=true");
    assert_eq!(arrived.headers()["x-api-key"], KEY);
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn without_a_credential_the_practice_model_answers() {
    let proxy =
        Proxy::new(Upstream { base: DEFAULT_BASE.to_owned(), credential: None, proxy: None });
    let rig = rig(&proxy, Egress::Api);
    let ask = |stream: bool| {
        messages(format!(
            r#"{{"stream":{stream},"tools":[{{"name":"Bash"}}],"messages":[{{"role":"user","content":"hello"}}]}}"#
        ))
    };
    let (status, body) = rig.ask(ask(false)).await;
    let message: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, StatusCode::OK);
    assert!(
        message["content"][0]["text"].as_str().unwrap().starts_with("[practice model] "),
        "{message}"
    );
    let response = rig.send(ask(true)).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert!(text(response).await.ends_with("data: {\"type\":\"message_stop\"}\n\n"));
    let usage = rig.serving.take_usage();
    assert_eq!(usage.len(), 2);
    assert!(
        usage.iter().all(|u| u.model == "practice" && u.input_tokens > 0 && u.output_tokens > 0),
        "{usage:?}"
    );
    let (status, body) =
        rig.ask(request("GET", "/v1/models", &[("x-api-key", TOKEN)], full(""))).await;
    assert!(status == StatusCode::OK && body.contains("practice model"), "{body}");
    let count = request("POST", "/v1/messages/count_tokens", &[("x-api-key", TOKEN)], full("{}"));
    assert!(rig.ask(count).await.1.contains("input_tokens"));
    assert_eq!(rig.ask(messages("no json")).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(
        rig.ask(request("POST", "/v1/messages", &[("x-api-key", "x")], full("{}"))).await.0,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_socket_may_lie_deep_and_is_gone_with_its_container() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let proxy =
        Proxy::new(Upstream { base: DEFAULT_BASE.to_owned(), credential: None, proxy: None });
    // A socket that a crash left behind is replaced.
    std::fs::write(deep.join("proxy.sock"), "").unwrap();
    let serving = proxy.serve(&deep, tenant(Egress::Api)).unwrap();
    let path = deep.join("proxy.sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    let handle = std::fs::File::open(&deep).unwrap();
    let mut open = UnixStream::connect(format!("/proc/self/fd/{}/proxy.sock", handle.as_raw_fd()))
        .await
        .unwrap();
    open.write_all(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    open.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    drop(serving);
    assert!(!path.exists());
    let mut rest = Vec::new();
    soon(open.read_to_end(&mut rest)).await.unwrap();
}
