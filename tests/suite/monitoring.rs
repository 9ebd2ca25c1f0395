//! config/grafana and config/prometheus against what a vela really says, and against Prometheus' own tools.

mod live;

use crate::serve_support::{Served, settings};
use crate::service_support::{eventually, market};
use crate::support::{promtool::promtool, python};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use vela::config::Measure;

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(file(path)).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("grafana/vela.json")).unwrap()
}

/// The panels that show something, and every expression of the dashboard with where it is.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().unwrap();
    panels.iter().filter(|panel| panel["type"] != "row").collect()
}

fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in panels(dashboard) {
        for target in panel["targets"].as_array().unwrap() {
            found.push((panel["title"].to_string(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        if let Some(expression) = annotation["expr"].as_str() {
            found.push((annotation["name"].to_string(), expression.to_owned()));
        }
    }
    found
}

/// (alert, expression) of each rule: the file is written so that this is easy.
fn rules() -> Vec<(String, String)> {
    let text = read("prometheus/alerts.yml");
    let rule = |rule: &str| {
        let (name, rest) = rule.split_once('\n').unwrap();
        let (_, expression) = rest.split_once("expr: ").unwrap();
        let mut lines = expression.lines();
        let first = lines.next().unwrap().trim();
        let deeper = lines.take_while(|line| line.starts_with("          ")).map(str::trim);
        let whole: Vec<&str> = std::iter::once(first).filter(|first| *first != "|").chain(deeper).collect();
        (name.trim().to_owned(), whole.join(" "))
    };
    text.split("- alert: ").skip(1).map(rule).collect()
}

/// What an expression names: metrics with the labels that are asked of each, and labels that it groups by.
#[derive(Debug, Default)]
struct Named {
    metrics: Vec<(String, BTreeSet<String>)>,
    groups: BTreeSet<String>,
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len());
    text.split_at(end)
}

fn named(expression: &str) -> Named {
    let mut named = Named::default();
    let mut rest = expression;
    while let Some(at) = rest.find(|c: char| c.is_alphabetic() || c == '"' || c == '[') {
        rest = &rest[at..];
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = &quoted[quoted.find('"').unwrap() + 1..];
            continue;
        }
        if rest.starts_with('[') {
            rest = &rest[rest.find(']').unwrap()..];
            continue;
        }
        let (name, after) = word(rest);
        rest = after;
        let within = |open: char, close: char| {
            let inner = after.trim_start().strip_prefix(open)?;
            inner.split_once(close)
        };
        if ["by", "on", "without", "ignoring"].contains(&name) {
            let (labels, after) = within('(', ')').unwrap();
            named
                .groups
                .extend(labels.split(',').map(|label| label.trim().to_owned()).filter(|l| !l.is_empty()));
            rest = after;
        } else if name == "up" || name.starts_with("vela_") || name.starts_with("process_") {
            let mut labels = BTreeSet::new();
            if let Some((inner, after)) = within('{', '}') {
                // No value in these files has a comma or a brace in it.
                labels.extend(inner.split(',').map(|matcher| word(matcher.trim()).0.to_owned()));
                rest = after;
            }
            named.metrics.push((name.to_owned(), labels));
        }
    }
    named
}

/// The labels of every metric of an answer of `/metrics`.
fn said(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut metrics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = word(line);
        let labels = metrics.entry(name.to_owned()).or_default();
        if let Some((inner, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            labels.extend(inner.split("\",").map(|label| word(label).0.to_owned()));
        }
    }
    metrics
}

#[test]
fn every_metric_and_label_that_is_asked_for_exists() {
    let mut settings = settings();
    settings.health_check_interval = 1;
    // One alert, so that there are metrics of alerts.
    let rule = settings.alert.rules.get_mut(Measure::Memory.word()).unwrap();
    (rule.over, rule.for_s) = (0.0, 0);
    let served = Served::with(settings);
    served.feed(&market(2, 80));
    let metrics = eventually("a check of health and its alert", || {
        let metrics = said(&served.get("/metrics").text());
        // The alert is told of before the check is over.
        let over = ["vela_alerts_standing", "vela_health"].iter().all(|name| metrics.contains_key(*name));
        over.then_some(metrics)
    });
    // Prometheus itself adds these.
    let own = ["job", "instance"];
    let of = |name: &str| {
        if name == "up" { Some(BTreeSet::new()) } else { metrics.get(name).cloned() }
    };
    let dashboard = dashboard();
    let all: Vec<(String, String)> = expressions(&dashboard).into_iter().chain(rules()).collect();
    assert!(all.len() > 60, "{}", all.len());
    let mut wrong = Vec::new();
    for (place, expression) in &all {
        let Named { metrics, groups } = named(expression);
        assert!(!metrics.is_empty(), "{place}: {expression}");
        let mut known: BTreeSet<String> = own.map(str::to_owned).into();
        for (name, labels) in metrics {
            let Some(has) = of(&name) else {
                wrong.push(format!("{place}: there is no {name}"));
                continue;
            };
            let missing =
                labels.iter().filter(|label| !has.contains(*label) && !own.contains(&label.as_str()));
            wrong.extend(missing.map(|label| format!("{place}: {name} has no label {label}")));
            known.extend(has);
        }
        let groups = groups.iter().filter(|label| !known.contains(*label));
        wrong.extend(groups.map(|label| format!("{place}: nothing there has a label {label}: {expression}")));
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            assert!(query.starts_with("label_values(vela_build_info"), "{query}");
        }
    }
    assert!(metrics.contains_key("vela_build_info"));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_dashboard_is_one_that_grafana_takes() {
    let dashboard = dashboard();
    assert_eq!((&dashboard["uid"], &dashboard["id"]), (&"vela".into(), &Value::Null));
    assert!(dashboard["schemaVersion"].as_u64() >= Some(36));
    // What an import would ask for, or look up: nothing.
    for name in ["__inputs", "__elements", "__requires", "libraryPanels", "gnetId"] {
        assert!(dashboard[name].is_null(), "{name}");
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let known: Vec<&str> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    for used in read("grafana/vela.json").split('$').skip(1) {
        let (name, _) = word(used.trim_start_matches('{'));
        assert!(known.contains(&name) || name.starts_with("__"), "there is no variable ${name}");
    }
    let first = &dashboard["templating"]["list"][0];
    assert_eq!((&first["type"], &first["query"]), (&"datasource".into(), &"prometheus".into()));
    let (mut ids, mut taken) = (HashSet::new(), HashSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{} has the id of another", panel["title"]);
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "{panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} lies over another", panel["title"]);
        }
    }
    for panel in panels(&dashboard) {
        let title = &panel["title"];
        assert!(["stat", "timeseries", "heatmap"].contains(&panel["type"].as_str().unwrap()), "{title}");
        let targets = panel["targets"].as_array().unwrap();
        let refs: HashSet<&str> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert!(!targets.is_empty() && refs.len() == targets.len(), "{title}");
        for datasource in targets.iter().chain([panel]).map(|part| &part["datasource"]["uid"]) {
            assert_eq!(datasource, "${datasource}", "{title}");
        }
    }
    // Prometheus' own parser reads every expression, as a rule of its own.
    let mut text = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (at, (_, expression)) in expressions(&dashboard).iter().enumerate() {
        let expression =
            expression.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*");
        assert!(!expression.contains('$') && !expression.contains('\''), "{expression}");
        text += &format!("      - {{ record: 'dashboard:expression:{at}', expr: '{expression}' }}\n");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dashboard.yml");
    std::fs::write(&path, text).unwrap();
    promtool(&["check", "rules", path.to_str().unwrap()], b"");
}

#[test]
fn the_dashboard_is_what_grafanas_makers_describe() {
    let Some(python) = python::environment("tests/suite/monitoring/grafana.txt") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/monitoring/grafana.py");
    let mut command = Command::new(python.join("bin/python"));
    let output = command.arg(script).arg(file("grafana/vela.json")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("nothing lost"), "{said}");
    println!("{said}");
}

#[test]
fn every_alert_fires_and_clears_on_series_made_up_for_it() {
    let test = read("prometheus/alerts.test.yml");
    let rules = rules();
    assert!(rules.len() >= 15);
    for (name, _) in &rules {
        let fires = format!("alertname: {name}\n");
        let clears = test.lines().filter(|line| line.contains(&format!("alertname: {name},")));
        assert_eq!(test.matches(&fires).count(), 1, "{name} is not shown firing");
        assert_eq!(
            clears.filter(|line| line.contains("exp_alerts: []")).count(),
            1,
            "{name} is not shown clearing"
        );
    }
    let [rules, test] = ["alerts.yml", "alerts.test.yml"].map(|name| file("prometheus").join(name));
    promtool(&["check", "rules", rules.to_str().unwrap()], b"");
    promtool(&["test", "rules", test.to_str().unwrap()], b"");
}

/// What docs/monitoring.md writes into Prometheus' configuration, with `rules` in the place of the file that it names.
fn configuration(rules: &Path) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/monitoring.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (block, _) = page.split_once("```yaml\n").unwrap().1.split_once("```").unwrap();
    let named = "/etc/prometheus/vela/alerts.yml";
    assert!(block.contains(named) && block.contains("job_name: vela"), "{block}");
    block.replace(named, rules.to_str().unwrap())
}

#[test]
fn the_configuration_that_the_page_shows_is_one_that_prometheus_takes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prometheus.yml");
    std::fs::write(&path, configuration(&file("prometheus/alerts.yml"))).unwrap();
    promtool(&["check", "config", path.to_str().unwrap()], b"");
}
