use std::collections::{BTreeMap, HashMap};

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor, TensorId};

use super::Parameters;

/// Gradients of parameters in f32, by name; a parameter that the loss does not reach has none.
#[derive(Debug, Clone, Default)]
pub struct Gradients(BTreeMap<String, Tensor>);

impl Gradients {
    /// Those of `parameters` from the graph's own and those that checkpointed layers left aside.
    pub(super) fn collect(
        parameters: &Parameters,
        graph: &GradStore,
        aside: &HashMap<TensorId, Tensor>,
    ) -> Result<Self> {
        let mut gradients = Self::default();
        for (name, var) in parameters {
            for gradient in [graph.get(var), aside.get(&var.id())].into_iter().flatten() {
                gradients.add(name, gradient)?;
            }
        }
        Ok(gradients)
    }

    /// Adds to the gradient of one parameter.
    ///
    /// # Errors
    /// Another shape than before.
    pub fn add(&mut self, name: &str, gradient: &Tensor) -> Result<()> {
        let gradient = gradient.detach().to_dtype(DType::F32)?;
        let sum = match self.0.get(name) {
            Some(before) => (before + gradient)?,
            None => gradient,
        };
        self.0.insert(name.to_owned(), sum);
        Ok(())
    }

    /// Adds all of `other`: gradient accumulation.
    ///
    /// # Errors
    /// Shapes that differ.
    pub fn accumulate(&mut self, other: &Self) -> Result<()> {
        other.0.iter().try_for_each(|(name, gradient)| self.add(name, gradient))
    }

    /// Multiplies all gradients by `factor`.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn scale(&mut self, factor: f64) -> Result<()> {
        for gradient in self.0.values_mut() {
            *gradient = (&*gradient * factor)?;
        }
        Ok(())
    }

    /// The gradient of one parameter.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// The Euclidean norm of all gradients together.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn norm(&self) -> Result<f64> {
        norm(self.0.values().cloned())
    }
}

/// The Euclidean norm of all values of some tensors in f32.
pub(super) fn norm(tensors: impl Iterator<Item = Tensor>) -> Result<f64> {
    let mut squares = 0.0;
    for tensor in tensors {
        squares += f64::from(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?);
    }
    Ok(squares.sqrt())
}
