use std::cell::RefCell;
use std::collections::BTreeSet;

use candle_core::{Device, Tensor};

use super::{LoraAdapter, module_name};
use crate::model::ModelError;

/// An adapter on its way into a model: keeps count of the modules that found their weight.
pub(in crate::model) struct Folding<'a> {
    adapter: &'a LoraAdapter,
    bound: RefCell<BTreeSet<String>>,
}

impl<'a> Folding<'a> {
    pub(in crate::model) fn new(adapter: &'a LoraAdapter) -> Self {
        Self { adapter, bound: RefCell::default() }
    }

    /// What has to be added to the weight of the module called `name` in a checkpoint, in f32 and of shape
    /// `shape`; `None` when the adapter leaves it alone.
    pub(in crate::model) fn delta(
        &self,
        name: &str,
        shape: &[usize],
        device: &Device,
    ) -> Result<Option<Tensor>, ModelError> {
        let Some((module, pair)) = self.adapter.modules.get_key_value(module_name(name)) else {
            return Ok(None);
        };
        let got = [pair.b.dim(0)?, pair.a.dim(1)?];
        if got != shape {
            return Err(ModelError::AdapterShape {
                path: self.adapter.directory.clone(),
                tensor: module.clone(),
                expected: shape.to_vec(),
                got: got.to_vec(),
            });
        }
        self.bound.borrow_mut().insert(module.clone());
        self.adapter.delta(pair, device).map(Some)
    }

    /// Whether the adapter changes the weight of the module called `name` in a checkpoint.
    pub(in crate::model) fn adapts(&self, name: &str) -> bool {
        self.adapter.modules.contains_key(module_name(name))
    }

    /// Fails unless every module of the adapter has found its weight.
    pub(in crate::model) fn require_all_bound(&self) -> Result<(), ModelError> {
        let bound = self.bound.borrow();
        match self.adapter.module_names().find(|name| !bound.contains(*name)) {
            None => Ok(()),
            Some(unbound) => Err(ModelError::AdapterBinding {
                path: self.adapter.directory.clone(),
                bound: bound.len(),
                total: self.adapter.modules.len(),
                unbound: unbound.to_owned(),
            }),
        }
    }
}
