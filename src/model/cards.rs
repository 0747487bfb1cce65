//! Cards of the checkpoints that are made of others here.

use std::path::Path;

use super::{AdapterLayout, LoraAdapter};
use crate::card::{
    BaseModel, Card, Terms, about_unknown_base, front_values, name_of, own_sections, read, reads, table,
};
use crate::recipe::Recipe;

/// That of the checkpoint `out` into which `adapter` was folded, of the model in `model_dir`, and which is used by `recipe`;
/// `is_described`: as sentence-transformers is told beside it.
pub(super) fn of_merged(
    out: &Path,
    model_dir: &Path,
    adapter: &LoraAdapter,
    recipe: &Recipe,
    is_described: bool,
) -> Card {
    let is_reranker = recipe.reranking.is_some();
    let settings = adapter.settings();
    let reference = settings.base_model.as_deref().unwrap_or_default();
    let base = BaseModel::find(reference, settings.revision.as_deref(), model_dir);
    let adapters =
        adapter.directory().and_then(|directory| read(directory).ok().flatten()).unwrap_or_default();
    let library = if is_described { "sentence-transformers" } else { "transformers" };
    let mut card = Card::default();
    if let Some(id) = base.hub_id() {
        card.put("base_model", id);
        card.put("base_model_relation", "finetune");
    }
    card.put("library_name", library);
    card.put("pipeline_tag", front_values(&adapters, "pipeline_tag").into_iter().next().unwrap_or_default());
    card.put("tags", vec!["gve", if is_reranker { "reranker" } else { "multimodal-embedding" }]);
    let licence = card.put_terms(Terms::of(model_dir, &base));
    card.put("datasets", front_values(&adapters, "datasets"));
    let rows = [
        vec!["made from".to_owned(), base.in_words()],
        vec!["LoRA rank, alpha".to_owned(), format!("{}, {}", settings.r, settings.alpha)],
        vec!["made with".to_owned(), format!("gve {}", env!("CARGO_PKG_VERSION"))],
        vec!["licence".to_owned(), licence],
    ];
    let sections = own_sections(&adapters, &["Data", "Training", "Scores"]);
    let said = if sections.is_empty() { "" } else { "What follows is of the adapter.\n\n" };
    card.body = format!(
        "# {}\n\n{}, with a LoRA adapter folded into its weights: a whole checkpoint.\n\n{}\n{}\n{said}{sections}",
        name_of(out),
        base.in_words(),
        table(&["", ""], rows),
        usage(library, is_reranker),
    );
    card
}

/// That of the adapter `out`, which is `adapter` under the names of `layout`: what the card beside `adapter` says
/// of its training holds.
pub(super) fn of_renamed(out: &Path, adapter: &LoraAdapter, layout: AdapterLayout) -> Card {
    let settings = adapter.settings();
    let reference = settings.base_model.as_deref().unwrap_or_default();
    let base = BaseModel::find(reference, settings.revision.as_deref(), Path::new(reference));
    let before = adapter.directory().unwrap_or(Path::new(""));
    let said = read(before).ok().flatten().unwrap_or_default();
    let is_reranker = adapter.recipe().is_some_and(|named| named.recipe.reranking.is_some());
    let mut card = Card::default();
    if let Some(id) = base.hub_id() {
        card.put("base_model", id);
        card.put("base_model_relation", "adapter");
    }
    card.put("library_name", "peft");
    card.put("pipeline_tag", front_values(&said, "pipeline_tag").into_iter().next().unwrap_or_default());
    let tags = front_values(&said, "tags").into_iter().filter(|tag| tag != "sentence-transformers");
    card.put("tags", tags.collect::<Vec<_>>());
    let licence = card.put_terms(Terms::of(before, &base));
    card.put("datasets", front_values(&said, "datasets"));
    let names = match layout {
        AdapterLayout::Nested => "as in transformers since 4.52",
        AdapterLayout::Flat => "as in transformers up to 4.51",
    };
    let made_from =
        if reference.is_empty() { "a model that it does not name".to_owned() } else { base.in_words() };
    let rows = [
        vec!["made from".to_owned(), made_from.clone()],
        vec!["LoRA rank, alpha".to_owned(), format!("{}, {}", settings.r, settings.alpha)],
        vec!["names of its tensors".to_owned(), names.to_owned()],
        vec!["made with".to_owned(), format!("gve {}", env!("CARGO_PKG_VERSION"))],
        vec!["licence".to_owned(), licence],
    ];
    let unknown = match base {
        BaseModel::Directory(_) => format!("\n{}\n", about_unknown_base()),
        _ => String::new(),
    };
    card.body = format!(
        "# {}\n\nA LoRA adapter of {made_from}, written anew with its tensors named {names}: the names by which PEFT binds them.\n\n{}\n\
         ## Use\n\n`FOLDER` is where these files are.\n\n```sh\n{} --model {} --adapter FOLDER\n```\n{unknown}\n{}",
        name_of(out),
        table(&["", ""], rows),
        reads(is_reranker),
        base.for_gve(),
        own_sections(&said, &["Data", "Training", "Scores"]),
    );
    card
}

/// That of the checkpoint `out`, whose weights are random.
pub(crate) fn of_random(out: &Path, parameters: usize, tokens: usize, seed: u64) -> Card {
    let mut card = Card::default();
    card.put("library_name", "sentence-transformers");
    card.put("tags", vec!["gve", "multimodal-embedding"]);
    let rows = [
        vec!["parameters".to_owned(), parameters.to_string()],
        vec!["tokens".to_owned(), tokens.to_string()],
        vec!["seed".to_owned(), seed.to_string()],
        vec!["made with".to_owned(), format!("gve {}", env!("CARGO_PKG_VERSION"))],
    ];
    card.body = format!(
        "# {}\n\nA model with random weights, to train from nothing: it has learned nothing, and its embeddings mean nothing.\n\n{}",
        name_of(out),
        table(&["", ""], rows),
    );
    card
}

/// How a whole checkpoint is loaded.
fn usage(library: &str, is_reranker: bool) -> String {
    let reads = reads(is_reranker);
    let mut usage =
        format!("## Use\n\n`FOLDER` is where these files are.\n\n```sh\n{reads} --model FOLDER\n```\n");
    if library == "sentence-transformers" {
        usage.push_str(
            "\n```python\nfrom sentence_transformers import SentenceTransformer\n\nmodel = SentenceTransformer(\"FOLDER\")\n\
             embeddings = model.encode([\"a dog runs\"])\n```\n",
        );
    }
    usage
}
