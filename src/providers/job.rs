//! What is asked of an upstream.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Failure, Inputs};

/// What is asked of an upstream, as far as upstreams tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// From the prompt alone.
    Text,
    /// Pictures from a prompt and reference pictures.
    Edit,
    /// A video that starts with the one reference picture.
    ImageToVideo,
    /// A video from the first reference picture to the second.
    FirstLastFrame,
    /// A video that shows what is on the reference pictures.
    ReferenceToVideo,
}

/// One attempt at a task, in the terms of the provider that is asked.
#[derive(Debug, Clone)]
pub struct Job {
    /// The task; with [`attempt`](Self::attempt), a name for the submission that no other has.
    pub task_id: Uuid,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The model's slug in the catalogue.
    pub model: String,
    /// The model's name for people.
    pub model_title: String,
    /// The upstream's id for the model and the operation.
    pub upstream_model: String,
    /// How the upstream's model wants to be told what is asked; none: in its dialect's usual way.
    pub inputs: Option<Arc<Inputs>>,
    /// Upstream inputs that never vary, because the price rests on them.
    pub fixed: BTreeMap<String, String>,
    /// What kind of work it is.
    pub operation: Operation,
    /// What to make, in words.
    pub prompt: String,
    /// What it must not show, in words, where the upstream takes that.
    pub negative_prompt: Option<String>,
    /// As the model lists it, for example `2K`.
    pub resolution: String,
    /// As the model lists it, for example `16:9`.
    pub aspect_ratio: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// The length of a video; none: pictures are asked for.
    pub duration_seconds: Option<u32>,
    /// How many files to make; at least 1.
    pub count: u32,
    /// Whether a video has sound.
    pub audio: bool,
    /// A number that makes the result repeatable, where the upstream supports that.
    pub seed: Option<u32>,
    /// The reference pictures. Present when [`Provider::submit`] and [`Provider::lookup`] are
    /// called and at the first [`Provider::poll`] of a process; let go afterwards, since a job may
    /// be polled for an hour.
    pub references: Vec<Bytes>,
    /// Where the upstream may call when something has changed.
    pub webhook_url: Option<String>,
}

impl Job {
    /// What is sent to the upstream, where the route does not say otherwise by `usual`. `images` stand
    /// for the reference pictures, as links or data URIs.
    pub(super) fn input(
        &self,
        usual: &Inputs,
        images: &[String],
    ) -> Result<Map<String, Value>, Failure> {
        self.input_as(self.inputs.as_deref().unwrap_or(usual), images)
    }

    /// What is sent to the upstream by this map, and no other.
    pub(super) fn input_as(
        &self,
        inputs: &Inputs,
        images: &[String],
    ) -> Result<Map<String, Value>, Failure> {
        let mut filled = inputs.fill(self, images)?;
        for (field, value) in &self.fixed {
            filled.insert(field.clone(), value.as_str().into());
        }
        Ok(filled)
    }

    /// As many texts as the job has pictures, for asking whether it can be done.
    pub(super) fn stand_ins(&self) -> Vec<String> {
        let many = match self.operation {
            Operation::Text => 0,
            Operation::FirstLastFrame => 2,
            Operation::Edit | Operation::ImageToVideo | Operation::ReferenceToVideo => 1,
        };
        vec![String::new(); many]
    }

    /// The reference pictures as data URIs.
    pub(super) fn data_uris(&self) -> Vec<String> {
        self.references
            .iter()
            .map(|bytes| data_uri(bytes))
            .collect()
    }
}

/// The media type of a picture, from its first bytes. What came in was sniffed before it was kept, so
/// it is one of these.
pub(super) fn picture_type(bytes: &[u8]) -> &'static str {
    match bytes {
        [0xff, 0xd8, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', ..] => "image/webp",
        [b'G', b'I', b'F', ..] => "image/gif",
        _ => "image/png",
    }
}

fn data_uri(bytes: &[u8]) -> String {
    format!(
        "data:{};base64,{}",
        picture_type(bytes),
        STANDARD.encode(bytes)
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A picture of a lighthouse.
    pub fn job() -> Job {
        Job {
            task_id: Uuid::from_u128(1),
            attempt: 1,
            model: "model".to_owned(),
            model_title: "Model".to_owned(),
            upstream_model: "up/stream".to_owned(),
            inputs: None,
            fixed: BTreeMap::new(),
            operation: Operation::Text,
            prompt: "a lighthouse".to_owned(),
            negative_prompt: None,
            resolution: "1K".to_owned(),
            aspect_ratio: "1:1".to_owned(),
            width: 1024,
            height: 1024,
            duration_seconds: None,
            count: 1,
            audio: false,
            seed: None,
            references: Vec::new(),
            webhook_url: None,
        }
    }
}
