//! Plots as plain SVG, readable on light and on dark pages.

use super::markdown::figure;

/// A picture and where it goes.
pub struct Plot {
    /// The name of its file, without the ending.
    pub name: String,
    pub title: String,
    pub svg: String,
}

/// A curve.
pub struct Line {
    pub label: String,
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 760.0;
const COLOURS: [&str; 6] = ["#2a78c8", "#d9722e", "#2f9e63", "#b24fc0", "#c9a227", "#d0455b"];
const STYLE: &str = "<style>text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600;font-size:15px}\
     .faint{fill:#57606a;font-size:12px}.grid{stroke:#d0d7de;stroke-width:1}.bar{fill:#9aa7b5}.own{fill:#2a78c8}\
     @media(prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#9da7b3}.grid{stroke:#3d444d}.bar{fill:#6b7683}\
     .own{fill:#4a9be8}}</style>";

fn picture(height: f64, title: &str, inside: &str) -> String {
    let title = escaped(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\
         {STYLE}\n<text class=\"title\" x=\"8\" y=\"22\">{title}</text>\n{inside}</svg>\n"
    )
}

/// A bar for each; those of maypole stand out.
pub fn bars(name: &str, title: &str, bars: &[(&str, f64)]) -> Option<Plot> {
    let most = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    if bars.len() < 2 || most <= 0.0 {
        return None;
    }
    let mut inside = String::new();
    for (row, (label, value)) in bars.iter().enumerate() {
        let y = 38.0 + row as f64 * 24.0;
        let width = (value / most * (WIDTH - 270.0)).max(1.0);
        let class = if label.starts_with("maypole") { "own" } else { "bar" };
        inside += &format!(
            "<text x=\"176\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"184\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"18\" rx=\"2\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\">{}</text>\n",
            y + 14.0,
            escaped(label),
            190.0 + width,
            y + 14.0,
            figure(Some(*value)),
        );
    }
    let svg = picture(48.0 + bars.len() as f64 * 24.0, title, &inside);
    Some(Plot { name: name.to_owned(), title: title.to_owned(), svg })
}

/// Several values of each on a logarithmic scale, such as quantiles.
pub fn dots(name: &str, title: &str, kinds: &[&str], rows: &[(&str, Vec<f64>)]) -> Option<Plot> {
    let all = || rows.iter().flat_map(|(_, values)| values).filter(|value| **value > 0.0);
    let (least, most) = (all().copied().fold(f64::INFINITY, f64::min), all().copied().fold(0.0, f64::max));
    if rows.is_empty() || most <= 0.0 {
        return None;
    }
    let (low, high) = (least.log10().floor(), most.log10().ceil().max(least.log10().floor() + 1.0));
    let (left, right) = (184.0, WIDTH - 40.0);
    let x = |value: f64| left + (value.log10() - low) / (high - low) * (right - left);
    let bottom = 62.0 + rows.len() as f64 * 28.0;
    let mut inside = String::new();
    for power in low as i32..=high as i32 {
        let value = 10_f64.powi(power);
        inside += &format!(
            "<line class=\"grid\" x1=\"{0:.1}\" y1=\"56\" x2=\"{0:.1}\" y2=\"{bottom:.0}\"/>\
             <text class=\"faint\" x=\"{0:.1}\" y=\"{1:.0}\" text-anchor=\"middle\">{2}</text>\n",
            x(value),
            bottom + 16.0,
            figure(Some(value)),
        );
    }
    for (at, kind) in kinds.iter().enumerate() {
        let place = left + at as f64 * 90.0;
        inside += &format!(
            "<circle cx=\"{place:.0}\" cy=\"42\" r=\"5\" fill=\"{}\"/><text x=\"{:.0}\" y=\"46\">{}</text>\n",
            COLOURS[at % COLOURS.len()],
            place + 9.0,
            escaped(kind),
        );
    }
    for (row, (label, values)) in rows.iter().enumerate() {
        let y = 74.0 + row as f64 * 28.0;
        inside +=
            &format!("<text x=\"172\" y=\"{:.0}\" text-anchor=\"end\">{}</text>", y + 4.0, escaped(label));
        for (at, value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
            let colour = COLOURS[at % COLOURS.len()];
            inside += &format!("<circle cx=\"{:.1}\" cy=\"{y:.0}\" r=\"5\" fill=\"{colour}\"/>", x(*value));
        }
        inside.push('\n');
    }
    let svg = picture(bottom + 28.0, title, &inside);
    Some(Plot { name: name.to_owned(), title: title.to_owned(), svg })
}

/// Curves over a logarithmic axis, with their labels at their right ends.
pub fn curves(name: &str, title: &str, below: &str, lines: &[Line]) -> Option<Plot> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let step = round_step(points().map(|(_, y)| *y).fold(0.0, f64::max) / 4.0);
    let most = step * 4.0;
    let (first, last) = (
        points().map(|(x, _)| *x).fold(f64::INFINITY, f64::min),
        points().map(|(x, _)| *x).fold(0.0, f64::max),
    );
    if most <= 0.0 || last <= first {
        return None;
    }
    let (left, right, top, bottom) = (76.0, WIDTH - 130.0, 44.0, 340.0);
    let x = |value: f64| left + (value / first).ln() / (last / first).ln() * (right - left);
    let y = |value: f64| bottom - value / most * (bottom - top);
    let mut inside = String::new();
    for at in 0..=4 {
        let value = step * f64::from(at);
        inside += &format!(
            "<line class=\"grid\" x1=\"{left}\" y1=\"{0:.1}\" x2=\"{right}\" y2=\"{0:.1}\"/>\
             <text class=\"faint\" x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>\n",
            y(value),
            left - 8.0,
            y(value) + 4.0,
            figure(Some(value)),
        );
    }
    let mut ticks: Vec<f64> = points().map(|(x, _)| *x).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    for tick in ticks {
        inside += &format!(
            "<text class=\"faint\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>\n",
            x(tick),
            bottom + 18.0
        );
    }
    let middle = (left + right) / 2.0;
    inside += &format!(
        "<text class=\"faint\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
        bottom + 36.0,
        escaped(below)
    );
    // Labels that would lie upon each other are moved apart.
    let mut ends: Vec<(usize, f64)> =
        lines.iter().enumerate().filter_map(|(at, line)| Some((at, y(line.points.last()?.1)))).collect();
    ends.sort_by(|one, other| one.1.total_cmp(&other.1));
    for at in 1..ends.len() {
        ends[at].1 = ends[at].1.max(ends[at - 1].1 + 16.0);
    }
    let below = ends.last().map_or(0.0, |(_, end)| (end - bottom).max(0.0));
    for (at, end) in ends {
        let end = end - below;
        let colour = COLOURS[at % COLOURS.len()];
        let path: Vec<String> =
            lines[at].points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        inside += &format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"{:.1}\" style=\"fill:{colour}\">{}</text>\n",
            path.join(" "),
            right + 8.0,
            end + 4.0,
            escaped(&lines[at].label),
        );
    }
    let svg = picture(bottom + 52.0, title, &inside);
    Some(Plot { name: name.to_owned(), title: title.to_owned(), svg })
}

/// The least round number that is not below this.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|step| *step >= least)
        .unwrap_or(0.0)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_is_the_largest_value_and_nothing_is_drawn_of_nothing() {
        let plot = bars("a", "A & B", &[("maypole", 200.0), ("other", 50.0)]).unwrap();
        assert!(plot.svg.contains("width=\"490.0\"") && plot.svg.contains("width=\"122.5\""));
        assert!(plot.svg.contains("A &amp; B"));
        assert!(bars("a", "a", &[("maypole", 0.0), ("other", 0.0)]).is_none());
        assert!(dots("a", "a", &["p50"], &[]).is_none());
        assert!(curves("a", "a", "x", &[]).is_none());
    }

    #[test]
    fn curves_lie_between_their_axes() {
        let line = Line { label: "one".to_owned(), points: vec![(1.0, 2.0), (100.0, 3.9)] };
        let plot = curves("a", "a", "tasks", &[line]).unwrap();
        assert!(plot.svg.contains("76.0,192.0 630.0,51.4"), "{}", plot.svg);
    }
}
