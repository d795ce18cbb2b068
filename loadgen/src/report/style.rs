//! Where a text is shown: its width, its colours, its kind of table.

use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{LineStyle, Table, TableStyle};

use crate::console::{self, Reader};

/// A line under the headings and no other lines.
const RULED: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('\u{2500}').junction('\u{2500}'));

/// The width of a terminal that does not know its own, columns.
const UNKNOWN_WIDTH: u16 = 80;

/// Where a table is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A terminal this many columns wide.
    Terminal {
        /// Its width; columns that do not fit are left out.
        width: u16,
        /// Whether it may be coloured.
        colour: bool,
    },
    /// A pipe or a file: no colours, all columns.
    Plain,
    /// A Markdown document: all columns.
    Markdown,
}

impl Style {
    /// What standard output is.
    pub fn of_stdout() -> Self {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
        match Table::new().width() {
            Some(width) => Self::terminal(width, colour),
            None => Self::Plain,
        }
    }

    fn terminal(width: u16, colour: bool) -> Self {
        // A serial line or a new pseudo-terminal says 0 columns: nobody has set its size.
        let width = if width == 0 { UNKNOWN_WIDTH } else { width };
        Self::Terminal { width, colour }
    }

    /// Writes to standard output; on a terminal, lines that are too long are broken between words.
    ///
    /// # Errors
    /// Those of [`console::print`].
    pub fn print(self, text: &str) -> anyhow::Result<Reader> {
        console::print(&self.fold(text))
    }

    /// What [`Style::print`] writes.
    pub fn fold(self, text: &str) -> String {
        let mut folded = String::with_capacity(text.len());
        for line in text.lines() {
            let text = line.trim_start();
            let indent = &line[..line.len() - text.len()];
            let further = format!("{indent}  ");
            match self {
                Self::Terminal { width, .. }
                    if textwrap::core::display_width(line) > width.into() =>
                {
                    let options = textwrap::Options::new(width.into())
                        .initial_indent(indent)
                        .subsequent_indent(&further)
                        .break_words(false)
                        .word_splitter(textwrap::WordSplitter::NoHyphenation);
                    folded.push_str(&textwrap::fill(text, options));
                }
                _ => folded.push_str(line),
            }
            folded.push('\n');
        }
        folded
    }

    /// Whether a table fits when it is built in this style.
    pub fn has_room(self, build: impl Fn(Self) -> Table) -> bool {
        let Self::Terminal { width, .. } = self else {
            return true;
        };
        let colourless = Self::Terminal {
            width,
            colour: false,
        };
        let widest = build(colourless)
            .lines()
            .map(|line| line.chars().count())
            .max();
        widest.unwrap_or(0) <= width.into()
    }

    /// A table of the columns that there is room for, and the places of the others. Of the columns those with the highest
    /// number of `dispensable` are left out first, and those with 0 never. `build` makes the table of some columns.
    pub fn fit(
        self,
        dispensable: &[u8],
        build: impl Fn(Self, &[usize]) -> Table,
    ) -> (Table, Vec<usize>) {
        let all = 0..dispensable.len();
        let mut kept: Vec<usize> = all.clone().collect();
        while !self.has_room(|style| build(style, &kept)) {
            let most = kept.iter().map(|&at| dispensable[at]).max().unwrap_or(0);
            if most == 0 {
                break;
            }
            kept.retain(|&at| dispensable[at] < most);
        }
        let left_out = all.filter(|at| !kept.contains(at)).collect();
        (build(self, &kept), left_out)
    }

    /// An empty table.
    pub fn table(self) -> Table {
        let mut table = Table::new();
        table.load_style(match self {
            Self::Terminal { .. } => RULED,
            Self::Plain => NOTHING,
            Self::Markdown => ASCII_MARKDOWN,
        });
        match self {
            Self::Terminal { colour: true, .. } => table.enforce_styling(),
            _ => table.force_no_tty(),
        };
        table
    }

    /// The words of a heading, on a terminal below each other to save room.
    pub fn heading(self, words: &[&str]) -> String {
        match self {
            Self::Terminal { .. } => words.join("\n"),
            Self::Plain | Self::Markdown => words.join(" "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_folded_on_a_terminal_only() {
        let text = "short\n  a line of six-letter words\n\u{1b}[1mstyled text\u{1b}[0m\n";
        let terminal = Style::Terminal {
            width: 12,
            colour: true,
        };
        assert_eq!(
            terminal.fold(text),
            "short\n  a line of\n    six-letter\n    words\n\u{1b}[1mstyled text\u{1b}[0m\n"
        );
        assert_eq!(Style::Plain.fold(text), text);
    }

    #[test]
    fn a_terminal_without_a_width_has_80_columns() {
        let Style::Terminal { width, .. } = Style::terminal(0, false) else {
            panic!("it is a terminal");
        };
        assert_eq!(width, 80);
    }
}
