//! Samples of one row, and what follows from them: medians, ratios, and whether a goal is met.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::contender::Tool;

/// What must hold of a metric.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// Ours divided by the best peer's of the same round.
    RatioAtMost(f64),
    RatioAtLeast(f64),
    AtMost(f64),
    AtLeast(f64),
    /// Ours divided by this contender's.
    TimesOf(Tool, f64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) digits: usize,
    pub(crate) is_larger_better: bool,
    /// The first bar.
    pub(crate) bar: Option<Bound>,
    pub(crate) target: Option<Bound>,
}

impl Metric {
    pub(crate) const fn new(name: &'static str, unit: &'static str, digits: usize) -> Self {
        Self { name, unit, digits, is_larger_better: false, bar: None, target: None }
    }

    pub(crate) const fn larger_is_better(mut self) -> Self {
        self.is_larger_better = true;
        self
    }

    pub(crate) const fn goals(mut self, bar: Bound, target: Bound) -> Self {
        self.bar = Some(bar);
        self.target = Some(target);
        self
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Sample {
    tool: Tool,
    round: usize,
    /// One for each metric of the row; `None` where the metric says nothing about the contender.
    values: Vec<Option<f64>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Report {
    title: String,
    metrics: &'static [Metric],
    samples: Vec<Sample>,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn new(title: impl Into<String>, metrics: &'static [Metric]) -> Self {
        Self { title: title.into(), metrics, samples: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub(crate) fn add(&mut self, tool: Tool, round: usize, values: Vec<Option<f64>>) {
        assert_eq!(values.len(), self.metrics.len(), "one value a metric");
        let shown: Vec<String> = self
            .metrics
            .iter()
            .zip(&values)
            .map(|(metric, value)| format!("{} {}", metric.name, figure(*value, metric.digits)))
            .collect();
        eprintln!("  {} round {}: {}: {}", self.title, round + 1, tool.name(), shown.join(", "));
        self.samples.push(Sample { tool, round, values });
    }

    fn tools(&self) -> Vec<Tool> {
        Tool::ALL.into_iter().filter(|tool| self.samples.iter().any(|sample| sample.tool == *tool)).collect()
    }

    fn value(&self, tool: Tool, round: usize, metric: usize) -> Option<f64> {
        self.samples.iter().find(|sample| sample.tool == tool && sample.round == round)?.values[metric]
    }

    fn rounds(&self) -> impl Iterator<Item = usize> {
        0..self.samples.iter().map(|sample| sample.round + 1).max().unwrap_or(0)
    }

    fn median_of(&self, tool: Tool, metric: usize) -> Option<f64> {
        median(self.rounds().filter_map(|round| self.value(tool, round, metric)).collect())
    }

    /// Median over the rounds of ours divided by what `other` gives for the round.
    fn ratio(&self, metric: usize, other: impl Fn(usize) -> Option<f64>) -> Option<f64> {
        let of_round = |round| Some(self.value(Tool::Longhaul, round, metric)? / other(round)?);
        median(self.rounds().filter_map(of_round).collect())
    }

    fn ratio_to_best(&self, metric: usize) -> Option<f64> {
        let is_larger_better = self.metrics[metric].is_larger_better;
        self.ratio(metric, |round| {
            let peers = Tool::PEERS.into_iter().filter_map(|tool| self.value(tool, round, metric));
            if is_larger_better { peers.reduce(f64::max) } else { peers.reduce(f64::min) }
        })
    }

    fn is_met(&self, metric: usize, bound: Bound) -> Option<bool> {
        let ours = self.median_of(Tool::Longhaul, metric);
        Some(match bound {
            Bound::RatioAtMost(most) => self.ratio_to_best(metric)? <= most,
            Bound::RatioAtLeast(least) => self.ratio_to_best(metric)? >= least,
            Bound::AtMost(most) => ours? <= most,
            Bound::AtLeast(least) => ours? >= least,
            Bound::TimesOf(tool, most) => {
                self.ratio(metric, |round| self.value(tool, round, metric))? <= most
            }
        })
    }

    pub(crate) fn markdown(&self) -> String {
        let tools = self.tools();
        let mut text = format!("## {}\n\n| |", self.title);
        for tool in &tools {
            text.push_str(&format!(" {} |", tool.name()));
        }
        text.push_str(" ratio to the best peer | first bar | target |\n|---|");
        text.push_str(&"---|".repeat(tools.len() + 3));
        text.push('\n');
        for (index, metric) in self.metrics.iter().enumerate() {
            let unit = if metric.unit.is_empty() { String::new() } else { format!(" ({})", metric.unit) };
            text.push_str(&format!("| {}{unit} |", metric.name));
            for tool in &tools {
                text.push_str(&format!(" {} |", figure(self.median_of(*tool, index), metric.digits)));
            }
            text.push_str(&format!(" {} |", figure(self.ratio_to_best(index), 2)));
            for bound in [metric.bar, metric.target] {
                text.push_str(&format!(" {} |", self.goal(index, bound)));
            }
            text.push('\n');
        }
        for note in &self.notes {
            text.push_str(&format!("\n{note}\n"));
        }
        text
    }

    fn goal(&self, metric: usize, bound: Option<Bound>) -> String {
        let Some(bound) = bound else { return String::new() };
        let says = match bound {
            Bound::RatioAtMost(most) => format!("ratio ≤ {most}"),
            Bound::RatioAtLeast(least) => format!("ratio ≥ {least}"),
            Bound::AtMost(most) => format!("≤ {most}"),
            Bound::AtLeast(least) => format!("≥ {least}"),
            Bound::TimesOf(tool, most) => format!("≤ {most} x {}", tool.name()),
        };
        match self.is_met(metric, bound) {
            Some(true) => format!("{says}: met"),
            Some(false) => format!("{says}: **missed**"),
            None => says,
        }
    }

    pub(crate) fn json(&self) -> Value {
        let metrics: Vec<Value> = self
            .metrics
            .iter()
            .enumerate()
            .map(|(index, metric)| {
                let medians: BTreeMap<&str, Option<f64>> =
                    self.tools().into_iter().map(|tool| (tool.name(), self.median_of(tool, index))).collect();
                json!({
                    "name": metric.name,
                    "unit": metric.unit,
                    "medians": medians,
                    "ratioToBestPeer": self.ratio_to_best(index),
                    "firstBarMet": metric.bar.and_then(|bound| self.is_met(index, bound)),
                    "targetMet": metric.target.and_then(|bound| self.is_met(index, bound)),
                })
            })
            .collect();
        let samples: Vec<Value> = self
            .samples
            .iter()
            .map(|sample| json!({"contender": sample.tool.name(), "round": sample.round, "values": sample.values}))
            .collect();
        json!({"title": self.title, "notes": self.notes, "metrics": metrics, "samples": samples})
    }
}

fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &[Metric] =
        &[Metric::new("wall", "s", 2).goals(Bound::RatioAtMost(1.0), Bound::TimesOf(Tool::Curl, 0.2))];

    #[test]
    fn ratios_are_taken_round_by_round_to_the_best_peer() {
        let mut report = Report::new("row", METRICS);
        for (round, (ours, curl, aria2)) in
            [(1.0, 2.0, 4.0), (3.0, 8.0, 6.0), (5.0, 10.0, 9.0)].into_iter().enumerate()
        {
            report.add(Tool::Longhaul, round, vec![Some(ours)]);
            report.add(Tool::Curl, round, vec![Some(curl)]);
            report.add(Tool::Aria2, round, vec![Some(aria2)]);
            report.add(Tool::Direct, round, vec![Some(0.1)]);
        }
        assert_eq!(report.ratio_to_best(0), Some(0.5));
        assert_eq!(report.is_met(0, METRICS[0].bar.expect("given")), Some(true));
        assert_eq!(report.is_met(0, METRICS[0].target.expect("given")), Some(false));
        assert!(report.markdown().contains(
            "| wall (s) | 3.00 | 8.00 | 6.00 | 0.10 | 0.50 | ratio ≤ 1: met | ≤ 0.2 x curl: **missed** |"
        ));
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
