//! How others fill in settings: fields may come, so that they cannot write all of them down.

/// For each field a method `with_field` that sets it.
macro_rules! with_fields {
    ($settings:ident { $($method:ident($field:ident: $value:ty)),+ $(,)? }) => {
        impl $settings {
            $(
                #[doc = concat!("The same with another [`", stringify!($field), "`](Self::", stringify!($field), ").")]
                #[must_use]
                pub fn $method(mut self, $field: $value) -> Self {
                    self.$field = $field;
                    self
                }
            )+
        }
    };
}

pub(crate) use with_fields;
