//! The embedder of this repository.

use std::collections::BTreeMap;

use gve::video::FrameCount;
use gve::{EmbedError, Embedder, Input, Sampling};
use serde_json::{Value, json};

use super::{Emit, EncodeError, Encoder, EncoderInfo, PromptStyle, Request};
use crate::Error;

/// Is told the id of an item and what was odd about it.
pub type OnWarning = dyn Fn(&str, &str) + Send + Sync;

/// A model that gve runs itself.
pub struct ModelEncoder {
    embedder: Embedder,
    info: EncoderInfo,
    on_warning: Option<Box<OnWarning>>,
}

impl ModelEncoder {
    /// An encoder around `embedder`, whose weights are `revision` of `name`. An adapter that is folded into
    /// them adds its fingerprint to the revision, so that results and cached embeddings of the two are kept
    /// apart.
    pub fn new(embedder: Embedder, name: impl Into<String>, revision: impl Into<String>) -> Self {
        let settings = settings(&embedder);
        let mut revision = revision.into();
        if let Some(adapter) = embedder.adapter() {
            revision = format!("{revision}+{}", adapter.fingerprint);
        }
        let recipe = Some(embedder.recipe().id());
        let info = EncoderInfo { name: name.into(), revision, settings, recipe, cacheable: true };
        Self { embedder, info, on_warning: None }
    }

    /// Tells `on_warning` of inputs that were embedded but had something odd about them, such as frames that
    /// could not be decoded.
    #[must_use]
    pub fn on_warning(mut self, on_warning: impl Fn(&str, &str) + Send + Sync + 'static) -> Self {
        self.on_warning = Some(Box::new(on_warning));
        self
    }
}

/// What besides the weights decides on an embedding. The version of gve is among them: embeddings of an older
/// one may differ.
fn settings(embedder: &Embedder) -> BTreeMap<String, Value> {
    let device = match embedder.device().location() {
        candle_core::DeviceLocation::Cpu => "cpu",
        candle_core::DeviceLocation::Cuda { .. } => "cuda",
        candle_core::DeviceLocation::Metal { .. } => "metal",
    };
    #[cfg_attr(not(feature = "video"), expect(unused_mut))]
    let mut settings = BTreeMap::from([
        ("device", json!(device)),
        ("dtype", json!(embedder.weights().arithmetic_name())),
        ("gve_version", json!(env!("CARGO_PKG_VERSION"))),
        ("instruction", json!(embedder.instruction())),
        ("max_length", json!(embedder.max_length())),
        ("max_pixels", json!(embedder.pixels().max_pixels)),
        ("min_pixels", json!(embedder.pixels().min_pixels)),
        ("sampling", json!(embedder.sampling())),
    ]);
    #[cfg(feature = "video")]
    settings.insert(
        "seeking",
        match embedder.video_options().seeking {
            gve::video::Seeking::Exact => json!("exact"),
            gve::video::Seeking::Approximate => json!("approximate"),
        },
    );
    // Said where it is not what evaluations have.
    #[cfg(feature = "video")]
    if embedder.video_options().appearance != video_options().appearance {
        settings.insert("appearance", json!("as shown"));
    }
    settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// How videos of data sets are opened: as the decoders of published scores did, which know neither high dynamic
/// range nor pixels that are not square.
#[cfg(feature = "video")]
#[must_use]
pub fn video_options() -> gve::video::VideoOptions {
    gve::video::VideoOptions::default().with_appearance(gve::video::Appearance::AsCoded)
}

impl Encoder for ModelEncoder {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn frames(&self) -> Option<(&Sampling, FrameCount)> {
        Some((self.embedder.sampling(), self.embedder.frame_count()))
    }

    fn embedder(&self) -> Option<&Embedder> {
        Some(&self.embedder)
    }

    fn prompt_style(&self) -> PromptStyle {
        if self.embedder.reads_instructions() { PromptStyle::default() } else { PromptStyle::None }
    }

    /// Decodes ahead of the model. Results come in the order of the items.
    fn encode(&self, request: Request<'_>, emit: &mut Emit<'_>) -> Result<(), Error> {
        let inputs: Vec<Input> = request.items.iter().map(|item| item.input.clone()).collect();
        let mut results = self.embedder.embed_iter(inputs);
        for (index, item) in request.items.iter().enumerate() {
            let result = match results.next() {
                Some(Ok(embedding)) => {
                    if let Some(on_warning) = &self.on_warning {
                        embedding.warnings().iter().for_each(|warning| on_warning(item.id, warning));
                    }
                    Ok(embedding.into_vec())
                }
                Some(Err(EmbedError::Job(reason))) => return Err(self.failed(reason)),
                Some(Err(error)) => Err(EncodeError(error.to_string())),
                None => return Err(self.failed(format!("it ended before item {}", item.id))),
            };
            emit(index, result)?;
        }
        Ok(())
    }
}

impl ModelEncoder {
    fn failed(&self, reason: String) -> Error {
        Error::Encoder { encoder: self.info.name.clone(), reason }
    }
}
