//! An independent reader of the sinks: what must be in them is computed here from the quakes, with nothing of the engine.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes read real files; a failure is the test\'s"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

const HOUR_MS: i64 = 3_600_000;

/// What the hub must hold in the end.
pub(crate) struct Expected {
    /// The strong quakes by id.
    quakes: BTreeMap<String, Value>,
    /// Their ids by network, in the order of the input.
    by_net: BTreeMap<String, Vec<String>>,
    /// The closed windows by network, in order.
    windows: BTreeMap<String, Vec<Value>>,
}

/// Lines beyond the first of an identity: allowed, and counted.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    pub(crate) raw: usize,
    pub(crate) windows: usize,
}

/// The lines of a file, each JSON.
pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line:?}"))).collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no `{field}` in {value}"))
}

/// A window that is still open.
struct Open {
    start: i64,
    mags: Vec<f64>,
    late: u64,
}

impl Open {
    fn close(&self, net: &str) -> Value {
        let count = self.mags.len();
        let min = self.mags.iter().copied().fold(f64::INFINITY, f64::min);
        let max = self.mags.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mean = self.mags.iter().sum::<f64>() / count as f64;
        let (start, end, late) = (self.start, self.start + HOUR_MS, self.late);
        json!({"key": net, "start": start, "end": end, "count": count, "min": min, "max": max, "mean": mean, "late": late})
    }
}

impl Expected {
    pub(crate) fn of(input: &[Value]) -> Expected {
        let mut expected = Expected { quakes: BTreeMap::new(), by_net: BTreeMap::new(), windows: BTreeMap::new() };
        let mut open: BTreeMap<String, Open> = BTreeMap::new();
        for quake in input.iter().filter(|quake| quake["mag"].as_f64().is_some_and(|mag| mag >= 1.0)) {
            let (id, net) = (text(quake, "id").to_owned(), text(quake, "net").to_owned());
            let (start, mag) = (quake["time"].as_i64().unwrap() / HOUR_MS * HOUR_MS, quake["mag"].as_f64().unwrap());
            let fresh = Open { start, mags: vec![mag], late: 0 };
            match open.get_mut(&net) {
                None => drop(open.insert(net.clone(), fresh)),
                Some(window) if start < window.start => window.late += 1,
                Some(window) if start == window.start => window.mags.push(mag),
                Some(window) => {
                    expected.windows.entry(net.clone()).or_default().push(window.close(&net));
                    *window = fresh;
                }
            }
            expected.by_net.entry(net).or_default().push(id.clone());
            assert!(expected.quakes.insert(id, quake.clone()).is_none(), "the input holds an id twice");
        }
        expected
    }

    pub(crate) fn quakes(&self) -> usize {
        self.quakes.len()
    }

    pub(crate) fn windows(&self) -> usize {
        self.windows.values().map(Vec::len).sum()
    }

    /// Every quake is there, as it was, and in order; gives the number of repeats.
    #[track_caller]
    pub(crate) fn check_raw(&self, lines: &[Value]) -> usize {
        let mut seen = BTreeSet::new();
        let mut by_net: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in lines {
            let id = text(line, "id");
            assert_eq!(Some(line), self.quakes.get(id), "{id} has another content than the input, or was not to come");
            if seen.insert(id.to_owned()) {
                by_net.entry(text(line, "net").to_owned()).or_default().push(id.to_owned());
            }
        }
        let missing: Vec<&String> = self.quakes.keys().filter(|id| !seen.contains(*id)).collect();
        assert!(missing.is_empty(), "{} quakes are lost, the first is {:?}", missing.len(), missing.first());
        for (net, ids) in &self.by_net {
            assert_eq!(ids, &by_net[net], "the quakes of {net} are out of order");
        }
        lines.len() - seen.len()
    }

    /// The windows are those computed here, in order; gives the number of repeats.
    #[track_caller]
    pub(crate) fn check_windows(&self, lines: &[Value]) -> usize {
        let mut contents: BTreeMap<(String, i64), &Value> = BTreeMap::new();
        let mut by_net: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for line in lines {
            let key = (text(line, "key").to_owned(), line["start"].as_i64().unwrap());
            match contents.insert(key.clone(), line) {
                None => by_net.entry(key.0).or_default().push(line.clone()),
                Some(before) => assert_eq!(before, line, "a window has two contents"),
            }
        }
        for (net, windows) in &self.windows {
            let found = by_net.get(net).map_or(&[][..], Vec::as_slice);
            assert_eq!(windows, found, "the windows of {net}");
        }
        assert_eq!(contents.len(), self.windows(), "windows that were not to come");
        lines.len() - contents.len()
    }
}

mod tests {
    use super::*;

    fn quake(id: &str, net: &str, hour: i64) -> Value {
        json!({"id": id, "net": net, "time": hour * HOUR_MS, "mag": 2.5})
    }

    fn sabotage(change: impl FnOnce(&mut Vec<Value>)) {
        let input = [quake("a1", "a", 1), quake("b1", "b", 1), quake("a2", "a", 2)];
        let mut lines = input.to_vec();
        change(&mut lines);
        Expected::of(&input).check_raw(&lines);
    }

    #[test]
    fn repeats_are_counted() {
        let input = [quake("a1", "a", 1), quake("a2", "a", 2)];
        let expected = Expected::of(&input);
        assert_eq!(expected.check_raw(&[input[0].clone(), input[0].clone(), input[1].clone(), input[0].clone()]), 2);
        let window = Open { start: HOUR_MS, mags: vec![2.5], late: 0 }.close("a");
        assert_eq!(expected.check_windows(&[window.clone(), window]), 1);
    }

    #[test]
    #[should_panic(expected = "1 quakes are lost")]
    fn a_loss_is_seen() {
        sabotage(|lines| drop(lines.remove(1)));
    }

    #[test]
    #[should_panic(expected = "another content")]
    fn a_second_content_is_seen() {
        sabotage(|lines| lines.push(json!({"id": "a1", "net": "a", "time": 0, "mag": 2.6})));
    }

    #[test]
    #[should_panic(expected = "out of order")]
    fn disorder_is_seen() {
        sabotage(|lines| lines.swap(0, 2));
    }

    #[test]
    #[should_panic(expected = "the windows of a")]
    fn a_wrong_window_is_seen() {
        let input = [quake("a1", "a", 1), quake("a2", "a", 2)];
        Expected::of(&input).check_windows(&[Open { start: HOUR_MS, mags: vec![2.5, 2.5], late: 0 }.close("a")]);
    }
}
