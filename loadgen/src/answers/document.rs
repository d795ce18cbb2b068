//! The document and the page of all experiments, made from their summaries.

use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

use minijinja::{AutoEscape, Environment, Value, context};

use super::file::Experiment;
use super::measured::{Cell, Measured};
use super::numbers::{found_text, shown};
use super::verdict::{Outcome, Verdict, limits};
use crate::report::style::Style;

const TEMPLATE: &str = include_str!("../../assets/answers.md");
const PAGE: &str = include_str!("../../assets/answers.html");
const STYLE: &str = include_str!("../../assets/report.css");

/// An experiment with its result.
#[derive(Debug)]
pub struct Answered<'a> {
    /// What was asked.
    pub experiment: &'a Experiment,
    /// What was measured, how the claims are judged, and the picture; `None`: nothing was.
    pub result: Option<(Measured, Vec<Outcome>, String)>,
}

impl Answered<'_> {
    /// The number of claims for each verdict, in words.
    fn verdict(&self) -> String {
        let Some((_, outcomes, _)) = &self.result else {
            return "not measured".to_owned();
        };
        let all = [Verdict::Holds, Verdict::Fails, Verdict::Undecided];
        let counts = all.map(|verdict| {
            let same = outcomes.iter().filter(|outcome| outcome.verdict == verdict);
            (verdict, same.count())
        });
        let said = counts.iter().filter(|(_, count)| *count > 0);
        let said = said.map(|(verdict, count)| match (verdict, count) {
            (Verdict::Holds, 2..) => format!("{count} hold here"),
            (Verdict::Fails, 2..) => format!("{count} do not hold here"),
            _ => format!("{count} {verdict}"),
        });
        said.collect::<Vec<_>>().join(", ")
    }

    /// An experiment for the template. `table` makes a table, `chart` the picture.
    fn context(
        &self,
        tables: &impl Fn(&[&str], Vec<Vec<String>>) -> Value,
        chart: &Value,
    ) -> Value {
        let answer = &self.experiment.answer;
        let result = self.result.as_ref().map(|(measured, outcomes, _)| {
            let claims = outcomes.iter().map(|outcome| {
                context! { text => outcome.claim, sentence => outcome.sentence, verdict => outcome.verdict }
            });
            let differs = outcomes.iter().any(|outcome| outcome.verdict == Verdict::Fails);
            context! {
                head => measured.head,
                claims => claims.collect::<Vec<_>>(),
                differs,
                checks => tables(&["check", "found", "needed", "verdict"], checks(outcomes)),
                figures => tables(&headings(self.experiment), rows(self.experiment, measured)),
            }
        });
        context! {
            name => self.experiment.name,
            question => answer.question,
            source => answer.source,
            setting => answer.setting,
            varied => answer.varied,
            constant => answer.constant,
            limits => answer.limits,
            verdict => self.verdict(),
            chart,
            result,
        }
    }
}

/// The lines of the table of checks.
fn checks(outcomes: &[Outcome]) -> Vec<Vec<String>> {
    let checks = outcomes.iter().flat_map(|outcome| &outcome.checks);
    let row = |judged: &super::verdict::Judged| {
        let found = judged.found.as_ref().map_or("n/a".to_owned(), found_text);
        let verdict = match &judged.why {
            Some(why) => format!("{}: {why}", judged.verdict),
            None => judged.verdict.to_string(),
        };
        vec![
            judged.check.what.clone(),
            found,
            limits(&judged.check),
            verdict,
        ]
    };
    checks.map(row).collect()
}

fn headings(experiment: &Experiment) -> Vec<&'static str> {
    let figures = experiment
        .answer
        .figures
        .iter()
        .map(|figure| figure.title());
    ["server", "load", "trials"]
        .into_iter()
        .chain(figures)
        .collect()
}

/// The lines of the table of figures: the mean of the trials, and the least and the greatest.
fn rows(experiment: &Experiment, measured: &Measured) -> Vec<Vec<String>> {
    let several = experiment.profile.scenarios.len() > 1;
    let row = |cell: &Cell| {
        let load = if several {
            format!("{}, {}", cell.scenario, cell.point)
        } else {
            cell.point.clone()
        };
        let trials = match &cell.blocked {
            Some(reason) => reason.clone(),
            None => cell.trials.len().to_string(),
        };
        let figures = experiment.answer.figures.iter().map(|figure| {
            let values = cell.values(*figure);
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            match cell.mean(*figure) {
                None => "n/a".to_owned(),
                Some(mean) => format!("{} ({} to {})", shown(mean), shown(least), shown(most)),
            }
        });
        [cell.server.clone(), load, trials]
            .into_iter()
            .chain(figures)
            .collect()
    };
    measured.cells.iter().map(row).collect()
}

/// `docs/answers.md`. `pictures` is where the results are, as seen from the document.
///
/// # Errors
/// None in practice: the template is built in.
pub fn markdown(answers: &[Answered<'_>], pictures: &str) -> anyhow::Result<String> {
    let table = |headings: &[&str], rows: Vec<Vec<String>>| {
        let mut table = Style::Markdown.table();
        table.set_header(headings.to_vec());
        table.add_rows(rows);
        Value::from(table.to_string())
    };
    let context = |answered: &Answered<'_>| -> Value {
        let picture = format!("{pictures}/{}/chart.svg", answered.experiment.name);
        answered.context(&table, &Value::from(picture))
    };
    let answers: Vec<Value> = answers.iter().map(context).collect();
    render(TEMPLATE, AutoEscape::None, &answers)
}

/// The same as a page for a browser.
///
/// # Errors
/// None in practice: the template is built in.
pub fn html(answers: &[Answered<'_>]) -> anyhow::Result<String> {
    let table = |headings: &[&str], rows: Vec<Vec<String>>| context! { headings, rows };
    let context = |answered: &Answered<'_>| {
        let picture = answered
            .result
            .as_ref()
            .map(|(_, _, picture)| picture.clone());
        answered.context(
            &table,
            &Value::from_safe_string(picture.unwrap_or_default()),
        )
    };
    let answers: Vec<Value> = answers.iter().map(context).collect();
    render(PAGE, AutoEscape::Html, &answers)
}

fn render(template: &str, escape: AutoEscape, answers: &[Value]) -> anyhow::Result<String> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_keep_trailing_newline(true);
    environment.set_auto_escape_callback(move |_| escape);
    environment.add_template("answers", template)?;
    let css = Value::from_safe_string(STYLE.to_owned());
    Ok(environment
        .get_template("answers")?
        .render(context! { answers, css })?)
}

/// The relative path from the directory of a file to a directory.
pub fn way(file: &Path, directory: &Path) -> std::io::Result<String> {
    let from = std::path::absolute(file)?;
    let to = std::path::absolute(directory)?;
    let from: Vec<Component<'_>> = from
        .parent()
        .map(|p| p.components().collect())
        .unwrap_or_default();
    let to: Vec<Component<'_>> = to.components().collect();
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from[common..].iter().map(|_| Component::ParentDir);
    let way: PathBuf = up.chain(to[common..].iter().copied()).collect();
    Ok(way.to_string_lossy().into_owned())
}

/// The lines for a terminal.
pub fn text(answered: &Answered<'_>) -> String {
    let mut text = format!(
        "{}: {}\n",
        answered.experiment.name, answered.experiment.answer.question
    );
    let outcomes = answered.result.iter().flat_map(|(_, outcomes, _)| outcomes);
    for outcome in outcomes {
        let _ = writeln!(text, "  {}\n    {}", outcome.claim, outcome.sentence);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_the_pictures_is_relative() {
        let found = way(Path::new("docs/answers.md"), Path::new("results/answers")).unwrap();
        assert_eq!(found, "../results/answers");
        let found = way(Path::new("answers.md"), Path::new("answers")).unwrap();
        assert_eq!(found, "answers");
    }
}
