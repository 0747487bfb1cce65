//! Embeddings that are made once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

use gve::recipe::RecipeId;
use gve::video::FrameCount;
use gve::{Embedder, Sampling};
use rayon::prelude::*;

use super::content::{ContentHasher, ContentKey, Fields};
use super::record::{self, Sha256Digest};
use super::{Emit, Encoder, EncoderInfo, Item, PromptStyle, Request, check};
use crate::Error;

/// Items whose contents are hashed and looked up together. While the encoder has some, the next are being
/// hashed. Few at first, for files may be long and the encoder waits for them.
const FIRST_CHUNK: usize = 16;
/// Many later, for an encoder is fastest with many.
const MAX_CHUNK: usize = 512;

/// Keeps every embedding of another encoder on disk.
///
/// An embedding is found again by what it was made from: name, revision and settings of the encoder, and the
/// content of the input with its prompt. Data set and id are not part of that, so a corpus that several data
/// sets share is embedded once. Each is a small file that is written in one step: a process killed at any
/// time loses what was under way, any number may share a directory, and what a damaged file was of is
/// embedded again: see [`on_damage`](Self::on_damage). Failures are not kept. An encoder that is not
/// [`cacheable`](EncoderInfo::cacheable) is passed through.
pub struct CachedEncoder<E> {
    inner: E,
    directory: PathBuf,
    hasher: ContentHasher,
    /// What keys have in common.
    encoder_key: Sha256Digest,
    counts: Counts,
    on_damage: Box<OnDamage>,
}

/// Is told of a file of the cache that cannot be read.
pub type OnDamage = dyn Fn(&Error) + Send + Sync;

/// Where embeddings came from, since the encoder was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStatistics {
    /// Items found on disk.
    pub hits: usize,
    /// Items encoded now.
    pub misses: usize,
    /// Items with the content of another one of the same request, whose result they took.
    pub shared: usize,
    /// Of the misses, those that failed.
    pub failed: usize,
}

#[derive(Default)]
struct Counts {
    hits: AtomicUsize,
    misses: AtomicUsize,
    shared: AtomicUsize,
    failed: AtomicUsize,
}

impl<E: Encoder> CachedEncoder<E> {
    /// A cache of `inner` in `directory`, which is made when the first embedding is kept.
    pub fn new(inner: E, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        let hasher = ContentHasher::persistent(directory.join("files"));
        let encoder_key = encoder_key(inner.info());
        Self { inner, directory, hasher, encoder_key, counts: Counts::default(), on_damage: Box::new(|_| {}) }
    }

    /// Tells `on_damage` of each embedding that is there, cannot be read and is made again.
    #[must_use]
    pub fn on_damage(self, on_damage: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        Self { on_damage: Box::new(on_damage), ..self }
    }

    /// Where embeddings came from so far.
    pub fn statistics(&self) -> CacheStatistics {
        let get = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        CacheStatistics {
            hits: get(&self.counts.hits),
            misses: get(&self.counts.misses),
            shared: get(&self.counts.shared),
            failed: get(&self.counts.failed),
        }
    }

    /// The encoder behind the cache.
    pub fn inner(&self) -> &E {
        &self.inner
    }

    /// The key of an item; `None` where a file cannot be read, of which the encoder itself will tell.
    fn key(&self, item: &Item<'_>) -> Option<Sha256Digest> {
        let content: ContentKey = self.hasher.key(item.input).ok()?;
        let mut key = Fields::new("uvrb embedding 1");
        key.bytes(&self.encoder_key).bytes(&content);
        Some(key.finish())
    }

    fn read(&self, key: &Sha256Digest) -> Option<Vec<f32>> {
        let bytes = record::read(&self.directory, key).unwrap_or_else(|error| {
            (self.on_damage)(&error);
            None
        })?;
        let (values, rest) = bytes.as_chunks();
        let values: Vec<f32> = values.iter().map(|&value| f32::from_le_bytes(value)).collect();
        (rest.is_empty() && check(&values).is_ok()).then_some(values)
    }

    fn write(&self, key: &Sha256Digest, values: &[f32]) -> Result<(), Error> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        record::write(&self.directory, key, &bytes)
    }

    /// Emits what is on disk and encodes the rest. `first` is the index of the first of `items` in the
    /// request.
    fn encode_chunk(
        &self,
        request: Request<'_>,
        first: usize,
        keys: Vec<Option<Sha256Digest>>,
        emit: &mut Emit<'_>,
    ) -> Result<(), Error> {
        let mut misses: Vec<Miss<'_>> = Vec::new();
        let mut miss_of: HashMap<Sha256Digest, usize> = HashMap::new();
        for (offset, key) in keys.into_iter().enumerate() {
            let index = first + offset;
            if let Some(known) = key.and_then(|key| miss_of.get(&key)) {
                misses[*known].indices.push(index);
                continue;
            }
            if let Some(values) = key.and_then(|key| self.read(&key)) {
                self.counts.hits.fetch_add(1, Ordering::Relaxed);
                emit(index, Ok(values))?;
                continue;
            }
            if let Some(key) = key {
                miss_of.insert(key, misses.len());
            }
            misses.push(Miss { key, item: request.items[index], indices: vec![index] });
        }
        if misses.is_empty() {
            return Ok(());
        }
        let items: Vec<Item<'_>> = misses.iter().map(|miss| miss.item).collect();
        self.inner.encode(Request { items: &items, ..request }, &mut |miss, result| {
            let Some(Miss { key, item, indices }) = misses.get(miss) else {
                return Err(Error::Encoder {
                    encoder: self.inner.info().name.clone(),
                    reason: format!("it told of item {miss} of {}", misses.len()),
                });
            };
            let result = result.and_then(|values| check(&values).map(|()| values));
            self.counts.misses.fetch_add(1, Ordering::Relaxed);
            self.counts.shared.fetch_add(indices.len() - 1, Ordering::Relaxed);
            match (&result, key) {
                // A file that was changed meanwhile may be what was encoded.
                (Ok(values), Some(key)) if self.key(item) == Some(*key) => self.write(key, values)?,
                (Ok(_), _) => {}
                (Err(_), _) => {
                    self.counts.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
            indices.iter().try_for_each(|&index| emit(index, result.clone()))
        })
    }
}

/// An item to encode, and every index it is the result of.
struct Miss<'a> {
    key: Option<Sha256Digest>,
    item: Item<'a>,
    indices: Vec<usize>,
}

impl<E: Encoder> Encoder for CachedEncoder<E> {
    fn info(&self) -> &EncoderInfo {
        self.inner.info()
    }

    fn frames(&self) -> Option<(&Sampling, FrameCount)> {
        self.inner.frames()
    }

    fn embedder(&self) -> Option<&Embedder> {
        self.inner.embedder()
    }

    fn prompt_style(&self) -> PromptStyle {
        self.inner.prompt_style()
    }

    fn cache_hits(&self) -> usize {
        let CacheStatistics { hits, shared, .. } = self.statistics();
        hits + shared
    }

    fn encode(&self, request: Request<'_>, emit: &mut Emit<'_>) -> Result<(), Error> {
        if !self.info().cacheable {
            return self.inner.encode(request, emit);
        }
        let stopped = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (sender, chunks) = sync_channel(0);
            let stopped = &stopped;
            scope.spawn(move || {
                let key = |item| if stopped.load(Ordering::Relaxed) { None } else { self.key(item) };
                let (mut rest, mut size) = (request.items, FIRST_CHUNK);
                while !rest.is_empty() {
                    let (chunk, later) = rest.split_at(size.min(rest.len()));
                    let keys: Vec<_> = chunk.par_iter().map(key).collect();
                    if sender.send(keys).is_err() {
                        break;
                    }
                    (rest, size) = (later, MAX_CHUNK.min(2 * size));
                }
            });
            let mut first = 0;
            let outcome = chunks.into_iter().try_for_each(|keys| {
                let start = first;
                first += keys.len();
                self.encode_chunk(request, start, keys, emit)
            });
            stopped.store(true, Ordering::Relaxed);
            outcome
        })
    }
}

fn encoder_key(info: &EncoderInfo) -> Sha256Digest {
    let mut key = Fields::new("uvrb encoder 1");
    key.bytes(info.name.as_bytes()).bytes(info.revision.as_bytes());
    for (name, value) in &info.settings {
        key.bytes(name.as_bytes()).bytes(value.to_string().as_bytes());
    }
    // Where nothing is said of it, as before there were recipes, it is GVE's.
    if let Some(recipe) = info.recipe.as_ref().filter(|recipe| recipe.hash != RecipeId::gve().hash) {
        key.bytes(b"recipe").bytes(recipe.hash.as_bytes());
    }
    key.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn keys_of_encoders_differ_in_each_field() {
        let info = |name: &str, revision: &str, settings: &[(&str, i32)]| EncoderInfo {
            name: name.into(),
            revision: revision.into(),
            settings: settings.iter().map(|(key, value)| ((*key).into(), json!(value))).collect(),
            recipe: None,
            cacheable: true,
        };
        let by = |hash: &str| EncoderInfo {
            recipe: Some(RecipeId { name: "r".into(), hash: hash.into() }),
            ..info("a", "b", &[])
        };
        let gve = by(&RecipeId::gve().hash);
        assert_eq!(encoder_key(&gve), encoder_key(&info("a", "b", &[])));
        let infos = [
            by("1"),
            by("2"),
            info("a", "b", &[]),
            info("ab", "", &[]),
            info("a", "b", &[("frames", 8)]),
            info("a", "b", &[("frames", 9)]),
            info("a", "b", &[("pixels", 8)]),
            info("a", "b", &[("frames", 8), ("pixels", 8)]),
        ];
        let keys: BTreeMap<_, _> = infos.iter().map(|info| (encoder_key(info), info)).collect();
        assert_eq!(keys.len(), infos.len());
        assert_eq!(encoder_key(&infos[5]), encoder_key(&infos[5].clone()));
    }
}
