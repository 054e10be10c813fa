//! Answers that are files: `google.api.HttpBody`, which other services know by this name too.

/// Bytes of a media type, or a part of them.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpBody {
    /// The media type, such as `text/csv`.
    #[prost(string, tag = "1")]
    pub content_type: String,
    /// The bytes, or a part of them.
    #[prost(bytes = "bytes", tag = "2")]
    pub data: bytes::Bytes,
}
