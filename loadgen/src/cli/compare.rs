//! `loadgen compare`: two runs, or two servers.

use std::process::ExitCode;

use super::Usage;
use super::values::{Percentiles, parse_percent, parse_percentiles};
use crate::report::comparison::{compare, text};
use crate::report::style::Style;

/// The flags of `loadgen compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A and B are directories that `loadgen bench` wrote. DIR:SERVER is one server of such a run; named on one side only, it \
is taken from both. A and B may also be directories of `loadgen run --trials 5 --out DIR`: they do not say on which \
machine and with which requests they were measured, so make sure that both are the same.

Each figure is shown as B / A with its interval. All intervals together hold at 99 % (bootstrap over trials, Student's \
t, Bonferroni). `slower` and `faster` mean that the interval excludes 1 and that the ratio differs from 1 by at least \
5 %. Each side needs three VALID trials. Three show only large differences. For narrower intervals measure five or more \
(--trials 5), fewer rows, or fewer --percentiles.

Examples:
  loadgen compare results/before results/after
  loadgen compare results/latest:poll results/latest:epoll
  loadgen compare results/before results/after --percentiles 50,99.9
  loadgen compare main branch --threshold 10% --markdown > comment.md

Exit codes: 0 no regression, 1 a figure of B is slower by the threshold or more, or a server failed in B alone, \
2 the two cannot be compared.")]
pub struct CompareArgs {
    /// The run to compare with: DIR or DIR:SERVER
    #[arg(value_name = "A")]
    a: String,
    /// The run that is judged: DIR or DIR:SERVER
    #[arg(value_name = "B")]
    b: String,
    /// A figure that is slower by at least this much is a regression
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = parse_percent)]
    threshold: f64,
    /// The percentiles that are compared beside requests/s: any of 50, 75, 90, 95, 99, 99.9 and 99.99
    #[arg(long, value_name = "LIST", default_value = "50,99", value_parser = parse_percentiles)]
    percentiles: Percentiles,
    /// Print a Markdown document, such as for a pull request
    #[arg(long)]
    markdown: bool,
    /// Print a JSON object
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
}

impl CompareArgs {
    /// Compares, and prints the result.
    ///
    /// # Errors
    /// [`Usage`] when the two cannot be compared.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let comparison = compare(&self.a, &self.b, &self.percentiles.0, self.threshold)
            .map_err(|error| Usage(format!("{error:#}")))?;
        let style = if self.markdown {
            Style::Markdown
        } else if self.json {
            Style::Plain
        } else {
            Style::of_stdout()
        };
        style.print(&if self.json {
            serde_json::to_string_pretty(&comparison)?
        } else {
            text::render(&comparison, style)
        })?;
        if comparison.comparisons == 0 && !comparison.regression {
            return Err(
                Usage("no row of these two can be compared: each row says why".to_owned()).into(),
            );
        }
        Ok(ExitCode::from(u8::from(comparison.regression)))
    }
}
