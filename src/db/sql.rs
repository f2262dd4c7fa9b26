//! How the modules of the ledger speak with SQLite: one call a statement, which stays
//! prepared, and one declaration for a struct that is read from a row.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row};

use super::ledger::Result;
use crate::ids::{Folder, Incarnation, TurnId};

/// Statements, by what is wanted of them.
pub(super) trait Sql {
    /// A statement, which stays prepared.
    fn statement(&self, sql: impl AsRef<str>) -> Result<CachedStatement<'_>>;

    /// Runs one.
    fn run(&self, sql: impl AsRef<str>, params: impl Params) -> Result<()> {
        self.change(sql, params).map(drop)
    }

    /// Runs one: how many rows it changed.
    fn change(&self, sql: impl AsRef<str>, params: impl Params) -> Result<usize> {
        Ok(self.statement(sql)?.execute(params)?)
    }

    /// Every row.
    fn all<T, A>(&self, sql: impl AsRef<str>, params: impl Params) -> Result<A>
    where
        T: FromRow,
        A: FromIterator<T>,
    {
        let mut statement = self.statement(sql)?;
        let rows = statement.query_map(params, |row| T::read(row, &mut 0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The first row, which there must be.
    fn one<T: FromRow>(&self, sql: impl AsRef<str>, params: impl Params) -> Result<T> {
        Ok(self.statement(sql)?.query_row(params, |row| T::read(row, &mut 0))?)
    }

    /// The first row, if there is one.
    fn first<T: FromRow>(&self, sql: impl AsRef<str>, params: impl Params) -> Result<Option<T>> {
        Ok(self.statement(sql)?.query_row(params, |row| T::read(row, &mut 0)).optional()?)
    }

    /// Whether there is a row.
    fn has(&self, sql: impl AsRef<str>, params: impl Params) -> Result<bool> {
        Ok(self.statement(sql)?.exists(params)?)
    }
}

impl Sql for Connection {
    fn statement(&self, sql: impl AsRef<str>) -> Result<CachedStatement<'_>> {
        Ok(self.prepare_cached(sql.as_ref())?)
    }
}

/// What is read from one column of a row, or from several that follow each other.
pub(super) trait FromRow: Sized {
    /// Takes its columns from `at` on, and moves it behind them.
    fn read(row: &Row<'_>, at: &mut usize) -> rusqlite::Result<Self>;
}

fn column<T: FromSql>(row: &Row<'_>, at: &mut usize) -> rusqlite::Result<T> {
    *at += 1;
    row.get(*at - 1)
}

impl<T: FromSql> FromRow for Option<T> {
    fn read(row: &Row<'_>, at: &mut usize) -> rusqlite::Result<Self> {
        column(row, at)
    }
}

macro_rules! one_column {
    ($($type:ty),*) => {
        $(impl FromRow for $type {
            fn read(row: &Row<'_>, at: &mut usize) -> rusqlite::Result<Self> {
                column(row, at)
            }
        })*
    };
}
one_column!(bool, u32, i64, String, Folder, TurnId, Incarnation);

macro_rules! several_columns {
    ($($part:ident),*) => {
        impl<$($part: FromRow),*> FromRow for ($($part,)*) {
            fn read(row: &Row<'_>, at: &mut usize) -> rusqlite::Result<Self> {
                Ok(($($part::read(row, at)?,)*))
            }
        }
    };
}
several_columns!(A, B);
several_columns!(A, B, C);
several_columns!(A, B, C, D);
several_columns!(A, B, C, D, E);

/// Declares a struct that is read from a row. Its fields are columns, in their order;
/// one whose column has another name says so (`= "..."`, any SQL), and one that is
/// made of what stands there says by what function (`=> ...`).
macro_rules! row {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $($(#[$doc:meta])* pub $field:ident: $type:ty $(= $sql:literal)? $(=> $made:expr)?,)*
        }
    ) => {
        $(#[$about])*
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl $name {
            /// `SELECT`, its columns, and `rest`.
            #[allow(dead_code, reason = "a struct within another is read with that one")]
            pub(in crate::db) fn select(rest: &str) -> String {
                let columns = [$($crate::db::sql::row!(@column $field $($sql)?)),*];
                format!("SELECT {} {rest}", columns.join(", "))
            }
        }

        impl $crate::db::sql::FromRow for $name {
            fn read(row: &rusqlite::Row<'_>, at: &mut usize) -> rusqlite::Result<Self> {
                Ok($name {
                    $($field: $crate::db::sql::row!(@value row, at $(, $made)?),)*
                })
            }
        }
    };
    (@column $field:ident) => { stringify!($field) };
    (@column $field:ident $sql:literal) => { $sql };
    (@value $row:ident, $at:ident) => { $crate::db::sql::FromRow::read($row, $at)? };
    (@value $row:ident, $at:ident, $made:expr) => {
        $made($crate::db::sql::FromRow::read($row, $at)?)
    };
}
pub(in crate::db) use row;

/// Declares an enum that stands in a column as a word, and in JSON as the same.
macro_rules! words {
    (
        $(#[$about:meta])*
        pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// The word in the ledger.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            /// What the ledger means by a word.
            pub fn from_word(word: &str) -> Option<$name> {
                match word { $($word => Some($name::$variant),)* _ => None }
            }
        }
    };
}
pub(in crate::db) use words;

impl FromSql for Folder {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Folder::parse(value.as_str()?).map_err(FromSqlError::other)
    }
}

impl ToSql for Folder {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

macro_rules! number {
    ($($type:ident),*) => {
        $(
            impl FromSql for $type {
                fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                    value.as_i64().map($type)
                }
            }

            impl ToSql for $type {
                fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                    Ok(self.0.into())
                }
            }
        )*
    };
}
number!(TurnId, Incarnation);
