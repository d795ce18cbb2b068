//! The correction for many comparisons.

/// The chance of an error that each of several comparisons may have, so that the chance of any error is at most
/// `alpha`. A comparison shows a difference if its p-value is at most its chance; then its interval at that chance
/// excludes 1.
///
/// S. Holm, *A Simple Sequentially Rejective Multiple Test Procedure*, Scandinavian Journal of Statistics
/// 6(2), 1979.
pub fn holm(p_values: &[f64], alpha: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&i, &j| p_values[i].total_cmp(&p_values[j]));
    let mut chances = vec![0.0; p_values.len()];
    let mut left = p_values.len();
    for at in order {
        chances[at] = alpha / left as f64;
        // After the first comparison that shows nothing, none does.
        if p_values[at] <= chances[at] {
            left -= 1;
        }
    }
    chances
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holm_is_that_of_a_worked_example() {
        // Four hypotheses at 5 %: 0.005 <= 0.05/4 and 0.01 <= 0.05/3, but 0.03 > 0.05/2.
        let chances = holm(&[0.01, 0.04, 0.03, 0.005], 0.05);
        let expected = [0.05 / 3.0, 0.05 / 2.0, 0.05 / 2.0, 0.05 / 4.0];
        for (chance, expected) in chances.iter().zip(expected) {
            assert!((chance - expected).abs() < 1e-12, "{chances:?}");
        }
    }
}
