use candle_core::{Result, Tensor};

/// Shares embeddings between the devices that train together, so that the negatives of one serve all.
///
/// Every device then computes the loss of the whole batch, whose gradient flows into its own rows only. The
/// gradient of a parameter is therefore the *sum* of the devices' gradients, not their mean.
pub trait GatherNegatives {
    /// The rows of all devices in the order of the devices, from this device's `own` (rows, dim); `own` stays
    /// part of the graph, the others' rows are constants. Each device calls it in the same order: queries,
    /// positives, and negatives, of which there may be none.
    ///
    /// # Errors
    /// The other devices cannot be reached, or their rows do not fit.
    fn gather(&self, own: &Tensor) -> Result<Tensor>;
}

/// One device alone: all rows are its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct SingleProcess;

impl GatherNegatives for SingleProcess {
    fn gather(&self, own: &Tensor) -> Result<Tensor> {
        Ok(own.clone())
    }
}
