//! One side of a data set through the encoder.

use gve::Input;

use super::{EvaluateOptions, Event};
use crate::Error;
use crate::dataset::Dataset;
use crate::encoder::{EncodeError, Encoder, Item, Request, Role};

/// Queries or documents without embedding, by their index in the data set.
pub(super) type Failures = Vec<(usize, EncodeError)>;

/// Takes the embedding of a query or document, by its index and id.
type Insert<'a> = dyn FnMut(usize, &[f32], &str) -> Result<(), Error> + 'a;

/// Embeds one side of `dataset`, queries with their prompt, documents without, handing each embedding to
/// `insert`.
///
/// # Errors
/// [`Error::NothingEmbedded`] where every input failed; those of the encoder and of `observe`.
pub(super) fn encode(
    dataset: &Dataset,
    role: Role,
    encoder: &dyn Encoder,
    options: &EvaluateOptions,
    insert: &mut Insert<'_>,
    observe: &mut dyn FnMut(Event<'_>) -> Result<(), Error>,
) -> Result<Failures, Error> {
    let prompted: Vec<Input>;
    let items: Vec<Item<'_>> = match role {
        Role::Query => {
            let prompt = |input: &Input| options.prompt_style.apply(input, &options.prompt);
            prompted = dataset.queries.iter().map(|query| prompt(&query.input)).collect();
            let queries = dataset.queries.iter().zip(&prompted);
            queries.map(|(query, input)| Item { id: &query.id, input }).collect()
        }
        Role::Document => {
            dataset.corpus.iter().map(|document| Item { id: &document.id, input: &document.input }).collect()
        }
    };
    encode_items(Request { dataset: &dataset.id, role, items: &items }, encoder, insert, observe)
}

/// Embeds the items of a request, handing each embedding to `insert`.
///
/// # Errors
/// As [`encode`].
pub(super) fn encode_items(
    request: Request<'_>,
    encoder: &dyn Encoder,
    insert: &mut Insert<'_>,
    observe: &mut dyn FnMut(Event<'_>) -> Result<(), Error>,
) -> Result<Failures, Error> {
    let Request { role, items, .. } = request;
    let mut failures = Failures::new();
    let mut answered = vec![false; items.len()];
    encoder.encode(request, &mut |index, outcome| {
        let id = items[index].id;
        if std::mem::replace(&mut answered[index], true) {
            return Err(broken(encoder, &format!("it answered twice for {id}")));
        }
        let outcome = outcome.and_then(|embedding| insert(index, &embedding, id).map_err(EncodeError::new));
        observe(Event::Encoded { role, id, error: outcome.as_ref().err() })?;
        failures.extend(outcome.err().map(|error| (index, error)));
        Ok(())
    })?;
    if let Some(missing) = answered.iter().position(|answered| !answered) {
        return Err(broken(encoder, &format!("it gave no answer for {}", items[missing].id)));
    }
    match failures.first() {
        Some((_, error)) if failures.len() == items.len() => {
            let side = match role {
                Role::Query => "queries",
                Role::Document => "documents",
            };
            Err(Error::NothingEmbedded { side, count: items.len(), reason: error.0.clone() })
        }
        _ => Ok(failures),
    }
}

/// An encoder that breaks its contract.
fn broken(encoder: &dyn Encoder, reason: &str) -> Error {
    Error::Encoder { encoder: encoder.info().name.clone(), reason: reason.to_owned() }
}
