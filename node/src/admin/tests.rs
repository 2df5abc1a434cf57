use std::sync::Arc;

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use weft_identity::{Code, Failure};

use super::*;

struct Echo;

impl AdminDesk for Echo {
    fn ready(&self) -> bool {
        false
    }

    fn metrics(&self) -> String {
        "weft_up 1\n".to_owned()
    }

    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Value, Failure>> {
        let answer = match question {
            Question::Leave => Err(Failure::new(Code::Overloaded, "already")),
            other => Ok(json!({ "asked": format!("{other:?}") })),
        };
        Box::pin(async move { answer })
    }
}

async fn call(router: axum::Router, method: Method, path: &str, body: &str) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
    let response = TowerToHyperService::new(router).call(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn the_socket_answers_and_refusals_carry_their_code() {
    let router = || local_routes(Arc::new(Echo));
    let (status, body) = call(router(), Method::POST, "/v1/bindings", r#"{"service":"db","port":5432}"#).await;
    assert!(status.is_success() && body.contains("5432"), "{status} {body}");
    for (method, path, body, code) in [
        (Method::POST, "/v1/bindings", r#"{"service":"DB","port":5432}"#, "usage-invalid"),
        (Method::POST, "/v1/tokens", r#"{"ttl":1}"#, "usage-invalid"),
        (Method::DELETE, "/v1/services/A.B", "", "name-invalid"),
        (Method::DELETE, "/v1/bindings/99999", "", "usage-invalid"),
        (Method::POST, "/v1/leave", "", "overloaded"),
    ] {
        let (status, answer) = call(router(), method, path, body).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status.is_success(), &answer["code"]), (false, &json!(code)), "{path}");
    }
}

#[tokio::test]
async fn the_port_tells_health_and_metrics_and_nothing_else() {
    let router = || public_routes(Arc::new(Echo));
    assert_eq!(call(router(), Method::GET, "/healthz", "").await.0, StatusCode::OK);
    assert_eq!(call(router(), Method::GET, "/readyz", "").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(call(router(), Method::GET, "/metrics", "").await.1, "weft_up 1\n");
    assert_eq!(call(router(), Method::GET, "/v1/status", "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(call(router(), Method::POST, "/v1/leave", "").await.0, StatusCode::NOT_FOUND);
}
