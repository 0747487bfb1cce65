use std::cell::RefCell;
use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};

use super::{HEAD, LoraAdapter, module_name};
use crate::model::ModelError;

/// An adapter on its way into a model: keeps count of what found its place.
pub(in crate::model) struct Folding<'a> {
    adapter: &'a LoraAdapter,
    bound: RefCell<BTreeSet<String>>,
}

impl<'a> Folding<'a> {
    pub(in crate::model) fn new(adapter: &'a LoraAdapter) -> Self {
        Self { adapter, bound: RefCell::default() }
    }

    /// The tensor called `name` in a checkpoint, of shape `shape` and as `load` has it on `device`, with the adapter in
    /// it, in f32; `None` when the adapter leaves it alone.
    pub(in crate::model) fn fold(
        &self,
        name: &str,
        shape: &[usize],
        device: &Device,
        load: impl FnOnce(DType) -> Result<Tensor, ModelError>,
    ) -> Result<Option<Tensor>, ModelError> {
        let name = module_name(name);
        if let Some((name, tensor)) = self.adapter.saved.get_key_value(name) {
            self.bind(name, tensor.dims(), shape)?;
            return Ok(Some(tensor.to_device(device)?));
        }
        let module = name.strip_suffix(".weight").and_then(|name| self.adapter.modules.get_key_value(name));
        let Some((module, parts)) = module else { return Ok(None) };
        self.bind(module, &[parts.b.dim(0)?, parts.a.dim(1)?], shape)?;
        self.adapter.changed(parts, &load(DType::F32)?).map(Some)
    }

    fn bind(&self, name: &str, got: &[usize], expected: &[usize]) -> Result<(), ModelError> {
        if got != expected {
            return Err(ModelError::AdapterShape {
                path: self.adapter.directory.clone(),
                tensor: name.to_owned(),
                expected: expected.to_vec(),
                got: got.to_vec(),
            });
        }
        self.bound.borrow_mut().insert(name.to_owned());
        Ok(())
    }

    /// Whether the adapter changes the tensor called `name` in a checkpoint.
    pub(in crate::model) fn changes(&self, name: &str) -> bool {
        let name = module_name(name);
        let module = name.strip_suffix(".weight").unwrap_or_default();
        self.adapter.saved.contains_key(name) || self.adapter.modules.contains_key(module)
    }

    /// Fails unless everything in the adapter has found its place. A language head need not, as embeddings are
    /// made without one.
    pub(in crate::model) fn require_embedding_bound(&self) -> Result<(), ModelError> {
        self.require_bound(|name| name == HEAD)
    }

    /// Fails unless everything in the adapter has found its place.
    pub(in crate::model) fn require_all_bound(&self) -> Result<(), ModelError> {
        self.require_bound(|_| false)
    }

    fn require_bound(&self, is_left_out: impl Fn(&str) -> bool) -> Result<(), ModelError> {
        let bound = self.bound.borrow();
        let mut all = self.adapter.module_names().chain(self.adapter.saved_names());
        match all.find(|name| !bound.contains(*name) && !is_left_out(name)) {
            None => Ok(()),
            Some(unbound) => Err(ModelError::AdapterBinding {
                path: self.adapter.directory.clone(),
                bound: bound.len(),
                total: self.adapter.modules.len() + self.adapter.saved.len(),
                unbound: unbound.to_owned(),
            }),
        }
    }
}
