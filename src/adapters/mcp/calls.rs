//! Who sends, and calls of the spec's methods on their behalf: in process, through the same gate and
//! out of the same budgets as over any other face.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Extensions, HeaderMap};
use tonic::metadata::MetadataMap;

use crate::adapters::entry::{Entrance, Shared, allowance_of, put_allowance};
use crate::adapters::progress::ProgressSink;
use crate::adapters::rest::put_retry_after;
use crate::gate::{Allowance, Caller, Refusal};
use crate::spec::error::ApiError;
use crate::spec::method::{Call, Envelopes, Input};

/// Who sent a message, and what came with it.
#[derive(Clone)]
pub struct Sender {
    /// The headers of its request.
    pub headers: HeaderMap,
    /// Whose credential it showed.
    pub caller: Caller,
    /// What the answer's headers will say of its budget.
    pub limits: Limits,
}

/// What REST says in headers of a call's budget, for the answer to a message: what is left of it, and when
/// to come back. Whatever is done for the message takes note here; the last note counts. On a transport
/// whose answers have no headers nobody reads it.
#[derive(Clone, Default)]
pub struct Limits(Arc<Mutex<HeaderMap>>);

impl Limits {
    /// A call was let in.
    pub fn left(&self, allowance: &Allowance) {
        self.change(|headers| put_allowance(headers, allowance));
    }

    /// A call was not let in.
    pub fn refused(&self, refusal: Refusal) -> ApiError {
        if let Some(allowance) = allowance_of(&refusal) {
            self.left(&allowance);
        }
        let error = refusal.into();
        self.failed(&error);
        error
    }

    /// Puts the headers among those of an answer.
    pub fn put(&self, headers: &mut HeaderMap) {
        self.change(|noted| headers.extend(std::mem::take(noted)));
    }

    fn failed(&self, error: &ApiError) {
        self.change(|headers| put_retry_after(headers, error));
    }

    fn change(&self, change: impl FnOnce(&mut HeaderMap)) {
        // Nothing in here is left half done.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
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
        let extensions = self.enter(&sender, entrance)?;
        let metadata = MetadataMap::from_headers(sender.headers);
        match &entrance.method.call {
            Call::Stream(call) => call(input, metadata, extensions).await,
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
        let mut extensions = self.enter(&sender, entrance)?;
        let metadata = MetadataMap::from_headers(sender.headers);
        if let Some(progress) = progress {
            extensions.insert(progress);
        }
        match &entrance.method.call {
            Call::Unary(call) => {
                let answer = call(input, metadata, extensions);
                let limits = sender.limits;
                Ok(async move { answer.await.inspect_err(|error| limits.failed(error)) })
            }
            Call::Stream(_) | Call::File(_) => Err(ApiError::internal()),
        }
    }

    /// Lets a sender make a call; the extensions are those of the request that the handler gets.
    fn enter(&self, sender: &Sender, entrance: &Entrance) -> Result<Extensions, ApiError> {
        match self.house.admit(sender.caller.clone(), entrance) {
            Ok(admitted) => {
                sender.limits.left(&admitted.allowance);
                Ok(admitted.into_extensions())
            }
            Err(refusal) => Err(sender.limits.refused(refusal)),
        }
    }

    /// A registry need not have every method of the product: tests have their own.
    fn named(&self, name: &'static str) -> Result<&Entrance, ApiError> {
        let at = self.by_name.get(name).ok_or_else(ApiError::internal)?;
        Ok(&self.house.entrances[*at])
    }
}
