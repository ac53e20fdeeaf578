//! Log-normal quantiles from additions, multiplications, divisions and square roots alone: IEEE 754 fixes their results
//! to the bit, which a platform's `ln` and `exp` don't.

use std::f64::consts::LN_2;

/// Steps of probability that a log-normal is drawn through.
const STEPS: u64 = 4096;
/// The standard normal's 99th percentile.
const Z99: f64 = 2.326_347_874_040_841;

/// The log-normal's quantile at `step / 4096`, in the unit of its percentiles; the outermost steps stand for 2^-16.
/// Needs `0 < p50 < p99`.
pub(super) fn lognormal_step(p50: u64, p99: u64, step: u64) -> u64 {
    let edge = 1.0 / 65_536.0;
    let p = (step as f64 / STEPS as f64).clamp(edge, 1.0 - edge);
    let sigma = ln(p99 as f64 / p50 as f64) / Z99;
    (p50 as f64 * exp(sigma * inverse_normal(p)) + 0.5) as u64
}

/// The standard normal quantile for `0 < p < 1`, by P. J. Acklam's rational approximation (relative error 1.15e-9).
fn inverse_normal(p: f64) -> f64 {
    const TAIL: f64 = 0.02425;
    if p < TAIL {
        tail(p)
    } else if p > 1.0 - TAIL {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        let r = q * q;
        let above = [
            -3.969683028665376e1,
            2.209460984245205e2,
            -2.759285104469687e2,
            1.38357751867269e2,
            -3.066479806614716e1,
            2.506628277459239,
        ];
        let below = [
            -5.447609879822406e1,
            1.615858368580409e2,
            -1.556989798598866e2,
            6.680131188771972e1,
            -1.328068155288572e1,
            1.0,
        ];
        q * horner(&above, r) / horner(&below, r)
    }
}

fn tail(p: f64) -> f64 {
    let q = (-2.0 * ln(p)).sqrt();
    let above = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    let below = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1.0];
    horner(&above, q) / horner(&below, q)
}

/// The polynomial with these coefficients, highest power first.
fn horner(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().fold(0.0, |sum, c| sum * x + c)
}

/// Natural logarithm of a positive normal number: exponent, and the series of atanh for a mantissa near 1.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let series = (0..12).rev().fold(0.0, |sum, k| sum * s * s + 1.0 / (2 * k + 1) as f64);
    exponent as f64 * LN_2 + 2.0 * s * series
}

/// Exponential: a power of two times a Taylor series on ±ln 2 / 2. Arguments are held to ±700.
fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let k = (x / LN_2 + 0.5).floor();
    let r = x - k * LN_2;
    let series = (1..18).rev().fold(1.0, |sum, n| 1.0 + sum * r / n as f64);
    series * f64::from_bits(((k as i64 + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_platform() {
        for i in 1..2000 {
            let x = i as f64 * 0.37;
            assert!((ln(x) - x.ln()).abs() < 1e-13 * x.ln().abs().max(1.0), "ln {x}");
            let y = (i as f64 - 1000.0) * 0.05;
            assert!((exp(y) / y.exp() - 1.0).abs() < 1e-12, "exp {y}");
        }
    }

    #[test]
    fn knows_the_normal_table() {
        for (p, z) in [(0.5, 0.0), (0.975, 1.959963985), (0.99, 2.326347874), (0.001, -3.090232306)] {
            assert!((inverse_normal(p) - z).abs() < 1e-7, "{p}: {}", inverse_normal(p));
        }
    }
}
