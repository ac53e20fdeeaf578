//! What a sample of seeds says: the sign test, and the bootstrap.

/// The two-sided exact sign test: how likely it is that `a` of `a + b` fair coins, or a split as uneven, show heads.
#[must_use]
pub fn sign_test(a: u64, b: u64) -> f64 {
    let (n, least) = (a + b, a.min(b));
    if n == 0 || a == b {
        return 1.0;
    }
    // In logarithms, as 2^n leaves the range of a float.
    let mut ln_choose = 0.0;
    let mut tail = 0.0;
    for k in 0..=least {
        if k > 0 {
            ln_choose += ((n - k + 1) as f64).ln() - (k as f64).ln();
        }
        tail += (ln_choose - n as f64 * std::f64::consts::LN_2).exp();
    }
    (2.0 * tail).min(1.0)
}

/// Resamples of a bootstrap of a mean.
const RESAMPLES: usize = 2_000;

/// The mean, and its 95 % interval by the percentiles of resampled means; `None` for fewer than two. Draws are fixed, so the
/// same figures give the same interval.
#[must_use]
pub fn bootstrap(values: &[f64]) -> Option<[f64; 3]> {
    let mean = |sum: f64| sum / values.len() as f64;
    let of_drawn = |drawn: &[usize]| mean(drawn.iter().map(|at| values[*at]).sum());
    let mut means: Vec<f64> = resamples(values.len(), RESAMPLES, of_drawn)?;
    means.sort_by(f64::total_cmp);
    let [low, high] = middle(&means);
    Some([mean(values.iter().sum()), low, high])
}

/// What `measure` says of each of so many resamples of `n`, which it gets as the places of what was drawn; `None` where fewer than
/// two can't be resampled. The same draws each time.
pub(crate) fn resamples<T>(n: usize, resamples: usize, mut measure: impl FnMut(&[usize]) -> T) -> Option<Vec<T>> {
    if n < 2 {
        return None;
    }
    let mut state = 0x5ea_u64;
    let mut draw = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * n as u128) >> 64) as usize
    };
    let mut drawn = vec![0; n];
    let each = |_| {
        drawn.iter_mut().for_each(|at| *at = draw());
        measure(&drawn)
    };
    Some((0..resamples).map(each).collect())
}

/// The ends of the middle 95 % of what is sorted.
///
/// # Panics
/// Of nothing.
pub(crate) fn middle<T: Copy>(sorted: &[T]) -> [T; 2] {
    [0.025, 0.975].map(|part| sorted[(part * (sorted.len() - 1) as f64).round() as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_test_is_that_of_scipy() {
        // SciPy 1.17.1: python -c "from scipy.stats import binomtest; print(binomtest(8, 10).pvalue)", and so on.
        for (a, b, p) in [
            (0, 0, 1.0),
            (5, 5, 1.0),
            (8, 2, 0.109375),
            (9, 1, 0.021484375),
            (1, 9, 0.021484375),
            (3, 17, 0.002_576_828_002_929_687_5),
            (60, 40, 0.056_887_933_640_980_784),
            (0, 64, 1.084_202_172_485_504_4e-19),
        ] {
            assert!((sign_test(a, b) / p - 1.0).abs() < 1e-9, "{a} {b}: {} {p}", sign_test(a, b));
        }
    }

    #[test]
    fn the_bootstrap_is_that_of_scipy() {
        // SciPy 1.17.1:
        //     import numpy as np
        //     from scipy.stats import bootstrap
        //     d = [(n * n) % 23 - 4 for n in range(24)]
        //     bootstrap((d,), np.mean, n_resamples=200_000, method="percentile", rng=np.random.default_rng(5), batch=10_000)
        let scipy = [3.666_666_666_666_666_5, 1.416_666_666_666_666_7, 6.0];
        let values: Vec<f64> = (0..24).map(|n| f64::from(n * n % 23 - 4)).collect();
        let ours = bootstrap(&values).unwrap();
        assert!((ours[0] - scipy[0]).abs() < 1e-12);
        // Its draws are others: of 2,000 resamples, an end of the interval lies within 4 % of its width, 19 times of 20.
        let width = scipy[2] - scipy[1];
        assert!((1..3).all(|end| (ours[end] - scipy[end]).abs() < 0.04 * width), "{ours:?} {scipy:?}");
    }

    #[test]
    fn a_bootstrap_holds_the_mean_and_is_repeatable() {
        let values: Vec<f64> = (0..64).map(|n| f64::from(n % 8)).collect();
        let [mean, low, high] = bootstrap(&values).unwrap();
        assert!((mean - 3.5).abs() < 1e-9 && low < mean && mean < high && high - low < 1.5, "{low} {mean} {high}");
        assert_eq!(bootstrap(&values), bootstrap(&values));
        assert_eq!(bootstrap(&[1.0]), None);
    }
}
