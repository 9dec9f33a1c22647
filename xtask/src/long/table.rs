//! The table that a long verb closes with.

use std::fmt;

use comfy_table::{CellAlignment, presets};

/// Rows of text below a header. As it is printed it is a table of Markdown too.
#[derive(Debug)]
pub(crate) struct Table(comfy_table::Table);

impl Table {
    pub(crate) fn new<const N: usize>(header: [&str; N]) -> Table {
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header(header);
        Table(table)
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl fmt::Display>) {
        let cells = cells.into_iter().map(|cell| cell.to_string());
        self.0.add_row(cells.collect::<Vec<_>>());
    }

    /// Column `index` holds numbers.
    pub(crate) fn align_right(&mut self, index: usize) {
        if let Some(column) = self.0.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
