//! The JSON of a dashboard, in the model of Grafana 10.

use serde_json::{Value, json};

use super::{Dashboard, Kind, Panel};

/// Width of Grafana's grid, in columns.
const COLUMNS: u32 = 24;

impl Dashboard {
    /// Returns the JSON file by which Grafana imports the dashboard.
    ///
    /// # Errors
    /// Never: every value can be written as JSON.
    pub fn file(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(&self.json())? + "\n")
    }

    fn json(&self) -> Value {
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["lb"],
            "timezone": "browser",
            "editable": true,
            "graphTooltip": 1,
            "schemaVersion": 38,
            "version": 1,
            "refresh": "30s",
            "time": { "from": "now-1h", "to": "now" },
            "timepicker": {},
            "fiscalYearStartMonth": 0,
            "weekStart": "",
            "annotations": { "list": [] },
            "links": [links()],
            "templating": { "list": self.variables() },
            "panels": self.panels(),
        })
    }

    fn variables(&self) -> Value {
        let datasource = json!({
            "type": "datasource",
            "name": "datasource",
            "label": "Data source",
            "query": "prometheus",
            "skipUrlSync": false,
            "hide": 0,
            "multi": false,
            "includeAll": false,
            "refresh": 1,
        });
        let hosts = self.hosts;
        let job = variable("job", "Job", &format!("label_values({hosts}, job)"));
        let of_job = format!("label_values({hosts}{{job=\"$job\"}}, instance)");
        let mut instance = variable("instance", "Host", &of_job);
        instance["multi"] = json!(true);
        instance["includeAll"] = json!(true);
        instance["allValue"] = json!(".+");
        instance["current"] = json!({ "selected": true, "text": ["All"], "value": ["$__all"] });
        let mut job = job;
        job["current"] = json!({ "selected": true, "text": self.job, "value": self.job });
        json!([datasource, job, instance])
    }

    fn panels(&self) -> Vec<Value> {
        let mut panels = Vec::new();
        let mut y = 0;
        for (title, row) in self.rows {
            let id = panels.len() + 1;
            panels.push(json!({
                "type": "row",
                "id": id,
                "title": title,
                "collapsed": false,
                "gridPos": { "x": 0, "y": y, "w": COLUMNS, "h": 1 },
                "panels": [],
            }));
            y += 1;
            let (mut x, mut height) = (0, 0);
            for panel in *row {
                if x + panel.width > COLUMNS {
                    (x, y, height) = (0, y + height, 0);
                }
                let place = json!({ "x": x, "y": y, "w": panel.width, "h": panel.height() });
                panels.push(panel.json(panels.len() + 1, &place));
                x += panel.width;
                height = height.max(panel.height());
            }
            y += height;
        }
        panels
    }
}

impl Panel {
    fn height(&self) -> u32 {
        if self.kind == Kind::Stat { 4 } else { 8 }
    }

    fn json(&self, id: usize, place: &Value) -> Value {
        json!({
            "type": self.kind.plugin(),
            "id": id,
            "title": self.title,
            "description": self.description,
            "transparent": false,
            "gridPos": place,
            "datasource": datasource(),
            "targets": self.targets(),
            "fieldConfig": { "defaults": self.defaults(), "overrides": [] },
            "options": self.kind.options(),
            "transformations": self.kind.transformations(),
        })
    }

    fn targets(&self) -> Vec<Value> {
        let letters = 'A'..;
        let queries = self.queries.iter().zip(letters);
        let is_table = self.kind == Kind::Table;
        queries
            .map(|((expression, legend), letter)| {
                json!({
                    "refId": letter.to_string(),
                    "datasource": datasource(),
                    "expr": expression,
                    "legendFormat": legend,
                    "editorMode": "code",
                    "format": if is_table { "table" } else { "time_series" },
                    "instant": is_table,
                    "range": !is_table,
                })
            })
            .collect()
    }

    fn defaults(&self) -> Value {
        let by_value = !self.words.is_empty() || !self.thresholds.is_empty();
        let mode = match self.kind {
            Kind::Lines | Kind::Stacked => "palette-classic",
            _ if by_value => "thresholds",
            _ => "palette-classic",
        };
        let mut defaults = json!({
            "unit": self.unit,
            "color": { "mode": mode },
            "thresholds": { "mode": "absolute", "steps": self.steps() },
            "mappings": self.mappings(),
            "custom": self.kind.custom(!self.thresholds.is_empty()),
        });
        if matches!(self.kind, Kind::Lines | Kind::Stacked) {
            defaults["min"] = json!(0);
        }
        defaults
    }

    fn steps(&self) -> Vec<Value> {
        let first = if self.low_is_bad { "red" } else { "green" };
        let mut steps = vec![json!({ "value": null, "color": first })];
        let others = self.thresholds.iter();
        steps.extend(others.map(|(value, color)| json!({ "value": value, "color": color })));
        steps
    }

    fn mappings(&self) -> Vec<Value> {
        if self.words.is_empty() {
            return Vec::new();
        }
        let words = (0..).zip(self.words).map(|(index, (value, text, color))| {
            let shown = json!({ "text": text, "color": color, "index": index });
            ((*value).to_owned(), shown)
        });
        let options: serde_json::Map<_, _> = words.collect();
        vec![json!({ "type": "value", "options": options })]
    }
}

impl Kind {
    fn plugin(self) -> &'static str {
        match self {
            Self::Lines | Self::Stacked => "timeseries",
            Self::Stat => "stat",
            Self::Table => "table",
            Self::Timeline => "state-timeline",
        }
    }

    fn custom(self, has_thresholds: bool) -> Value {
        match self {
            Self::Lines | Self::Stacked => json!({
                "drawStyle": "line",
                "lineInterpolation": "linear",
                "lineWidth": 1,
                "fillOpacity": if self == Self::Stacked { 40 } else { 10 },
                "showPoints": "never",
                "spanNulls": false,
                "stacking": {
                    "mode": if self == Self::Stacked { "normal" } else { "none" },
                    "group": "A",
                },
                "thresholdsStyle": { "mode": if has_thresholds { "line" } else { "off" } },
            }),
            Self::Stat => json!({}),
            Self::Table => json!({
                "align": "auto",
                "inspect": false,
                "cellOptions": { "type": if has_thresholds { "color-text" } else { "auto" } },
            }),
            Self::Timeline => json!({ "fillOpacity": 70, "lineWidth": 0 }),
        }
    }

    fn options(self) -> Value {
        match self {
            Self::Lines | Self::Stacked => json!({
                "legend": {
                    "displayMode": "table",
                    "placement": "bottom",
                    "showLegend": true,
                    "calcs": ["mean", "max", "lastNotNull"],
                },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Self::Stat => json!({
                "graphMode": "area",
                "colorMode": "value",
                "justifyMode": "auto",
                "textMode": "auto",
                "orientation": "auto",
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            }),
            Self::Table => json!({
                "showHeader": true,
                "cellHeight": "sm",
                "frameIndex": 0,
                "footer": { "show": false, "reducer": ["sum"], "fields": "" },
            }),
            Self::Timeline => json!({
                "showValue": "auto",
                "rowHeight": 0.9,
                "mergeValues": true,
                "legend": {
                    "displayMode": "list",
                    "placement": "bottom",
                    "showLegend": true,
                    "calcs": [],
                },
                "tooltip": { "mode": "single", "sort": "none" },
            }),
        }
    }

    /// Returns Grafana's transformations of a panel's data: a table loses the columns that are the
    /// same in each row.
    fn transformations(self) -> Value {
        if self != Self::Table {
            return json!([]);
        }
        json!([{
            "id": "organize",
            "options": { "excludeByName": { "Time": true, "__name__": true, "job": true } },
        }])
    }
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn variable(name: &str, label: &str, query: &str) -> Value {
    json!({
        "type": "query",
        "name": name,
        "label": label,
        "datasource": datasource(),
        "query": { "query": query, "refId": name },
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "skipUrlSync": false,
        "hide": 0,
        "multi": false,
        "includeAll": false,
    })
}

/// Returns a menu with links to the other dashboards, which keeps the time range and the variables.
fn links() -> Value {
    json!({
        "title": "lb",
        "type": "dashboards",
        "icon": "external link",
        "tooltip": "The other dashboards of lb",
        "url": "",
        "tags": ["lb"],
        "asDropdown": true,
        "targetBlank": false,
        "includeVars": false,
        "keepTime": true,
    })
}
