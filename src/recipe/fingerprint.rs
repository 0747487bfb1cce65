use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Recipe;
use crate::hash::{FNV_OFFSET, fnv};
use crate::store::differences;

/// Fields that change no embedding of what is searched, nor one whose instruction is given.
const OF_QUERIES: [&str; 3] = ["query_instruction", "widths", "pseudo_query"];

/// Which recipe embeddings were made by, for whoever keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeId {
    /// Its name, for people.
    pub name: String,
    /// [`Recipe::fingerprint`]: two of one hash embed alike.
    pub hash: String,
}

impl RecipeId {
    /// That of whatever was kept before there were recipes: everything was used as GVE is.
    pub fn gve() -> Self {
        Self { name: "gve".to_owned(), hash: Recipe::default().fingerprint() }
    }
}

impl fmt::Display for RecipeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.hash)
    }
}

impl Recipe {
    /// A hash of all that shapes embeddings, the same on every machine and in every release: of the fields
    /// that are not as GVE has them, so that fields that come with a later release change no hash.
    pub fn fingerprint(&self) -> String {
        let settings = |recipe: &Self| {
            let mut settings = json!(recipe);
            OF_QUERIES.iter().for_each(|name| settings[*name] = Value::Null);
            settings
        };
        let hash = differences(&settings(&Self::default()), &settings(self))
            .iter()
            .fold(FNV_OFFSET, |hash, field| fnv(hash, format!("{}={}\n", field.name, field.here).as_bytes()));
        format!("{hash:016x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Libraries and results on disk hold them: they may never change.
    #[test]
    fn hashes_are_of_what_differs_from_gve() {
        let of = |text: &str| toml::from_str::<Recipe>(text).unwrap().fingerprint();
        assert_eq!(of(""), "cbf29ce484222325");
        assert_eq!(RecipeId::gve().to_string(), "gve (cbf29ce484222325)");
        assert_eq!(of("max_length = 8192\nwidths = [64]\nquery_instruction = { any = \"a\" }"), of(""));
        assert_eq!(of("max_length = 1800\ntokens_per_frame = 256"), "d173f8adf4f3bbd8");
        assert_ne!(of("max_length = 1800"), of("max_length = 1801"));
    }
}
