//! The picture of an experiment: a dot for each mean, a line from the least to the greatest trial, and a ring where theory
//! says something. It is an SVG that needs no script and no font of its own.

use std::ops::Range;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::checks::Prediction;
use super::file::{Experiment, SideBySide};
use super::measured::{Cell, Measured};
use super::numbers::shown;

const HEIGHT: u32 = 380;
/// The narrowest picture, and the room beside the places: scale on the left, legend on the right.
const LEAST_WIDTH: usize = 760;
const LEGEND: usize = 170;
const SCALE: usize = 90;
/// About the width of a letter.
const LETTER: usize = 7;
const TEXT: (&str, u32) = ("sans-serif", 15);
/// Colours that people with defective colour vision can tell apart (M. Okabe, K. Ito, *Color Universal Design*, 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];
/// The part of the room between two places that the colours share.
const SPREAD: f64 = 0.5;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// A dot.
struct Dot {
    x: f64,
    mean: f64,
    least: f64,
    most: f64,
}

/// What is drawn.
struct Picture {
    /// What stands side by side.
    places: Vec<String>,
    /// The colours' names and their dots.
    series: Vec<(String, Vec<Dot>)>,
    /// What theory says.
    rings: Vec<(f64, f64)>,
    title: String,
    figure: &'static str,
}

/// Draws what was measured.
///
/// # Errors
/// None in practice: it is drawn into memory.
pub fn svg(
    experiment: &Experiment,
    measured: &Measured,
    predictions: &[Prediction],
) -> anyhow::Result<String> {
    let picture = Picture::of(experiment, measured, predictions);
    let heights = picture.series.iter().flat_map(|(_, dots)| dots);
    let heights = heights.flat_map(|dot| [dot.least, dot.most]);
    let heights: Vec<f64> = heights
        .chain(picture.rings.iter().map(|ring| ring.1))
        .collect();
    let most = heights.iter().copied().fold(0.0, f64::max).max(1e-6);
    let positive = heights.iter().copied().filter(|y| *y > 0.0);
    let least = positive.fold(most, f64::min);
    let longest = picture.places.iter().map(String::len).max().unwrap_or(0);
    let places = picture.places.len() * LETTER * (longest + 2);
    let width = (SCALE + places + LEGEND).max(LEAST_WIDTH);
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (width as u32, HEIGHT)).into_drawing_area();
        let (left, right) = area.split_horizontally((width - LEGEND) as u32);
        let drawn = if experiment.answer.chart.logarithmic {
            let decades = 10_f64.powf(least.log10().floor())..10_f64.powf(most.log10().ceil());
            let label = |y: &f64| {
                let is_decade = (y.log10() - y.log10().round()).abs() < 1e-6;
                if is_decade { shown(*y) } else { String::new() }
            };
            picture.draw(&left, decades.log_scale(), &label)
        } else {
            picture.draw(&left, 0.0..most * 1.1, &|y| shown(*y))
        };
        drawn
            .and_then(|()| picture.legend(&right))
            .and_then(|()| Ok(area.present()?))
            .map_err(|error| anyhow!("cannot draw {}: {error}", experiment.name))?;
    }
    Ok(text)
}

impl Picture {
    fn of(experiment: &Experiment, measured: &Measured, predictions: &[Prediction]) -> Self {
        let chart = &experiment.answer.chart;
        let several = experiment.profile.scenarios.len() > 1;
        let load = |cell: &Cell| {
            if several {
                format!("{} {}", cell.scenario, cell.point)
            } else {
                cell.point.clone()
            }
        };
        let names = |cell: &Cell| match chart.side_by_side {
            SideBySide::Points => (load(cell), cell.server.clone()),
            SideBySide::Rows => (cell.server.clone(), load(cell)),
        };
        let measured = measured.cells.iter().filter(|cell| !cell.trials.is_empty());
        let cells: Vec<&Cell> = measured.collect();
        let (mut places, mut colours) = (Vec::new(), Vec::new());
        for cell in &cells {
            let (place, colour) = names(cell);
            if !places.contains(&place) {
                places.push(place);
            }
            if !colours.contains(&colour) {
                colours.push(colour);
            }
        }
        let x = |cell: &Cell| {
            let (place, colour) = names(cell);
            let at = |all: &[String], one: &String| all.iter().position(|other| other == one);
            let (place, colour) = (at(&places, &place)?, at(&colours, &colour)?);
            let shift = (colour as f64 + 0.5) / colours.len() as f64 - 0.5;
            Some(place as f64 + SPREAD * shift)
        };
        let dot = |cell: &Cell| {
            let values = cell.values(chart.figure);
            Some(Dot {
                x: x(cell)?,
                mean: cell.mean(chart.figure)?,
                least: values.iter().copied().fold(f64::INFINITY, f64::min),
                most: values.iter().copied().fold(0.0, f64::max),
            })
        };
        let of_colour = |colour: &String| {
            let cells = cells.iter().filter(|cell| names(cell).1 == *colour);
            (colour.clone(), cells.filter_map(|cell| dot(cell)).collect())
        };
        let ring = |prediction: &Prediction| {
            let [scenario, server, point] = &prediction.place;
            let at = |cell: &&&Cell| {
                cell.scenario == *scenario && cell.server == *server && cell.point == *point
            };
            let cell = cells.iter().find(at)?;
            (prediction.figure == chart.figure).then_some((x(cell)?, prediction.value))
        };
        Self {
            series: colours.iter().map(of_colour).collect(),
            rings: predictions.iter().filter_map(ring).collect(),
            title: experiment.answer.question.clone(),
            figure: chart.figure.title(),
            places,
        }
    }

    fn draw<Y>(&self, area: &Area<'_>, heights: Y, label: &dyn Fn(&f64) -> String) -> Drawn
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        area.fill(&WHITE)?;
        let across: Range<f64> = -0.5..self.places.len().max(1) as f64 - 0.5;
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .caption(&self.title, ("sans-serif", 20, &BLACK))
            .x_label_area_size(36)
            .y_label_area_size(72)
            .build_cartesian_2d(across, heights)?;
        let place = |x: &f64| {
            let near = (x - x.round()).abs() < 1e-6;
            let name = self.places.get(x.round().max(0.0) as usize);
            name.filter(|_| near).cloned().unwrap_or_default()
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .x_labels(2 * self.places.len() + 1)
            .x_label_formatter(&place)
            .y_label_formatter(&label)
            .y_desc(self.figure)
            .label_style(TEXT)
            .draw()?;
        for ((_, dots), colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            chart.draw_series(dots.iter().map(|dot| {
                let ends = vec![(dot.x, dot.least), (dot.x, dot.most)];
                PathElement::new(ends, colour.stroke_width(2))
            }))?;
            let mark = |dot: &Dot| Circle::new((dot.x, dot.mean), 4, colour.filled());
            chart.draw_series(dots.iter().map(mark))?;
        }
        let ring = |at: &(f64, f64)| Circle::new(*at, 7, BLACK.stroke_width(1));
        chart.draw_series(self.rings.iter().map(ring))?;
        Ok(())
    }

    /// What the colours are, beside the picture.
    fn legend(&self, area: &Area<'_>) -> Drawn {
        const LINE: i32 = 20;
        area.fill(&WHITE)?;
        let mut y = 50;
        // One alone needs no name.
        let named = self.series.iter().filter(|_| self.series.len() > 1);
        for ((name, _), colour) in named.zip(COLOURS.iter().cycle()) {
            area.draw(&Circle::new((8, y), 4, colour.filled()))?;
            area.draw(&Text::new(name.clone(), (20, y - 7), TEXT))?;
            y += LINE;
        }
        if !self.rings.is_empty() {
            area.draw(&Circle::new((8, y), 7, BLACK.stroke_width(1)))?;
            area.draw(&Text::new("closed form", (20, y - 7), TEXT))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::answers::figure::Figure;
    use crate::answers::measured::Head;

    #[test]
    fn there_is_a_dot_for_each_server_and_a_ring_for_each_closed_form() {
        let experiments = Experiment::built_in().unwrap();
        let experiment = experiments
            .iter()
            .find(|one| one.name == "polling-interval");
        let experiment = experiment.unwrap();
        let cell = |server: &str, mean: f64| Cell {
            scenario: "polling-interval".to_owned(),
            server: server.to_owned(),
            point: "connections-20".to_owned(),
            offered_rate: Some(50.0),
            blocked: None,
            invalid: Vec::new(),
            bound: false,
            trials: (1..=3)
                .map(|n| (n, BTreeMap::from([(Figure::Mean, mean * n as f64)])))
                .collect(),
        };
        let measured = Measured {
            head: Head {
                schema_version: 1,
                name: experiment.name.clone(),
                fingerprint: experiment.fingerprint.clone(),
                started: String::new(),
                loadgen: String::new(),
                machine: String::new(),
                cores: 2,
                conditions: String::new(),
                trials: 3,
                duration_s: (1.0, 1.0),
                seed: 1,
            },
            cells: vec![cell("spins", 20.0), cell("every-1ms", 500.0)],
        };
        let prediction = |figure| Prediction {
            place: ["polling-interval", "every-1ms", "connections-20"].map(str::to_owned),
            figure,
            value: 520.0,
        };
        let circles = |predictions: &[Prediction]| {
            let picture = svg(experiment, &measured, predictions).unwrap();
            assert!(
                picture.contains("every-1ms") && picture.contains("mean us"),
                "{picture}"
            );
            picture.matches("<circle").count()
        };
        // A ring has a mark in the legend too. What theory says of another figure is not drawn.
        assert_eq!(circles(&[]), 2);
        assert_eq!(circles(&[prediction(Figure::P99)]), 2);
        assert_eq!(circles(&[prediction(Figure::Mean)]), 4);
    }
}
