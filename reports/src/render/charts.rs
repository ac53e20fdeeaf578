//! Charts as SVG, in colours that can be read on white and on black.

use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;
use plotters::style::RGBColor;

use crate::series::Series;

/// Narrow enough that its text can be read where the page shows it at its smallest, on a phone (`STYLE` in html.rs).
const SIZE: (u32, u32) = (720, 270);
/// How far a line may be from where it belongs, px: less than half of what it is wide, and more than rounding to whole px.
const UNSEEN: f64 = 0.75;
/// Axes and texts.
pub(super) const INK: RGBColor = RGBColor(128, 128, 128);
/// Lines, in the order in which they are drawn: told apart by people who don't see all colours, too (Okabe, Ito 2002).
pub(super) const LINES: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
];
pub(super) const FAULT: RGBColor = RGBColor(213, 94, 0);
pub(super) const FONT: &str = "sans-serif";
/// Of the texts in a chart, as plotters has it: it draws them 1.24 times smaller, 12.9 px high.
const TEXT: u32 = 16;
/// A delay below this is drawn here: a logarithm has no zero.
const LEAST_MS: f64 = 0.5;

/// A line: x and y.
pub(super) type Points = Vec<(f64, f64)>;

/// Draws into a text; an SVG in memory can't fail to be written. `label` is for those who hear it.
pub(super) fn svg(label: &str, size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Result<(), String>) -> String {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&area).expect("memory takes all that is drawn");
        area.present().expect("memory takes all that is drawn");
    }
    // Read out by a screen reader, and as wide as the page.
    let label = maud::html! { (label) }.into_string();
    let opened = format!("<svg role=\"img\" aria-label=\"{label}\" viewBox=\"0 0 {} {}\" ", size.0, size.1);
    let rest = text.split_once("<svg").map_or(text.as_str(), |(_, rest)| rest);
    let rest = rest.split_once('>').map_or(rest, |(_, rest)| rest);
    format!("{opened}xmlns=\"http://www.w3.org/2000/svg\"{}>{}", SHARED.concat(), compact(rest))
}

/// What most of a chart's elements say, and so the whole says for them.
const SHARED: [&str; 3] = [" font-family=\"sans-serif\"", " font-size=\"12.903225806451614\"", " fill=\"#808080\""];

/// A drawing without what says nothing: defaults, ends of lines, and what is shared.
fn compact(drawing: &str) -> String {
    let defaults = [" opacity=\"1\"", " stroke-width=\"1\""];
    let plain = SHARED.iter().chain(&defaults).fold(drawing.to_owned(), |text, part| text.replace(part, ""));
    plain.replace(">\n", ">").replace("\n</", "</").replace(" \"/>", "\"/>")
}

/// The worst delay of each moment of a seed and of its twin, over time, with a band a fault.
pub(super) fn timeline(run: &Series, twin: Option<&Series>) -> String {
    let end_s = run.load_end_ms as f64 / 1000.0;
    let points = |series: &Series| -> Points {
        series
            .moments
            .iter()
            .filter(|m| m.came > 0)
            .map(|m| (m.at_ms as f64 / 1000.0, m.worst_ms.max(LEAST_MS)))
            .collect()
    };
    let mut lines = Vec::new();
    lines.extend(twin.map(points));
    lines.push(points(run));
    let top = lines.iter().flatten().map(|(_, ms)| *ms).fold(10.0, f64::max) * 1.5;
    svg("worst delay over time, with the faults as bands", SIZE, |area| {
        let mut chart = room(area, 28)
            .build_cartesian_2d(0.0..end_s.max(0.001), (LEAST_MS..top).log_scale())
            .map_err(|error| error.to_string())?;
        grid(&mut chart, "virtual time, s", "worst delay, ms", None, None)?;
        for band in &run.faults {
            let from = band.from_ms as f64 / 1000.0;
            let to = (band.to_ms as f64 / 1000.0).min(end_s).max(from + end_s / 400.0);
            chart
                .draw_series([Rectangle::new([(from, LEAST_MS), (to, top)], FAULT.mix(0.18).filled())])
                .map_err(|error| error.to_string())?;
        }
        draw_lines(&mut chart, lines)?;
        let lost = run.moments.iter().filter(|m| m.missing > 0).map(|m| (m.at_ms as f64 / 1000.0, top / 1.4));
        chart
            .draw_series(lost.map(|at| Cross::new(at, 5, FAULT.stroke_width(2))))
            .map_err(|error| error.to_string())?;
        Ok(())
    })
}

/// Delays by percentile, a line a phase: the tail is spread out.
pub(super) fn spectrum(lines: Vec<Points>) -> String {
    let all = || lines.iter().flatten();
    let right = all().map(|(x, _)| *x).fold(100.0, f64::max);
    let top = all().map(|(_, y)| *y).fold(10.0, f64::max) * 1.5;
    svg("delay by percentile, a line a phase", SIZE, |area| {
        let mut chart = room(area, 28)
            .build_cartesian_2d((1.0..right).log_scale(), (LEAST_MS..top).log_scale())
            .map_err(|error| error.to_string())?;
        grid(&mut chart, "percentile", "delay, ms", Some(&|x| percentile(*x)), None)?;
        let clipped = lines.into_iter().map(|line| line.into_iter().map(|(x, ms)| (x, ms.max(LEAST_MS))).collect());
        draw_lines(&mut chart, clipped.collect())
    })
}

/// Results that have their number below a trend, at most.
const RESULTS_LABELLED: usize = 10;

/// Figures of results one after the other; the names stand at the ends of their lines.
pub(super) fn trend(lines: &[(String, Points)]) -> String {
    let all = || lines.iter().flat_map(|(_, points)| points);
    let right = all().map(|(x, _)| *x).fold(2.0, f64::max);
    let top = all().map(|(_, y)| *y).fold(10.0, f64::max) * 1.5;
    svg("p99 by result, a line a scenario", SIZE, |area| {
        let mut chart = room(area, 150)
            .build_cartesian_2d(1.0..right, (LEAST_MS..top).log_scale())
            .map_err(|error| error.to_string())?;
        // Results are whole: no more labels than there are of them.
        grid(&mut chart, "result", "p99, ms", Some(&|x| format!("{x}")), Some(RESULTS_LABELLED.min(right as usize)))?;
        for ((name, points), colour) in lines.iter().zip(LINES.iter().cycle()) {
            let Some(end) = points.last().copied() else { continue };
            let text = Text::new(name.clone(), (end.0, end.1.max(LEAST_MS)), (FONT, TEXT).into_font().color(colour));
            chart.draw_series([text]).map_err(|error| error.to_string())?;
        }
        let points = lines.iter().map(|(_, points)| points.iter().map(|(x, ms)| (*x, ms.max(LEAST_MS))).collect());
        draw_lines(&mut chart, points.collect())
    })
}

/// `1 / (1 - quantile)` as a percentile: 100 is 99 %.
fn percentile(x: f64) -> String {
    let percent = (1.0 - 1.0 / x) * 100.0;
    format!("{}", (percent * 1e4).round() / 1e4)
}

/// The room of a chart, with that much left free at its right, and its axes.
fn room<'a, 'b>(area: &'a Area<'b>, right: i32) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut room = ChartBuilder::on(area);
    room.margin(8).margin_right(right).x_label_area_size(40).y_label_area_size(64);
    room
}

/// The grid behind the lines, with what its axes say, and how many labels are below it at most.
fn grid<'a, X, Y>(
    chart: &mut Chart<'a, '_, X, Y>,
    x: &str,
    y: &str,
    x_label: Option<&dyn Fn(&f64) -> String>,
    x_labels: Option<usize>,
) -> Result<(), String>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut mesh = chart.configure_mesh();
    mesh.axis_style(INK).bold_line_style(INK.mix(0.25)).light_line_style(TRANSPARENT);
    mesh.label_style((FONT, TEXT).into_font().color(&INK)).x_desc(x).y_desc(y);
    if let Some(x_label) = &x_label {
        mesh.x_label_formatter(x_label);
    }
    if let Some(labels) = x_labels {
        mesh.x_labels(labels);
    }
    mesh.draw().map_err(|error| error.to_string())
}

pub(super) type Area<'b> = DrawingArea<SVGBackend<'b>, plotters::coord::Shift>;
type Chart<'a, 'b, X, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>;

fn draw_lines<X, Y>(chart: &mut Chart<'_, '_, X, Y>, lines: Vec<Points>) -> Result<(), String>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    for (line, colour) in lines.into_iter().zip(LINES.iter().cycle()) {
        let line = seen(line, |point| chart.backend_coord(point));
        let series = LineSeries::new(line, colour.stroke_width(2));
        chart.draw_series(series).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The points of a line without those that nobody sees: each lies, to [`UNSEEN`], on the straight line between its neighbours that
/// stay. `place` says where a point is drawn.
fn seen(line: Points, place: impl Fn(&(f64, f64)) -> (i32, i32)) -> Points {
    let mut drawn: Vec<((f64, f64), (i32, i32))> = line.into_iter().map(|point| (point, place(&point))).collect();
    drawn.dedup_by_key(|(_, place)| *place);
    let at = |number: usize| (f64::from(drawn[number].1.0), f64::from(drawn[number].1.1));
    let mut kept: Points = drawn.first().map(|(point, _)| *point).into_iter().collect();
    let mut from = 0;
    for to in 1..drawn.len() {
        if (from + 1..to).any(|between| off(at(between), at(from), at(to)) > UNSEEN) {
            from = to - 1;
            kept.push(drawn[from].0);
        }
    }
    kept.extend(drawn.last().filter(|_| drawn.len() > 1).map(|(point, _)| *point));
    kept
}

/// How far `at` is from the straight line between two places.
fn off(at: (f64, f64), from: (f64, f64), to: (f64, f64)) -> f64 {
    let (across, down) = (to.0 - from.0, to.1 - from.1);
    let length = across.hypot(down);
    let (x, y) = (at.0 - from.0, at.1 - from.1);
    // Where along the line is nearest: it ends at its ends.
    let along = if length > 0.0 { ((x * across + y * down) / (length * length)).clamp(0.0, 1.0) } else { 0.0 };
    (x - along * across).hypot(y - along * down)
}

/// The colour of a chart's line, by its number, as CSS.
pub(super) fn colour(line: usize) -> String {
    let RGBColor(r, g, b) = LINES[line % LINES.len()];
    format!("rgb({r},{g},{b})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thinned(line: &[(f64, f64)]) -> Points {
        seen(line.to_vec(), |(x, y)| (*x as i32, *y as i32))
    }

    #[test]
    fn what_no_pixel_shows_is_left_out() {
        let straight: Points = (0..400).map(|x| (f64::from(x), f64::from(x / 2))).collect();
        assert_eq!(thinned(&straight), [(0.0, 0.0), (399.0, 199.0)]);
        let spike = [(0.0, 5.0), (5.0, 5.0), (8.0, 90.0), (11.0, 5.0), (14.0, 5.0), (30.0, 5.0)];
        assert_eq!(thinned(&spike), [(0.0, 5.0), (5.0, 5.0), (8.0, 90.0), (11.0, 5.0), (30.0, 5.0)]);
        // There and back on the same way: the end of it stays.
        assert_eq!(thinned(&[(0.0, 0.0), (0.0, 9.0), (0.0, 3.0)]), [(0.0, 0.0), (0.0, 9.0), (0.0, 3.0)]);
        assert_eq!(thinned(&[(1.0, 1.0), (1.2, 1.2)]), [(1.0, 1.0)]);
        assert_eq!(thinned(&[]), []);
    }

    #[test]
    fn what_all_texts_say_stands_once() {
        let line = vec![(1.0, 5.0), (100.0, 900.0)];
        for chart in
            [spectrum(vec![line.clone()]), trend(&[("a".to_owned(), line)]), timeline(&Series::default(), None)]
        {
            assert!(chart.starts_with("<svg") && chart.ends_with("</svg>") && chart.contains("<text"), "{chart}");
            for said in SHARED.iter().chain(&[" opacity=\"1\""]) {
                assert!(chart.matches(said).count() <= 1, "{said}: {chart}");
            }
        }
    }

    #[test]
    fn a_thinned_line_is_nowhere_off_by_a_pixel() {
        let curve: Points =
            (0..2000).map(|x| (f64::from(x) / 3.0, 200.0 + 150.0 * (f64::from(x) / 90.0).sin())).collect();
        let kept = thinned(&curve);
        assert!(kept.len() < 200, "{}", kept.len());
        for point in &curve {
            let nearest = kept.windows(2).map(|pair| off(*point, pair[0], pair[1])).fold(f64::INFINITY, f64::min);
            assert!(nearest < 2.0, "{point:?} is off by {nearest}");
        }
    }
}
