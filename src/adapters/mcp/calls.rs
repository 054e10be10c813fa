//! Who sends, and calls of the spec's methods on their behalf: in process, through the same gate and
//! out of the same budgets as over any other face.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::MetadataMap;

use crate::adapters::entry::{Entrance, Peer, Shared};
use crate::adapters::progress::ProgressSink;
use crate::gate::Caller;
use crate::spec::error::ApiError;
use crate::spec::method::{Call, Envelopes, Input};

/// The headers that a credential, and the address it counts for, can be in.
const CREDENTIAL_HEADERS: [&str; 3] = ["authorization", "x-api-key", "x-forwarded-for"];

/// Who sent a message, and what came with it.
#[derive(Clone)]
pub struct Sender {
    /// The headers of its request.
    pub headers: HeaderMap,
    /// Where it came from.
    pub peer: Option<Peer>,
    /// Whose credential it showed.
    pub caller: Caller,
}

impl Sender {
    /// The same without what only the request itself needed: for those who stay. The values are copied,
    /// since as they came they are parts of the connection's buffer, and would keep the whole of it.
    pub fn staying(self) -> Self {
        let mut headers = HeaderMap::with_capacity(1);
        for name in CREDENTIAL_HEADERS.map(HeaderName::from_static) {
            for value in self.headers.get_all(&name) {
                let copied = HeaderValue::from_bytes(value.as_bytes());
                headers.append(name.clone(), copied.expect("it was a value"));
            }
        }
        Self { headers, ..self }
    }
}

/// The spec's methods by name.
pub struct Calls {
    house: Shared,
    by_name: HashMap<&'static str, usize>,
}

impl Calls {
    /// Finds the methods.
    pub fn new(house: &Shared) -> Self {
        Self {
            house: house.clone(),
            by_name: house.index(|info| Some(info.name)),
        }
    }

    /// Calls a method with one answer by its name; the answer is in the envelope.
    ///
    /// # Errors
    /// Those of the gate and of the method.
    pub async fn ask(
        &self,
        sender: Sender,
        name: &'static str,
        input: Input,
    ) -> Result<Vec<u8>, ApiError> {
        let entrance = self.named(name)?;
        self.unary(sender, entrance, input, None)?.await
    }

    /// Calls a method with a stream of answers, each in the envelope.
    ///
    /// # Errors
    /// Those of the gate and of the method.
    pub async fn follow(
        &self,
        sender: Sender,
        name: &'static str,
        input: Input,
    ) -> Result<Envelopes, ApiError> {
        let entrance = self.named(name)?;
        let admitted = self.house.admit(sender.caller, entrance)?;
        let metadata = MetadataMap::from_headers(sender.headers);
        match &entrance.method.call {
            Call::Stream(call) => call(input, metadata, admitted.into_extensions()).await,
            Call::Unary(_) | Call::File(_) => Err(ApiError::internal()),
        }
    }

    /// Lets a call of a method in and starts it. What it answers does not borrow: it can be waited for
    /// here or by a stream.
    ///
    /// # Errors
    /// Those of the gate.
    pub fn unary(
        &self,
        sender: Sender,
        entrance: &Entrance,
        input: Input,
        progress: Option<ProgressSink>,
    ) -> Result<impl Future<Output = Result<Vec<u8>, ApiError>> + Send + use<>, ApiError> {
        let admitted = self.house.admit(sender.caller, entrance)?;
        let metadata = MetadataMap::from_headers(sender.headers);
        let mut extensions = admitted.into_extensions();
        if let Some(progress) = progress {
            extensions.insert(progress);
        }
        match &entrance.method.call {
            Call::Unary(call) => Ok(call(input, metadata, extensions)),
            Call::Stream(_) | Call::File(_) => Err(ApiError::internal()),
        }
    }

    /// A registry need not have every method of the product: tests have their own.
    fn named(&self, name: &'static str) -> Result<&Entrance, ApiError> {
        let at = self.by_name.get(name).ok_or_else(ApiError::internal)?;
        Ok(&self.house.entrances[*at])
    }
}
