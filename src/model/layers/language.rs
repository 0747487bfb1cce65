//! The language model without its head: token embeddings, decoder layers, final norm.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use crate::model::ModelError;
use crate::model::config::{Attention, TextConfig};
use crate::model::kernels::Products;
use crate::model::loader::{Loader, Precision};
use crate::model::ops::{
    AttentionPlan, Dropout, GatedMlp, GradientSink, Linear, RmsNorm, RotaryTable, add, apply_rope, attention,
    checkpointed, inverse_frequencies,
};
use crate::model::segments::Segments;

pub(in crate::model) struct LanguageModel {
    embed_tokens: Tensor,
    layers: Vec<Arc<DecoderLayer>>,
    norm: RmsNorm,
    config: TextConfig,
    precision: Precision,
    device: Device,
}

struct DecoderLayer {
    /// Its place among the layers.
    index: usize,
    input_layernorm: RmsNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    /// Norms over each head of queries and keys.
    head_norms: Option<[RmsNorm; 2]>,
    post_attention_layernorm: RmsNorm,
    mlp: GatedMlp,
    head_dim: usize,
    products: Products,
}

impl LanguageModel {
    pub(in crate::model) fn load(
        loader: &Loader<'_>,
        config: &TextConfig,
        precision: Precision,
        device: &Device,
    ) -> std::result::Result<Self, ModelError> {
        let embed_tokens =
            loader.at("embed_tokens").weight("weight", &[config.vocab_size, config.hidden_size])?;
        let layers = (0..config.num_hidden_layers)
            .map(|i| DecoderLayer::load(&loader.at("layers").at(i), i, config).map(Arc::new))
            .collect::<std::result::Result<_, _>>()?;
        Ok(Self {
            embed_tokens,
            layers,
            norm: RmsNorm::load(&loader.at("norm"), config.hidden_size, config.rms_norm_eps)?,
            config: config.clone(),
            precision,
            device: device.clone(),
        })
    }

    /// Embeddings of `ids`, (ids, hidden); part of a graph where `record` is set and they are trained.
    pub(in crate::model) fn embed(&self, ids: &[u32], record: bool) -> Result<Tensor> {
        let table = if record { self.embed_tokens.clone() } else { self.embed_tokens.detach() };
        table.index_select(&Tensor::new(ids, &self.device)?, 0)?.to_dtype(self.precision.activations)
    }

    /// Final-norm hidden states of every row: (rows, hidden) to (rows, hidden).
    pub(in crate::model) fn hidden_states(
        &self,
        x: Tensor,
        position_ids: &[Vec<u32>; 3],
        sequences: &Segments,
        additions: &Additions,
    ) -> Result<Tensor> {
        let pass = Pass::over(sequences, self.rotary_table(position_ids)?, None, None, &self.device)?;
        let x = self.run(x, &self.layers, &Arc::new(pass), additions.behind_each(), None)?;
        self.norm.forward(&x)
    }

    /// The keys and values of one sequence, (rows, hidden), for others that begin as it does.
    pub(in crate::model) fn prefix(
        &self,
        mut x: Tensor,
        position_ids: &[Vec<u32>; 3],
        additions: &Additions,
    ) -> Result<Prefix> {
        let rows = x.dim(0)?;
        let sequence = Segments::from_lengths([rows]);
        let pass = Pass::over(&sequence, self.rotary_table(position_ids)?, None, None, &self.device)?;
        let mut additions = additions.behind_each();
        let mut layers = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.layers.iter().enumerate() {
            let normed = layer.input_layernorm.forward(&x)?;
            let own = layer.keys_values(&normed, &pass)?;
            layers.push(own.clone());
            if index + 1 < self.layers.len() {
                x = layer.attend(x, normed, &own, &pass)?;
                if let Some((rows, values)) = additions.next() {
                    x = x.index_add(rows, values, 0)?;
                }
            }
        }
        Ok(Prefix { rows, layers: layers.into() })
    }

    /// Final-norm hidden state of each sequence's last row: (rows, hidden) to
    /// (sequences, hidden). In the last layer only those rows' queries and feed-forward layers
    /// are computed. What `behind` says stands in front of the sequences.
    pub(in crate::model) fn last_hidden_states(
        &self,
        x: Tensor,
        position_ids: &[Vec<u32>; 3],
        sequences: &Segments,
        additions: &Additions,
        behind: Option<Behind<'_>>,
        training: &Training,
    ) -> Result<Tensor> {
        let rotary = self.rotary_table(position_ids)?;
        let dropout = training.dropout.clone();
        let pass = Pass::over(sequences, rotary, dropout, behind, &self.device)?;
        let sink = training.checkpointing.as_ref();
        let x = match self.layers.split_last() {
            Some((last, before)) => {
                let to_last = Arc::new(pass.to_last_rows(sequences, &self.device)?);
                let mut additions = additions.behind_each();
                let x = self.run(x, before, &Arc::new(pass), additions.by_ref(), sink)?;
                // What is added behind the last layer is added to visual tokens, which nobody pools.
                self.run(x, std::slice::from_ref(last), &to_last, std::iter::empty(), sink)?
            }
            None => x.index_select(&Tensor::new(sequences.last_rows(), &self.device)?, 0)?,
        };
        self.norm.forward(&x)
    }

    /// `x` through `layers`, with what is added behind each as far as there is something.
    fn run<'a>(
        &self,
        mut x: Tensor,
        layers: &[Arc<DecoderLayer>],
        pass: &Arc<Pass>,
        additions: impl Iterator<Item = (&'a Tensor, &'a Tensor)>,
        checkpointing: Option<&Arc<GradientSink>>,
    ) -> Result<Tensor> {
        let additions = additions.map(Some).chain(std::iter::repeat(None));
        for (layer, addition) in layers.iter().zip(additions) {
            x = match checkpointing {
                Some(sink) => {
                    let (layer, pass) = (layer.clone(), pass.clone());
                    checkpointed(&x, sink, move |x| layer.forward(x.clone(), &pass))?
                }
                None => layer.forward(x, pass)?,
            };
            if let Some((rows, values)) = addition {
                x = x.index_add(rows, values, 0)?;
            }
        }
        Ok(x)
    }

    /// Multimodal rotary embedding: each frequency turns with one of the three positions.
    fn rotary_table(&self, position_ids: &[Vec<u32>; 3]) -> Result<RotaryTable> {
        let c = &self.config;
        let half = c.head_dim() / 2;
        let (scaling, theta) = (c.rope_scaling, c.rope_theta);
        let mut frequencies = inverse_frequencies(theta, 2 * half);
        scaling.apply(&mut frequencies, theta);
        let axes = c.mrope.axes(c.mrope_section, half);
        let frequencies: Vec<(usize, f32)> = axes.into_iter().zip(frequencies).collect();
        let [temporal, height, width] = position_ids;
        let mut angles = Vec::with_capacity(temporal.len() * half);
        for ((&t, &h), &w) in temporal.iter().zip(height).zip(width) {
            angles.extend(frequencies.iter().map(|&(axis, f)| [t, h, w][axis] as f32 * f));
        }
        RotaryTable::new(&angles, half, scaling.attention_factor(), self.precision.activations, &self.device)
    }
}

/// What is added to some rows behind the first layers.
#[derive(Default)]
pub(in crate::model) struct Additions {
    /// The rows, where there are any.
    rows: Option<Tensor>,
    /// What is added to them behind the first layer, the second, and so on, each (rows, hidden).
    values: Vec<Tensor>,
}

impl Additions {
    /// `values` for the rows `rows`.
    pub(in crate::model) fn new(rows: &[u32], values: Vec<Tensor>, device: &Device) -> Result<Self> {
        Ok(Self { rows: Some(Tensor::new(rows, device)?), values })
    }

    /// Rows and values behind each layer that has some.
    fn behind_each(&self) -> impl Iterator<Item = (&Tensor, &Tensor)> {
        self.rows.iter().flat_map(|rows| self.values.iter().map(move |values| (rows, values)))
    }
}

/// Keys and values of a row of tokens, which sequences that begin with them are computed behind.
#[derive(Clone)]
pub(crate) struct Prefix {
    rows: usize,
    /// Of each layer.
    layers: Arc<[KeysValues]>,
}

/// Keys that are turned, and values, each (rows, key heads, width).
#[derive(Clone)]
struct KeysValues {
    keys: Tensor,
    values: Tensor,
}

/// What stands in front of the sequences of a pass: of each as many rows of a prefix.
#[derive(Clone, Copy)]
pub(in crate::model) struct Behind<'a> {
    pub(in crate::model) prefix: &'a Prefix,
    /// One number for each sequence.
    pub(in crate::model) rows: &'a [usize],
}

/// What a pass over packed sequences has beside its rows. The default is inference.
#[derive(Debug, Default)]
pub(crate) struct Training {
    /// Dropout on the inputs of adapters.
    pub(crate) dropout: Option<Dropout>,
    /// Layers keep their input alone, and leave the gradients of their parameters here.
    pub(crate) checkpointing: Option<Arc<GradientSink>>,
}

/// What a layer has to know of its rows beside their values.
struct Pass {
    rotary: RotaryTable,
    plan: AttentionPlan,
    dropout: Option<Dropout>,
    /// The rows that are asked for, where these are not all.
    queries: Option<Queries>,
    /// The keys that each sequence sees.
    keys: Segments,
    /// What stands in front of the sequences.
    prefixed: Option<Prefixed>,
}

/// A prefix in front of sequences.
#[derive(Clone)]
struct Prefixed {
    prefix: Prefix,
    /// Of the prefix's rows with those of the sequences behind them, what each sequence sees, one behind the
    /// other.
    seen: Tensor,
}

/// Rows whose queries and feed-forward layers are computed.
struct Queries {
    rows: Tensor,
    rotary: RotaryTable,
    dropout: Option<Dropout>,
}

impl Pass {
    /// Over all rows of `sequences`.
    fn over(
        sequences: &Segments,
        rotary: RotaryTable,
        dropout: Option<Dropout>,
        behind: Option<Behind<'_>>,
        device: &Device,
    ) -> Result<Self> {
        let (keys, prefixed) = match behind {
            None => (sequences.clone(), None),
            Some(Behind { prefix, rows }) => {
                let lengths = rows.iter().zip(sequences.ranges()).map(|(rows, own)| rows + own.len());
                let of_each = rows
                    .iter()
                    .zip(sequences.ranges())
                    .flat_map(|(&rows, own)| (0..rows).chain(prefix.rows + own.start..prefix.rows + own.end));
                let seen: Vec<u32> = of_each.map(|row| row as u32).collect();
                let prefixed = Prefixed { prefix: prefix.clone(), seen: Tensor::new(seen, device)? };
                (Segments::from_lengths(lengths), Some(prefixed))
            }
        };
        let plan = AttentionPlan::new(sequences, &keys, true, device)?;
        Ok(Self { rotary, plan, dropout, queries: None, keys, prefixed })
    }

    /// The same down to the last row of each sequence.
    fn to_last_rows(&self, sequences: &Segments, device: &Device) -> Result<Self> {
        let last_rows = sequences.last_rows();
        let rows = Tensor::new(last_rows.as_slice(), device)?;
        let queries = Queries {
            rotary: self.rotary.select(&rows)?,
            dropout: self.dropout.as_ref().map(|dropout| dropout.select(&last_rows)),
            rows,
        };
        let one_each = Segments::from_lengths(vec![1; sequences.count()]);
        Ok(Self {
            rotary: self.rotary.clone(),
            plan: AttentionPlan::new(&one_each, &self.keys, true, device)?,
            dropout: self.dropout.clone(),
            queries: Some(queries),
            keys: self.keys.clone(),
            prefixed: self.prefixed.clone(),
        })
    }
}

impl DecoderLayer {
    fn load(loader: &Loader<'_>, index: usize, c: &TextConfig) -> std::result::Result<Self, ModelError> {
        let attn = loader.at("self_attn");
        let (hidden, head_dim) = (c.hidden_size, c.head_dim());
        let (queries, keys) = (c.num_attention_heads * head_dim, c.num_key_value_heads * head_dim);
        let biased = c.attention == Attention::Biased;
        let head_norm = |name| RmsNorm::load(&attn.at(name), head_dim, c.rms_norm_eps);
        let head_norms = match c.attention {
            Attention::Biased => None,
            Attention::Normed => Some([head_norm("q_norm")?, head_norm("k_norm")?]),
        };
        Ok(Self {
            index,
            input_layernorm: RmsNorm::load(&loader.at("input_layernorm"), hidden, c.rms_norm_eps)?,
            q_proj: Linear::load(&attn.at("q_proj"), hidden, queries, biased)?,
            k_proj: Linear::load(&attn.at("k_proj"), hidden, keys, biased)?,
            v_proj: Linear::load(&attn.at("v_proj"), hidden, keys, biased)?,
            o_proj: Linear::load(&attn.at("o_proj"), queries, hidden, false)?,
            head_norms,
            post_attention_layernorm: RmsNorm::load(
                &loader.at("post_attention_layernorm"),
                hidden,
                c.rms_norm_eps,
            )?,
            mlp: GatedMlp::load(&loader.at("mlp"), hidden, c.intermediate_size, false, c.hidden_act)?,
            head_dim,
            products: loader.between_activations(),
        })
    }

    /// (rows, hidden) to (rows, hidden), or to (queries, hidden) where only some rows are asked for.
    fn forward(&self, x: Tensor, pass: &Pass) -> Result<Tensor> {
        let normed = self.input_layernorm.forward(&x)?;
        let own = self.keys_values(&normed, pass)?;
        let seen = match &pass.prefixed {
            None => own,
            Some(Prefixed { prefix, seen }) => match prefix.layers.get(self.index) {
                Some(shared) => shared.in_front_of(&own, seen)?,
                None => own,
            },
        };
        self.attend(x, normed, &seen, pass)
    }

    /// Keys and values of all rows, which are normed by now.
    fn keys_values(&self, normed: &Tensor, pass: &Pass) -> Result<KeysValues> {
        let dropout = pass.dropout.as_ref();
        let k_norm = self.head_norms.as_ref().map(|[_, k]| k);
        let keys = self.turned(self.k_proj.forward_dropping(normed, dropout)?, k_norm, &pass.rotary)?;
        let values = self.heads(self.v_proj.forward_dropping(normed, dropout)?)?;
        Ok(KeysValues { keys, values })
    }

    /// The layer, given the keys and values that the rows see.
    fn attend(&self, x: Tensor, normed: Tensor, seen: &KeysValues, pass: &Pass) -> Result<Tensor> {
        let (x, normed, rotary, dropout) = match &pass.queries {
            None => (x, normed, &pass.rotary, pass.dropout.as_ref()),
            Some(Queries { rows, rotary, dropout }) => {
                (x.index_select(rows, 0)?, normed.index_select(rows, 0)?, rotary, dropout.as_ref())
            }
        };
        let q_norm = self.head_norms.as_ref().map(|[q, _]| q);
        let q = self.turned(self.q_proj.forward_dropping(&normed, dropout)?, q_norm, rotary)?;
        let attended = attention(&q, &seen.keys, &seen.values, &pass.plan, self.products)?;
        let attended = self.o_proj.forward_dropping(&attended, dropout)?;
        let x = add(x, &attended)?;
        let fed = self.mlp.forward_dropping(&self.post_attention_layernorm.forward(&x)?, dropout)?;
        add(x, &fed)
    }

    /// (rows, heads * width) to (rows, heads, width).
    fn heads(&self, x: Tensor) -> Result<Tensor> {
        let rows = x.dim(0)?;
        x.reshape((rows, (), self.head_dim))
    }

    /// Heads of queries or keys, normed where the model has norms for them, and turned.
    fn turned(&self, x: Tensor, norm: Option<&RmsNorm>, rotary: &RotaryTable) -> Result<Tensor> {
        let x = self.heads(x)?;
        let x = match norm {
            Some(norm) => norm.forward(&x)?,
            None => x,
        };
        apply_rope(x, rotary)
    }
}

impl KeysValues {
    /// Of these and of `own` behind them the rows `seen`.
    fn in_front_of(&self, own: &Self, seen: &Tensor) -> Result<Self> {
        let both = |first: &Tensor, own: &Tensor| Tensor::cat(&[first, own], 0)?.index_select(seen, 0);
        Ok(Self { keys: both(&self.keys, &own.keys)?, values: both(&self.values, &own.values)? })
    }
}
