//! What stands for an id.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// From here on, not every whole number has an f64 of its own.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// An id as text. In JSON it may also be a number, which many data sets have: `7` and `7.0`, as data frames
/// with gaps write it, are the id `7`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Id(pub String);

impl Id {
    /// The id that a floating-point number stands for.
    ///
    /// # Errors
    /// In words: NaN, infinity, and whole numbers so large that several are the same.
    pub fn of_number(number: f64) -> Result<Self, String> {
        if !number.is_finite() || number.abs() >= MAX_EXACT {
            return Err(format!("the number {number} is no exact id: write it as text"));
        }
        if number.fract() == 0.0 {
            Ok(Self((number as i64).to_string()))
        } else {
            Ok(Self(number.to_string()))
        }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdVisitor)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = Id;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an id, text or a number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
        Ok(Id(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Id, E> {
        Ok(Id(text))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Id, E> {
        Ok(Id(number.to_string()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Id, E> {
        Ok(Id(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Id, E> {
        Id::of_number(number).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_text_or_numbers() {
        for (json, id) in [
            ("\"a b\"", "a b"),
            ("\"\"", ""),
            ("7", "7"),
            ("\"7\"", "7"),
            ("7.0", "7"),
            ("-7.0", "-7"),
            ("1.5", "1.5"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            assert_eq!(serde_json::from_str::<Id>(json).unwrap(), Id(id.to_owned()), "{json}");
        }
        for json in ["null", "[1]", "true", "{}", "123456789012345678901234567890", "1e300"] {
            assert!(serde_json::from_str::<Id>(json).is_err(), "{json}");
        }
        assert_eq!(serde_json::to_string(&Id("7".to_owned())).unwrap(), "\"7\"");
    }
}
