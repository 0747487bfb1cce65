//! Batches made ready ahead of the model: while it computes, the next one is read and decoded.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use rayon::prelude::*;

use super::TrainError;
use super::curriculum::Curriculum;
use super::negatives::HardNegatives;
use super::planner::{PlannedBatch, Planner};
use crate::embedder::Input;
use crate::pairs::{Cursor, Pair, PairIndex, content_key};
use crate::random::Random;

/// A batch whose inputs are ready for the model.
#[derive(Debug)]
pub(super) struct LoadedBatch<P> {
    /// Number of its task.
    pub(super) task: usize,
    /// File and line of its first pair.
    pub(super) place: String,
    /// What is to be embedded: inputs that several pairs share are there once.
    pub(super) items: Vec<P>,
    /// Numbers of items; none where an item is a query with a candidate.
    pub(super) queries: Vec<usize>,
    /// Numbers of items; row `i` belongs to query `i`.
    pub(super) positives: Vec<usize>,
    /// Numbers of items: of all queries, as many of each as it has.
    pub(super) negatives: Vec<usize>,
    /// Numbers of items: for each query with negatives what asks, and its documents, the best first. Empty where
    /// nothing is ranked.
    pub(super) lists: Vec<(usize, Vec<usize>)>,
    /// What a checkpoint behind this batch has to remember.
    pub(super) after: (Curriculum, Vec<Cursor>),
}

/// Where batches come from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a, P> {
    pub(super) index: &'a PairIndex,
    /// Of each task; empty where none were mined.
    pub(super) negatives: &'a [HardNegatives],
    /// Whether an item is a query with a candidate.
    pub(super) of_pairs: bool,
    /// Whether the documents of a query are ranked.
    pub(super) ranks: Option<Ranks<'a>>,
    /// Makes an item of one input, or of a query and a candidate.
    pub(super) prepare: &'a (dyn Fn(&[&Input]) -> Result<P, TrainError> + Sync),
}

/// Makes one input of a query and its documents, the best first.
pub(super) type Ask<'a> = dyn Fn(&Input, &[&Input], &mut Random) -> Result<Input, TrainError> + Sync + 'a;

/// How the documents of a query are ranked.
#[derive(Clone, Copy)]
pub(super) struct Ranks<'a> {
    /// What asks a query together with its documents, if it is not asked alone.
    pub(super) ask: Option<&'a Ask<'a>>,
    /// Of what [`ask`](Self::ask) draws.
    pub(super) seed: u64,
}

impl<'a, P: Send + 'a> Source<'a, P> {
    /// The next `count` batches of `planner`, made on a thread of `scope`: one is made while the model works
    /// on the one before. Ends with the first error, or when the receiver is dropped.
    pub(super) fn run_ahead<'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        mut planner: Planner,
        count: usize,
    ) -> Receiver<Result<LoadedBatch<P>, TrainError>>
    where
        'a: 'scope,
    {
        let (sender, receiver) = sync_channel(0);
        scope.spawn(move || {
            for _ in 0..count {
                let planned = planner.next_batch();
                let batch = self.load(&planned, (planner.curriculum().clone(), planner.cursors()));
                let is_last = batch.is_err();
                if sender.send(batch).is_err() || is_last {
                    return;
                }
            }
        });
        receiver
    }

    fn load(
        &self,
        planned: &PlannedBatch,
        after: (Curriculum, Vec<Cursor>),
    ) -> Result<LoadedBatch<P>, TrainError> {
        let task = planned.task;
        let pairs = planned.rows.iter().map(|&row| self.read(task, row)).collect::<Result<Vec<_>, _>>()?;
        let needs_negatives = self.of_pairs || self.ranks.is_some();
        if needs_negatives && pairs.iter().all(|pair| pair.negatives.is_empty()) {
            let place = planned.rows.first().map(|&row| self.index.place(task, row)).unwrap_or_default();
            let reason = "no pair of its batch has `negatives`, without which everything is a right answer";
            return Err(TrainError::Config { place, reason: reason.to_owned() });
        }
        let asked = self.asked(planned, &pairs, &after.1)?;
        let mut distinct: Vec<(usize, Vec<&Input>)> = Vec::new();
        let mut known = HashMap::new();
        let mut number = |row, inputs: Vec<_>| -> usize {
            let key: Vec<_> = inputs.iter().map(|input: &&Input| content_key(input)).collect();
            *known.entry(key).or_insert_with(|| {
                distinct.push((row, inputs));
                distinct.len() - 1
            })
        };
        let mut numbers = |of: fn(&Pair) -> &[Input], behind_query: bool| -> Vec<usize> {
            let mut numbers = Vec::new();
            for (&row, pair) in planned.rows.iter().zip(&pairs) {
                for input in of(pair) {
                    let query = behind_query.then_some(&pair.query);
                    numbers.push(number(row, query.into_iter().chain([input]).collect()));
                }
            }
            numbers
        };
        let queries =
            if self.of_pairs { Vec::new() } else { numbers(|pair| std::slice::from_ref(&pair.query), false) };
        let positives = numbers(|pair| std::slice::from_ref(&pair.positive), self.of_pairs);
        let negatives = numbers(|pair| &pair.negatives, self.of_pairs);
        let mut lists = Vec::new();
        if self.ranks.is_some() {
            let mut others = negatives.iter().copied();
            for (i, pair) in pairs.iter().enumerate().filter(|(_, pair)| !pair.negatives.is_empty()) {
                let asking = match &asked[i] {
                    Some(asked) => number(planned.rows[i], vec![asked]),
                    None => queries[i],
                };
                let own = others.by_ref().take(pair.negatives.len());
                lists.push((asking, std::iter::once(positives[i]).chain(own).collect()));
            }
        }
        let each = distinct.into_par_iter().map(|(row, inputs)| {
            (self.prepare)(&inputs).map_err(TrainError::input(self.index.place(task, row)))
        });
        // All of them first: which error is told must not depend on the threads.
        let items = each.collect::<Vec<_>>().into_iter().collect::<Result<_, _>>()?;
        Ok(LoadedBatch {
            task,
            place: planned.rows.first().map(|&row| self.index.place(task, row)).unwrap_or_default(),
            items,
            queries,
            positives,
            negatives,
            lists,
            after,
        })
    }

    /// Of each pair with negatives its query, asked together with its documents; none where it is asked alone.
    fn asked(
        &self,
        planned: &PlannedBatch,
        pairs: &[Pair],
        cursors: &[Cursor],
    ) -> Result<Vec<Option<Input>>, TrainError> {
        let Some(Ranks { ask: Some(ask), seed }) = self.ranks else { return Ok(vec![None; pairs.len()]) };
        let pass = cursors.get(planned.task).map_or(0, |cursor| cursor.pass);
        let ask_one = |(&row, pair): (&usize, &Pair)| {
            let documents: Vec<&Input> = std::iter::once(&pair.positive).chain(&pair.negatives).collect();
            if pair.negatives.is_empty() {
                return Ok(None);
            }
            let mut random = Random::derived(seed, &[planned.task as u64, row as u64, pass]);
            let asked = ask(&pair.query, &documents, &mut random);
            asked.map(Some).map_err(TrainError::input(self.index.place(planned.task, row)))
        };
        planned.rows.iter().zip(pairs).map(ask_one).collect()
    }

    /// A pair with the negatives that were mined for it.
    fn read(&self, task: usize, row: usize) -> Result<Pair, TrainError> {
        let mut pair = self.index.read(task, row)?;
        for &other in self.negatives.get(task).map_or(&[][..], |mined| mined.of(row)) {
            pair.negatives.push(self.index.read(task, other)?.positive);
        }
        Ok(pair)
    }
}

#[cfg(test)]
mod tests {
    use super::super::prober::tests::{Table, text_pairs};
    use super::*;
    use crate::embedder::{EmbedError, Part};

    fn text(input: &Input) -> Result<String, TrainError> {
        match &input.parts[..] {
            [Part::Text(text)] if text != "bad" => Ok(text.clone()),
            _ => Err(EmbedError::EmptyInput.into()),
        }
    }

    fn texts(batch: &LoadedBatch<String>, numbers: &[usize]) -> Vec<String> {
        numbers.iter().map(|&number| batch.items[number].clone()).collect()
    }

    fn batches(
        pairs: &[(&str, &str)],
        negatives: &[HardNegatives],
        ranks: Option<Ranks<'_>>,
        count: usize,
    ) -> Vec<Result<LoadedBatch<String>, TrainError>> {
        let folder = tempfile::tempdir().unwrap();
        let index = text_pairs(folder.path(), pairs);
        let prepare =
            |inputs: &[&Input]| inputs.iter().map(|input| text(input)).collect::<Result<String, _>>();
        let source = Source { index: &index, negatives, of_pairs: false, ranks, prepare: &prepare };
        let curriculum = Curriculum::new(vec![1.0], 1, 0);
        let planner = Planner::new(&index, 1, 2, curriculum, &[Cursor::default()]);
        std::thread::scope(|scope| source.run_ahead(scope, planner, count).into_iter().collect())
    }

    #[test]
    fn batches_hold_pairs_of_the_walk_and_their_place_in_it() {
        let pairs = [("q0", "p0"), ("q1", "p1"), ("q2", "p2"), ("q3", "p3")];
        let loaded: Vec<_> = batches(&pairs, &[], None, 2).into_iter().map(Result::unwrap).collect();
        let mut queries: Vec<String> = loaded.iter().flat_map(|batch| texts(batch, &batch.queries)).collect();
        let partners: Vec<String> = queries.iter().map(|q| q.replace('q', "p")).collect();
        let positives: Vec<_> = loaded.iter().flat_map(|batch| texts(batch, &batch.positives)).collect();
        assert_eq!(positives, partners);
        queries.sort();
        assert_eq!(queries, ["q0", "q1", "q2", "q3"]);
        assert_eq!(loaded[0].after.1, [Cursor { pass: 0, taken: 2 }]);
        assert_eq!(loaded[1].after.1, [Cursor { pass: 0, taken: 4 }]);
        assert!(loaded[0].place.contains("pairs.jsonl:"));
    }

    #[test]
    fn mined_negatives_join_the_pairs() {
        let pairs = [("q0", "p0"), ("q1", "p1")];
        let folder = tempfile::tempdir().unwrap();
        let index = text_pairs(folder.path(), &pairs);
        let prober = Table::new(&[("q0", 0.0), ("q1", 90.0), ("p0", 1.0), ("p1", 80.0)]);
        let mined =
            super::super::negatives::mine(&prober, &index, 0, vec![0, 1], 1, &crate::CancelToken::new())
                .unwrap();
        let batch = batches(&pairs, &[mined], None, 1).remove(0).unwrap();
        let others: Vec<String> = texts(&batch, &batch.queries)
            .iter()
            .map(|q| if q == "q0" { "p1" } else { "p0" }.to_owned())
            .collect();
        assert_eq!(texts(&batch, &batch.negatives), others);
        // Each one's negative is the other's positive.
        assert_eq!(batch.items.len(), 4);
    }

    #[test]
    fn documents_are_ranked_by_what_asks_for_them() {
        let pairs = [("q0", "p0"), ("q1", "p1")];
        let folder = tempfile::tempdir().unwrap();
        let index = text_pairs(folder.path(), &pairs);
        let prober = Table::new(&[("q0", 0.0), ("q1", 90.0), ("p0", 1.0), ("p1", 80.0)]);
        let cancel = crate::CancelToken::new();
        let mined = super::super::negatives::mine(&prober, &index, 0, vec![0, 1], 1, &cancel).unwrap();
        let ask = |query: &Input, documents: &[&Input], random: &mut Random| {
            let all: Vec<String> =
                documents.iter().copied().chain([query]).map(text).collect::<Result<_, _>>()?;
            Ok(Input::text(format!("{} {}", all.join(" "), random.next_u64())))
        };
        let asked = |ask, seed| {
            let batch = batches(&pairs, std::slice::from_ref(&mined), Some(Ranks { ask, seed }), 1)
                .remove(0)
                .unwrap();
            let mut lists: Vec<(String, Vec<String>)> = batch
                .lists
                .iter()
                .map(|(asking, documents)| (batch.items[*asking].clone(), texts(&batch, documents)))
                .collect();
            lists.sort();
            lists
        };
        let list =
            |asking: &str, documents: [&str; 2]| (asking.to_owned(), documents.map(str::to_owned).to_vec());
        assert_eq!(asked(None, 7), [list("q0", ["p0", "p1"]), list("q1", ["p1", "p0"])]);
        let together = asked(Some(&ask as &Ask<'_>), 7);
        assert!(together[0].0.starts_with("p0 p1 q0 ") && together[1].0.starts_with("p1 p0 q1 "));
        assert_eq!(together, asked(Some(&ask), 7));
        assert_ne!(together, asked(Some(&ask), 8));

        let message = batches(&pairs, &[], Some(Ranks { ask: None, seed: 7 }), 1).remove(0).unwrap_err();
        assert!(message.to_string().contains("no pair of its batch has `negatives`"), "{message}");
    }

    #[test]
    fn what_pairs_share_is_made_ready_once() {
        let pairs = [("q0", "p0"), ("q1", "p0")];
        let batch = batches(&pairs, &[], None, 1).remove(0).unwrap();
        assert_eq!(texts(&batch, &batch.positives), ["p0", "p0"]);
        assert_eq!((batch.items.len(), batch.queries, batch.positives), (3, vec![0, 1], vec![2, 2]));
    }

    #[test]
    fn an_input_that_fails_ends_the_batches_and_is_named() {
        let loaded = batches(&[("q0", "p0"), ("q1", "bad")], &[], None, 5);
        assert_eq!(loaded.len(), 1);
        let message = loaded[0].as_ref().unwrap_err().to_string();
        assert!(message.contains("pairs.jsonl:2: "), "{message}");
    }
}
