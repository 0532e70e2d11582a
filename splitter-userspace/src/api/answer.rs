//! How a call is refused: always as an [`ApiError`] in JSON.

use axum::{
    Json,
    extract::{FromRequestParts, Query, rejection::BytesRejection},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;

use super::model::{ApiError, ErrorCode};

/// An HTTP status and the error that goes with it.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: ApiError,
}

impl Refusal {
    /// The request was not understood.
    pub fn request(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, error: ApiError { code: ErrorCode::Refused, message: message.into() } }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        let status = match error.code {
            ErrorCode::Refused => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, error }
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        Self::request(
            rejection.status(),
            format!("the request's body cannot be read: {}", rejection.body_text()),
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.error)).into_response()
    }
}

/// A query string with its fields checked.
pub(super) struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let query = Query::try_from_uri(&parts.uri).map_err(|rejection| {
            let path = parts.uri.path();
            Refusal::request(StatusCode::BAD_REQUEST, format!("{path}: bad query: {}", rejection.body_text()))
        })?;
        Ok(Self(query.0))
    }
}
