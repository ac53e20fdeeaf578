//! `latency.hlog`: the histograms of each phase and sink as an HdrHistogram interval log, version 2 of the encoding, which
//! the tools of HdrHistogram read. Values are µs, maxima ms. Events that never came are no values: a comment counts them.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use crate::pool::Pool;
use crate::result::Scenario;

/// A log that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Not such a log.
    #[error("not an HdrHistogram interval log: {0}")]
    Malformed(String),
    /// Without the line that every run writes first, or of another scenario.
    #[error("it does not begin with `{0}`")]
    OfAnother(String),
    /// Without the line that every run writes last, or with fewer lines than that says.
    #[error("its end is missing: it holds {found} histograms, and the last line does not say so")]
    Cut {
        /// Histograms that it holds.
        found: usize,
    },
    /// Not of the run that the result is of.
    #[error("it is of another run: phase {phase} has {found} events at the busiest sink, and by result.json {should}")]
    Disagrees {
        /// The phase.
        phase: String,
        /// Events by the log.
        found: u64,
        /// Events by the result.
        should: u64,
    },
}

/// What ends a comment on events that have no value.
const MISSING: &str = " never came";

/// The log of all phases and sinks of a scenario. A line's tag is `PHASE/SINK`, and its interval is the whole run.
///
/// # Panics
/// Never: memory takes all that is written, and a histogram of µs can always be encoded.
#[must_use]
pub fn render(pool: &Pool, id: &str) -> String {
    let mut text = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment(&heading(id)).with_max_value_divisor(1000.0);
    let mut lines = 0;
    let mut writer = builder.begin_log_with(&mut text, &mut serializer).expect("memory takes all that is written");
    for (phase, sink, latency) in pool.latencies() {
        let tag = format!("{phase}/{sink}").replace([',', ' ', '\n', '\r'], "_");
        if latency.came() < latency.n() {
            let missing = format!("{tag}: {} of {}{MISSING}", latency.n() - latency.came(), latency.n());
            writer.write_comment(&missing).expect("memory takes all that is written");
        }
        let tag = Tag::new(&tag).expect("commas, blanks and ends of lines were replaced");
        writer
            .write_histogram(latency.came_us(), Duration::ZERO, Duration::from_secs(1), Some(tag))
            .expect("a histogram of us can be encoded, and memory takes it");
        lines += 1;
    }
    writer.write_comment(&ending(lines)).expect("memory takes all that is written");
    String::from_utf8(text).expect("an interval log is text")
}

fn heading(id: &str) -> String {
    format!("seaworthy {id}: delays in us, a line a phase and sink")
}

/// What stands last, so that a log which was cut at the end of a line can be told.
fn ending(lines: usize) -> String {
    format!("end of {lines} histograms")
}

/// The tags of the log of a scenario and their histograms.
///
/// # Errors
/// Anything that is not the log of the run that `scenario` came out of, whole.
pub fn parse(text: &str, scenario: &Scenario) -> Result<Vec<(String, Histogram<u64>)>, LogError> {
    let found = read(text, &scenario.id)?;
    // `3 of 7 never came`, before the histogram of the others.
    let missing = text.lines().filter_map(|line| line.strip_prefix('#')?.strip_suffix(MISSING)?.rsplit_once(": "));
    let missing: BTreeMap<&str, u64> =
        missing.filter_map(|(tag, told)| Some((tag, told.split_once(" of ")?.0.parse().ok()?))).collect();
    let events = |(tag, came): &(String, Histogram<u64>)| came.len() + missing.get(tag.as_str()).unwrap_or(&0);
    for (phase, told) in &scenario.phases {
        let of_phase = |tag: &str| tag.strip_prefix(phase.as_str()).is_some_and(|sink| sink.starts_with('/'));
        let most = found.iter().filter(|(tag, _)| of_phase(tag)).map(events).max().unwrap_or(0);
        if most != told.latency_ms.n {
            return Err(LogError::Disagrees { phase: phase.clone(), found: most, should: told.latency_ms.n });
        }
    }
    Ok(found)
}

fn read(text: &str, id: &str) -> Result<Vec<(String, Histogram<u64>)>, LogError> {
    let first = format!("#{}", heading(id));
    if text.lines().next() != Some(first.as_str()) {
        return Err(LogError::OfAnother(first));
    }
    let wrong = |what: &dyn std::fmt::Debug| LogError::Malformed(format!("{what:?}"));
    let mut found = Vec::new();
    for entry in IntervalLogIterator::new(text.as_bytes()) {
        let LogEntry::Interval(interval) = entry.map_err(|error| wrong(&error))? else { continue };
        let bytes = STANDARD.decode(interval.encoded_histogram()).map_err(|error| wrong(&error))?;
        let histogram = Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|error| wrong(&error))?;
        found.push((interval.tag().map_or_else(String::new, |tag| tag.as_str().to_owned()), histogram));
    }
    if text.lines().next_back() != Some(format!("#{}", ending(found.len())).as_str()) {
        return Err(LogError::Cut { found: found.len() });
    }
    Ok(found)
}

/// Points of a percentile spectrum: `1 / (1 - quantile)` and ms, up to what the sample carries.
#[must_use]
pub fn spectrum(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let n = histogram.len();
    let mut points = Vec::new();
    let mut below = 0;
    for bucket in histogram.iter_recorded() {
        let quantile = below as f64 / n as f64;
        points.push((1.0 / (1.0 - quantile), bucket.value_iterated_to() as f64 / 1000.0));
        below += bucket.count_since_last_iteration();
    }
    if let Some((_, last)) = points.last().copied() {
        points.push((n as f64, last));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Percentile;
    use crate::phases::Phase;
    use crate::result::Figure;
    use crate::sample;

    fn pool() -> Pool {
        let mut pool = Pool::default();
        (1..=8).for_each(|seed| pool.add(&sample::cut(seed)));
        pool
    }

    #[test]
    fn the_log_of_a_failing_run() {
        let mut log = String::new();
        for line in render(&sample::failing_pool(), "ack_before_commit").lines() {
            // What is packed is told by what it holds.
            let (before, packed) = line.rsplit_once(",HIST").unwrap_or((line, ""));
            log.push_str(before);
            if !packed.is_empty() {
                let bytes = STANDARD.decode(format!("HIST{packed}")).unwrap();
                let held: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
                log.push_str(&format!(",{} values of {} to {} us", held.len(), held.min(), held.max()));
            }
            log.push('\n');
        }
        insta::assert_snapshot!(log, @r"
        #seaworthy ack_before_commit: delays in us, a line a phase and sink
        #[MaxValueDivisor: 1000.000]
        #all/hub.raw: 1 of 2200 never came
        Tag=all/hub.raw,0.000,1.000,8011.775,2199 values of 5000 to 8011775 us
        Tag=warmup/hub.raw,0.000,1.000,11.007,200 values of 5000 to 11007 us
        #steady/hub.raw: 1 of 1988 never came
        Tag=steady/hub.raw,0.000,1.000,11.007,1987 values of 5000 to 11007 us
        Tag=fault(cut)/hub.raw,0.000,1.000,8011.775,200 values of 7000 to 8011775 us
        Tag=recovery(cut)/hub.raw,0.000,1.000,300.031,12 values of 8000 to 300031 us
        #end of 5 histograms
        ");
    }

    #[test]
    fn what_is_written_is_read_back_with_its_counts_and_percentiles() {
        let pool = pool();
        let log = parse(&render(&pool, "uplink_cut"), &sample::passing().scenarios[0]).unwrap();
        let (_, steady) = log.iter().find(|(tag, _)| tag == "steady/hub.raw").unwrap();
        let totals = pool.phase(&Phase::Steady).unwrap();
        assert_eq!(steady.len(), totals.latency["hub.raw"].came());
        let Figure::V { v } = totals.worst(Percentile::P99) else { panic!("it can be told") };
        assert!((steady.value_at_quantile(0.99) as f64 / 1000.0 / v.0 - 1.0).abs() < 0.01);
        let points = spectrum(steady);
        assert!(points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1), "{points:?}");
    }

    #[test]
    fn a_log_without_its_end_or_of_another_run_is_refused() {
        let scenario = &sample::failing().scenarios[0];
        let log = render(&sample::failing_pool(), "ack_before_commit");
        assert_eq!(parse(&log, scenario).map(|log| log.len()), Ok(5));
        // Cut at the end of a line, wherever.
        let lines: Vec<&str> = log.lines().collect();
        for kept in 1..lines.len() {
            let cut = parse(&format!("{}\n", lines[..kept].join("\n")), scenario);
            assert!(matches!(cut, Err(LogError::Cut { .. })), "{kept} lines: {cut:?}");
        }
        let without = |gone: &str| {
            let kept = lines.iter().filter(|line| !line.contains(gone));
            kept.map(|line| format!("{line}\n")).collect::<String>()
        };
        let other = without("recovery(cut)").replace("end of 5", "end of 4");
        assert_eq!(
            parse(&other, scenario).unwrap_err(),
            LogError::Disagrees { phase: "recovery(cut)".into(), found: 0, should: 12 }
        );
        // Events that never came count.
        let other = without("1 of 2200");
        assert!(matches!(parse(&other, scenario), Err(LogError::Disagrees { found: 2199, should: 2200, .. })));
    }

    #[test]
    fn a_foreign_text_is_refused() {
        let first = format!("#{}\n", heading("a"));
        assert_eq!(read(&format!("{first}#{}\n", ending(0)), "a").map(|log| log.len()), Ok(0));
        for foreign in ["0,1,2,notbase64!\n", "0,1,2,HISTFAAA\n", "Tag=a,0,1\n", "hello"] {
            let told = read(&format!("{first}{foreign}"), "a");
            assert!(matches!(told, Err(LogError::Malformed(_))), "{foreign}: {told:?}");
        }
        for other in ["", "hello", &first] {
            assert!(matches!(read(other, "b"), Err(LogError::OfAnother(_))), "{other}");
        }
    }
}
