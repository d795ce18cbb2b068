//! `--shard auto`: which of several generators this one is, from the environment that its launcher made.

use super::Usage;
use crate::workload::load::Shard;

/// How many generators there are, where the launcher does not say it.
const SHARDS: &str = "SHARDS";

/// What `--shard` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// This one.
    One(Shard),
    /// What the launcher's environment says. The number of generators, if it is given.
    Auto(Option<usize>),
}

pub fn parse_shard(text: &str) -> Result<Which, String> {
    let which = match text.split_once('/') {
        None => (text == "auto").then_some(Which::Auto(None)),
        Some(("auto", of)) => of
            .parse()
            .ok()
            .filter(|of| (1..=Shard::MOST).contains(of))
            .map(|of| Which::Auto(Some(of))),
        Some((number, of)) => number
            .parse()
            .ok()
            .zip(of.parse().ok())
            .filter(|(number, of)| (1..=*of).contains(number) && *of <= Shard::MOST)
            .map(|(number, of): (usize, usize)| {
                let index = number - 1;
                Which::One(Shard { index, of })
            }),
    };
    which.ok_or_else(|| {
        format!(
            "must be I/N (such as 1/2 and 2/2 for two generators), auto or auto/N; N is at most {}",
            Shard::MOST
        )
    })
}

/// The variables in which a launcher says which generator this is, and how many there are.
struct Launcher {
    name: &'static str,
    number: &'static str,
    /// The variable with the number of the first generator; `None`: it is `lowest`.
    from: Option<&'static str>,
    lowest: usize,
    /// The variable with the step from one number to the next; `None`: it is 1.
    step: Option<&'static str>,
    /// The variable with the number of generators; `None`: it is in [`SHARDS`].
    count: Option<&'static str>,
}

impl Launcher {
    const fn new(name: &'static str, number: &'static str, count: Option<&'static str>) -> Self {
        Self {
            name,
            number,
            from: None,
            lowest: 0,
            step: None,
            count,
        }
    }
}

const LAUNCHERS: [Launcher; 6] = [
    Launcher::new(
        "Open MPI",
        "OMPI_COMM_WORLD_RANK",
        Some("OMPI_COMM_WORLD_SIZE"),
    ),
    Launcher::new("PMIx", "PMIX_RANK", None),
    Launcher {
        from: Some("SLURM_ARRAY_TASK_MIN"),
        step: Some("SLURM_ARRAY_TASK_STEP"),
        ..Launcher::new(
            "a Slurm array",
            "SLURM_ARRAY_TASK_ID",
            Some("SLURM_ARRAY_TASK_COUNT"),
        )
    },
    Launcher::new("Slurm", "SLURM_PROCID", Some("SLURM_NTASKS")),
    Launcher::new("Kubernetes", "JOB_COMPLETION_INDEX", None),
    Launcher {
        lowest: 1,
        ..Launcher::new("GNU parallel", "PARALLEL_SEQ", None)
    },
];

/// What one launcher says.
struct Said {
    /// Counted from 0.
    index: usize,
    /// How many there are, where it says that.
    of: Option<usize>,
    /// Its name and its variables.
    words: String,
}

/// The shard that the environment says, and how it says that. `given`: the number of generators, if `--shard` says
/// it.
///
/// # Errors
/// When it says nothing, not enough, or two things that cannot both be.
pub fn found(
    given: Option<usize>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(Shard, String), Usage> {
    let number = |name: &str| -> Result<Option<usize>, Usage> {
        let Some(text) = variable(name).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let number = text.parse();
        number.map(Some).map_err(|_| {
            Usage(format!(
                "--shard auto: {name} must be a number, not `{text}`"
            ))
        })
    };
    let mut all = Vec::new();
    for launcher in &LAUNCHERS {
        all.extend(said(launcher, &number)?);
    }
    // Slurm starts one task for each element of an array, a shell that mpirun started one program.
    if all.iter().any(|said| said.of != Some(1)) {
        all.retain(|said| said.of != Some(1));
    }
    let size = match (given, number(SHARDS)?) {
        (None, None) => None,
        (Some(of), _) => Some((of, format!("auto/{of}"))),
        (None, Some(of)) => Some((of, format!("{SHARDS}={of}"))),
    };
    let words: Vec<&str> = all.iter().map(|said| said.words.as_str()).collect();
    let words = words.join("; ");
    let refused = |why: &str, advice: &str| Usage(format!("--shard auto: {why}: {advice}"));
    let by_hand = "give --shard I/N";
    let [first, others @ ..] = all.as_slice() else {
        return Err(refused(
            "found no launcher (Open MPI, PMIx, Slurm, Kubernetes or GNU parallel)",
            by_hand,
        ));
    };
    let mut counts: Vec<usize> = all.iter().filter_map(|said| said.of).collect();
    counts.extend(size.as_ref().map(|(of, _)| *of));
    let size = size.map_or(String::new(), |(_, how)| format!("; {how}"));
    let Some(&of) = counts.first() else {
        return Err(refused(
            &format!("nothing says how many generators there are ({words})"),
            "set SHARDS=N, or give --shard auto/N",
        ));
    };
    let contradicted = others.iter().any(|said| said.index != first.index)
        || counts.iter().any(|count| *count != of);
    if contradicted {
        return Err(refused(
            &format!("two launchers say different things ({words}{size})"),
            "unset the variables of one of them, or give --shard I/N",
        ));
    }
    if of > Shard::MOST {
        return Err(refused(
            &format!("{of} generators are too many ({words}{size})"),
            &format!("give --shard I/N, N at most {}", Shard::MOST),
        ));
    }
    let index = first.index;
    if index >= of {
        return Err(refused(
            &format!(
                "there is no generator {} of {of} ({words}{size})",
                index.saturating_add(1)
            ),
            by_hand,
        ));
    }
    Ok((Shard { index, of }, format!("{words}{size}")))
}

/// What a launcher says; `None`: its variable is not there.
fn said(
    launcher: &Launcher,
    number: &dyn Fn(&str) -> Result<Option<usize>, Usage>,
) -> Result<Option<Said>, Usage> {
    let Some(value) = number(launcher.number)? else {
        return Ok(None);
    };
    let of = match launcher.count {
        None => None,
        Some(count) => number(count)?,
    };
    if launcher.count.is_some() && of.is_none() {
        // Slurm gives a batch script a number even where nobody asked for several tasks.
        return Ok(None);
    }
    let from = launcher.from.map_or(Ok(None), number)?;
    let from = from.unwrap_or(launcher.lowest);
    let step = launcher.step.map_or(Ok(None), number)?;
    let step = step.unwrap_or(1).max(1);
    let (name, variable) = (launcher.name, launcher.number);
    let words = match (launcher.count, of) {
        (Some(count), Some(of)) => format!("{name}: {variable}={value}, {count}={of}"),
        _ => format!("{name}: {variable}={value}"),
    };
    let index = value.checked_sub(from).filter(|from| from % step == 0);
    let index = index.ok_or_else(|| {
        let steps = match step {
            1 => String::new(),
            step => format!(" in steps of {step}"),
        };
        Usage(format!(
            "--shard auto: the numbers begin with {from}{steps} ({words}): give --shard I/N"
        ))
    })?;
    Ok(Some(Said {
        index: index / step,
        of,
        words,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard_of(given: Option<usize>, environment: &str) -> Result<String, String> {
        let variable = |name: &str| {
            let mut pairs = environment
                .split_whitespace()
                .map(|pair| pair.split_once('=').unwrap());
            pairs
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
        };
        found(given, &variable)
            .map(|(shard, _)| shard.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_launcher_is_understood() {
        for (given, environment, shard) in [
            (None, "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=3", "2/3"),
            (
                None,
                "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=3 PMIX_RANK=1",
                "2/3",
            ),
            (Some(4), "PMIX_RANK=3", "4/4"),
            (None, "PMIX_RANK=0 SHARDS=4", "1/4"),
            (None, "SLURM_PROCID=2 SLURM_NTASKS=3", "3/3"),
            (None, "SLURM_PROCID=0 SLURM_NTASKS=1", "1/1"),
            (None, "SLURM_PROCID=2 SLURM_NTASKS=3 PMIX_RANK=2", "3/3"),
            (
                None,
                "SLURM_PROCID=0 SLURM_NTASKS=1 SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=5 \
                 SLURM_ARRAY_TASK_STEP=2 SLURM_ARRAY_TASK_COUNT=3",
                "2/3",
            ),
            (
                None,
                "SLURM_PROCID=0 SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_COUNT=3",
                "3/3",
            ),
            (None, "JOB_COMPLETION_INDEX=0 SHARDS=3", "1/3"),
            (Some(3), "PARALLEL_SEQ=3", "3/3"),
            (Some(7), "PARALLEL_SEQ=1 SHARDS=3", "1/7"),
        ] {
            assert_eq!(
                shard_of(given, environment).as_deref(),
                Ok(shard),
                "{environment}"
            );
        }
    }

    #[test]
    fn what_is_not_there_or_contradicts_is_refused() {
        for (given, environment, why) in [
            (None, "SHARDS=3", "found no launcher"),
            (None, "SLURM_PROCID=0", "found no launcher"),
            (None, "JOB_COMPLETION_INDEX=0", "set SHARDS=N"),
            (None, "PARALLEL_SEQ=2", "auto/N"),
            (Some(2), "PARALLEL_SEQ=3", "generator 3 of 2"),
            (Some(2), "PARALLEL_SEQ=0", "the numbers begin with 1"),
            (
                None,
                "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=3 SLURM_PROCID=0 SLURM_NTASKS=3",
                "two launchers say different things",
            ),
            (
                None,
                "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=3 PMIX_RANK=2",
                "two launchers say different things",
            ),
            (
                Some(4),
                "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=3",
                "two launchers say different things",
            ),
            (None, "SLURM_PROCID=one SLURM_NTASKS=3", "must be a number"),
            (
                None,
                "PMIX_RANK=0 SHARDS=18446744073709551615",
                "18446744073709551615 generators are too many",
            ),
            (None, "SLURM_PROCID=3 SLURM_NTASKS=3", "generator 4 of 3"),
            (
                None,
                "PMIX_RANK=18446744073709551615 SHARDS=2",
                "generator 18446744073709551615 of 2",
            ),
        ] {
            let error = shard_of(given, environment).unwrap_err();
            assert!(error.contains(why), "{environment}: {error}");
        }
    }

    #[test]
    fn a_shard_is_given_by_hand_or_left_to_the_launcher() {
        let one = |index, of| Which::One(Shard { index, of });
        for (text, which) in [
            ("1/1", one(0, 1)),
            ("7/7", one(6, 7)),
            ("auto", Which::Auto(None)),
            ("auto/7", Which::Auto(Some(7))),
        ] {
            assert_eq!(parse_shard(text), Ok(which));
        }
        for text in [
            "0/3",
            "4/3",
            "1",
            "auto/0",
            "auto/",
            "1/auto",
            "",
            "/",
            "1/1048577",
            "1/18446744073709551615",
            "auto/1048577",
        ] {
            assert!(parse_shard(text).is_err(), "{text}");
        }
    }
}
