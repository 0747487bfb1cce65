//! How others fill in settings, of which fields may come, so that they cannot write all of them down; and how things
//! with much in them are shown.

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

/// `Debug` of something that holds more than anybody wants to see: by what tells it from others.
macro_rules! shown_by {
    ($shown:ident |$this:ident| { $($name:ident: $value:expr),* $(,)? }) => {
        impl std::fmt::Debug for $shown {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let $this = self;
                f.debug_struct(stringify!($shown))$(.field(stringify!($name), &$value))*.finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use shown_by;
