use std::fmt;

use serde::{Deserialize, Serialize};

use super::{NamedRecipe, RecipeError};

/// Widths that a model's embeddings may be cut to, beside their own: those it was trained for (Matryoshka
/// representation learning, arXiv 2205.13147).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields, expecting = "expected a list of widths, or { from = WIDTH }")]
#[non_exhaustive]
pub enum Widths {
    /// These, rising. None by default: what was trained for its own width alone means less when it is cut.
    These(Vec<usize>),
    /// All of at least `from` values.
    Range {
        /// The smallest.
        from: usize,
    },
}

impl Default for Widths {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

impl Widths {
    /// Whether embeddings may be cut to `dim` values.
    pub fn has(&self, dim: usize) -> bool {
        match self {
            Self::These(widths) => widths.contains(&dim),
            Self::Range { from } => dim >= *from,
        }
    }

    /// Those of a model that is trained further for `dims`: as they were where these are among them, else these.
    #[must_use]
    pub(crate) fn trained_for(self, dims: &[usize]) -> Self {
        if dims.iter().all(|&dim| self.has(dim)) {
            return self;
        }
        let mut dims = dims.to_vec();
        dims.sort_unstable();
        dims.dedup();
        Self::These(dims)
    }

    pub(super) fn is_sound(&self) -> bool {
        match self {
            Self::These(widths) => widths.iter().all(|&width| width > 0) && widths.is_sorted(),
            Self::Range { from } => *from > 0,
        }
    }
}

impl fmt::Display for Widths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::These(widths) if widths.is_empty() => f.write_str("none"),
            Self::These(widths) => {
                let widths: Vec<_> = widths.iter().map(ToString::to_string).collect();
                f.write_str(&widths.join(", "))
            }
            Self::Range { from } => write!(f, "{from} and more"),
        }
    }
}

impl NamedRecipe {
    /// Whether the embeddings of a model of `width` values may be cut to `dim`; all that are there may where
    /// `force` is set.
    ///
    /// # Errors
    /// [`RecipeError::Width`] for more values than there are, or none; [`RecipeError::Untrained`] with the
    /// widths that the model was trained for.
    pub fn check_dim(&self, dim: usize, width: usize, force: bool) -> Result<(), RecipeError> {
        if !(1..=width).contains(&dim) {
            return Err(RecipeError::Width { dim, width });
        }
        if force || dim == width || self.recipe.widths.has(dim) {
            return Ok(());
        }
        let (recipe, widths) = (self.name.clone(), self.recipe.widths.clone());
        Err(RecipeError::Untrained { recipe, dim, width, widths })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Recipe;
    use super::*;

    #[test]
    fn a_width_is_trained_for_or_forced_or_refused_with_the_list() {
        let named = |widths: &str| {
            let recipe: Recipe = toml::from_str(&format!("widths = {widths}")).unwrap();
            NamedRecipe { name: "r".into(), ..recipe.into() }
        };
        let none = "recipe r was not trained to be cut to 64 of its 128 values (widths it was trained for: none); \
                    to cut it all the same, set force_dim (--force-dim)";
        for (widths, dim, force, expected) in [
            ("[]", 128, false, ""),
            ("[]", 64, false, none),
            ("[]", 64, true, ""),
            ("[32, 64]", 64, false, ""),
            ("[32, 64]", 48, false, "(widths it was trained for: 32, 64)"),
            ("{ from = 32 }", 48, false, ""),
            ("{ from = 32 }", 31, false, "(widths it was trained for: 32 and more)"),
            ("{ from = 32 }", 129, true, "embeddings of 128 values cannot be cut to 129"),
            ("{ from = 32 }", 0, true, "embeddings of 128 values cannot be cut to 0"),
        ] {
            let message = named(widths).check_dim(dim, 128, force).err().map(|e| e.to_string());
            let message = message.unwrap_or_default();
            assert!(
                message.contains(expected) && message.is_empty() == expected.is_empty(),
                "{dim}: {message}"
            );
        }
        let further =
            |widths: &str, dims: &[usize]| named(widths).recipe.widths.trained_for(dims).to_string();
        assert_eq!(further("{ from = 32 }", &[64, 32]), "32 and more");
        assert_eq!(further("{ from = 32 }", &[64, 16, 64]), "16, 64");
        assert_eq!((further("[8]", &[64, 16]), further("[8]", &[])), ("16, 64".to_owned(), "8".to_owned()));
        let sound = |widths: &str| named(widths).recipe.widths.is_sound();
        assert!(
            sound("[]") && sound("[1, 2]") && !sound("[2, 1]") && !sound("[0]") && !sound("{ from = 0 }")
        );
    }
}
