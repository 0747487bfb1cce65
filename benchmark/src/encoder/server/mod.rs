//! Servers with an OpenAI-compatible `/v1/embeddings` that takes chat `messages`, as vLLM's pooling models
//! do.

mod client;
mod message;
mod reply;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use gve::Sampling;
use gve::http::{Proxies, RetrySettings};
use serde_json::{Map, Value, json};

use super::parallel::{Stop, encode_each};
use super::{Emit, EncodeError, Encoder, EncoderInfo, Item, Request};
use crate::Error;
use client::Client;

/// How to reach a server, and what to send it.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where the API begins, such as `http://localhost:8000/v1`.
    pub base_url: String,
    /// The model, as the server calls it.
    pub model: String,
    /// Sent as bearer token.
    pub api_key: Option<String>,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Longest time for one try, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// Through whom it is asked. HTTP proxies are asked to `CONNECT`.
    pub proxies: Proxies,
    /// What to do when a try fails.
    pub retry: RetrySettings,
    /// How video files are sent.
    pub video: VideoTransport,
    /// Pictures larger than this area are reduced before they are sent; `None`: image files are sent as they
    /// are.
    pub max_pixels: Option<u64>,
    /// Largest media file to send, in bytes.
    pub max_file_bytes: u64,
    /// Further fields of the request, such as `add_generation_prompt` or `mm_processor_kwargs`. They win over
    /// ours.
    pub extra: Map<String, Value>,
}

/// How a video file goes to the server.
#[derive(Debug, Clone, PartialEq)]
pub enum VideoTransport {
    /// As it is, as `video_url`: the server decodes and samples.
    File,
    /// Its sampled frames, as `image_url`s.
    Frames(Sampling),
}

impl ServerOptions {
    /// Settings for `model` behind `base_url`: no key, no proxy, 8 requests at once, 2 minutes for each, files
    /// up to 256 MiB as they are.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            api_key: None,
            concurrency: 8,
            timeout: Duration::from_secs(120),
            proxies: Proxies::default(),
            retry: RetrySettings::default(),
            video: VideoTransport::File,
            max_pixels: None,
            max_file_bytes: 256 << 20,
            extra: Map::new(),
        }
    }

    /// What changes embeddings. Where the server stands does not.
    fn settings(&self) -> BTreeMap<String, Value> {
        let video = match &self.video {
            VideoTransport::File => json!("file"),
            VideoTransport::Frames(sampling) => json!({"frames": sampling}),
        };
        BTreeMap::from([
            ("extra".into(), json!(self.extra)),
            ("max_pixels".into(), json!(self.max_pixels)),
            ("model".into(), json!(self.model)),
            ("video".into(), video),
        ])
    }
}

/// A model behind a server, one request per input.
pub struct ServerEncoder {
    info: EncoderInfo,
    options: ServerOptions,
    client: Client,
    /// Values in the first embedding that came; all others must have as many.
    dim: OnceLock<usize>,
}

impl ServerEncoder {
    /// An encoder for results under `name` and `revision`; the server itself does not tell which weights it
    /// runs.
    ///
    /// # Errors
    /// [`Error::Settings`] for a base URL or a proxy that is none.
    pub fn new(
        options: ServerOptions,
        name: impl Into<String>,
        revision: impl Into<String>,
    ) -> Result<Self, Error> {
        let info = EncoderInfo {
            name: name.into(),
            revision: revision.into(),
            settings: options.settings(),
            recipe: None,
            cacheable: true,
        };
        let client = Client::new(&options)?;
        Ok(Self { info, options, client, dim: OnceLock::new() })
    }

    fn encode_one(&self, item: &Item<'_>, stop: &Stop) -> Result<Result<Vec<f32>, EncodeError>, Error> {
        let body = match message::body(item.input, &self.options) {
            Ok(body) => body,
            Err(error) => return Ok(Err(error)),
        };
        let answer = self.client.post(&body, stop);
        let answer = answer.map_err(|reason| Error::Encoder { encoder: self.info.name.clone(), reason })?;
        Ok(answer.and_then(|text| {
            // A message of the parser may quote what it met.
            reply::embedding(&text, &self.dim).map_err(|error| EncodeError(self.client.redact(&error.0)))
        }))
    }
}

impl Encoder for ServerEncoder {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    /// An input that the server refuses, or fails at every time, is that item's error.
    ///
    /// # Errors
    /// [`Error::Encoder`] where the server cannot be reached, is not what the base URL promised, does not
    /// accept the key or has no room for us, after the tries that [`RetrySettings`] grants; what `emit` fails
    /// with.
    fn encode(&self, request: Request<'_>, emit: &mut Emit<'_>) -> Result<(), Error> {
        let items = request.items;
        encode_each(items.len(), self.options.concurrency, |i, stop| self.encode_one(&items[i], stop), emit)
    }
}
