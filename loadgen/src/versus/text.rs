//! A comparison in turns for people: what the two are, a table, and what it shows in plain words.

use std::fmt::Write;

use comfy_table::CellAlignment;

use super::answer::{Answer, Contender, Ended, Side};
use super::figure::Figure;
use super::plan::Plan;
use super::standing::{Finding, Judged, Standing};
use crate::report::failure::starvation;
use crate::report::numbers::{count, counted, figure};
use crate::report::style::Style;
use crate::report::text::conditions;
use crate::results::run::Run;
use crate::stats::bootstrap::LEAST_TRIALS;
use crate::verdict::cause::with_remedies;

/// What the two are, and how they are measured.
pub fn head(run: &Run, plan: &Plan) -> String {
    let mut text = String::new();
    let programs = run.programs.as_ref();
    let hashes = ["a", "b"].map(|row| programs?.servers.get(row)?.clone());
    for (side, hash) in [Side::A, Side::B].into_iter().zip(&hashes) {
        let hash = hash
            .as_ref()
            .map_or_else(String::new, |hash| format!(" (sha256 {hash:.12})"));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{side}: {}{hash}", plan.commands[side as usize]);
    }
    if let [Some(a), Some(b)] = &hashes {
        let arguments = plan.words.each_ref().map(|words| &words[1..]);
        let _ = writeln!(
            text,
            "A and B are {}.",
            match (a == b, arguments[0] == arguments[1]) {
                (true, true) => "the same binary",
                (true, false) => "the same binary with different arguments",
                (false, _) => "different binaries",
            }
        );
    }
    let _ = writeln!(
        text,
        "{}; in turns A B B A, a fresh process for each trial",
        conditions(&run.settings)
    );
    for lack in &run.shortcomings {
        let _ = writeln!(text, "note: {lack}");
    }
    text
}

/// A line after a block.
pub fn progress(standing: &Standing, decides: Figure, within: f64) -> String {
    let blocks = standing.blocks();
    let planned = standing
        .needed(decides, within)
        .map_or_else(String::new, |needed| format!(" of about {needed}"));
    let judged = standing.judge(within).into_iter();
    let ratios = judged.filter_map(|seen| {
        let ratio = seen.ratio?;
        Some(format!("{} {ratio:.3}", seen.figure.name()))
    });
    let ratios: Vec<String> = ratios.collect();
    format!("block {blocks}{planned}: B / A {}", ratios.join(", "))
}

/// The table and what it shows.
pub fn render(answer: &Answer, style: Style) -> String {
    let mut text = String::new();
    if answer.blocks > 0 {
        let _ = writeln!(text, "{}\n", table(answer, style));
    }
    let invalid = match answer.invalid as u64 {
        0 => String::new(),
        n => format!(
            "; {} INVALID, whose blocks do not count",
            counted(n, "trial")
        ),
    };
    let together = if answer.figures.iter().any(|seen| seen.low.is_some()) {
        let confidence = percent(answer.confidence);
        format!(" All intervals hold together at {confidence}.")
    } else {
        String::new()
    };
    let _ = writeln!(
        text,
        "{} of four trials in {:.0} s{invalid}.{together}",
        counted(answer.blocks as u64, "block"),
        answer.seconds
    );
    let lines = [ending(answer), limits(answer)].into_iter().flatten();
    for line in lines.chain(left_out(answer)).chain(shown(answer)) {
        let _ = writeln!(text, "{line}");
    }
    if let Some(results) = &answer.results {
        let _ = writeln!(
            text,
            "\nResults: {0}; its report: loadgen report {0}",
            results.display()
        );
    }
    text
}

fn table(answer: &Answer, style: Style) -> comfy_table::Table {
    let mut table = style.table();
    table.set_header(["", "A", "B", "B / A [interval]", ""]);
    let value = |value: Option<f64>| value.map_or_else(|| "n/a".to_owned(), figure);
    for seen in &answer.figures {
        let mut ratio = seen
            .ratio
            .map_or_else(String::new, |ratio| format!("{ratio:.3}"));
        if let Some((low, high)) = seen.low.zip(seen.high) {
            let _ = write!(ratio, " [{low:.3}, {high:.3}]");
        }
        table.add_row([
            seen.figure.title().to_owned(),
            value(seen.a),
            value(seen.b),
            ratio,
            match seen.verdict {
                Finding::Better => "B is better",
                Finding::Worse => "B is worse",
                // What keeps it from being judged is said below the table.
                Finding::NoDifferenceShown if excludes_one(seen) => "not judged",
                Finding::NoDifferenceShown => "no difference shown",
                Finding::NotMeasured => "",
            }
            .to_owned(),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if style != Style::Markdown {
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 1));
        });
        if let Some(last) = table.column_iter_mut().last() {
            last.set_padding((0, 0));
        }
    }
    table
}

/// Whether the interval shows a difference.
fn excludes_one(seen: &Judged) -> bool {
    seen.low.is_some_and(|low| low > 1.0) || seen.high.is_some_and(|high| high < 1.0)
}

/// Why it ended.
fn ending(answer: &Answer) -> Option<String> {
    let decides = answer
        .figures
        .iter()
        .find(|seen| seen.figure == answer.figure)?;
    let name = answer.figure.name();
    match answer.ended {
        Ended::Failed { .. } => None,
        Ended::Interrupted => Some("Interrupted.".to_owned()),
        Ended::Narrow => Some(format!(
            "The ratio of {name} is known to {}, as asked.",
            percent(answer.within)
        )),
        Ended::NoFigure => Some(format!(
            "A trial had no {name}. {}",
            match answer.figure {
                Figure::P99 | Figure::P50 =>
                    "It needs at least ten answers that took longer: give a longer --duration, or another --figure.",
                Figure::Rate | Figure::Cpu => "Give another --figure.",
            }
        )),
        Ended::Budget => Some(match (decides.ratio, decides.low, decides.high) {
            (Some(ratio), Some(low), Some(high)) => format!(
                "The budget was over before the ratio of {name} was known to {}: its interval reaches {} to one side. A longer --budget narrows it.",
                percent(answer.within),
                percent((high / ratio).max(ratio / low) - 1.0)
            ),
            _ => format!(
                "The budget was over after {} of use, but a comparison needs {LEAST_TRIALS}. {}",
                counted(answer.blocks as u64, "block"),
                if answer.invalid > 0 {
                    format!("Trials were INVALID: {}.", with_remedies(&answer.causes))
                } else {
                    "Give a longer --budget or a shorter --duration.".to_owned()
                }
            ),
        }),
    }
}

/// The trials in which the generator was the limit.
fn limits(answer: &Answer) -> Option<String> {
    let of = |contender: &Contender, side: Side| {
        let trials = contender.remarks.generator_bound as u64;
        (trials > 0).then(|| format!("{} of {side}", counted(trials, "trial")))
    };
    let parts = [of(&answer.a, Side::A), of(&answer.b, Side::B)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| {
        format!(
            "The generator was the limit in {}: there the server may be quicker than its figures. Use fewer connections, more --threads, or a --rate below the limit.",
            parts.join(" and ")
        )
    })
}

/// How many clients the servers left without an answer.
fn left_out(answer: &Answer) -> Vec<String> {
    let mut lines = Vec::new();
    for (contender, side, seems) in [
        (&answer.a, Side::A, "B is not called worse"),
        (&answer.b, Side::B, "B is not called better"),
    ] {
        let remarks = contender.remarks;
        if let Some(starved) = starvation(remarks.clients_unanswered, answer.connections) {
            lines.push(format!(
                "{side}: {starved} in a trial. Its figures are those of the clients that it served, so {seems}."
            ));
        }
        if remarks.failed > 0 {
            lines.push(format!(
                "{side}: {} of {} failed.",
                count(remarks.failed),
                counted(remarks.requests, "request")
            ));
        }
    }
    if answer.only_b_starves {
        lines.push(
            "B is worse: it left clients without an answer in every trial, and A in none."
                .to_owned(),
        );
    }
    lines
}

/// What the figures show.
fn shown(answer: &Answer) -> Vec<String> {
    let mut lines = Vec::new();
    let listed = |verdict: Finding| {
        let figures = answer.figures.iter();
        let listed = figures.filter(|seen| seen.verdict == verdict).map(change);
        listed.collect::<Vec<_>>().join("; ")
    };
    let (worse, better) = (listed(Finding::Worse), listed(Finding::Better));
    if !worse.is_empty() {
        lines.push(format!("B is worse: {worse}."));
    }
    if !better.is_empty() {
        lines.push(format!("B is better: {better}."));
    }
    let measured = answer.figures.iter().filter(|seen| seen.low.is_some());
    if measured.clone().count() == 0 {
        return lines;
    }
    let threshold = percent(answer.threshold);
    if answer.figures.iter().any(|figure| figure.regression) {
        lines.push(format!("That is at least the threshold of {threshold}."));
        return lines;
    }
    if answer.only_b_starves {
        return lines;
    }
    let open = measured.filter(|seen| worst(seen) >= 1.0 + answer.threshold);
    let open: Vec<&str> = open.map(|seen| seen.figure.name()).collect();
    lines.push(if open.is_empty() {
        format!("No figure of B is worse by {threshold} or more.")
    } else {
        format!(
            "B may be worse by {threshold} or more in {}: the interval reaches that far.",
            open.join(", ")
        )
    });
    lines
}

/// A share in percent, with a decimal where it has one.
fn percent(share: f64) -> String {
    format!("{} %", (share * 1e3).round() / 10.0)
}

/// How many times worse B may be, by the interval.
fn worst(seen: &Judged) -> f64 {
    let ends = [seen.low, seen.high].into_iter().flatten();
    ends.map(|end| seen.figure.times_worse(end))
        .fold(0.0, f64::max)
}

/// `requests/s 4.8 % lower (3.9 % to 5.6 %)`.
fn change(seen: &Judged) -> String {
    let [ratio, low, high] = [seen.ratio, seen.low, seen.high].map(|end| end.unwrap_or(1.0) - 1.0);
    let (word, near, far) = if ratio < 0.0 {
        ("lower", high, low)
    } else {
        ("higher", low, high)
    };
    format!(
        "{} {} {word} ({} to {})",
        seen.figure.name(),
        percent(ratio.abs()),
        percent(near.abs()),
        percent(far.abs())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::cause::Cause;
    use crate::versus::standing::Remarks;

    fn judged(figure: Figure, ratio: f64, reach: f64) -> Judged {
        let (low, high) = (ratio / (1.0 + reach), ratio * (1.0 + reach));
        let ends = [low, high].map(|end| figure.times_worse(end));
        let verdict = if ends.iter().all(|end| *end > 1.0) {
            Finding::Worse
        } else if ends.iter().all(|end| *end < 1.0) {
            Finding::Better
        } else {
            Finding::NoDifferenceShown
        };
        Judged {
            figure,
            a: Some(100.0),
            b: Some(100.0 * ratio),
            ratio: Some(ratio),
            low: Some(low),
            high: Some(high),
            verdict,
            regression: verdict == Finding::Worse && figure.times_worse(ratio) >= 1.03,
        }
    }

    fn answer(ended: Ended, figures: Vec<Judged>) -> Answer {
        let contender = Contender {
            command: "server".to_owned(),
            sha256: None,
            remarks: Remarks::default(),
        };
        Answer {
            schema_version: 1,
            ended,
            a: contender.clone(),
            b: contender,
            same_binary: None,
            figure: Figure::Rate,
            within: 0.02,
            threshold: 0.03,
            confidence: 0.99,
            blocks: 12,
            invalid: 0,
            causes: Vec::new(),
            seconds: 60.0,
            connections: 100,
            only_b_starves: false,
            regression: figures.iter().any(|figure| figure.regression),
            figures,
            results: None,
        }
    }

    fn said(answer: &Answer) -> String {
        render(answer, Style::Plain)
    }

    #[test]
    fn what_is_shown_is_said_with_its_range() {
        let text = said(&answer(
            Ended::Narrow,
            vec![
                judged(Figure::Rate, 0.95, 0.02),
                judged(Figure::P50, 0.9, 0.02),
                judged(Figure::P99, 1.0, 0.01),
            ],
        ));
        for expected in [
            "B is worse: requests/s 5 % lower (3.1 % to 6.9 %).",
            "B is better: p50 10 % lower (8.2 % to 11.8 %).",
            "That is at least the threshold of 3 %.",
            "The ratio of requests/s is known to 2 %, as asked.",
            "12 blocks of four trials in 60 s. All intervals hold together at 99 %.",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn what_is_open_is_not_called_equal() {
        let level = said(&answer(
            Ended::Narrow,
            vec![judged(Figure::Rate, 0.99, 0.015)],
        ));
        assert!(
            level.contains("No figure of B is worse by 3 % or more."),
            "{level}"
        );
        let open = said(&answer(
            Ended::Budget,
            vec![
                judged(Figure::Rate, 0.99, 0.05),
                judged(Figure::P99, 1.0, 0.1),
            ],
        ));
        assert!(
            open.contains("may be worse by 3 % or more in requests/s, p99"),
            "{open}"
        );
        assert!(
            open.contains("The budget was over before the ratio of requests/s was known to 2 %: its interval reaches 5 % to one side."),
            "{open}"
        );
    }

    #[test]
    fn whom_a_side_left_without_an_answer_is_said() {
        let figures = || {
            let mut faster = judged(Figure::Rate, 5.0, 0.01);
            faster.verdict = Finding::NoDifferenceShown;
            vec![faster]
        };
        let mut one = answer(Ended::Narrow, figures());
        one.b.remarks = Remarks {
            starving: 24,
            clients_unanswered: 80,
            requests: 5000,
            failed: 12,
            ..Remarks::default()
        };
        one.only_b_starves = true;
        let text = said(&one);
        for expected in [
            "requests/s 100 500 5.000 [4.950, 5.050] not judged",
            "B: 80 of 100 clients never answered in a trial. Its figures are those of the clients that it served, so B is \
             not called better.\n",
            "B: 12 of 5,000 requests failed.\n",
            "B is worse: it left clients without an answer in every trial, and A in none.\n",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert!(!text.contains("No figure of B is worse"), "{text}");
        let mut other = answer(Ended::Narrow, figures());
        other.a.remarks = one.b.remarks;
        let text = said(&other);
        assert!(
            text.contains("A: 80 of 100 clients never answered in a trial.")
                && text.contains("so B is not called worse.")
                && !text.contains("\nB is worse"),
            "{text}"
        );
    }

    #[test]
    fn the_table_fits_into_80_columns() {
        let style = Style::Terminal {
            width: 80,
            colour: false,
        };
        let figures = Figure::ALL.map(|figure| Judged {
            a: Some(1_234_567.0),
            b: Some(1_234_567.0),
            verdict: Finding::NoDifferenceShown,
            ..judged(figure, 1.0, 0.02)
        });
        let answer = answer(Ended::Budget, figures.into());
        assert!(
            style.has_room(|style| table(&answer, style)),
            "{}",
            table(&answer, style)
        );
    }

    #[test]
    fn too_few_blocks_say_nothing() {
        let nothing = Judged {
            low: None,
            high: None,
            verdict: Finding::NotMeasured,
            regression: false,
            ..judged(Figure::Rate, 0.5, 0.01)
        };
        let mut answer = answer(Ended::Budget, vec![nothing]);
        answer.blocks = 2;
        let text = said(&answer);
        assert!(
            text.contains("after 2 blocks of use, but a comparison needs 3."),
            "{text}"
        );
        assert!(!text.contains("worse"), "{text}");
        (answer.invalid, answer.causes) = (1, vec![Cause::Unchecked]);
        let text = said(&answer);
        assert!(text.contains("INVALID: a reading that the"), "{text}");
        assert!(!text.contains("stop what else"), "{text}");
    }
}
