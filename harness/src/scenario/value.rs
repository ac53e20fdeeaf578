//! Values as a scenario writes them: durations, distributions, rates, shares, seed ranges. Text in, numbers out.

use seaworthy_engine::journal::Durability;

use crate::plan::{Dist, Ns};

/// One millisecond of virtual time.
pub const MS: Ns = 1_000_000;
/// One second of virtual time.
pub const SECOND: Ns = 1_000_000_000;
/// The longest duration that a file may write: a day.
pub const DURATION_MAX: Ns = 24 * 3600 * SECOND;
/// The highest rate that a file may write, events a second.
pub const RATE_MAX: f64 = 1_000_000.0;

/// By how many parts per million a clock may run fast or slow: beyond it would stand still, or race.
const DRIFT_PPM_MAX: f64 = 900_000.0;

/// A text that is not the value it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {wanted}")]
pub struct ValueError {
    /// What the file says.
    pub found: String,
    /// What it should be, with an article.
    pub wanted: &'static str,
    /// What to write instead.
    pub help: String,
}

fn wrong(found: &str, wanted: &'static str, help: impl Into<String>) -> ValueError {
    ValueError { found: found.to_owned(), wanted, help: help.into() }
}

/// Splits `12.5ms` into its number and its unit. Neither signs nor exponents: no value of a scenario needs them.
pub(super) fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let number: f64 = text[..end].replace('_', "").parse().ok()?;
    number.is_finite().then_some((number, text[end..].trim()))
}

/// Nanoseconds of a number with a unit of time; `None` when the unit is none.
pub(super) fn time_unit_ns(unit: &str) -> Option<f64> {
    match unit {
        "ns" => Some(1.0),
        "us" => Some(1e3),
        "ms" => Some(1e6),
        "s" => Some(1e9),
        "min" | "m" => Some(60e9),
        "h" => Some(3600e9),
        _ => None,
    }
}

/// A duration such as `500ms`, `2s`, `1.5s`, `1min`; at most a day.
///
/// # Errors
/// No number, no unit of time, or longer than a day.
pub fn duration(text: &str) -> Result<Ns, ValueError> {
    let bad = |help: &str| wrong(text, "a duration", help);
    let (number, unit) =
        number_and_unit(text).ok_or_else(|| bad("write a number and a unit, such as \"500ms\" or \"2s\""))?;
    let scale = time_unit_ns(unit).ok_or_else(|| bad("add a unit: ns, us, ms, s, min or h, such as \"500ms\""))?;
    let ns = (number * scale).round();
    if ns > DURATION_MAX as f64 {
        return Err(bad("the longest duration is 24h"));
    }
    Ok(ns as Ns)
}

/// A durability such as `interval:200`.
///
/// # Errors
/// When it is none.
pub fn durability(text: &str) -> Result<Durability, ValueError> {
    text.parse().map_err(|_| {
        wrong(text, "a durability", "write \"sync\", \"os\", or \"interval:MS\" with 1 to 60000 milliseconds")
    })
}

/// A window of time such as `10s..50s`.
///
/// # Errors
/// Not two durations, or the second not after the first.
pub fn window(text: &str) -> Result<(Ns, Ns), ValueError> {
    let help = "write its start and its end, such as \"10s..50s\"";
    let (from, to) = text.split_once("..").ok_or_else(|| wrong(text, "a window of time", help))?;
    let (from, to) = (duration(from)?, duration(to)?);
    if from >= to {
        return Err(wrong(text, "a window of time", "its end must come after its start"));
    }
    Ok((from, to))
}

/// A rate such as `200/s` or `12/min`, in events a second.
///
/// # Errors
/// No rate, zero unless `zero` allows it, or above [`RATE_MAX`].
pub fn rate(text: &str, zero: bool) -> Result<f64, ValueError> {
    let bad = |help: &str| wrong(text, "a rate", help);
    let help = "write events a unit of time, such as \"200/s\"";
    let (number, unit) = text.split_once('/').ok_or_else(|| bad(help))?;
    let scale = time_unit_ns(unit.trim()).ok_or_else(|| bad(help))?;
    let (number, "") = number_and_unit(number).ok_or_else(|| bad(help))? else { return Err(bad(help)) };
    let rate = number * 1e9 / scale;
    if rate > RATE_MAX {
        return Err(bad("the highest rate is 1000000/s"));
    }
    if rate <= 0.0 && !zero {
        return Err(bad("a load of no events tests nothing; write a rate above 0"));
    }
    Ok(rate)
}

/// A share such as `5%` or `0.05`, from 0 to 1.
///
/// # Errors
/// No number, or outside 0..=1.
pub fn share(text: &str) -> Result<f64, ValueError> {
    let bad = || wrong(text, "a share", "write a percentage such as \"5%\", or a number from 0 to 1");
    let (number, unit) = number_and_unit(text).ok_or_else(bad)?;
    let share = match unit {
        "%" => number / 100.0,
        "" => number,
        _ => return Err(bad()),
    };
    (0.0..=1.0).contains(&share).then_some(share).ok_or_else(bad)
}

/// Bytes a second such as `2Mbit/s`, `64kbit/s` or `250KiB/s`.
///
/// # Errors
/// Another unit, or less than a byte a second.
pub fn speed(text: &str) -> Result<u64, ValueError> {
    let bad = || wrong(text, "a speed", "write it with a unit, such as \"2Mbit/s\" or \"250KiB/s\"");
    let (number, unit) = text.strip_suffix("/s").and_then(number_and_unit).ok_or_else(bad)?;
    let scale = match unit {
        "kbit" => 125.0,
        "Mbit" => 125_000.0,
        "Gbit" => 125_000_000.0,
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        _ => return Err(bad()),
    };
    let bytes = number * scale;
    if (1.0..=1e12).contains(&bytes) { Ok(bytes as u64) } else { Err(bad()) }
}

/// A length of time that may be negative, ns: `90s`, `-90s`.
///
/// # Errors
/// As [`duration`].
pub fn signed_duration(text: &str) -> Result<i64, ValueError> {
    let (sign, size) = text.strip_prefix('-').map_or((1, text), |size| (-1, size));
    let ns = duration(size)?;
    Ok(sign * i64::try_from(ns).expect("a duration is at most a day"))
}

/// By how many parts per million a clock runs fast; slow where negative: `200ppm`, `-5%`.
///
/// # Errors
/// Another unit, or more than 90 %, beyond which a clock would stand still or race.
pub fn drift(text: &str) -> Result<i64, ValueError> {
    let bad = || wrong(text, "a drift", "write \"200ppm\", \"-200ppm\" or \"5%\", up to 90%");
    let (sign, size) = text.strip_prefix('-').map_or((1.0, text), |size| (-1.0, size));
    let (number, unit) = number_and_unit(size).ok_or_else(bad)?;
    let scale = match unit {
        "ppm" => 1.0,
        "%" => 10_000.0,
        _ => return Err(bad()),
    };
    let ppm = number * scale;
    if ppm <= DRIFT_PPM_MAX { Ok((sign * ppm).round() as i64) } else { Err(bad()) }
}

/// A number of bytes such as `512`, `64KiB` or `8MiB`.
///
/// # Errors
/// No whole number of bytes, or a unit other than those.
pub fn bytes(text: &str) -> Result<u64, ValueError> {
    let bad = || wrong(text, "a number of bytes", "write it with a unit, such as \"64KiB\" or \"8MiB\"");
    let (number, unit) = number_and_unit(text).ok_or_else(bad)?;
    let scale = match unit {
        "" | "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        _ => return Err(bad()),
    };
    let bytes = number * scale;
    (bytes.fract() == 0.0 && bytes <= 1e15).then_some(bytes as u64).ok_or_else(bad)
}

/// `name(a, b)` as its name and its arguments, or the whole text as a name without arguments.
pub(super) fn call(text: &str) -> (&str, Option<Vec<&str>>) {
    let text = text.trim();
    match text.strip_suffix(')').and_then(|rest| rest.split_once('(')) {
        Some((name, arguments)) => {
            let arguments = arguments.trim();
            let list = if arguments.is_empty() { Vec::new() } else { arguments.split(',').map(str::trim).collect() };
            (name.trim(), Some(list))
        }
        None => (text, None),
    }
}

/// The value of `name = value` among arguments.
pub(super) fn named<'a>(argument: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = argument.split_once('=')?;
    (found.trim() == name).then(|| value.trim())
}

/// A distribution of durations: `5ms`, `uniform(1s, 6s)`, `lognormal(p50 = 5ms, p99 = 200ms)`.
///
/// # Errors
/// None of those, a range that goes backwards, or a lognormal whose p99 is below its p50 or whose p50 is 0.
pub fn dist(text: &str) -> Result<Dist, ValueError> {
    let bad = |help: &str| wrong(text, "a distribution of durations", help);
    let forms = "write \"5ms\", \"uniform(1s, 6s)\" or \"lognormal(p50 = 5ms, p99 = 200ms)\"";
    match call(text) {
        (plain, None) if !plain.contains('(') => Ok(Dist::Constant { ns: duration(plain)? }),
        ("uniform", Some(arguments)) => {
            let [from, to] = arguments[..] else { return Err(bad(forms)) };
            let (from_ns, to_ns) = (duration(from)?, duration(to)?);
            if from_ns > to_ns {
                return Err(bad("the first bound must not be above the second"));
            }
            Ok(Dist::Uniform { from_ns, to_ns })
        }
        ("lognormal", Some(arguments)) => {
            let [p50, p99] = arguments[..] else { return Err(bad(forms)) };
            let (Some(p50), Some(p99)) = (named(p50, "p50"), named(p99, "p99")) else { return Err(bad(forms)) };
            let (p50_ns, p99_ns) = (duration(p50)?, duration(p99)?);
            if p50_ns == 0 || p99_ns < p50_ns {
                return Err(bad("p50 must be above 0, and p99 not below p50"));
            }
            Ok(Dist::Lognormal { p50_ns, p99_ns })
        }
        _ => Err(bad(forms)),
    }
}

/// Seeds from a first to a last one, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Seeds {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

impl Seeds {
    /// Each seed, in order.
    pub fn iter(self) -> impl Iterator<Item = u64> {
        self.from..=self.to
    }
}

/// Seeds such as `1..8` (both ends included; `1..=8` means the same) or `7`. At most 1,000,000 of them.
///
/// # Errors
/// Not numbers, the last before the first, or too many.
pub fn seeds(text: &str) -> Result<Seeds, ValueError> {
    let bad = |help: &str| wrong(text, "a range of seeds", help);
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let to = to.strip_prefix('=').unwrap_or(to);
    let parse =
        |part: &str| part.trim().parse().map_err(|_| bad("write the first and the last seed, such as \"1..8\""));
    let (from, to): (u64, u64) = (parse(from)?, parse(to)?);
    if from > to {
        return Err(bad("the first seed must not be above the last"));
    }
    if to - from >= 1_000_000 {
        return Err(bad("at most 1000000 seeds"));
    }
    Ok(Seeds { from, to })
}

/// A duration for people: `500ms`, `2s`, `1.25s`.
#[must_use]
pub fn show_duration(ns: Ns) -> String {
    match ns {
        0 => "0s".to_owned(),
        _ if ns.is_multiple_of(SECOND) => format!("{}s", ns / SECOND),
        _ if ns > SECOND => format!("{:.3}s", ns as f64 / SECOND as f64),
        _ if ns.is_multiple_of(MS) => format!("{}ms", ns / MS),
        _ => format!("{:.3}ms", ns as f64 / MS as f64),
    }
}

/// A distribution as [`dist`] reads it.
#[must_use]
pub fn show_dist(dist: Dist) -> String {
    match dist {
        Dist::Constant { ns } => show_duration(ns),
        Dist::Uniform { from_ns, to_ns } => format!("uniform({}, {})", show_duration(from_ns), show_duration(to_ns)),
        Dist::Lognormal { p50_ns, p99_ns } => {
            format!("lognormal(p50 = {}, p99 = {})", show_duration(p50_ns), show_duration(p99_ns))
        }
    }
}

/// The name nearest to `wrong` among `names`, when it is near enough to have been meant.
#[must_use]
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (wrong.chars().count() / 3).clamp(1, 3);
    let near = names.into_iter().map(|name| (distance(wrong, name), name)).min()?;
    (near.0 <= allowed).then_some(near.1)
}

/// Edits (insert, remove, change, swap neighbours) that turn `a` into `b`: optimal string alignment.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("1.5s"), Ok(1_500 * MS));
        assert_eq!(duration(" 20ms "), Ok(20 * MS));
        assert_eq!(duration("2min"), Ok(120 * SECOND));
        for bad in ["", "5", "ms", "5 parsecs", "-1s", "1e9s", "25h", "1.2.3s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn distributions_survive_being_shown() {
        for text in ["5ms", "uniform(1s, 6s)", "lognormal(p50 = 5ms, p99 = 200ms)", "0s"] {
            assert_eq!(show_dist(dist(text).expect(text)), text);
        }
        for bad in [
            "uniform(6s, 1s)",
            "uniform(1s)",
            "lognormal(5ms, 200ms)",
            "lognormal(p50 = 0s, p99 = 1s)",
            "uniform(",
            "normal(1s)",
        ] {
            assert!(dist(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_shares_and_seeds() {
        assert_eq!(rate("200/s", false), Ok(200.0));
        assert_eq!(rate("120/min", false), Ok(2.0));
        assert!(rate("0/s", false).is_err() && rate("0/s", true).is_ok() && rate("200", false).is_err());
        assert!(rate("20ms/s", false).is_err() && rate("1e3/s", false).is_err());
        assert_eq!(share("50%"), Ok(0.5));
        assert!(share("101%").is_err() && share("1.5").is_err());
        assert_eq!(seeds("1..8"), Ok(Seeds { from: 1, to: 8 }));
        assert_eq!(seeds("7"), Ok(Seeds { from: 7, to: 7 }));
        assert!(seeds("8..1").is_err() && seeds("a..b").is_err() && seeds("0..9999999").is_err());
    }

    #[test]
    fn the_nearest_name_is_near() {
        assert_eq!(nearest("host.carsh", ["host.crash", "net.cut"]), Some("host.crash"));
        assert_eq!(nearest("duraton", ["duration", "tick"]), Some("duration"));
        assert_eq!(nearest("zebra", ["host.crash", "net.cut"]), None);
    }
}
