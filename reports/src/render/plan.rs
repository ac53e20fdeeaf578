//! What a seed will do, as a picture: a row a fault above the load, before anything runs.

use plotters::prelude::*;

use super::charts::{self, Area, FAULT, FONT, INK, LINES};

const WIDTH: u32 = 960;
/// Height of a row, px.
const ROW: u32 = 26;
/// Height of the load's curve in rows.
const LOAD: u32 = 3;
/// Room for the title and for the axis, px.
const TITLE: u32 = 30;
const AXIS: u32 = 44;
/// Room for names: px a letter, and from and to how many letters.
const LETTER: u32 = 8;
const LETTERS: (usize, usize) = (6, 32);
/// Most rows; what a plan has beyond them is told in words.
const ROWS_MAX: usize = 200;
/// How far the axis goes behind the load, where everything is healed and drained: a part of the load.
const DRAIN: f64 = 0.06;
/// The narrowest bar, a part of the load, so that what is over at once can be seen.
const NARROWEST: f64 = 0.004;

/// What to draw.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanPicture {
    /// The line above it.
    pub title: String,
    /// Warm-up, s: no figure is taken in it.
    pub warmup_s: f64,
    /// Length of the load, s.
    pub load_s: f64,
    /// A row a fault.
    pub rows: Vec<Row>,
    /// Events a second over time: at (s), and how many.
    pub load: Vec<(f64, f64)>,
}

/// A fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name in the file.
    pub name: String,
    /// From and to, s; equal where it is over at once.
    pub bars: Vec<(f64, f64)>,
    /// Whether it waits for its trigger, so that nobody knows when.
    pub triggered: bool,
}

/// The picture as an SVG, which says in words what it shows.
#[must_use]
pub fn plan(picture: &PlanPicture) -> String {
    let shown = &picture.rows[..picture.rows.len().min(ROWS_MAX)];
    let rows = u32::try_from(shown.len()).expect("at most 200");
    let letters = shown.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).clamp(LETTERS.0, LETTERS.1);
    let names = LETTER * u32::try_from(letters).expect("at most 32") + 16;
    let more = picture.rows.len() - shown.len();
    let title = if more > 0 { format!("{} (and {more} faults more)", picture.title) } else { picture.title.clone() };
    let label = format!("{title}: a row for each of {rows} faults above the load");
    charts::svg(&label, (WIDTH, TITLE + (rows + LOAD) * ROW + AXIS), |area| {
        draw(area, picture, shown, &title, names).map_err(|error| error.to_string())
    })
}

fn draw<'b>(
    area: &Area<'b>,
    picture: &PlanPicture,
    shown: &[Row],
    title: &str,
    names: u32,
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'b> as DrawingBackend>::ErrorType>> {
    let ink = |size: u32| (FONT, size).into_font().color(&INK);
    let end_s = picture.load_s.max(0.001);
    let lanes = f64::from(LOAD);
    let mut chart = ChartBuilder::on(area)
        .margin_right(16)
        .margin_top(TITLE)
        .x_label_area_size(AXIS)
        .y_label_area_size(names)
        .build_cartesian_2d(0.0..end_s * (1.0 + DRAIN), 0.0..shown.len() as f64 + lanes)?;
    let mut mesh = chart.configure_mesh();
    mesh.axis_style(INK).bold_line_style(INK.mix(0.25)).light_line_style(TRANSPARENT).disable_y_mesh().y_labels(0);
    mesh.label_style(ink(13)).x_desc("virtual time, s").draw()?;
    area.draw(&Text::new(title.to_owned(), (8, 8), ink(14)))?;

    let top = shown.len() as f64 + lanes;
    let shade = |from: f64, to: f64| Rectangle::new([(from, 0.0), (to, top)], INK.mix(0.12).filled());
    chart.draw_series([shade(0.0, picture.warmup_s.min(end_s)), shade(end_s, end_s * (1.0 + DRAIN))])?;
    let most = picture.load.iter().map(|(_, events)| *events).fold(1.0, f64::max);
    let curve = picture.load.iter().map(|(at, events)| (*at, events / most * (lanes - 0.5)));
    chart.draw_series(AreaSeries::new(curve, 0.0, LINES[0].mix(0.25)).border_style(LINES[0].stroke_width(2)))?;
    for (number, row) in shown.iter().rev().enumerate() {
        let low = lanes + number as f64;
        let bar = |(from, to): &(f64, f64)| {
            let to = to.min(end_s).max(from + end_s * NARROWEST);
            Rectangle::new([(*from, low + 0.15), (to, low + 0.85)], FAULT.mix(0.7).filled())
        };
        chart.draw_series(row.bars.iter().map(bar))?;
        if row.triggered {
            let whole = Rectangle::new([(0.0, low + 0.15), (end_s, low + 0.85)], FAULT.mix(0.15).filled());
            chart.draw_series([whole])?;
            let word = Text::new("when its trigger holds", (end_s / 2.0, low + 0.75), ink(13));
            chart.draw_series([word])?;
        }
    }
    let at = |row: f64| i32::try_from(TITLE).unwrap_or(0) + (row * f64::from(ROW)) as i32 + 6;
    for (number, row) in shown.iter().enumerate() {
        let name: String = row.name.chars().take(LETTERS.1).collect();
        area.draw(&Text::new(name, (8, at(number as f64)), ink(13)))?;
    }
    let load = shown.len() as f64;
    area.draw(&Text::new("load", (8, at(load)), ink(13)))?;
    area.draw(&Text::new(format!("≤ {most:.0}/s"), (8, at(load + 1.0)), ink(13)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(rows: Vec<Row>) -> PlanPicture {
        let load = (0..60).map(|at| (f64::from(at), if at < 30 { 100.0 } else { 200.0 })).collect();
        PlanPicture { title: "flap, seed 3".to_owned(), warmup_s: 5.0, load_s: 60.0, rows, load }
    }

    fn row(name: &str, bars: &[(f64, f64)], triggered: bool) -> Row {
        Row { name: name.to_owned(), bars: bars.to_vec(), triggered }
    }

    #[test]
    fn each_fault_has_its_name_and_its_bars() {
        let rows = vec![row("flap", &[(15.0, 17.0), (19.0, 20.0)], false), row("full", &[], true)];
        let with = plan(&picture(rows));
        let without = plan(&picture(Vec::new()));
        assert!(with.contains("flap") && with.contains("when its trigger holds") && with.contains("seed 3"), "{with}");
        let bars = |svg: &str| svg.matches("<rect").count();
        assert_eq!(bars(&with), bars(&without) + 3, "two bars, and a pale one for the whole load");
    }

    #[test]
    fn what_has_no_room_is_told_of() {
        let rows = (0..250).map(|n| row(&format!("f{n}"), &[(1.0, 1.0)], false)).collect();
        assert!(plan(&picture(rows)).contains("and 50 faults more"));
    }

    #[test]
    fn an_empty_plan_is_a_picture_of_the_load() {
        let picture = PlanPicture { load_s: 0.0, load: Vec::new(), ..picture(Vec::new()) };
        assert!(plan(&picture).starts_with("<svg"));
    }
}
