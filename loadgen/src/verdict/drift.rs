//! Whether the two halves of the measured time differ.

use super::note::Note;
use crate::recording::account::Block;

/// The halves of the measured time differ by at least this share of their mean.
pub const DRIFT_SHARE: f64 = 0.10;
/// And by at least this many standard errors of that difference.
pub const DRIFT_ERRORS: f64 = 4.0;

/// Compares the halves of the measured time. Neighbouring samples are alike, so their number says little about the
/// error of a mean. The spread between blocks of samples does.
pub fn drift(blocks: &[Block]) -> Option<Note> {
    let (first, second) = blocks.split_at(blocks.len() / 2);
    let answers = |block: &Block| Some(block.answers as f64);
    let response =
        |block: &Block| (block.answers > 0).then(|| block.response as f64 / block.answers as f64);
    let mut changes = Vec::new();
    for (what, value) in [
        ("answers", &answers as &dyn Fn(&Block) -> Option<f64>),
        ("mean response", &response),
    ] {
        let before: Vec<f64> = first.iter().filter_map(value).collect();
        let after: Vec<f64> = second.iter().filter_map(value).collect();
        if let Some((before, after)) = change(&before, &after) {
            changes.push(if before > 0.0 {
                format!("{what} {:+.0} %", (after / before - 1.0) * 100.0)
            } else {
                format!("{what} from 0")
            });
        }
    }
    (!changes.is_empty()).then(|| {
        let changes = changes.join(", ");
        Note::Drift(format!("{changes} from the first half to the second"))
    })
}

/// Both means, if they differ by much and by more than the spread explains (Welch's statistic).
fn change(before: &[f64], after: &[f64]) -> Option<(f64, f64)> {
    if before.len() < 2 || after.len() < 2 {
        return None;
    }
    let (mean_before, error_before) = mean_and_error(before);
    let (mean_after, error_after) = mean_and_error(after);
    let difference = mean_after - mean_before;
    let mean = f64::midpoint(mean_before, mean_after);
    let error = (error_before + error_after).sqrt();
    (difference.abs() > DRIFT_SHARE * mean && difference.abs() > DRIFT_ERRORS * error)
        .then_some((mean_before, mean_after))
}

/// The mean, and the square of its standard error.
fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (mean, squares / (n - 1.0) / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks whose mean response times are these, in microseconds.
    fn blocks(means: impl IntoIterator<Item = u64>) -> Vec<Block> {
        means
            .into_iter()
            .map(|mean| Block {
                answers: 100,
                response: 100 * mean * 1000,
            })
            .collect()
    }

    #[test]
    fn a_step_in_the_middle_is_drift() {
        let steady = [100, 103, 98, 101, 99, 102, 100, 97, 103, 100];
        let slower = steady.map(|mean| mean + 30);
        let note = drift(&blocks(steady.into_iter().chain(slower)))
            .unwrap()
            .to_string();
        assert!(note.starts_with("drift: mean response +30 %"), "{note}");
    }

    #[test]
    fn a_first_half_without_answers_is_drift() {
        let silence = [Block::default(); 10];
        let note = drift(&[&silence[..], &blocks([100; 10])].concat())
            .unwrap()
            .to_string();
        assert!(note.starts_with("drift: answers from 0"), "{note}");
    }

    #[test]
    fn a_burst_or_a_small_step_is_not() {
        let steady = [100, 103, 98, 101, 99, 102, 100, 97, 103, 100];
        let burst = [100, 103, 900, 101, 99, 102, 100, 97, 103, 100];
        let small = steady.map(|mean| mean + 9);
        for second in [steady, burst, small] {
            assert_eq!(drift(&blocks(steady.into_iter().chain(second))), None);
        }
    }
}
