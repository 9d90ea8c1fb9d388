//! Columns of tables, and words.

use std::borrow::Cow;

/// A word of a kind: of the program for its own kinds, of a definition for those that come at run time.
pub type Text = Cow<'static, str>;

/// A word of the program, in tables.
pub const fn text(word: &'static str) -> Text {
    Cow::Borrowed(word)
}

/// A column of the kind's Table, as metav1.TableColumnDefinition.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: Text,
    /// `string`, `integer`, `date`, …
    pub kind: Text,
    /// `name` for the first column, else empty.
    pub format: Text,
    pub description: Text,
    /// 0 = always shown, 1 = only with `-o wide`.
    pub priority: i32,
}
