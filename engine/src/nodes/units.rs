//! Units that configurations are written in: time units of fields, durations like `1h`, rates like `200/s`.

use super::expr::Value;
use crate::node::ConfigError;

/// The unit of a time that a field holds, counted from 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Nanoseconds.
    Ns,
}

impl TimeUnit {
    /// Nanoseconds in one unit.
    pub fn ns(self) -> i64 {
        match self {
            TimeUnit::S => 1_000_000_000,
            TimeUnit::Ms => 1_000_000,
            TimeUnit::Ns => 1,
        }
    }

    /// A time in this unit as nanoseconds; `None` for what is no number, or farther than 292 years from 1970.
    pub fn to_ns(self, value: &Value<'_>) -> Option<i64> {
        match value {
            Value::Int(int) => i64::try_from(int * i128::from(self.ns())).ok(),
            Value::Float(float) => {
                let ns = (float * self.ns() as f64).round();
                // 2^63 is the first float that an i64 can't hold.
                (ns.abs() < 9_223_372_036_854_775_808.0).then_some(ns as i64)
            }
            _ => None,
        }
    }
}

/// Reads a duration such as `500ms` or `1h` (ns, us, ms, s, m, h, d); at least 1 ns, in nanoseconds.
///
/// # Errors
/// Names `key` when the text is no duration.
pub fn duration_ns(key: &str, text: &str) -> Result<i64, ConfigError> {
    let wrong =
        || ConfigError::at(key, format!("`{key}`: `{text}` is not a duration; write e.g. `500ms`, `10s` or `1h`"));
    let (count, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
    let unit_ns: i64 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return Err(wrong()),
    };
    let ns = count.parse::<i64>().ok().and_then(|count| count.checked_mul(unit_ns));
    ns.filter(|ns| *ns > 0).ok_or_else(wrong)
}

/// How often something happens: `events` every `period_ns`, evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    events: u64,
    period_ns: u64,
}

impl Rate {
    /// Reads a rate such as `200/s` (s, m, h).
    ///
    /// # Errors
    /// Names `key` when the text is no rate.
    pub fn parse(key: &str, text: &str) -> Result<Rate, ConfigError> {
        let wrong = || ConfigError::at(key, format!("`{key}`: `{text}` is not a rate; write e.g. `200/s` or `30/m`"));
        let (events, period) = text.split_once('/').ok_or_else(wrong)?;
        let events: u64 = events.parse().ok().filter(|events| *events > 0).ok_or_else(wrong)?;
        let period_ns = match period {
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(wrong()),
        };
        Ok(Rate { events, period_ns })
    }

    /// When event number `n` is due, nanoseconds after number 0; without drift however large `n` is.
    pub fn due_ns(self, n: u64) -> u64 {
        let ns = u128::from(n) * u128::from(self.period_ns) / u128::from(self.events);
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_rates() {
        assert_eq!(duration_ns("size", "1h"), Ok(3_600_000_000_000));
        assert_eq!(duration_ns("size", "90us"), Ok(90_000));
        for wrong in ["", "5", "h", "0s", "-1s", "1.5s", "1 s", "1y", "99999999999999999d", "1µs"] {
            let error = duration_ns("size", wrong).expect_err(wrong);
            assert_eq!(error.key.as_deref(), Some("size"), "{wrong}");
        }
        let rate = Rate::parse("rate", "3/s").unwrap();
        assert_eq!([0, 1, 2, 3].map(|n| rate.due_ns(n)), [0, 333_333_333, 666_666_666, 1_000_000_000]);
        assert_eq!(rate.due_ns(u64::MAX), u64::MAX);
        for wrong in ["", "3", "0/s", "3/d", "-1/s", "1.5/s"] {
            assert!(Rate::parse("rate", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(TimeUnit::Ms.to_ns(&Value::Int(1_517_363_399_650)), Some(1_517_363_399_650_000_000));
        assert_eq!(TimeUnit::S.to_ns(&Value::Float(1.5)), Some(1_500_000_000));
        assert_eq!(TimeUnit::S.to_ns(&Value::Float(1e10)), None);
        assert_eq!(TimeUnit::S.to_ns(&Value::Int(1 << 40)), None);
        assert_eq!(TimeUnit::Ns.to_ns(&Value::Null), None);
    }
}
