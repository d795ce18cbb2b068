//! What the tables show, in sentences: a line for each scenario. They say only what the trials support.
//!
//! Rows that the trials show no difference between are grouped. A group is the best row and those next to it, as long as no
//! two of them differ. The last row of a group need not differ from the first row behind it. So nothing is said of those.

use super::failure;
use super::figures::{Figures, distinct};
use super::goals;
use super::numbers::{NAMED, count, figure, named, number_word, shortened, three_digits};
use super::section::Section;
use super::summary::Summary;
use crate::results::run::Status;
use crate::verdict::cause::Verdict;
use crate::workload::line_up::ServerEntry;
use crate::workload::scenario::Rank;

/// The most lines.
const MOST: usize = 10;
/// Rows between which no difference is shown are called level if the best is at most this many times the last.
/// Rows further apart may differ, and the trials are too few to show it.
const LEVEL: f64 = 1.1;

/// What the tables say: a line for each scenario, and what limits it.
pub fn sentences(summary: &Summary) -> Vec<String> {
    let scenarios = summary.sections.chunk_by(|a, b| a.scenario == b.scenario);
    let mut lines: Vec<String> = scenarios
        .filter_map(|sections| scenario(&summary.servers, sections))
        .collect();
    let mut limits = Vec::new();
    if summary.run.settings.trials == 1 && summary.compares() {
        limits.push(
            "One trial each: their spread is assumed and not measured, so only large differences count (--trials 5)."
                .to_owned(),
        );
    }
    if let (missing @ 1.., all) = summary.missing {
        limits.push(format!(
            "Incomplete: {missing} of {all} trials are still to be run (loadgen bench --resume DIR)."
        ));
    }
    if lines.len() + limits.len() > MOST {
        let left_out = lines.split_off(MOST - limits.len() - 1);
        lines.push(format!(
            "{} more scenarios: see their tables.",
            left_out.len()
        ));
    }
    lines.append(&mut limits);
    lines
}

/// The line of a scenario: a sentence for each of its points, or one of its goal.
fn scenario(servers: &[ServerEntry], sections: &[Section]) -> Option<String> {
    let first = sections.first()?;
    let name = &first.scenario;
    let mut said: Vec<String> = goals::sentence(sections).map_or_else(
        || {
            let points = sections.iter().filter_map(|section| {
                let ranking = ranking(servers, section).or_else(|| without_valid(section))?;
                Some(match point(section) {
                    Some(point) => format!("{point}: {ranking}."),
                    None => format!("{ranking}."),
                })
            });
            points.collect()
        },
        |goal| vec![goal],
    );
    let names_points = !said.is_empty() && !first.alone && first.goal.is_none();
    said.extend(not_ranked(sections));
    if said.is_empty() {
        return None;
    }
    said.extend(not_applicable(sections));
    // "active, 10 clients: ...", but "ping: ...".
    let text = said.join(" ");
    Some(if names_points {
        format!("{name}, {text}")
    } else {
        format!("{name}: {text}")
    })
}

/// Who leads, or who is level, with at most this many names.
pub(super) fn leaders(section: &Section, best: &[Ranked], most: usize) -> String {
    let (what, unit) = match section.rank {
        Rank::Rate => (String::new(), "/s"),
        rank => (format!("{} ", rank.name()), ""),
    };
    let servers = shortened(&names(best), most);
    let range = range(section.rank, best);
    match best {
        [_] => format!("{servers} leads with {what}{range}{unit}"),
        _ if are_level(section.rank, best) => format!("{servers} level at {what}{range}{unit}"),
        _ => {
            // None of them stands out, so many names would say nothing.
            let servers = if best.len() > most {
                format!("{} servers", best.len())
            } else {
                servers
            };
            format!("{servers} at {what}{range}{unit}, no difference shown")
        }
    }
}

/// What is special about a point, such as `1,000 idle clients`; `None` where the scenario has no other.
pub(super) fn point(section: &Section) -> Option<String> {
    if section.alone {
        return None;
    }
    let name = &section.point.name;
    let words = name.rsplit_once('-').and_then(|(what, number)| {
        let number = number.parse::<u64>().ok()?;
        let of = |what: &str| Some(format!("{} {what}", count(number)));
        match what {
            "connections" if number == 1 => of("client"),
            "connections" => of("clients"),
            "size" => of("bytes"),
            "rate" => of("requests/s"),
            "idle" => of("idle clients"),
            "slow-readers" => of("slow readers"),
            "half-senders" => of("half-senders"),
            "floods" => of("floods"),
            "churn" => of("new clients/s"),
            _ => None,
        }
    });
    Some(words.unwrap_or_else(|| name.clone()))
}

/// Which servers answered wrongly or not at all, did not start or died, and which left clients without an answer; each as
/// at its first point.
fn not_ranked(sections: &[Section]) -> Vec<String> {
    let (mut failed, mut starved) = (Vec::new(), Vec::new());
    for row in sections.iter().flat_map(|section| &section.rows) {
        let (rows, why) = match &row.outcome {
            Err(without) if without.status == Status::Failed => {
                (&mut failed, without.reason.clone())
            }
            Err(_) => continue,
            Ok(figures) => match figures.verdict {
                Verdict::Failed => (&mut failed, failure::why(figures)),
                Verdict::Valid if figures.starves() => (&mut starved, failure::starved(figures)),
                Verdict::Valid | Verdict::Invalid => continue,
            },
        };
        if !rows.iter().any(|(server, _)| *server == &row.server) {
            rows.push((&row.server, why));
        }
    }
    let said = |what: &str, rows: &[(&String, String)]| {
        let rows = rows.iter().map(|(server, why)| format!("{server} ({why})"));
        let rows: Vec<String> = rows.collect();
        (!rows.is_empty()).then(|| format!("{what}: {}.", rows.join(", ")))
    };
    let lines = [said("FAILED", &failed), said("Not ranked", &starved)];
    lines.into_iter().flatten().collect()
}

/// Which servers cannot run a scenario, and why.
fn not_applicable(sections: &[Section]) -> Option<String> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in sections.iter().flat_map(|section| &section.rows) {
        let Err(without) = &row.outcome else { continue };
        if without.status != Status::NotApplicable {
            continue;
        }
        // The details are beside the table.
        let reason = without
            .reason
            .split([',', '('])
            .next()
            .unwrap_or_default()
            .trim();
        match reasons.iter_mut().find(|(other, _)| *other == reason) {
            Some((_, names)) if names.contains(&row.server.as_str()) => {}
            Some((_, names)) => names.push(&row.server),
            None => reasons.push((reason, vec![&row.server])),
        }
    }
    let parts = reasons
        .iter()
        .map(|(reason, names)| format!("{} ({reason})", named(names)));
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| format!("n/a: {}.", parts.join("; ")))
}

/// Why a table has no row that is ranked, if rows were measured.
pub(super) fn without_valid(section: &Section) -> Option<String> {
    if !section.unranked().is_empty() {
        return Some(format!("too few requests for a {}", section.rank.name()));
    }
    let measured = section.rows.iter();
    let measured = measured.filter_map(|row| row.outcome.as_deref().ok());
    let causes = distinct(measured.flat_map(|figures| &figures.causes));
    failure::meanings(&causes).map(|meanings| format!("no VALID result ({meanings})"))
}

/// What the table of a point says, in one sentence.
pub fn sentence(servers: &[ServerEntry], section: &Section) -> Option<String> {
    let ranking = ranking(servers, section).or_else(|| without_valid(section))?;
    Some(begin(section, &ranking))
}

/// Who leads or is level at a point, and no more.
pub fn headline(servers: &[ServerEntry], section: &Section) -> Option<String> {
    let parts = places(servers, section)?;
    Some(begin(section, parts.first()?))
}

/// `100 clients: ...`, or `ping: ...` where the scenario has one point.
fn begin(section: &Section, said: &str) -> String {
    let point = point(section).unwrap_or_else(|| section.scenario.clone());
    format!("{point}: {said}")
}

/// Who leads or is level, and who is behind.
fn ranking(servers: &[ServerEntry], section: &Section) -> Option<String> {
    Some(places(servers, section)?.join("; "))
}

/// The best rows, those behind them, and those that have no place.
fn places(servers: &[ServerEntry], section: &Section) -> Option<Vec<String>> {
    let ranked = section.ranked();
    let (&(leader, first), others) = ranked.split_first()?;
    let best = first.ranked_by(section.rank)?.value;
    let shown = |figures: &Figures| shown(section.rank, figures);
    let unit = match section.rank {
        Rank::Rate => " requests/s",
        _ => "",
    };
    let what = match section.rank {
        Rank::Rate => String::new(),
        rank => format!("{} ", rank.name()),
    };
    let unranked = section.unranked();
    let unranked = (!unranked.is_empty()).then(|| {
        let names = named(&unranked);
        format!(
            "not placed: {names} (too few requests for the {})",
            section.rank.name()
        )
    });
    if others.is_empty() {
        let alone = format!(
            "{leader} has {what}{}{unit}, and there is no other to compare",
            shown(first)
        );
        return Some(std::iter::once(alone).chain(unranked).collect());
    }
    let (level, rest) = split_level(section, &ranked);
    let (behind, unplaced): (Vec<Ranked>, Vec<Ranked>) = rest
        .iter()
        .partition(|(_, other)| section.apart(first, other));
    let (bound, unsure): (Vec<Ranked>, Vec<Ranked>) = unplaced
        .iter()
        .partition(|(_, other)| section.is_bound(other));

    let mut parts = vec![if let [_] = level {
        format!("{leader} leads with {what}{}{unit}", shown(first))
    } else {
        let all = if rest.is_empty() && level.len() > NAMED {
            "all "
        } else {
            ""
        };
        let (names, range) = (named(&names(level)), range(section.rank, level));
        if are_level(section.rank, level) {
            format!("{all}{names} are level at {what}{range}{unit}")
        } else {
            format!("no difference is shown among {all}{names} at {what}{range}{unit}")
        }
    }];
    parts.extend(followers(servers, section, best, &behind));
    parts.extend(unranked);
    let not_behind = format!("not shown to be behind {leader}");
    for (rows, why) in [
        (bound, "the generator was busy all the time"),
        (unsure, not_behind.as_str()),
    ] {
        if !rows.is_empty() {
            let (names, range) = (named(&names(&rows)), range(section.rank, &rows));
            parts.push(format!("not placed: {names} at {range} ({why})"));
        }
    }
    Some(parts)
}

/// Those behind the best, in groups. Of each group it says the figures, and how much worse they are than the best.
fn followers(
    servers: &[ServerEntry],
    section: &Section,
    best: f64,
    behind: &[Ranked],
) -> Option<String> {
    let mut groups = Vec::new();
    let mut left = behind;
    while !left.is_empty() {
        let (group, others) = split_level(section, left);
        groups.push(group);
        left = others;
    }
    let (last, before) = groups.split_last()?;
    let difference = |group: &[Ranked]| difference(section.rank, best, group);
    let mut parts: Vec<String> = if before.len() >= NAMED {
        let all: Vec<Ranked> = before.concat();
        let (number, range) = (number_word(all.len()), range(section.rank, &all));
        vec![format!(
            "{number} servers at {range} ({})",
            difference(&all)
        )]
    } else {
        let before = before.iter();
        before
            .map(|group| format!("{} ({})", place(section.rank, group, ""), difference(group)))
            .collect()
    };
    let entry = match last {
        [(name, _)] => servers.iter().find(|entry| entry.name == *name),
        _ => None,
    };
    let about = entry.map_or("", |entry| &entry.about);
    parts.push(format!(
        "{} ({})",
        place(section.rank, last, about),
        difference(last)
    ));
    Some(format!("behind: {}", parts.join(", then ")))
}

/// How much worse the rows of a group are than the best: `72 % fewer`, or `63 to 72 % fewer`.
fn difference(rank: Rank, best: f64, group: &[Ranked]) -> String {
    let end = |row: Option<&Ranked>| {
        let value = row.and_then(|(_, figures)| figures.ranked_by(rank));
        value.map_or_else(String::new, |value| against(rank, best, value.value))
    };
    let (first, last) = (end(group.first()), end(group.last()));
    let unit = |text: &str| text.split_once(' ').map(|(_, unit)| unit.to_owned());
    if first == last {
        last
    } else if unit(&first) == unit(&last) {
        let (number, _) = first.split_once(' ').unwrap_or_default();
        format!("{number} to {last}")
    } else {
        format!("{first} to {last}")
    }
}

/// A row that is ranked.
pub(super) type Ranked<'a> = (&'a str, &'a Figures);

/// The first of these rows with those next to it, as long as no two of them differ, and the others.
pub(super) fn split_level<'a, 'b>(
    section: &Section,
    rows: &'b [Ranked<'a>],
) -> (&'b [Ranked<'a>], &'b [Ranked<'a>]) {
    let differs = |at: usize| {
        let mut better = rows[..at].iter();
        better.any(|(_, better)| section.differ(better, rows[at].1))
    };
    let level = (1..rows.len()).find(|&at| differs(at));
    rows.split_at(level.unwrap_or(rows.len()))
}

/// A group behind the best, with what its server is.
fn place(rank: Rank, group: &[Ranked], about: &str) -> String {
    let level = if group.len() > 1 && are_level(rank, group) {
        " level"
    } else {
        ""
    };
    let about = if about.is_empty() {
        String::new()
    } else {
        format!(" ({about})")
    };
    format!(
        "{}{about}{level} at {}",
        named(&names(group)),
        range(rank, group)
    )
}

/// Whether rows between which no difference is shown are also close to each other.
fn are_level(rank: Rank, rows: &[Ranked]) -> bool {
    let values = rows
        .iter()
        .filter_map(|(_, figures)| figures.ranked_by(rank));
    let (least, most) = values.fold((f64::INFINITY, 0.0_f64), |(least, most), spread| {
        (least.min(spread.value), most.max(spread.value))
    });
    most <= LEVEL * least
}

fn names<'a>(rows: &[Ranked<'a>]) -> Vec<&'a str> {
    rows.iter().map(|(name, _)| *name).collect()
}

/// The least and the greatest of the figures that rank.
fn range(rank: Rank, rows: &[Ranked]) -> String {
    let value = |(_, figures): &&Ranked| figures.ranked_by(rank).map_or(0.0, |spread| spread.value);
    let mut rows: Vec<&Ranked> = rows.iter().collect();
    rows.sort_by(|a, b| value(a).total_cmp(&value(b)));
    let end =
        |row: Option<&&Ranked>| row.map_or_else(String::new, |(_, figures)| shown(rank, figures));
    let (low, high) = (end(rows.first()), end(rows.last()));
    if low == high {
        return low;
    }
    // A unit or a `>=` that both ends have is written once.
    let unit = high.split_once(' ').map_or("", |(_, unit)| unit);
    let low = low.strip_suffix(unit).unwrap_or(&low).trim_end();
    let high = match low.strip_prefix(">= ") {
        Some(_) => high.strip_prefix(">= ").unwrap_or(&high),
        None => &high,
    };
    format!("{low} to {high}")
}

/// The figure that ranks, to three digits. If the generator was at its limit, the figure is a lower bound.
fn shown(rank: Rank, figures: &Figures) -> String {
    let value = figures.ranked_by(rank).map_or(0.0, |spread| spread.value);
    match rank {
        Rank::Rate if figures.generator_bound() => format!(">= {}", figure(three_digits(value))),
        Rank::Rate => figure(three_digits(value)),
        _ => time(value),
    }
}

/// How much worse a figure is than the best.
pub(super) fn against(rank: Rank, best: f64, worse: f64) -> String {
    match rank {
        Rank::Rate => {
            let percent = (1.0 - worse / best) * 100.0;
            let digits = usize::from(percent > 99.0);
            format!("{percent:.digits$} % fewer")
        }
        _ if worse < 2.0 * best => {
            format!("{:.0} % more", (worse / best - 1.0) * 100.0)
        }
        _ => {
            let ratio = worse / best;
            let digits = usize::from(ratio < 9.95);
            format!("{ratio:.digits$} times as long")
        }
    }
}

/// A time of this many microseconds in a readable unit.
fn time(us: f64) -> String {
    if us < 1e3 {
        format!("{} us", figure(us))
    } else if us < 1e6 {
        format!("{} ms", figure(us / 1e3))
    } else {
        format!("{} s", figure(us / 1e6))
    }
}
