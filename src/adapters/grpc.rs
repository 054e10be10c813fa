//! The gRPC face: the tonic services behind the gate, grpc-web for browsers, health and reflection.
//!
//! Health and reflection need no key: the one tells nothing, the other what `/openapi.json` tells.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::{HeaderMap, header};
use tonic::Status;
use tonic::service::Routes;
use tonic_web::GrpcWebLayer;

use super::entry::{Peer, Shared, allowance_of, put_allowance};
use super::rest::too_large;
use crate::spec::DESCRIPTORS;
use crate::spec::error::ApiError;

/// Whether a request is for this face: `application/grpc`, `application/grpc-web` and their kin.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .map(http::HeaderValue::as_bytes);
    content_type.is_some_and(|value| value.starts_with(b"application/grpc"))
}

/// What the gate middleware knows.
#[derive(Clone)]
struct Gated {
    house: Shared,
    by_path: Arc<HashMap<&'static str, usize>>,
}

/// The face.
pub fn router(services: Routes, house: &Shared) -> Router {
    // Serving, as a whole: whoever asks for less than that has /readyz.
    let (_, health) = tonic_health::server::health_reporter();
    let mut routes = services.add_service(health);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Clients in the field speak one or the other.
    if let (Ok(v1), Ok(v1alpha)) = (reflection().build_v1(), reflection().build_v1alpha()) {
        routes = routes.add_service(v1).add_service(v1alpha);
    }
    let by_path = Arc::new(house.index(|info| Some(info.grpc_path)));
    let gated = Gated {
        house: house.clone(),
        by_path,
    };
    routes
        .prepare()
        .into_axum_router()
        .layer(from_fn_with_state(gated, gate))
        .layer(GrpcWebLayer::new())
}

/// Lets calls of the API pass with their caller; everything else passes as it is.
async fn gate(State(gated): State<Gated>, mut request: Request, next: Next) -> Response {
    let Some(at) = gated.by_path.get(request.uri().path()) else {
        return next.run(request).await;
    };
    let peer = request.extensions().get::<Peer>().copied();
    let entered = gated
        .house
        .enter(request.headers(), peer, &gated.house.entrances[*at])
        .await;
    match entered {
        Err(refusal) => {
            let allowance = allowance_of(&refusal);
            let mut response = Status::from(ApiError::from(refusal)).into_http::<Body>();
            if let Some(allowance) = allowance {
                put_allowance(response.headers_mut(), &allowance);
            }
            response
        }
        Ok(admitted) => {
            let allowance = admitted.allowance;
            request.extensions_mut().insert(admitted.caller);
            let mut response = next.run(request).await;
            if is_too_large(response.headers()) {
                let error = too_large(gated.house.parts.options.body_bytes_max);
                response = Status::from(error).into_http::<Body>();
            }
            put_allowance(response.headers_mut(), &allowance);
            response
        }
    }
}

/// Whether tonic refused a message for its size. It does so before any handler, with a bare
/// `OUT_OF_RANGE`, a code that no reason of ours has.
fn is_too_large(headers: &HeaderMap) -> bool {
    let bare = !headers.contains_key("grpc-status-details-bin");
    let code = headers.get("grpc-status").map(http::HeaderValue::as_bytes);
    bare && code == Some(b"11")
}
