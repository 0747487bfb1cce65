use serde::{Deserialize, Serialize};

/// What a query is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryKind {
    /// Words alone.
    Text,
    /// Pictures alone.
    Image,
    /// Clips alone, or clips and pictures.
    Video,
    /// Words and pictures.
    TextAndImage,
    /// Words and clips.
    TextAndVideo,
}

/// What a query says by default, by what it is made of. Documents say what the recipe's own instruction says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct QueryInstruction {
    /// A query whose kind has no other; without it, such a query says what documents say.
    pub any: Option<String>,
    /// Of [`QueryKind::Text`].
    pub text: Option<String>,
    /// Of [`QueryKind::Image`].
    pub image: Option<String>,
    /// Of [`QueryKind::Video`].
    pub video: Option<String>,
    /// Of [`QueryKind::TextAndImage`].
    pub text_and_image: Option<String>,
    /// Of [`QueryKind::TextAndVideo`].
    pub text_and_video: Option<String>,
}

impl QueryInstruction {
    /// That of a kind of query.
    pub fn of(&self, kind: QueryKind) -> Option<&str> {
        let own = match kind {
            QueryKind::Text => &self.text,
            QueryKind::Image => &self.image,
            QueryKind::Video => &self.video,
            QueryKind::TextAndImage => &self.text_and_image,
            QueryKind::TextAndVideo => &self.text_and_video,
        };
        own.as_deref().or(self.any.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_without_its_own_has_that_of_all() {
        let of =
            |text: &str, kind| toml::from_str::<QueryInstruction>(text).unwrap().of(kind).map(str::to_owned);
        assert_eq!(of("", QueryKind::Text), None);
        let own = "any = \"a\"\ntext = \"t\"\ntext_and_video = \"v\"";
        assert_eq!(of(own, QueryKind::Text).unwrap(), "t");
        assert_eq!(of(own, QueryKind::TextAndVideo).unwrap(), "v");
        assert_eq!(of(own, QueryKind::Video).unwrap(), "a");
        assert_eq!(of("image = \"i\"", QueryKind::TextAndImage), None);
    }
}
