//! Batches made ready ahead of the model: while it computes, the next one is read and decoded.

use std::collections::{HashMap, HashSet};
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
    /// Pairs that are not in it because a file of theirs cannot be read: numbers within the task, and why.
    pub(super) left_out: Vec<(usize, String)>,
    /// What a checkpoint behind this batch has to remember.
    pub(super) after: (Curriculum, Vec<Cursor>),
}

/// Numbers of the items of a pair.
struct Numbered {
    /// Number of the pair within its task.
    row: usize,
    /// None where an item is a query with a candidate.
    query: Option<usize>,
    positive: usize,
    negatives: Vec<usize>,
    /// Its query together with its documents, where that is what asks.
    asked: Option<usize>,
}

impl Numbered {
    fn items(&self) -> impl Iterator<Item = usize> {
        let single = [self.query, Some(self.positive), self.asked].into_iter().flatten();
        single.chain(self.negatives.iter().copied())
    }
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
    /// Whether pairs of which a file cannot be read are left out, as long as others are left.
    pub(super) leaves_out: bool,
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
        let (distinct, pairs) = self.number(&planned.rows, &pairs, &asked);
        // All of them first: which error is told must not depend on the threads.
        let each: Vec<_> = distinct.into_par_iter().map(|inputs| (self.prepare)(&inputs)).collect();
        let failure = |pair: &Numbered| pair.items().find_map(|number| each[number].as_ref().err());
        let (whole, damaged): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|pair| failure(pair).is_none());
        let reasons = damaged.iter().filter_map(|pair| Some((pair.row, failure(pair)?.to_string())));
        let left_out = reasons.collect();
        let has_negatives = whole.iter().any(|pair| !pair.negatives.is_empty());
        let is_enough = !whole.is_empty() && (has_negatives || !needs_negatives);
        let is_of_input = each.iter().all(|made| made.as_ref().err().is_none_or(TrainError::is_of_input));
        let may_go = self.leaves_out && is_enough && is_of_input;
        let used: HashSet<usize> = whole.iter().flat_map(Numbered::items).collect();
        let (mut items, mut numbers) = (Vec::new(), Vec::new());
        for (number, prepared) in each.into_iter().enumerate() {
            numbers.push(items.len());
            match prepared {
                Ok(item) => items.extend(used.contains(&number).then_some(item)),
                Err(_) if may_go => {}
                Err(error) => {
                    let of = damaged.iter().find(|pair| pair.items().any(|item| item == number));
                    let row = of.map_or_else(usize::default, |pair| pair.row);
                    return Err(TrainError::input(self.index.place(task, row))(error));
                }
            }
        }
        let number = |of: usize| numbers[of];
        let list = |pair: &Numbered| {
            let documents = std::iter::once(pair.positive).chain(pair.negatives.iter().copied());
            let asking = pair.asked.or(pair.query).filter(|_| !pair.negatives.is_empty())?;
            Some((number(asking), documents.map(number).collect()))
        };
        Ok(LoadedBatch {
            task,
            place: whole.first().map(|pair| self.index.place(task, pair.row)).unwrap_or_default(),
            items,
            queries: whole.iter().filter_map(|pair| pair.query).map(number).collect(),
            positives: whole.iter().map(|pair| number(pair.positive)).collect(),
            negatives: whole.iter().flat_map(|pair| pair.negatives.iter().copied()).map(number).collect(),
            lists: if self.ranks.is_some() { whole.iter().filter_map(list).collect() } else { Vec::new() },
            left_out,
            after,
        })
    }

    /// What is to be made ready, each but once, and the pairs by the numbers of it.
    fn number<'b>(
        &self,
        rows: &[usize],
        pairs: &'b [Pair],
        asked: &'b [Option<Input>],
    ) -> (Vec<Vec<&'b Input>>, Vec<Numbered>) {
        let (mut distinct, mut known) = (Vec::new(), HashMap::new());
        let mut number = |inputs: Vec<&'b Input>| -> usize {
            let key: Vec<_> = inputs.iter().map(|input| content_key(input)).collect();
            *known.entry(key).or_insert_with(|| {
                distinct.push(inputs);
                distinct.len() - 1
            })
        };
        let behind_query = |pair: &'b Pair, input| match self.of_pairs {
            true => vec![&pair.query, input],
            false => vec![input],
        };
        let queries: Vec<_> =
            pairs.iter().map(|pair| (!self.of_pairs).then(|| number(vec![&pair.query]))).collect();
        let positives: Vec<_> = pairs.iter().map(|pair| number(behind_query(pair, &pair.positive))).collect();
        let negatives: Vec<Vec<_>> = pairs
            .iter()
            .map(|pair| pair.negatives.iter().map(|input| number(behind_query(pair, input))).collect())
            .collect();
        let asked = asked.iter().map(|asked| asked.as_ref().map(|asked| number(vec![asked])));
        let each = rows.iter().zip(queries).zip(positives).zip(negatives).zip(asked);
        let numbered = each.map(|((((&row, query), positive), negatives), asked)| Numbered {
            row,
            query,
            positive,
            negatives,
            asked,
        });
        let numbered = numbered.collect();
        (distinct, numbered)
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
    use super::super::negatives::mine;
    use super::super::prober::tests::{Table, strictly, text_pairs};
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
        batches_of(2, false, pairs, negatives, ranks, count)
    }

    fn batches_of(
        size: usize,
        leaves_out: bool,
        pairs: &[(&str, &str)],
        negatives: &[HardNegatives],
        ranks: Option<Ranks<'_>>,
        count: usize,
    ) -> Vec<Result<LoadedBatch<String>, TrainError>> {
        let folder = tempfile::tempdir().unwrap();
        let index = text_pairs(folder.path(), pairs);
        let prepare =
            |inputs: &[&Input]| inputs.iter().map(|input| text(input)).collect::<Result<String, _>>();
        let (of_pairs, prepare) = (false, &prepare);
        let source = Source { index: &index, negatives, of_pairs, ranks, leaves_out, prepare };
        let curriculum = Curriculum::new(vec![1.0], 1, 0);
        let planner = Planner::new(&index, 1, size, curriculum, &[Cursor::default()]);
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
            mine(&prober, &index, 0, vec![0, 1], 1, &mut strictly, &crate::CancelToken::new()).unwrap();
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
        let mined = mine(&prober, &index, 0, vec![0, 1], 1, &mut strictly, &cancel).unwrap();
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

    #[test]
    fn pairs_that_fail_may_be_left_out() {
        let pairs = [("q0", "p0"), ("q1", "bad"), ("q2", "p2"), ("bad", "p0"), ("q4", "p4")];
        let batch = batches_of(5, true, &pairs, &[], None, 1).remove(0).unwrap();
        let mut left = texts(&batch, &batch.queries);
        assert_eq!(
            texts(&batch, &batch.positives),
            left.iter().map(|q| q.replace('q', "p")).collect::<Vec<_>>()
        );
        left.sort();
        assert_eq!((left, batch.items.len()), (["q0", "q2", "q4"].map(str::to_owned).to_vec(), 6));
        let mut left_out = batch.left_out;
        left_out.sort();
        assert_eq!(left_out.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 3]);
        assert!(left_out.iter().all(|(_, reason)| reason.contains("without content")), "{left_out:?}");
        assert_eq!(batch.after.1, [Cursor { pass: 0, taken: 5 }]);

        let none = batches_of(2, true, &[("q1", "bad"), ("bad", "p2")], &[], None, 1).remove(0);
        let message = none.unwrap_err().to_string();
        assert!(message.contains("pairs.jsonl:"), "{message}");
    }
}
