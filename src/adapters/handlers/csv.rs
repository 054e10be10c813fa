//! Lists that are answered as a CSV file, whole.

use std::future::Future;
use std::pin::Pin;

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use tonic::metadata::MetadataValue;
use tonic::{Response, Status};

use crate::spec::body::HttpBody;
use crate::spec::error::ApiError;

/// The media type.
const CSV: &str = "text/csv; charset=utf-8; header=present";

/// The parts of a file.
pub type Parts = Pin<Box<dyn Stream<Item = Result<HttpBody, Status>> + Send>>;

/// A file of `header` and the lines of every page. `read` gets where a page begins, and answers its lines and where the
/// next one begins. A page is read when the one before has left: a file of any length takes little memory.
pub fn pages<F, A, E>(header: &'static str, read: F) -> Parts
where
    F: Fn(Option<i64>) -> A + Clone + Send + 'static,
    A: Future<Output = Result<(String, Option<i64>), E>> + Send,
    E: Into<ApiError> + Send,
{
    let pages = stream::try_unfold(Some(None), move |before| {
        let read = read.clone();
        async move {
            let Some(before) = before else {
                return Ok(None);
            };
            let (lines, next) = read(before).await.map_err(Into::into)?;
            Ok::<_, Status>(Some((lines, next.map(Some))))
        }
    });
    let lines = stream::once(async move { Ok(header.to_owned()) })
        .chain(pages)
        .try_filter(|lines| std::future::ready(!lines.is_empty()));
    Box::pin(lines.map_ok(|lines| HttpBody {
        content_type: CSV.to_owned(),
        data: lines.into(),
    }))
}

/// The answer that a browser takes as `disposition` says.
pub fn response(parts: Parts, disposition: &'static str) -> Response<Parts> {
    let mut response = Response::new(parts);
    let metadata = response.metadata_mut();
    metadata.insert(
        "content-disposition",
        MetadataValue::from_static(disposition),
    );
    response
}
