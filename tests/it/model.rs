//! The model against the reference's tensors, given the reference's inputs.

use candle_core::{DType, Device};
use gve::model::{PackedBatch, Qwen25Vl, Visual};

use crate::golden::{Case, fixture_dirs, max_difference};

/// What the model reads for one case.
struct Sample {
    case: Case,
    visuals: Vec<Visual>,
}

impl Sample {
    /// The cases whose pixels are known, or that have none.
    fn all(fixture: &std::path::Path) -> Vec<Self> {
        Case::all(fixture).into_iter().filter_map(Self::of).collect()
    }

    fn of(case: Case) -> Option<Self> {
        let pixels = ["pixel_values", "pixel_values_videos"].iter().find_map(|key| case.tensors.get(*key));
        let visuals = match (case.grids().as_slice(), pixels) {
            ([], _) => vec![],
            ([grid], Some(pixels)) => vec![Visual {
                pixel_values: pixels.flatten_all().unwrap().to_vec1().unwrap(),
                grid_thw: *grid,
            }],
            _ => return None,
        };
        Some(Self { case, visuals })
    }

    fn add_to<'a>(&'a self, batch: &mut PackedBatch<'a>) {
        let input_ids = self.case.input_ids();
        batch.lengths.push(input_ids.len());
        batch.input_ids.extend(input_ids);
        for (all, its) in batch.position_ids.iter_mut().zip(self.case.position_ids()) {
            all.extend(its);
        }
        batch.visuals.extend(&self.visuals);
    }

    fn batch(&self) -> PackedBatch<'_> {
        let mut batch = PackedBatch::default();
        self.add_to(&mut batch);
        batch
    }
}

#[test]
fn stages_equal_the_reference() {
    for fixture in fixture_dirs() {
        let model = Qwen25Vl::load(&fixture.join("model"), DType::F32, &Device::Cpu).unwrap();
        let samples = Sample::all(&fixture);
        assert!(samples.iter().filter(|sample| !sample.visuals.is_empty()).count() >= 3);
        for sample in samples {
            let (name, tensors) = (&sample.case.name, &sample.case.tensors);
            if let [visual] = sample.visuals.as_slice() {
                let embeds = model.vision_embeds(&[visual]).unwrap();
                let expected = ["image", "video"]
                    .iter()
                    .find_map(|kind| tensors.get(&format!("vision_embeds.{kind}")))
                    .unwrap();
                let difference = max_difference(&embeds, expected);
                println!("{name}: vision_embeds differ by {difference:e}");
                assert!(difference < 2e-4, "{name}: vision_embeds differ by {difference}");
            }
            let batch = sample.batch();
            let hidden = model.hidden_states(&batch).unwrap();
            let difference = max_difference(&hidden, &tensors["last_hidden_state"]);
            println!("{name}: last_hidden_state differs by {difference:e}");
            assert!(difference < 2e-4, "{name}: last_hidden_state differs by {difference}");

            let pooled = model.last_hidden_states(&batch).unwrap();
            let last = hidden.narrow(0, batch.input_ids.len() - 1, 1).unwrap();
            let difference = max_difference(&pooled, &last);
            assert!(difference < 1e-5, "{name}: pooled state differs by {difference}");
        }
    }
}

#[test]
fn a_batch_equals_its_single_items() {
    for fixture in fixture_dirs() {
        let model = Qwen25Vl::load(&fixture.join("model"), DType::F32, &Device::Cpu).unwrap();
        let samples = Sample::all(&fixture);
        let mut packed = PackedBatch::default();
        samples.iter().for_each(|sample| sample.add_to(&mut packed));
        let together = model.last_hidden_states(&packed).unwrap();
        for (row, sample) in samples.iter().enumerate() {
            let alone = model.last_hidden_states(&sample.batch()).unwrap();
            let difference = max_difference(&together.narrow(0, row, 1).unwrap(), &alone);
            assert!(difference < 1e-5, "{} differs by {difference}", sample.case.name);
        }
    }
}
