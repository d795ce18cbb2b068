//! `loadgen compare`: two runs, or two servers.

use std::process::ExitCode;

use super::Usage;
use super::values::{Percentiles, parse_percent, parse_percentiles};
use crate::report::comparison::{compare, text};
use crate::report::style::Style;

/// The flags of `loadgen compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A and B are directories that `loadgen bench` wrote, or one server of such a run: DIR:SERVER. If only \
one side names a server, the same name is taken on the other side. They may also be two directories that `loadgen run` \
wrote (--trials 5 --out DIR): these keep neither the machine nor the requests, so see to it that both were the same.

Each figure is shown as B / A with its interval. All intervals together hold at 99 % (bootstrap over \
trials, Student's t, Bonferroni). `slower` and `faster` mean that the interval excludes 1 and the ratio is at \
least 5 % off. Each side needs at least three VALID trials. With three only large differences show: five \
or more (bench --trials) make the intervals narrower, and so do a bench with fewer rows and fewer --percentiles.

Examples:
  loadgen compare results/before results/after
  loadgen compare results/latest:poll results/latest:epoll
  loadgen compare results/before results/after --percentiles 50,99.9
  loadgen compare main branch --threshold 10% --markdown > comment.md

Exit codes: 0 no regression, 1 a figure of B is slower by the threshold or more, or a server failed in B alone, \
2 the two cannot be compared.")]
pub struct CompareArgs {
    /// What is compared with: DIR or DIR:SERVER
    #[arg(value_name = "A")]
    a: String,
    /// What is judged: DIR or DIR:SERVER
    #[arg(value_name = "B")]
    b: String,
    /// A figure that is slower by at least so much is a regression
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = parse_percent)]
    threshold: f64,
    /// The percentiles that are compared beside requests/s: of 50, 75, 90, 95, 99, 99.9 and 99.99
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
    /// Compares, and prints what came of it.
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
            return Err(Usage("no row of these two can be compared".to_owned()).into());
        }
        Ok(ExitCode::from(u8::from(comparison.regression)))
    }
}
